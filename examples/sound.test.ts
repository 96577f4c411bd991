import { assert, describe, it } from "@effect/vitest"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { readFileSync } from "node:fs"
import { hear, play } from "./sound.ts"

describe("The example of a sound card", () => {
  it.live("hears every sample, and leaves nothing", () =>
    Effect.gen(function*() {
      const heard: Array<Uint8Array> = []
      const guest = TestXen.layerDomain(3)
      yield* Effect.provide(Effect.void, guest)
      const frontendNodes = Configuration.toNodes({ devices: [{ streams: [{ type: "playback", uniqueId: "0" }] }] })
      yield* Effect.provide(Toolstack.addDevice({ type: "vsnd", frontend: 3, frontendNodes }), TestXen.layerDomain(0))
      const hearing = hear((from, samples) => {
        assert.strictEqual(from, 3)
        heard.push(samples)
      }, Stream.empty)
      yield* Effect.forkScoped(Effect.provide(hearing, TestXen.layerDomain(0)))
      const samples = Uint8Array.from({ length: 40_000 }, (_, i) => Math.imul(i, 0x9e37_79b1) >>> 13)
      yield* Effect.provide(play(samples), guest)
      assert.strictEqual(Buffer.compare(Buffer.concat(heard), samples), 0)
    }).pipe(Effect.scoped, Ledger.checked, Effect.provide(TestXen.layer())))

  it("stands in docs/sound.md as it is here", () => {
    const [page, example] = ["../docs/sound.md", "sound.ts"].map((name) => readFileSync(new URL(name, import.meta.url), "utf8"))
    assert.include(page!, `\`\`\`ts\n${example}\`\`\``)
  })
})
