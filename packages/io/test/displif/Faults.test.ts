import { assert, describe, it } from "@effect/vitest"
import * as Frontend from "@xen-shbuf/io/displif/Frontend"
import * as Backend from "@xen-shbuf/io/displif/Backend"
import * as Faults from "@xen-shbuf/testkit/Faults"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as World from "./World.ts"

/** A guest from its beginning to its end, in both modes. */
const drawing = Effect.scoped(Effect.gen(function*() {
  const frontend = yield* Frontend.connect()
  const connector = frontend.connectors[0]!
  yield* connector.edid
  for (const byBackend of [false, true]) {
    const buffer = yield* frontend.createBuffer({ width: 8, height: 8, byBackend })
    const framebuffer = yield* buffer.attach()
    yield* connector.configure(framebuffer)
    yield* connector.flip(framebuffer)
    yield* connector.disable
  }
  return "done"
}))

const look = Backend.serve({
  allocate: true,
  frameRate: Infinity,
  show: ({ connectors }) =>
    Effect.forEach(connectors, ({ pictures }) => Stream.runForEach(pictures, (picture) => Effect.sync(() => World.copyOf(picture))))
})

/** Both sides, the operations of one of which go wrong as planned. Gives what became of the guest, and how much was done. */
const disturbed = (where: number, plan: Faults.Plan) =>
  Effect.gen(function*() {
    yield* World.addDisplay(3, ["8x8"], { beAlloc: "1" })
    const faulty = Layer.provideMerge(Faults.layer(plan), TestXen.layerDomain(where))
    const [backend, guest] = where === 0 ? [faulty, TestXen.layerDomain(3)] : [TestXen.layerDomain(0), faulty]
    yield* Effect.forkScoped(Effect.provide(look, backend))
    return yield* Effect.provide(
      Effect.gen(function*() {
        const outcome = yield* drawing.pipe(
          Effect.catch(({ _tag, reason }) => Effect.succeed(`${_tag} ${reason._tag}`)),
          Effect.forkScoped,
          Effect.flatMap((fiber) => Effect.map(Fiber.await(fiber), (exit) => exit._tag === "Success" ? exit.value : "interrupted"))
        )
        return outcome
      }),
      guest
    )
  })

const quiet = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, Logger.layer([]))

const reasons = Faults.reasons.map

describe("displif, when something fails", () => {
  for (const [where, side] of [[0, "the backend"], [3, "the frontend"]] as const) {
    it.live(`every operation of ${side}'s on its grant table: both end clean, and the guest hears why`, () =>
      Effect.gen(function*() {
        const outcomes = new Map<string, number>()
        let at = 1
        for (; at < 40; at++) {
          const reason = reasons[at % reasons.length]!
          const outcome = yield* quiet(World.checked(disturbed(where, [Faults.failAt(at, reason)])))
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
          if (outcome === "done" && at > 20) break
        }
        assert.isAbove(outcomes.get("DisplayError Refused") ?? outcomes.get("DisplayError GrantTableError") ?? 0, 2)
        assert.isDefined(outcomes.get("done"))
        assert.isUndefined(outcomes.get("interrupted"))
      }), 60_000)
  }

  it.live("the guest is interrupted after any number of turns: both end clean", () =>
    Effect.forEach(Array.from({ length: 60 }, (_, turns) => turns), (turns) =>
      quiet(World.checked(Effect.gen(function*() {
        yield* World.addDisplay(3, ["8x8"], { beAlloc: "1" })
        yield* Effect.forkScoped(World.dom0(look))
        const guest = yield* Effect.forkScoped(World.inDomain(3)(drawing))
        for (let turn = 0; turn < turns; turn++) yield* Effect.promise(() => new Promise(setImmediate))
        yield* Fiber.interrupt(guest)
      }))), { discard: true }), 60_000)

  it.live("the backend is interrupted after any number of turns: it ends clean, and the guest hears of it", () =>
    Effect.forEach(Array.from({ length: 60 }, (_, turns) => turns), (turns) =>
      quiet(World.checked(Effect.gen(function*() {
        yield* World.addDisplay(3, ["8x8"], { beAlloc: "1" })
        const backend = yield* Effect.forkScoped(World.dom0(look))
        const guest = yield* Effect.forkScoped(World.inDomain(3)(Effect.timeoutOption(Effect.exit(drawing), "2 seconds")))
        for (let turn = 0; turn < turns; turn++) yield* Effect.promise(() => new Promise(setImmediate))
        yield* Fiber.interrupt(backend)
        yield* Fiber.join(guest)
      }))), { discard: true, concurrency: 20 }), 60_000)
})
