import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import type * as RawGuest from "./RawGuest.ts"

type Failure = Effect.Error<ReturnType<RawGuest.Stream["status"]>>

const u64 = (value: bigint) => BigInt.asUintN(64, value)

/** Says what an application gets instead of its sound. */
export class AlsaError extends Error {
  readonly _tag = "AlsaError"
}

/**
 * A guest with Linux's sound system, as far as positions matter: how its driver counts, when it wakes the application, and
 * how ALSA concludes from that whether there is room, nothing left, or all is played. Written from what it does, not from
 * its code. `late` is how long it takes to count what it has written.
 */
export class LinuxGuest {
  readonly #stream: RawGuest.Stream
  readonly #bytes: Uint8Array
  readonly #frameSize: number
  readonly #buffer: bigint
  readonly #period: bigint
  readonly #late: Duration.Input
  /** The driver's: the last position in frames, the place in the buffer, and frames since it woke somebody. */
  #told = 0n
  #place = 0n
  #since = 0
  #expected = 0
  /** ALSA's: how far the card is, and how far the application is, from `prepare` on. */
  #base = 0n
  #card = 0n
  #application = 0n
  state: "prepared" | "running" | "draining" | "setup" | "xrun" = "setup"
  xruns = 0
  wakes = 0

  constructor(stream: RawGuest.Stream, bytes: Uint8Array, frameSize: number, periodFrames: number, late: Duration.Input = 0) {
    this.#stream = stream
    this.#bytes = bytes
    this.#frameSize = frameSize
    this.#buffer = BigInt(bytes.length / frameSize)
    this.#period = BigInt(periodFrames)
    this.#late = late
  }

  /** What the driver does before it opens the stream: the events' number is not a part of it. */
  reset() {
    this.#told = this.#place = 0n
    this.#since = 0
  }

  /** Takes events as they come, for as long as it runs. */
  readonly interrupts = Effect.forever(Effect.andThen(
    Effect.suspend(() => this.#stream.events.channel.wait),
    Effect.suspend(() => Effect.flatMap(this.#stream.take, (events) =>
      Effect.forEach(events, (event) => event._tag === "CurrentPosition" ? this.#handle(event.id, event.position) : Effect.void, {
        discard: true
      })))
  ))

  #handle(id: number, position: bigint): Effect.Effect<void, Failure> {
    if (id !== this.#expected++ % 0x1_0000) return Effect.void
    const frame = position / BigInt(this.#frameSize)
    const moved = u64(frame - this.#told)
    this.#told = frame
    this.#place = u64(this.#place + moved) % this.#buffer
    this.#since = Number(BigInt.asUintN(32, BigInt(this.#since) + moved))
    // More than a period, not a period.
    if (this.#since <= Number(this.#period)) return Effect.void
    this.#since %= Number(this.#period)
    return this.elapsed
  }

  get #room(): bigint {
    return this.#card + this.#buffer - this.#application
  }

  readonly elapsed: Effect.Effect<void, Failure> = Effect.suspend(() => {
    if (this.state !== "running" && this.state !== "draining") return Effect.void
    this.look()
    const isOut = this.#room >= this.#buffer
    const stop = isOut ? this.stop(this.state === "draining" ? "setup" : "xrun") : Effect.void
    // Whoever waits goes on when the card has stopped, and the driver has seen to all events that it took.
    return Effect.andThen(stop, Effect.sync(() => void this.wakes++))
  })

  /** Reads the driver's place, as ALSA does. */
  look() {
    let card = this.#base + this.#place
    if (card < this.#card) {
      this.#base += this.#buffer
      card = this.#base + this.#place
    }
    this.#card = card
  }

  stop(state: "setup" | "xrun") {
    return Effect.map(this.#stream.status({ _tag: "Trigger", type: 2 }), () => {
      this.state = state
    })
  }

  readonly prepare = Effect.sync(() => {
    this.#base = this.#card = this.#application = 0n
    this.state = "prepared"
  })

  readonly start = Effect.suspend(() => {
    this.state = "running"
    return Effect.asVoid(this.#stream.status({ _tag: "Trigger", type: 0 }))
  })

  /** Sleeps until the driver wakes it; ten seconds without is an error, as in ALSA. Time passes only then. */
  readonly sleep = Effect.gen({ self: this }, function*() {
    const before = this.wakes
    for (let millis = 0; millis < 10_000; millis++) {
      for (let turn = 0; turn < 20; turn++) {
        yield* Effect.yieldNow
        if (this.wakes !== before) return
      }
      yield* TestClock.adjust("1 millis")
    }
    return yield* Effect.die(new AlsaError("EIO"))
  })

  /** What `aplay` does: writes period by period, begins anew after an underrun with the period that failed. */
  readonly play = (source: Uint8Array) => {
    const chunk = Number(this.#period) * this.#frameSize
    return Effect.gen({ self: this }, function*() {
      yield* this.prepare
      for (let at = 0; at < source.length;) {
        if (this.state === "xrun") {
          this.xruns++
          yield* this.prepare
        }
        const part = source.subarray(at, at + chunk)
        const done = yield* this.write(part)
        if (done) at += part.length
      }
      yield* this.drain
    })
  }

  /** False where the card stopped meanwhile. */
  write(part: Uint8Array): Effect.Effect<boolean, Failure> {
    return Effect.gen({ self: this }, function*() {
      for (let at = 0; at < part.length;) {
        if (this.state === "xrun") return false
        if (this.state === "running") this.look()
        const room = Number(this.#room) * this.#frameSize
        if (room <= 0) {
          if (this.state === "prepared") yield* this.start
          else yield* this.sleep
          continue
        }
        const place = Number(this.#application % this.#buffer) * this.#frameSize
        const length = Math.min(room, part.length - at, this.#bytes.length - place)
        this.#bytes.set(part.subarray(at, at + length), place)
        yield* (this.#stream.status({ _tag: "Write", offset: place, length }))
        // The answer is there, and it takes its time until it counts.
        for (let turn = 0; turn < 50; turn++) yield* Effect.yieldNow
        if (this.#late !== 0 && this.state === "running") yield* TestClock.adjust(this.#late)
        if (this.state === "xrun" as string) return false
        this.#application += BigInt(length / this.#frameSize)
        at += length
      }
      return true
    })
  }

  readonly drain = Effect.gen({ self: this }, function*() {
    if (this.state === "prepared") yield* this.start
    if (this.state === "running") this.state = "draining"
    while (this.state === "draining") yield* this.sleep
  })
}
