import { assert, describe, it } from "@effect/vitest"
import type * as Backend from "@xen-shbuf/io/sndif/Backend"
import * as Frontend from "@xen-shbuf/io/sndif/Frontend"
import * as Pcm from "@xen-shbuf/io/sndif/Pcm"
import * as SampleFormat from "@xen-shbuf/io/sndif/SampleFormat"
import * as Sound from "@xen-shbuf/io/sndif/Sound"
import type * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Arbitrary from "effect/Arbitrary"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as World from "./World.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** Something to play or record, and how. */
const way = Arbitrary.map(
  Arbitrary.all({
    format: Arbitrary.schema(Schema.Literals(World.description.formats!)),
    rate: Arbitrary.schema(Schema.Literals(World.description.rates!)),
    channels: Arbitrary.schema(between(1, 8)),
    // Around one page, and around one page of a directory.
    buffer: Arbitrary.schema(Schema.Union([between(8, 200), between(1020, 1030), between(4000, 5000)])),
    periods: Arbitrary.schema(between(1, 6)),
    rest: Arbitrary.schema(between(0, 3)),
    length: Arbitrary.schema(between(0, 12_000)),
    pace: Arbitrary.schema(Schema.Literals(["real-time", "unpaced"])),
    pieces: Arbitrary.array(Arbitrary.schema(between(1, 4000)), { minLength: 1, maxLength: 5 }),
    seed: Arbitrary.schema(Schema.Natural)
  }),
  ({ buffer, length, pace, periods, pieces, rest, seed, ...sound }) => {
    const periodFrames = Math.max(2, Math.floor(buffer / periods))
    const params = World.params({ ...sound, bufferFrames: Math.max(buffer, 2 * periodFrames) + rest, periodFrames })
    const frameSize = SampleFormat.bytesOf(sound.format)! * sound.channels
    const source = World.noise(seed, length * frameSize)
    // The application hands its samples over in pieces of any number of frames.
    const chunks: Array<Uint8Array> = []
    for (let at = 0, i = 0; at < source.length; i++) {
      const size = pieces[i % pieces.length]! * frameSize
      chunks.push(source.subarray(at, at + size))
      at += size
    }
    return { params, source, chunks, pace }
  }
)

const same = (found: Uint8Array, expected: Uint8Array, what: string) => {
  // Not deepStrictEqual: its list of differences would take minutes.
  if (Buffer.compare(found, expected) === 0) return
  const at = found.findIndex((byte, i) => byte !== expected[i])
  assert.fail(`${what}: ${found.length} bytes, not ${expected.length}; the first other one is ${at}`)
}

/** Time that goes by as fast as the machine can: guest and backend are late now and then. */
const timePasses = Effect.forkScoped(Effect.forever(TestClock.adjust("1 millis")))

/** What a player has got. */
const ear = () => {
  const heard: Array<Uint8Array> = []
  return {
    playback: () => Effect.succeed({ play: (bytes: { slice: () => Uint8Array }) => Effect.sync(() => void heard.push(bytes.slice())) }),
    bytes: () => Buffer.concat(heard)
  }
}

/** A player, and when the guest has started it. */
const started = <P>(player: (opened: Sound.Opened) => Effect.Effect<P>) => {
  const running = Deferred.makeUnsafe<void>()
  return {
    running: Deferred.await(running),
    playback: (opened: Sound.Opened) =>
      Effect.andThen(
        Effect.forkScoped(Stream.runForEach(opened.changes, (state) =>
          state.running === "running" ? Deferred.succeed(running, undefined) : Effect.void)),
        player(opened)
      )
  }
}

