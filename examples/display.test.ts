import { assert, describe, it } from "@effect/vitest"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { draw, look } from "./display.ts"

describe("The example of a display", () => {
  it.live("shows every colour, and leaves nothing", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const guest = TestXen.layerDomain(3)
      const device = { type: "vdispl", frontend: 3, id: 0, frontendNodes: { "0/resolution": "8x4" }, backendNodes: {} }
      yield* Effect.provide(Effect.void, guest)
      yield* Effect.provide(Toolstack.addDevice(device), TestXen.layerDomain(0))
      const looking = look((guest, rgba) => {
        assert.strictEqual(rgba.length, 8 * 4 * 4)
        seen.push(`${guest}: ${rgba.subarray(0, 4).join(" ")}`)
      })
      yield* Effect.forkScoped(Effect.provide(looking, TestXen.layerDomain(0)))
      yield* Effect.provide(draw([[255, 0, 0], [0, 255, 0], [0, 0, 255]]), guest)
      assert.deepStrictEqual(seen, ["3: 0 0 0 255", "3: 0 0 255 255", "3: 0 255 0 255", "3: 255 0 0 255"])
    }).pipe(Effect.scoped, Ledger.checked, Effect.provide(TestXen.layer())))

  it("stands in docs/display.md as it is here", () => {
    const [page, example] = ["../docs/display.md", "display.ts"].map((name) => readFileSync(new URL(name, import.meta.url), "utf8"))
    assert.include(page!, `\`\`\`ts\n${example}\`\`\``)
  })
})
