import { assert, describe, it } from "@effect/vitest"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import { OutOfGrants } from "@xen-shbuf/core/GrantTableError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as Faults from "@xen-shbuf/testkit/Faults"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Publisher from "./Publisher.ts"
import * as Signals from "./Signals.ts"
import * as Viewer from "./Viewer.ts"

const frameLength = 320 * 240 * 4
const guest = 5
const dom0 = 0

/** The frontend of the guest publishes so many frames, each in one colour. */
const publishing = (count: number) =>
  Effect.gen(function*() {
    const { publish } = yield* Publisher.Publisher
    for (let colour = 0; colour < count; colour++) yield* publish((pixels) => pixels.fill(colour))
  }).pipe(Effect.provide(Publisher.layer({ peer: dom0, slots: 2, frameLength })))

const viewing = Viewer.frames(guest)

/** Runs a test on a Xen of its own, and checks that nothing is left of it. */
const onXen = <A, E>(test: Effect.Effect<A, E, TestXen.TestXen | Signals.Signals>) =>
  test.pipe(Ledger.checked, Effect.provide([TestXen.layer(), Signals.layer]))

describe("frame-pipe", () => {
  it.effect("every frame arrives, in order and whole, though there are only two slots", () =>
    onXen(Effect.gen(function*() {
      const [seen] = yield* Effect.all([
        Stream.runCollect(viewing).pipe(Effect.provide(TestXen.layerDomain(dom0))),
        publishing(10).pipe(Effect.provide(TestXen.layerDomain(guest)))
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual(seen, Array.from({ length: 10 }, (_, colour) => new Uint8Array(frameLength).fill(colour)))
    })))

  it.effect("the frontend keeps its pages until a viewer that stops early has let go", () =>
    onXen(Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const frontend = yield* Effect.forkChild(publishing(2).pipe(Effect.provide(TestXen.layerDomain(guest))))
      const first = yield* viewing.pipe(
        Stream.take(1),
        Stream.tap(() => Effect.map(xen.activeGrants, (active) => assert.isNotEmpty(active))),
        Stream.runCollect,
        Effect.provide(TestXen.layerDomain(dom0))
      )
      assert.strictEqual(first.length, 1)
      assert.isEmpty(yield* xen.activeGrants)
      yield* Fiber.join(frontend)
    })))

  it.effect("a frontend that nobody views ends when it is interrupted, after its patience", () =>
    onXen(Effect.gen(function*() {
      const frontend = yield* Effect.forkChild(publishing(3).pipe(Effect.provide(TestXen.layerDomain(guest))))
      yield* Effect.yieldNow
      const end = yield* Effect.forkChild(Fiber.interrupt(frontend), { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(frontend.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(end)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(frontend)))
    })))

  it.effect("a viewer that never lets go keeps the pages, and not the frontend", () =>
    Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const { announced } = yield* Signals.Signals
      const frontend = yield* Effect.forkChild(publishing(1).pipe(Effect.provide(TestXen.layerDomain(guest))))
      const { directory, slots } = yield* Deferred.await(announced)
      const at = { peer: guest, directory, byteLength: slots * frameLength, access: "read-only" } as const
      yield* Effect.provideService(PeerBuffer.map(at), GrantTable, yield* xen.domain(dom0))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(frontend)
      assert.deepStrictEqual((yield* xen.holdings).map(({ _tag }) => _tag), ["Deferred", "Mapping"])
    }).pipe(Effect.scoped, Effect.provide([TestXen.layer(), Signals.layer])))

  it.effect("a frontend without room for its frames says so", () =>
    onXen(Effect.gen(function*() {
      const full = Faults.layer([Faults.failAt(1, new OutOfGrants({ requested: 152, limit: 100 }))])
      const error = yield* publishing(1).pipe(
        Effect.provide(Layer.provide(full, TestXen.layerDomain(guest))),
        Effect.flip
      )
      assert.strictEqual(error.reason._tag, "OutOfGrants")
    })))

  it.effect("a viewer in another domain is refused", () =>
    onXen(Effect.gen(function*() {
      const frontend = yield* Effect.forkChild(publishing(1).pipe(Effect.provide(TestXen.layerDomain(guest))))
      const error = yield* Stream.runDrain(viewing).pipe(Effect.provide(TestXen.layerDomain(7)), Effect.flip)
      assert.strictEqual(error.reason._tag, "GrantRefused")
      yield* Fiber.join(frontend)
    })))
})
