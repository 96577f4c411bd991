/** What programs do that they should not: they are told so, and the backend hears nothing of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Backend from "@xen-shbuf/io/displif/Backend"
import type { DisplayError } from "@xen-shbuf/io/displif/DisplayError"
import * as Frontend from "@xen-shbuf/io/displif/Frontend"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as World from "./World.ts"

const guest = World.inDomain(3)

const reason = <A, R>(effect: Effect.Effect<A, DisplayError, R>) => Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

describe("a display's frontend", () => {
  it.live("refuses numbers that would be sent as others", () =>
    World.checked(Effect.gen(function*() {
      yield* World.addDisplay(3, ["64x48"])
      yield* World.startBackend()
      yield* guest(Effect.scoped(Effect.gen(function*() {
        const { connectors: [connector], createBuffer } = yield* Frontend.connect()
        const buffer = yield* createBuffer({ width: 64, height: 48 })
        const framebuffer = yield* buffer.attach()
        for (const wrong of [Number.NaN, -1, 1.5, 2 ** 32, Infinity, 4n, "4"] as Array<number>) {
          for (const size of [{ width: wrong, height: 4 }, { width: 4, height: wrong }]) {
            assert.strictEqual(yield* reason(Effect.scoped(createBuffer(size))), "InvalidInput")
            assert.strictEqual(yield* reason(Effect.scoped(buffer.attach(size))), "InvalidInput")
          }
          assert.strictEqual(yield* reason(connector!.configure(framebuffer, { x: wrong })), "InvalidInput")
          assert.strictEqual(yield* reason(connector!.configure(framebuffer, { y: wrong })), "InvalidInput")
        }
        // Both negative, its bytes would be a size.
        assert.strictEqual(yield* reason(Effect.scoped(createBuffer({ width: -4, height: -4 }))), "InvalidInput")
      })))
    })), 30_000)

  it.live("shows no framebuffer of another display", () =>
    World.checked(Effect.gen(function*() {
      yield* World.addDisplay(3, ["64x48"])
      yield* World.addDisplay(3, ["64x48"], { id: 1 })
      yield* World.startBackend()
      yield* guest(Effect.scoped(Effect.gen(function*() {
        const displays = yield* Effect.forEach([0, 1], (id) => Frontend.connect({ id }))
        const framebuffers = yield* Effect.forEach(displays, ({ createBuffer }) =>
          Effect.flatMap(createBuffer({ width: 64, height: 48 }), (buffer) => buffer.attach()))
        const connector = displays[1]!.connectors[0]!
        yield* connector.configure(framebuffers[1]!)
        assert.strictEqual(yield* reason(connector.configure(framebuffers[0]!)), "Refused")
        assert.strictEqual(yield* reason(connector.flip(framebuffers[0]!)), "Refused")
      })))
    })), 30_000)

  it.live("is closed with its scope, whatever is kept of it", () =>
    World.checked(Effect.gen(function*() {
      yield* World.addDisplay(3, ["64x48"])
      const displays = yield* World.startBackend()
      const scope = yield* Scope.make()
      const display = yield* guest(Scope.provide(Frontend.connect(), scope))
      const connector = display.connectors[0]!
      const buffer = yield* guest(Scope.provide(display.createBuffer({ width: 64, height: 48 }), scope))
      const framebuffer = yield* Scope.provide(buffer.attach(), scope)
      yield* connector.configure(framebuffer)
      const shown = yield* Queue.take(displays)
      yield* Scope.close(scope, Exit.void)
      const size = { width: 4, height: 4 }
      const kept = [
        display.ended,
        connector.flip(framebuffer),
        connector.configure(framebuffer),
        connector.disable,
        connector.edid,
        Effect.scoped(buffer.attach()),
        guest(Effect.scoped(display.createBuffer(size))),
        guest(Effect.scoped(display.createBuffer({ ...size, byBackend: true })))
      ]
      for (const use of kept) assert.strictEqual(yield* reason(use), "DisplayClosed")
      assert.deepStrictEqual([buffer.bytes.length, buffer.bytes[0]], [0, undefined])
      assert.deepStrictEqual(Array.from(yield* Stream.runCollect(shown.connectors[0]!.pictures)), [])
    })), 30_000)
})

describe("a display's backend", () => {
  it.effect("serves nobody with a bound that bounds nothing", () =>
    Effect.gen(function*() {
      for (const name of ["maxBuffers", "maxBytes", "maxConnectors", "maxFramebuffers", "frameRate"]) {
        const options = { show: () => Effect.void, [name]: Number.NaN }
        const exit = yield* Effect.exit(guest(Backend.serve(options)) as Effect.Effect<never>)
        assert.isTrue(Exit.isFailure(exit) && String(Cause.squash(exit.cause)).includes(`${name} is NaN`))
      }
    }).pipe(World.checked))
})
