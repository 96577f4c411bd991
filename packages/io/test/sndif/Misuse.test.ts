/** What programs do that they should not: they are told so, and the other half hears nothing of it. */
import { assert, describe, it } from "@effect/vitest"
import type * as Frontend from "@xen-shbuf/io/sndif/Frontend"
import * as Pcm from "@xen-shbuf/io/sndif/Pcm"
import type { SoundError } from "@xen-shbuf/io/sndif/SoundError"
import * as Exploration from "@xen-shbuf/testkit/Exploration"
import type * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as World from "./World.ts"

const inXen = (name: string, test: Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => World.checked(test), 30_000)

/** What an effect dies of. */
const defect = (effect: Effect.Effect<unknown, unknown>): Effect.Effect<string> =>
  Effect.map(Effect.exit(effect), (exit) =>
    Exit.isFailure(exit) && Cause.hasDies(exit.cause) ? String(Cause.squash(exit.cause)) : String(exit))

describe("a card's frontend", () => {
  inXen("sends no request as another one", Effect.gen(function*() {
    yield* World.addCard()
    yield* World.serving({})
    const { lines: [line] } = yield* World.connected()
    for (const wrong of [Number.NaN, -1, 0.3, 2 ** 32]) {
      for (const params of [{ rate: wrong }, { periodFrames: wrong }]) {
        assert.include(yield* defect(Effect.scoped(line!.open(World.params(params)))), "can't be asked of a sound card")
      }
    }
    const open = yield* line!.open(World.params())
    for (const wrong of [Number.NaN, -4, 0.5, 2 ** 32, 4n] as Array<number>) {
      assert.include(yield* defect(open.write(wrong, 4)), "can't be asked of a sound card")
      assert.include(yield* defect(open.read(0, wrong)), "can't be asked of a sound card")
    }
    assert.include(yield* defect(open.trigger("LOUDER" as "START")), "can't be asked of a sound card")
    yield* open.trigger("START")
  }))

  inXen("closes what the backend has opened for who did not wait for it", Effect.gen(function*() {
    const log: Array<string> = []
    const asked = yield* Deferred.make<void>()
    yield* World.addCard()
    yield* World.serving({
      playback: () =>
        Effect.acquireRelease(
          Effect.andThen(Deferred.succeed(asked, undefined), Effect.andThen(Effect.sleep(5), Effect.sync(() => {
            log.push("opened")
            return { play: () => Effect.void }
          }))),
          () => Effect.sync(() => log.push("closed"))
        )
    })
    const { lines: [line] } = yield* World.connected()
    const open = line!.open(World.params())
    yield* Effect.raceFirst(Effect.scoped(open), Deferred.await(asked))
    // Of two at the same time one is refused, and does not close what the other has.
    yield* Effect.scoped(Effect.gen(function*() {
      const { position } = yield* open
      const { reason } = yield* Effect.flip(Effect.scoped(open)) as Effect.Effect<SoundError>
      assert.deepInclude(reason, { _tag: "Refused", errno: "EBUSY" })
      yield* Exploration.interruptEach((disturbed) => disturbed(Effect.scoped(open)))
      assert.deepStrictEqual(log, ["opened", "closed", "opened"])
      assert.strictEqual(yield* position, 0)
    }))
    assert.deepStrictEqual(log, ["opened", "closed", "opened", "closed"])
  }))

  inXen("is answered again after a request that was given up, at whatever step", Effect.gen(function*() {
    yield* World.addCard()
    yield* World.serving({})
    const { lines: [line] } = yield* World.connected()
    const ask = line!.ask({ _tag: "Close" })
    const answered = Effect.timeoutOrElse(ask, { duration: "10 seconds", orElse: () => Effect.die(new Error("no answer")) })
    assert.isAbove(yield* Exploration.interruptEach((disturbed) => Effect.andThen(disturbed(ask), answered)), 10)
  }))

  inXen("is over with its scope: nobody waits on, and nothing is reached for", Effect.gen(function*() {
    yield* World.addCard()
    yield* World.serving({})
    const scope = yield* Scope.make()
    const card = yield* Scope.provide(World.connected(), scope)
    const line = card.lines[0]!
    const open = yield* Scope.provide(line.open(World.params()), scope)
    const start = (effect: Effect.Effect<unknown, unknown>) => Effect.forkScoped(defect(effect), { startImmediately: true })
    const waiting = yield* Effect.forEach(
      [open.moved(0), card.ended, Pcm.play(open, Stream.make(World.noise(1, 400_000)))],
      start
    )
    yield* Scope.close(scope, Exit.void)
    for (const fiber of waiting) assert.include(yield* Fiber.join(fiber), "its scope was left")
    const late = [open.moved(0), open.write(0, 4), open.trigger("STOP"), card.ended, Effect.scoped(line.open(World.params()))]
    for (const use of late) assert.include(yield* defect(use), "its scope was left")
    assert.strictEqual(open.bytes.length, 0)
  }))

  inXen("closes a stream that outlives it without a word", Effect.gen(function*() {
    yield* World.addCard()
    yield* World.serving({})
    const [card, stream] = [yield* Scope.make(), yield* Scope.make()]
    const { lines: [line] } = yield* Scope.provide(World.connected(), card)
    yield* Scope.provide(line!.open(World.params()), stream)
    yield* Scope.close(card, Exit.void)
    yield* Scope.close(stream, Exit.void)
  }))
})

describe("a card's backend", () => {
  inXen("takes what is no number of bytes for none: the rest is silence", Effect.gen(function*() {
    yield* World.addCard()
    const numbers = [Number.NaN, -8, undefined, 1e300, Infinity] as Array<number>
    let at = 0
    yield* World.serving({
      capture: () =>
        Effect.succeed({
          record: (into) =>
            Effect.sync(() => {
              into.fill(7)
              return numbers[at++]!
            })
        })
    })
    const { lines } = yield* World.connected()
    const open: Frontend.OpenStream = yield* lines[1]!.open(World.params())
    for (const number of numbers) {
      yield* open.read(0, 16)
      assert.strictEqual(open.bytes[0], number > 0 ? 7 : 0, String(number))
    }
  }))
})
