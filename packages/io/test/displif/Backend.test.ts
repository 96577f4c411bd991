import { assert, describe, it } from "@effect/vitest"
import * as Frontend from "@xen-shbuf/io/displif/Frontend"
import type * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as World from "./World.ts"

const guest = World.inDomain(3)

const inXen = (name: string, test: () => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => World.checked(test()))

const pattern = (seed: number, length: number) => Uint8Array.from({ length }, (_, i) => i * 7 + seed * 31 + (i >>> 8))

describe("displif", () => {
  inXen("shows what the guest draws, pixel by pixel", () =>
    Effect.gen(function*() {
      yield* World.addDisplay(3, ["64x48"])
      const displays = yield* World.startBackend()
      yield* guest(Effect.scoped(Effect.gen(function*() {
        const frontend = yield* Frontend.connect()
        const display = yield* Queue.take(displays)
        assert.strictEqual(display.guest, 3)
        assert.deepInclude(display.connectors[0], { index: 0, uniqueId: "id0", resolution: { width: 64, height: 48 } })
        const seen = yield* World.watch(display)
        assert.strictEqual((yield* Queue.take(seen)).picture._tag, "Dark")
        const buffers = yield* Effect.forEach([1, 2], () => frontend.createBuffer({ width: 64, height: 48 }))
        const framebuffers = yield* Effect.forEach(buffers, (buffer) => buffer.attach())
        buffers[0]!.bytes.set(pattern(0, 64 * 48 * 4))
        yield* frontend.connectors[0]!.configure(framebuffers[0]!)
        assert.deepStrictEqual((yield* Queue.take(seen)).pixels, pattern(0, 64 * 48 * 4))
        for (let i = 1; i < 10; i++) {
          buffers[i & 1]!.bytes.set(pattern(i, 64 * 48 * 4))
          yield* frontend.connectors[0]!.flip(framebuffers[i & 1]!)
          const { picture, pixels } = yield* Queue.take(seen)
          assert.deepStrictEqual(pixels, pattern(i, 64 * 48 * 4))
          assert.deepInclude(picture, { width: 64, height: 48, left: 0, top: 0, pitch: 256 })
        }
        yield* frontend.connectors[0]!.disable
        assert.strictEqual((yield* Queue.take(seen)).picture._tag, "Dark")
      })))
    }))
})
