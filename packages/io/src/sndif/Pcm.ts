/**
 * Plays and records sounds of any length through an open stream, as a guest's sound system does: keeps the buffer filled,
 * or empties it, as the backend tells how far it is.
 *
 * The stream must have been opened with a period, or nobody tells.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { OpenStream } from "./Frontend.ts"
import type { ExchangeError } from "./internal/exchange.ts"

/** How far an application is. */
class Playing {
  readonly #open: OpenStream
  readonly #bufferSize: number
  /** The end of what was written, counted as positions are. */
  #written = 0
  #isRunning = false
  /** How often the backend was faster. */
  slips = 0

  constructor(open: OpenStream) {
    this.#open = open
    this.#bufferSize = open.bytes.length
  }

  readonly #start = Effect.suspend(() => {
    this.#isRunning = true
    return this.#open.trigger("START")
  })

  /** Stops, after which the backend counts from a multiple of the buffer's size on. */
  readonly #stop = Effect.suspend(() =>
    Effect.andThen(this.#open.trigger("STOP"), Effect.map(this.#open.position, (position) => {
      this.#isRunning = false
      this.#written = position
    }))
  )

  /** Waits until there is room for something; gives how much, up to the buffer's end. */
  readonly #room: Effect.Effect<number, ExchangeError> = Effect.suspend(() =>
    Effect.flatMap(this.#open.position, (position) => {
      if (this.#isRunning && position >= this.#written) {
        // All was played before this came: begin at the buffer's beginning, as sound systems do.
        this.slips++
        return Effect.andThen(this.#stop, this.#room)
      }
      const free = position + this.#bufferSize - this.#written
      if (free > 0) return Effect.succeed(Math.min(free, this.#bufferSize - this.#written % this.#bufferSize))
      return Effect.andThen(this.#isRunning ? this.#open.moved(position) : this.#start, this.#room)
    })
  )

  /** Writes samples, as soon as there is room for them. */
  write(samples: Uint8Array): Effect.Effect<void, ExchangeError> {
    if (samples.length === 0) return Effect.void
    return Effect.flatMap(this.#room, (room) => {
      const part = samples.subarray(0, room)
      const at = this.#written % this.#bufferSize
      this.#open.bytes.set(part, at)
      this.#written += part.length
      return Effect.andThen(this.#open.write(at, part.length), this.write(samples.subarray(part.length)))
    })
  }

  /** Waits until the last sample is played, then stops. */
  readonly drain: Effect.Effect<void, ExchangeError> = Effect.suspend(() => {
    const wait: Effect.Effect<void, ExchangeError> = Effect.flatMap(this.#open.position, (position) =>
      position >= this.#written ? this.#stop : Effect.andThen(this.#open.moved(position), wait))
    if (this.#isRunning) return wait
    return Effect.flatMap(this.#open.position, (position) =>
      position >= this.#written ? Effect.void : Effect.andThen(this.#start, wait))
  })
}

/**
 * Plays a stream of samples to its end, and waits until the last one was played. Chunks are of whole frames. Gives how often
 * the backend had nothing to play because the next chunk came too late. Whoever is interrupted leaves the stream running:
 * close it, or stop it.
 *
 * @category playing
 * @since 0.2.0
 */
export const play = <E, R>(
  open: OpenStream,
  samples: Stream.Stream<Uint8Array, E, R>
): Effect.Effect<number, E | ExchangeError, R> =>
  Effect.suspend(() => {
    const playing = new Playing(open)
    return Stream.runForEach(samples, (chunk) => playing.write(chunk)).pipe(
      Effect.andThen(playing.drain),
      Effect.andThen(Effect.sync(() => playing.slips))
    )
  })

/**
 * Records for as long as the stream is run, in chunks of a period at most; it is stopped afterwards. Where more was
 * recorded than the buffer holds, because nobody took it, recording begins anew.
 *
 * @category recording
 * @since 0.2.0
 */
export const record = (open: OpenStream): Stream.Stream<Uint8Array<ArrayBuffer>, ExchangeError> =>
  Stream.unwrap(Effect.gen(function*() {
    const bufferSize = open.bytes.length
    const periodSize = open.params.periodFrames * open.frameSize
    let taken = yield* open.position
    yield* Effect.acquireRelease(open.trigger("START"), () => open.stop)
    const next: Effect.Effect<Uint8Array<ArrayBuffer>, ExchangeError> = Effect.flatMap(open.position, (position) => {
      if (position - taken > bufferSize) {
        return open.trigger("STOP").pipe(
          Effect.andThen(open.position),
          Effect.andThen((position) => {
            taken = position
            return Effect.andThen(open.trigger("START"), next)
          })
        )
      }
      const at = taken % bufferSize
      const length = Math.min(position - taken, periodSize, bufferSize - at)
      if (length <= 0) return Effect.andThen(open.moved(position), next)
      return Effect.map(open.read(at, length), () => {
        taken += length
        return open.bytes.slice(at, at + length)
      })
    })
    return Stream.fromEffectRepeat(next)
  }))
