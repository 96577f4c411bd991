import { assert, describe, it } from "@effect/vitest"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { readFileSync } from "node:fs"
import { listen, ring } from "./services.ts"

const guest = Effect.provide(listen, TestXen.layerDomain(5))
const dom0 = Effect.provide(ring(5), TestXen.layerDomain(0))

describe("The doorbell", () => {
  it.live("rings whichever comes first, and leaves nothing", () =>
    Effect.gen(function*() {
      for (const [first, second] of [[guest, dom0], [dom0, guest]] as const) {
        const waiting = yield* Effect.forkScoped(first)
        yield* Effect.yieldNow
        yield* second
        yield* Fiber.join(waiting)
      }
    }).pipe(Effect.scoped, Ledger.checked, Effect.provide(TestXen.layer())))

  it("stands in docs/services.md as it is here", () => {
    const [page, example] = ["../docs/services.md", "services.ts"].map((name) => readFileSync(new URL(name, import.meta.url), "utf8"))
    assert.include(page!, `\`\`\`ts\n${example}\`\`\``)
  })
})
