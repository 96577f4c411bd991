/**
 * Offers one vchan after the other to dom0, and gives back what comes; tells in xenstore why each has ended, and that it was
 * let go of. To be run in a guest that is saved and restored meanwhile, whose console is another then.
 *
 * Usage: node restored.mjs
 */
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { writeFileSync } from "node:fs"
import { say } from "./Program.ts"

const main = Effect.gen(function*() {
  const store = yield* XenStore
  yield* say("serving", { domain: yield* store.ownId })
  for (let n = 0;; n++) {
    const why = yield* Effect.scoped(Effect.gen(function*() {
      const vchan = yield* Server.listen({ peer: 0, path: "data/vchan", readSize: 1024, writeSize: 1024 })
      const ended = yield* Effect.result(Stream.run(vchan.stream, vchan.sink))
      const why = ended._tag === "Failure" ? ended.failure.reason._tag : "closed"
      // Whatever Linux says of what comes now is to be seen.
      if (why === "Suspended") writeFileSync("/proc/sys/kernel/printk", "8")
      yield* store.write("data/told", `${n} ${why}`)
      return why
    }))
    yield* store.write("data/released", `${n} ${why}`)
  }
})

await Effect.runPromise(main.pipe(Effect.provide(XenDevices.layer())))
