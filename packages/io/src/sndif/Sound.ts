/**
 * What an application sees of a stream that a guest has opened: what it is, where it is, and what goes through it.
 *
 * A {@link Player} gets what the guest plays, a {@link Recorder} provides what it records, both without a copy: they work
 * on the buffer that the guest shares. {@link chunks} and {@link source} make them from streams of bytes, with one copy.
 *
 * @since 0.2.0
 */
import type * as DomainId from "@xen-shbuf/core/DomainId"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Configuration from "./Configuration.ts"
import type * as SampleFormat from "./SampleFormat.ts"

/**
 * What changes while a stream is open, apart from its position.
 *
 * @category models
 * @since 0.2.0
 */
export interface State {
  /** Whether it goes on: what the guest's last trigger has made of it. */
  readonly running: "stopped" | "running" | "paused"
  /**
   * How often the guest came too late with samples to play, or for those that were recorded. The end of a sound that was
   * played to its last sample counts as well, but only when the guest goes on afterwards: the protocol does not tell one from
   * the other.
   */
  readonly slips: number
  /** The volume of each channel in dB, 0 at first: it is told, not applied. */
  readonly volume: ReadonlyArray<number>
  /** Which channels are to be silent: it is told, not applied. */
  readonly muted: ReadonlyArray<boolean>
}

/**
 * A stream that a guest has opened.
 *
 * @category models
 * @since 0.2.0
 */
export interface Opened {
  /** The guest. */
  readonly peer: DomainId.DomainId
  /** The device's number: a guest may have several cards. */
  readonly id: number
  /** The card that it belongs to. */
  readonly card: Configuration.Card
  /** Where it is on the card, and what it may be. */
  readonly stream: Configuration.Stream
  /** Frames a second. */
  readonly rate: number
  /** How a sample is written down; one of whole bytes. */
  readonly format: SampleFormat.SampleFormat
  /** Samples of a frame. */
  readonly channels: number
  /** Bytes of a frame, one sample of each channel. */
  readonly frameSize: number
  /** Bytes of the buffer. */
  readonly bufferSize: number
  /** Bytes of a period, after each of which the guest is told; 0 where it does not want to be. */
  readonly periodSize: number
  /** Bytes played or captured so far; after a stop the next multiple of the buffer's size. */
  readonly position: Effect.Effect<number>
  /** What it is now. */
  readonly state: Effect.Effect<State>
  /** The state, now and whenever it is another, until the stream is closed. Who is slow gets the newest, not each. */
  readonly changes: Stream.Stream<State>
}

/**
 * Takes what a guest plays.
 *
 * @category models
 * @since 0.2.0
 */
export interface Player<E = never, R = never> {
  /**
   * Takes whole frames, as soon as they are due: the guest's own memory, for as long as this runs. The guest is not told
   * that they were played, and keeps them as they are, until it succeeds; so whoever is slow makes the guest wait. A
   * failure ends the card.
   */
  readonly play: (bytes: SharedMemory.Readable) => Effect.Effect<void, E, R>
}

/**
 * Provides what a guest records.
 *
 * @category models
 * @since 0.2.0
 */
export interface Recorder<E = never, R = never> {
  /**
   * Fills in samples, from the beginning on, and tells how many bytes of them there are; the rest is silence. The guest
   * waits for it, three seconds at most if it is Linux. A failure ends the card.
   */
  readonly record: (into: SharedMemory.Writable) => Effect.Effect<number, E, R>
}

/**
 * How many chunks wait for a consumer of {@link chunks}: then the guest waits.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaultCapacity = 4

/**
 * A player that copies each part once and hands the copies to `consume` as a stream, which ends when the guest closes its
 * own; closing waits for `consume` to end, too. A consumer that ends before gets no more, and the guest plays on.
 *
 * @category constructors
 * @since 0.2.0
 */
export const chunks = <E, R>(
  consume: (chunks: Stream.Stream<Uint8Array<ArrayBuffer>>) => Effect.Effect<void, E, R>,
  options: { readonly capacity?: number | undefined } = {}
): Effect.Effect<Player<E>, never, R | Scope.Scope> =>
  Effect.uninterruptible(Effect.gen(function*() {
    const queue = yield* Queue.bounded<Uint8Array<ArrayBuffer>, Cause.Done>(options.capacity ?? defaultCapacity)
    const fiber = yield* Effect.forkDetach(Effect.ensuring(consume(Stream.fromQueue(queue)), Queue.shutdown(queue)))
    yield* Effect.addFinalizer(() => Effect.andThen(Queue.end(queue), Fiber.await(fiber)))
    return {
      play: (bytes) =>
        Effect.suspend(() => {
          const exit = fiber.pollUnsafe()
          if (exit !== undefined) return Exit.asVoid(exit)
          return Effect.asVoid(Queue.offer(queue, bytes.slice()))
        })
    }
  }))

/**
 * How long a recorder made by {@link source} waits for its source, unless said otherwise.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaultPatience: Duration.Input = "1 second"

/** The bytes of a stream, taken as they are needed. */
class Fetched {
  #left: Uint8Array = new Uint8Array(0)

  /** Moves what is there to the place `at`; gives the place after it. */
  move(into: SharedMemory.Writable, at: number): number {
    const part = this.#left.subarray(0, into.length - at)
    into.set(part, at)
    this.#left = this.#left.subarray(part.length)
    return at + part.length
  }

  add(chunk: Uint8Array) {
    this.#left = chunk
  }
}

/**
 * A recorder that takes its samples from a stream of bytes, in order and none twice, whatever the guest does; after its
 * end there is silence. It runs ahead of the guest by `capacity` chunks. Where it is late, the guest waits for it as long as
 * `patience` says ({@link defaultPatience}) and gets silence then: none at all for what is live, such as a microphone.
 *
 * @category constructors
 * @since 0.2.0
 */
export const source = <E, R>(
  bytes: Stream.Stream<Uint8Array, E, R>,
  options: { readonly capacity?: number | undefined; readonly patience?: Duration.Input | undefined } = {}
): Effect.Effect<Recorder<E>, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const queue = yield* Queue.bounded<Uint8Array, E | Cause.Done>(options.capacity ?? defaultCapacity)
    yield* Effect.forkScoped(Stream.runIntoQueue(bytes, queue))
    const fetched = new Fetched()
    const patience = options.patience ?? defaultPatience
    const fill = (into: SharedMemory.Writable): Effect.Effect<number, E> => {
      let at = fetched.move(into, 0)
      // Looked at first and taken in the same turn: an interruption in between loses nothing.
      const more: Effect.Effect<void, E | Cause.Done> = Effect.flatMap(Queue.peek(queue), (chunk) => {
        Queue.takeUnsafe(queue)
        fetched.add(chunk)
        at = fetched.move(into, at)
        return at === into.length ? Effect.void : more
      })
      if (at === into.length) return Effect.succeed(at)
      const ended = Effect.catchIf(Effect.timeoutOption(more, patience), Cause.isDone, () => Effect.succeedNone)
      return Effect.map(ended as Effect.Effect<unknown, E>, () => at)
    }
    return { record: (into) => Effect.suspend(() => fill(into)) }
  })