describe("sndif, in memory", () => {
  it.effect.prop("what is played arrives, sample by sample, at any size and format", [way], ([{ chunks, pace, params, source }]) =>
    World.checked(Effect.gen(function*() {
      yield* timePasses
      const heard = ear()
      yield* World.addCard()
      yield* World.serving({ pace, playback: heard.playback })
      const { lines } = yield* World.connected()
      yield* Effect.scoped(Effect.gen(function*() {
        const open = yield* lines[0]!.open(params)
        yield* Pcm.play(open, Stream.fromIterable(chunks))
      }))
      same(heard.bytes(), source, "what was heard")
    })), { arbitrary: { runs: 20 }, timeout: 60_000 })

  it.effect.prop("what is recorded arrives, sample by sample, at any size and format", [way], ([{ chunks, pace, params, source }]) =>
    World.checked(Effect.gen(function*() {
      yield* timePasses
      yield* World.addCard()
      yield* World.serving({ pace, capture: () => Sound.source(Stream.fromIterable(chunks)) })
      const { lines } = yield* World.connected()
      const recorded: Array<Uint8Array> = []
      let length = 0
      yield* Effect.scoped(Effect.gen(function*() {
        const open = yield* lines[1]!.open(params)
        yield* Pcm.record(open).pipe(
          Stream.takeUntil((chunk) => {
            recorded.push(chunk)
            length += chunk.length
            return length >= source.length + open.frameSize
          }),
          Stream.runDrain
        )
      }))
      const all = Buffer.concat(recorded)
      same(all.subarray(0, source.length), source, "what was recorded")
      same(all.subarray(source.length), SampleFormat.silence(params.format, all.length - source.length), "what followed")
    })), { arbitrary: { runs: 20 }, timeout: 60_000 })

  it.live("chunks are copies, and end when the guest closes its stream", () =>
    World.checked(Effect.gen(function*() {
      const played: Array<Uint8Array> = []
      let ends = 0
      yield* World.addCard()
      yield* World.serving({
        pace: "unpaced",
        playback: () =>
          Sound.chunks((chunks) =>
            Effect.andThen(
              Stream.runForEach(chunks, (chunk) => Effect.sync(() => played.push(chunk))),
              Effect.sync(() => void ends++)
            ))
      })
      const { lines } = yield* World.connected()
      const source = World.noise(1, 4 * 50_000)
      for (let i = 1; i <= 2; i++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const open = yield* lines[0]!.open(World.params())
          assert.strictEqual(yield* Pcm.play(open, Stream.make(source)), 0)
        }))
        assert.strictEqual(ends, i)
      }
      same(Buffer.concat(played), Buffer.concat([source, source]), "what was heard")
    })))

  it.effect("in real time, a minute takes a minute: no sample is lost, and no millisecond", () =>
    World.checked(Effect.gen(function*() {
      const heard = ear()
      yield* World.addCard()
      const { playback, running } = started(heard.playback)
      yield* World.serving({ playback })
      const { lines } = yield* World.connected()
      const rate = 44_100
      const source = World.noise(3, 2 * rate * 60)
      const playing = yield* Effect.forkScoped(Effect.scoped(Effect.gen(function*() {
        const open = yield* lines[0]!.open(World.params({ rate, channels: 1, bufferFrames: 8820, periodFrames: 1470 }))
        return yield* Pcm.play(open, Stream.make(source))
      })))
      yield* running
      yield* TestClock.adjust("59 seconds")
      // Between two periods of a thirtieth of a second.
      assert.isAtLeast(heard.bytes().length, 2 * rate * 59 - 2 * 1470)
      assert.isAtMost(heard.bytes().length, 2 * rate * 59 + 2)
      assert.isUndefined(playing.pollUnsafe())
      yield* TestClock.adjust("1001 millis")
      assert.strictEqual(yield* Fiber.join(playing), 0)
      same(heard.bytes(), source, "what was heard")
    })), { timeout: 60_000 })

  it.effect("a pause keeps the place, a stop drops what was not due", () =>
    World.checked(Effect.gen(function*() {
      const heard = ear()
      const states: Array<string> = []
      yield* World.addCard()
      yield* World.serving({
        playback: (opened) =>
          Effect.andThen(
            Effect.forkScoped(Stream.runForEach(opened.changes, ({ running }) => Effect.sync(() => states.push(running)))),
            heard.playback()
          )
      })
      const { lines } = yield* World.connected()
      const open = yield* lines[0]!.open(World.params({ rate: 48_000, channels: 1, bufferFrames: 4800, periodFrames: 480 }))
      const source = World.noise(4, 9600)
      open.bytes.set(source)
      yield* open.write(0, 9600)
      yield* open.trigger("START")
      yield* TestClock.adjust("25 millis")
      yield* open.trigger("PAUSE")
      // 25 ms, whatever a period is.
      same(heard.bytes(), source.subarray(0, 2400), "before the pause")
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(heard.bytes().length, 2400)
      yield* open.trigger("RESUME")
      yield* TestClock.adjust("6 millis")
      same(heard.bytes(), source.subarray(0, 2882), "after the pause")
      yield* open.trigger("STOP")
      same(heard.bytes(), source.subarray(0, 2976), "at the stop")
      assert.strictEqual(yield* open.position, 9600)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(heard.bytes().length, 2976)
      // It begins at the buffer's beginning again.
      open.bytes.set(source.subarray(4800, 5760))
      yield* open.write(0, 960)
      yield* open.trigger("START")
      yield* TestClock.adjust("11 millis")
      same(heard.bytes().subarray(2976), source.subarray(4800, 5760), "after the start")
      assert.deepStrictEqual(states, ["stopped", "running", "paused", "running", "stopped", "running"])
    })))

  it.effect("a guest that comes late loses time, and no sample; it is counted when it goes on", () =>
    World.checked(Effect.gen(function*() {
      const heard = ear()
      let state: Effect.Effect<Sound.State> | undefined
      yield* World.addCard()
      yield* World.serving({
        playback: (opened) => {
          state = opened.state
          return heard.playback()
        }
      })
      const { lines } = yield* World.connected()
      const open = yield* lines[0]!.open(World.params({ channels: 1, bufferFrames: 4800, periodFrames: 480 }))
      const source = World.noise(5, 3 * 960)
      const write = (from: number, to: number, at: number) => {
        open.bytes.set(source.subarray(from, to), at)
        return open.write(at, to - from)
      }
      yield* write(0, 960, 0)
      yield* open.trigger("START")
      yield* TestClock.adjust("200 millis")
      same(heard.bytes(), source.subarray(0, 960), "before it was late")
      assert.strictEqual((yield* state!).slips, 0)
      yield* open.trigger("STOP")
      yield* write(960, 2880, 0)
      assert.strictEqual((yield* state!).slips, 1)
      yield* open.trigger("START")
      yield* TestClock.adjust("200 millis")
      same(heard.bytes(), source, "in all")
    })))

  it.effect("a slow player makes the guest wait", () =>
    World.checked(Effect.gen(function*() {
      const heard: Array<Uint8Array> = []
      yield* World.addCard()
      const { playback, running } = started(() =>
        Effect.succeed<Sound.Player>({
          play: (bytes) => Effect.andThen(Effect.sync(() => heard.push(bytes.slice())), Effect.sleep("1 second"))
        }))
      yield* World.serving({ playback })
      const { lines } = yield* World.connected()
      const source = World.noise(6, 20 * 960)
      const playing = yield* Effect.forkScoped(Effect.scoped(Effect.gen(function*() {
        const open = yield* lines[0]!.open(World.params({ channels: 1, bufferFrames: 1920, periodFrames: 480 }))
        return yield* Pcm.play(open, Stream.make(source))
      })))
      yield* running
      yield* TestClock.adjust("10 seconds")
      assert.isUndefined(playing.pollUnsafe())
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(yield* Fiber.join(playing), 0)
      same(Buffer.concat(heard), source, "what was heard")
    })))

  it.effect("the time that a player takes is not the guest's: it has as much to write as it ever had", () =>
    World.checked(Effect.gen(function*() {
      let state: Effect.Effect<Sound.State> | undefined
      let isFirst = true
      yield* World.addCard()
      yield* World.serving({
        playback: (opened) =>
          Effect.sync(() => {
            state = opened.state
            return {
              play: () =>
                Effect.suspend(() => {
                  const wait = isFirst ? Effect.sleep("1 second") : Effect.void
                  isFirst = false
                  return wait
                })
            }
          })
      })
      const { lines } = yield* World.connected()
      const open = yield* lines[0]!.open(World.params({ channels: 1, bufferFrames: 4800, periodFrames: 1200 }))
      yield* open.write(0, 9600)
      yield* open.trigger("START")
      yield* TestClock.adjust("1030 millis")
      assert.strictEqual(yield* open.position, 2402)
      // Three periods are left, of 25 ms each.
      yield* TestClock.adjust("60 millis")
      yield* open.write(0, 2400)
      yield* TestClock.adjust("30 millis")
      assert.strictEqual((yield* state!).slips, 0)
    })))

  it.effect("who comes late and goes on elsewhere is heard from there on", () =>
    World.checked(Effect.gen(function*() {
      const heard = ear()
      yield* World.addCard()
      yield* World.serving({ playback: heard.playback })
      const { lines } = yield* World.connected()
      const open = yield* lines[0]!.open(World.params({ channels: 1, bufferFrames: 4800, periodFrames: 480 }))
      const source = World.noise(8, 9600)
      open.bytes.set(source)
      yield* open.write(0, 960)
      yield* open.trigger("START")
      yield* TestClock.adjust("15 millis")
      yield* open.write(4800, 960)
      yield* TestClock.adjust("100 millis")
      same(heard.bytes(), Buffer.concat([source.subarray(0, 960), source.subarray(4800, 5760)]), "what was heard")
    })))

  it.effect("a player can hear more than once a period", () =>
    World.checked(Effect.gen(function*() {
      const heard = ear()
      yield* World.addCard()
      yield* World.serving({ step: "10 millis", playback: heard.playback })
      const { lines } = yield* World.connected()
      const open = yield* lines[0]!.open(World.params({ channels: 1, bufferFrames: 48_000, periodFrames: 24_000 }))
      const source = World.noise(7, 96_000)
      open.bytes.set(source)
      yield* open.write(0, 96_000)
      yield* open.trigger("START")
      for (let i = 1; i < 60; i++) {
        yield* TestClock.adjust("11 millis")
        assert.isAtLeast(heard.bytes().length, 960 * i)
      }
      same(heard.bytes(), source.subarray(0, heard.bytes().length), "what was heard")
    })))

  it.effect("volume and mute are told, channel by channel", () =>
    World.checked(Effect.gen(function*() {
      let state: Effect.Effect<Sound.State> | undefined
      yield* World.addCard()
      yield* World.serving({
        playback: (opened) => Effect.sync(() => {
          state = opened.state
          return { play: () => Effect.void }
        })
      })
      const { lines } = yield* World.connected()
      const open = yield* lines[0]!.open(World.params({ channels: 3, bufferFrames: 600, periodFrames: 300 }))
      assert.deepStrictEqual(yield* open.getVolume(), [0, 0, 0])
      yield* open.setVolume([-6.5, 0.001, -120], 100)
      assert.deepStrictEqual((yield* state!).volume, [-6.5, 0.001, -120])
      assert.deepStrictEqual(yield* open.getVolume(24), [-6.5, 0.001, -120])
      yield* open.mute([true, false, true], true)
      assert.deepStrictEqual((yield* state!).muted, [true, false, true])
      yield* open.mute([true, false, false], false)
      assert.deepStrictEqual((yield* state!).muted, [false, false, true])
    })))

  it.live("two streams and two guests at once do not hear each other", () =>
    World.checked(Effect.gen(function*() {
      const heard = new Map<number, Array<Uint8Array>>()
      yield* World.addCard()
      yield* World.addCard({ frontend: 9 })
      const options: Backend.Options<never, Scope.Scope> = {
        pace: "unpaced",
        playback: ({ peer }) => {
          const own: Array<Uint8Array> = []
          heard.set(peer, own)
          return Effect.succeed({ play: (bytes) => Effect.sync(() => void own.push(bytes.slice())) })
        },
        capture: ({ peer }) => Sound.source(Stream.make(World.noise(100 + peer, 40_000)))
      }
      yield* World.serving(options)
      const guest = (id: number): Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope> =>
        World.inDomain(id, Effect.gen(function*() {
          const { lines } = yield* Frontend.connect()
          const play = Effect.flatMap(lines[0]!.open(World.params()), (open) =>
            Pcm.play(open, Stream.make(World.noise(id, 80_000))))
          const record = Effect.flatMap(lines[1]!.open(World.params()), (open) =>
            Stream.runCollect(Stream.take(Pcm.record(open), 8)))
          const [, chunks] = yield* Effect.all([Effect.scoped(play), Effect.scoped(record)], { concurrency: 2 })
          const recorded = Buffer.concat(chunks)
          same(recorded, World.noise(100 + id, 40_000).subarray(0, recorded.length), "what was recorded")
        }))
      yield* Effect.all([Effect.scoped(guest(7)), Effect.scoped(guest(9))], { concurrency: 2 })
      for (const [id, chunks] of heard) same(Buffer.concat(chunks), World.noise(id, 80_000), `guest ${id}`)
    })))

  it.live("without an application's word, sound is lost and silence is recorded", () =>
    World.checked(Effect.gen(function*() {
      yield* World.addCard()
      yield* World.serving({ pace: "unpaced" })
      const { lines } = yield* World.connected()
      yield* Effect.scoped(Effect.flatMap(lines[0]!.open(World.params({ format: "u8" })), (open) =>
        Pcm.play(open, Stream.make(World.noise(1, 20_000)))))
      const [chunk] = yield* Effect.scoped(Effect.flatMap(lines[1]!.open(World.params({ format: "u8" })), (open) =>
        Stream.runCollect(Stream.take(Pcm.record(open), 1))))
      assert.isTrue(chunk!.every((byte) => byte === 0x80))
    })))
})

