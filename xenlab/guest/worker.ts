/**
 * Shares and maps in a worker of this process, in dom0 with itself, and lets the worker end as the host says.
 *
 * Usage: node worker.mjs. Each line of input is a {@link WayOut}. It says `held` when the worker holds what it shares and
 * maps, and `ended` with the worker's exit code after the next line.
 */
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Effect from "effect/Effect"
import { once } from "node:events"
import { isMainThread, parentPort, Worker } from "node:worker_threads"
import { nextLine, say } from "./Program.ts"

/** How a worker can end. */
export type WayOut = "terminate" | "exit" | "throw" | "release"

const inWorker = Effect.gen(function*() {
  const { byteLength, directory } = yield* SharedBuffer.alloc({ peer: 0, byteLength: 8 * 4096 })
  yield* PeerBuffer.map({ peer: 0, directory, byteLength })
  yield* Effect.callback<void>((resume) => {
    parentPort!.on("message", (end: WayOut) => {
      if (end === "exit") process.exit(7)
      // Not for Effect: nobody catches it.
      if (end === "throw") setImmediate(() => { throw new Error("thrown on purpose") })
      if (end === "release") resume(Effect.void)
    })
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of Node has no origin
    parentPort!.postMessage("held")
  })
  parentPort!.close()
}).pipe(Effect.scoped, Effect.provide(GntDev.layer()))

const main = Effect.gen(function*() {
  yield* say("ready")
  for (let end = yield* nextLine; end !== undefined; end = yield* nextLine) {
    const worker = new Worker(new URL(import.meta.url))
    worker.on("error", () => {})
    const ended = new Promise<number>((resolve) => void worker.once("exit", resolve))
    yield* Effect.promise(() => once(worker, "message"))
    yield* say("held")
    yield* nextLine
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of Node has no origin
    worker.postMessage(end)
    if (end === "terminate") yield* Effect.promise(() => worker.terminate())
    yield* say("ended", { code: yield* Effect.promise(() => ended) })
  }
})

await Effect.runPromise(isMainThread ? main : inWorker)
if (isMainThread) process.exit(0)
