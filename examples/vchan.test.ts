import { assert, describe, it } from "@effect/vitest"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { client, server } from "./vchan.ts"

describe("The example of a vchan", () => {
  it.live("answers one client after the other, and leaves nothing", () =>
    Effect.gen(function*() {
      yield* Effect.forkScoped(Effect.provide(server, TestXen.layerDomain(5)))
      for (const text of ["hello", "and once more"]) {
        const answer = yield* Effect.provide(client(text), TestXen.layerDomain(7))
        assert.strictEqual(answer, text.toUpperCase())
      }
    }).pipe(Effect.scoped, Ledger.checked, Effect.provide(TestXen.layer())))

  it("stands in docs/vchan.md as it is here", () => {
    const [page, example] = ["../docs/vchan.md", "vchan.ts"].map((name) => readFileSync(new URL(name, import.meta.url), "utf8"))
    assert.include(page!, `\`\`\`ts\n${example}\`\`\``)
  })
})
