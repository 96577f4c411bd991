import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { LinuxGuest } from "./LinuxGuest.ts"
import * as RawGuest from "./RawGuest.ts"
import * as World from "./World.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const sound = Arbitrary.map(
  Arbitrary.all({
    period: Arbitrary.schema(between(100, 1500)),
    periods: Arbitrary.schema(between(2, 5)),
    rest: Arbitrary.schema(Schema.Literals([0, 1, 37])),
    pace: Arbitrary.schema(Schema.Literals(["real-time", "unpaced"])),
    // Whole periods, and some that are not; shorter than the buffer, too.
    lengths: Arbitrary.array(Arbitrary.schema(between(1, 20_000)), { minLength: 1, maxLength: 4 }),
    opensAnew: Arbitrary.schema(Schema.Boolean)
  }),
  ({ period, periods, rest, ...sound }) => ({ ...sound, period, buffer: period * periods + rest })
)

interface Sounds {
  readonly buffer: number
  readonly period: number
  readonly pace: "real-time" | "unpaced"
  readonly lengths: ReadonlyArray<number>
  readonly opensAnew: boolean
  readonly late?: Duration.Input
}

const plays = ({ buffer, late, lengths, opensAnew, pace, period }: Sounds) =>
  World.checked(Effect.gen(function*() {
    const heard: Array<Uint8Array> = []
    yield* World.addCard()
    yield* World.serving({
      pace,
      playback: () => Effect.succeed({ play: (bytes) => Effect.sync(() => void heard.push(bytes.slice())) })
    })
    const [stream] = yield* RawGuest.connect()
    const { bytes, directory } = yield* RawGuest.buffer(buffer * 4)
    const opening = RawGuest.opening(directory, { bufferSize: buffer * 4, periodSize: period * 4 })
    const guest = new LinuxGuest(stream!, bytes as unknown as Uint8Array, 4, period, late)
    yield* Effect.forkScoped(guest.interrupts)
    assert.strictEqual(yield* stream!.status(opening), 0)
    const all: Array<Uint8Array> = []
    for (const [i, length] of lengths.entries()) {
      const source = World.noise(i, length * 4)
      all.push(source)
      yield* guest.play(source)
      if (opensAnew) {
        assert.strictEqual(yield* stream!.status({ _tag: "Close" }), 0)
        guest.reset()
        assert.strictEqual(yield* stream!.status(opening), 0)
      }
    }
    assert.strictEqual(guest.xruns, 0)
    assert.strictEqual(Buffer.compare(Buffer.concat(heard), Buffer.concat(all)), 0)
  }))

describe("sndif, with Linux's way to count", () => {
  it.effect.prop("every sound is played to its end, one after the other, and none runs dry", [sound], ([sounds]) => plays(sounds), {
    arbitrary: { runs: 20 },
    timeout: 60_000
  })

  it.effect("what was just written is not told as played before the guest has counted it", () =>
    plays({ buffer: 201, period: 100, pace: "unpaced", lengths: [300], opensAnew: false }))

  it.effect("a guest that is slow to count has longer, the longer its buffer is", () =>
    plays({ buffer: 24_000, period: 6000, pace: "unpaced", lengths: [100_000], opensAnew: false, late: "200 millis" }))
})
