import { assert, describe, it } from "@effect/vitest"
import * as Frontend from "@xen-shbuf/io/sndif/Frontend"
import * as Pcm from "@xen-shbuf/io/sndif/Pcm"
import type * as Sound from "@xen-shbuf/io/sndif/Sound"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as World from "./World.ts"

/** A player, and when it has heard something, and when it has ended. */
const listener = () => {
  const hears = Deferred.makeUnsafe<void>()
  const ends = Deferred.makeUnsafe<void>()
  const playback = (): Effect.Effect<Sound.Player, never, Scope.Scope> =>
    Effect.as(
      Effect.addFinalizer(() => Deferred.succeed(ends, undefined)),
      { play: () => Effect.asVoid(Deferred.succeed(hears, undefined)) }
    )
  return { playback, hears: Deferred.await(hears), ends: Deferred.await(ends) }
}

/** A guest that plays for ever, and how that ends. */
const playing = Effect.gen(function*() {
  const { ended, lines } = yield* World.connected()
  const open = yield* lines[0]!.open(World.params())
  return yield* Effect.raceFirst(Pcm.play(open, Stream.forever(Stream.make(World.noise(1, 4096)))), ended)
}).pipe(Effect.scoped)

describe("sndif, where one of the two dies", () => {
  it.live("a guest that is destroyed while it plays: the stream ends, nothing stays mapped, and its successor is heard", () =>
    World.checked(Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const first = listener()
      yield* World.addCard()
      yield* World.serving({ pace: "unpaced", playback: first.playback })
      const guest = yield* Effect.forkScoped(playing)
      yield* first.hears
      yield* xen.destroy(World.guest)
      yield* first.ends
      while ((yield* xen.activeGrants).length > 0) yield* Effect.yieldNow
      yield* Fiber.interrupt(guest)
    })))

  it.live("a backend that ends while a guest plays: the guest is told, and keeps nothing", () =>
    World.checked(Effect.gen(function*() {
      const first = listener()
      yield* World.addCard()
      const serving = yield* World.serving({ pace: "unpaced", playback: first.playback })
      const guest = yield* Effect.forkScoped(playing)
      yield* first.hears
      yield* Fiber.interrupt(serving)
      yield* first.ends
      const error = yield* Effect.flip(Fiber.join(guest))
      assert.include(["ConnectionError", "EventChannelError"], error._tag)
      const second = listener()
      yield* World.serving({ pace: "unpaced", playback: second.playback })
      const again = yield* Effect.forkScoped(playing)
      yield* second.hears
      yield* Fiber.interrupt(again)
    })), { timeout: 30_000 })

  it.live("a backend that ends while a guest records: the guest is told, and waits for nothing", () =>
    World.checked(Effect.gen(function*() {
      yield* World.addCard()
      const serving = yield* World.serving({})
      const hears = yield* Deferred.make<void>()
      const recording = Effect.gen(function*() {
        const { ended, lines } = yield* World.connected()
        const open = yield* lines[1]!.open(World.params())
        const all = Stream.runForEach(Pcm.record(open), () => Deferred.succeed(hears, undefined))
        return yield* Effect.raceFirst(all, ended)
      }).pipe(Effect.scoped)
      const guest = yield* Effect.forkScoped(recording)
      yield* Deferred.await(hears)
      yield* Fiber.interrupt(serving)
      const error = yield* Effect.flip(Fiber.join(guest))
      assert.include(["ConnectionError", "EventChannelError"], error._tag)
    })), { timeout: 30_000 })

  it.live("a player that fails ends the card of its guest, and the guest of another plays on", () =>
    World.checked(Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const other = listener()
      yield* World.addCard()
      yield* World.addCard({ frontend: 9 })
      const failing: Sound.Player<string> = { play: () => Effect.fail("the disk is full") }
      yield* World.serving<string, Scope.Scope>({
        pace: "unpaced",
        playback: ({ peer }) => peer === 9 ? other.playback() : Effect.succeed(failing)
      })
      const guest = yield* Effect.forkScoped(playing)
      yield* Effect.flip(Fiber.join(guest))
      assert.isFalse((yield* xen.activeGrants).some(({ domain }) => domain === World.guest))
      const neighbour = yield* Effect.forkScoped(World.inDomain(9, Effect.scoped(Effect.gen(function*() {
        const { lines } = yield* Frontend.connect()
        const open = yield* lines[0]!.open(World.params())
        return yield* Pcm.play(open, Stream.make(World.noise(1, 40_000)))
      }))))
      yield* other.hears
      yield* Fiber.join(neighbour)
    })), { timeout: 30_000 })
})
