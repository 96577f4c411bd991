/**
 * A stream from its opening to its close: the buffer, the application's end of it, and the clock that moves it on.
 *
 * @since 0.2.0
 */
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import type { OpenEvents } from "@xen-shbuf/xenbus/Backend"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type * as Configuration from "../Configuration.ts"
import * as Protocol from "../Protocol.ts"
import * as SampleFormat from "../SampleFormat.ts"
import type { Opened, Player, Recorder, State } from "../Sound.ts"
import { Progress, type Shape } from "./Progress.ts"
import { formatsOf } from "./refine.ts"
import { Watched } from "./Watched.ts"

/** What the application does with a stream, by its direction. */
export interface Application<E, R> {
  readonly playback: (opened: Opened) => Effect.Effect<Player<E, R>, E, R>
  readonly capture: (opened: Opened) => Effect.Effect<Recorder<E, R>, E, R>
  readonly isUnpaced: boolean
  /** The most time between two deliveries, where that is less than a period. */
  readonly step: Duration.Duration | undefined
}

/** Where a stream's events go, for the whole life of their page. */
export class Teller {
  readonly #events: Pick<OpenEvents, "events" | "pushAndNotify">
  readonly #slot = new Uint8Array(Protocol.messageSize)
  /** The last position that the guest was told, of whichever opening. */
  #last = 0

  constructor(events: Pick<OpenEvents, "events" | "pushAndNotify">) {
    this.#events = events
  }

  /**
   * Where a new opening begins: at 0, or beyond what the guest has not taken yet. Linux takes such events later, as if
   * they were of the new opening, and can't count backwards.
   */
  readonly start: Effect.Effect<number, RingError> = Effect.suspend(() =>
    Effect.map(Effect.fromResult(this.#events.events.allTaken()), (isTaken) => isTaken ? 0 : this.#last)
  )

  /**
   * Tells a position. Where the page is full it is not told: the next one says more. The event's id counts those that were
   * put: Linux drops any other.
   */
  tell(position: number): Effect.Effect<void, RingError | EventChannelError> {
    // All of it, or nothing: an event that was put and not shown would be heard in the next session.
    return Effect.uninterruptible(Effect.suspend(() => {
      const { events, pushAndNotify } = this.#events
      Protocol.encodeEvent(this.#slot, {
        _tag: "CurrentPosition",
        id: events.index & 0xffff,
        position: BigInt(position)
      })
      return Effect.flatMap(Effect.fromResult(events.put(this.#slot)), (isPut) => {
        if (!isPut) return Effect.void
        this.#last = position
        return pushAndNotify
      })
    }))
  }
}

/** A request to open, in the application's words; undefined for one that the stream can't be. */
export const shapeOf = (
  request: Extract<Protocol.Request, { readonly _tag: "Open" }>,
  { direction, settings }: Configuration.Stream,
  { isUnpaced, step }: Pick<Application<never, never>, "isUnpaced" | "step">
): { readonly format: SampleFormat.SampleFormat; readonly shape: Shape } | undefined => {
  const { bufferSize, channels, periodSize, rate } = request
  const format = SampleFormat.fromCode(request.format)
  if (format === undefined || !formatsOf(settings).includes(format)) return undefined
  const { only, ...rates } = settings.rates
  if (only === undefined ? rate < rates.min || rate > rates.max : !only.includes(rate)) return undefined
  if (channels < settings.channels.min || channels > settings.channels.max) return undefined
  const frameSize = SampleFormat.bytesOf(format)! * channels
  if (bufferSize === 0 || bufferSize > settings.bufferSize || bufferSize % frameSize !== 0) return undefined
  if (periodSize > bufferSize || periodSize % frameSize !== 0) return undefined
  // Without events there is no period: half a buffer is as good as any.
  const period = periodSize === 0 ? Math.max(1, Math.floor(bufferSize / frameSize / 2)) * frameSize : periodSize
  const frames = step === undefined ? Infinity : Math.max(1, Math.floor(Duration.toSeconds(step) * rate))
  const stepSize = Math.min(period, frames * frameSize)
  return { format, shape: { direction, rate, frameSize, bufferSize, periodSize: period, isUnpaced, stepSize } }
}

/** What a session is made of. */
interface Parts<E, R> {
  readonly shape: Shape
  readonly format: SampleFormat.SampleFormat
  readonly opened: Opened
  readonly bytes: SharedMemory.Writable
  readonly progress: Progress
  readonly state: Watched<State>
  readonly teller: Teller
  readonly player: Player<E, R> | undefined
  readonly recorder: Recorder<E, R> | undefined
}

const now = Effect.map(Clock.monotonicTimeNanos, Number)

/** A stream that is open. */
export class Session<E, R> {
  readonly #parts: Parts<E, R>
  /** Held by whoever moves the position on. */
  readonly #moving = Semaphore.makeUnsafe(1)
  /** Open while the stream runs. */
  readonly #running = Latch.makeUnsafe(false)
  /** Opened by the guest's work, for a clock that does not wait. */
  readonly #worked = Latch.makeUnsafe(false)

  constructor(parts: Parts<E, R>) {
    this.#parts = parts
  }

  get opened(): Opened {
    return this.#parts.opened
  }

  /** A part of the buffer; undefined for what does not lie in it. No sum of two can overflow here. */
  part(offset: number, length: number): SharedMemory.Writable | undefined {
    const { bytes } = this.#parts
    return length === 0 || offset + length > bytes.length ? undefined : bytes.subarray(offset, offset + length)
  }

  isFrames(offset: number, length: number): boolean {
    const { frameSize } = this.#parts.shape
    return offset % frameSize === 0 && length % frameSize === 0
  }

  /** Plays what lies before a position, a part up to the buffer's end at a time; what is written meanwhile as well. */
  #play(position: number): Effect.Effect<void, E, R> {
    const { bytes, player, progress, shape: { bufferSize } } = this.#parts
    return Effect.suspend(() => {
      const from = progress.heard
      const end = Math.min(position, progress.edge)
      if (player === undefined || from >= end) return Effect.void
      const at = from % bufferSize
      const length = Math.min(end - from, bufferSize - at)
      return Effect.andThen(player.play(bytes.subarray(at, at + length)), Effect.suspend(() => {
        progress.heard = from + length
        progress.advance(Math.max(progress.position, progress.heard))
        return this.#play(position)
      }))
    })
  }

  /** Moves on to a position, and tells it where a period has ended on the way. */
  #moveTo(position: number): Effect.Effect<void, E | RingError | EventChannelError, R> {
    const { opened, progress, teller } = this.#parts
    const before = progress.periodsAt(progress.position)
    return Effect.andThen(this.#play(position), Effect.suspend(() => {
      progress.advance(position)
      const hasEnded = progress.periodsAt(position) > before
      return hasEnded && opened.periodSize > 0 ? teller.tell(position) : Effect.void
    }))
  }

  readonly #step: Effect.Effect<void, E | RingError | EventChannelError, R> = Effect.suspend(() =>
    this.#moving.withPermit(Effect.flatMap(now, (now) => {
      const { progress } = this.#parts
      const due = progress.due(now)
      if (due === progress.position) return Effect.void
      return Effect.andThen(this.#moveTo(due), this.#hold(now))
    }))
  )

  #hold(begun: number) {
    return Effect.map(now, (now) => this.#parts.progress.hold(begun, now))
  }

  readonly #wait: Effect.Effect<void> = Effect.flatMap(now, (now) => {
    const nanos = this.#parts.progress.wait(now)
    if (nanos === 0 || nanos === undefined) return Effect.void
    const asleep = Effect.sleep(Math.max(1, Math.ceil(nanos / 1_000_000)))
    if (!this.#parts.shape.isUnpaced) return asleep
    this.#worked.closeUnsafe()
    return Effect.raceFirst(asleep, this.#worked.await)
  })

  /** Moves the stream on for as long as it is open. */
  readonly clock: Effect.Effect<never, E | RingError | EventChannelError, R> = Effect.forever(
    Effect.andThen(this.#running.await, Effect.andThen(this.#wait, this.#step))
  )

  /** The guest asks for something. */
  asked(): void {
    this.#parts.progress.settle()
    this.#worked.openUnsafe()
  }

  /** Samples were written; those that are late are played before the guest knows. */
  written(offset: number, length: number): Effect.Effect<void, E, R> {
    const { progress } = this.#parts
    return Effect.flatMap(now, (now) => {
      const isLate = progress.written(offset, length, now)
      this.#worked.openUnsafe()
      const played = isLate ? this.#moving.withPermit(Effect.suspend(() => this.#play(progress.position))) : Effect.void
      return Effect.andThen(played, this.#noteSlips)
    })
  }

  readonly #noteSlips = Effect.suspend(() => {
    const { progress: { slips }, state } = this.#parts
    return state.value.slips === slips ? Effect.void : state.update((state) => ({ ...state, slips }))
  })

  /** Fills a part of the buffer with what was recorded. */
  record(into: SharedMemory.Writable): Effect.Effect<void, E, R> {
    const { format, progress, recorder, shape: { frameSize } } = this.#parts
    if (recorder === undefined) return Effect.void
    return Effect.flatMap(Effect.zip(recorder.record(into), now), ([filled, now]) => {
      // What is no number is nothing.
      const whole = filled > 0 ? Math.floor(Math.min(filled, into.length) / frameSize) * frameSize : 0
      if (whole < into.length) into.set(SampleFormat.silence(format, into.length - whole), whole)
      progress.read(into.length, now)
      this.#worked.openUnsafe()
      return this.#noteSlips
    })
  }

  #setRunning(running: State["running"]) {
    if (running === "running") this.#running.openUnsafe()
    else this.#running.closeUnsafe()
    return this.#parts.state.update((state) => ({ ...state, running }))
  }

  /** The guest begins at the buffer's beginning: so it is told, or it would go on counting from here. */
  #beginAnew(change: () => void) {
    const { opened, progress, teller } = this.#parts
    return Effect.suspend(() => {
      const before = progress.position
      change()
      return progress.position === before || opened.periodSize === 0 ? Effect.void : teller.tell(progress.position)
    })
  }

  /** Starts, pauses, stops or resumes. False for what makes no sense now. */
  trigger(type: number): Effect.Effect<boolean, E | RingError | EventChannelError, R> {
    const { progress, state } = this.#parts
    return this.#moving.withPermit(Effect.gen({ self: this }, function*() {
      const { running } = state.value
      const at = yield* now
      switch (type) {
        case Protocol.trigger.START:
          if (running === "running") return false
          yield* this.#beginAnew(() => progress.start(at))
          yield* this.#setRunning("running")
          return true
        case Protocol.trigger.RESUME:
          if (running !== "paused") return false
          progress.resume(at)
          yield* this.#setRunning("running")
          return true
        case Protocol.trigger.PAUSE:
          if (running !== "running") return false
          yield* this.#moveTo(progress.reached(at))
          progress.pause()
          yield* this.#setRunning("paused")
          return true
        case Protocol.trigger.STOP:
          yield* this.#moveTo(progress.reached(at))
          yield* this.#beginAnew(() => progress.stop())
          yield* this.#setRunning("stopped")
          return true
        default:
          return false
      }
    }))
  }

  /** Changes what the application is told of the channels. */
  update(change: (state: State) => State): Effect.Effect<void> {
    return this.#parts.state.update(change)
  }
}

/** What a session is opened with, apart from the request. */
export interface Place {
  readonly peer: Opened["peer"]
  readonly id: number
  readonly card: Configuration.Card
  readonly stream: Configuration.Stream
  readonly teller: Teller
}

/** Maps the buffer, gets the application's end, and begins: all of it for the caller's scope. */
export const make = Effect.fnUntraced(function*<E, R>(
  application: Application<E, R>,
  place: Place,
  request: Extract<Protocol.Request, { readonly _tag: "Open" }>,
  { format, shape }: NonNullable<ReturnType<typeof shapeOf>>
) {
  const { teller, ...described } = place
  const { bufferSize, channels, directory, periodSize, rate } = request
  const { bytes } = yield* PeerBuffer.map({
    peer: place.peer,
    directory,
    byteLength: bufferSize,
    maxByteLength: place.stream.settings.bufferSize
  })
  const state = yield* Watched.make<State>({
    running: "stopped",
    slips: 0,
    volume: Array.from({ length: channels }, () => 0),
    muted: Array.from({ length: channels }, () => false)
  })
  const closed = yield* Deferred.make<void>()
  yield* Effect.addFinalizer(() => Deferred.succeed(closed, undefined))
  const progress = new Progress(shape, yield* teller.start)
  const opened: Opened = {
    ...described,
    rate,
    format,
    channels,
    frameSize: shape.frameSize,
    bufferSize,
    periodSize,
    position: Effect.sync(() => progress.position),
    state: Effect.sync(() => state.value),
    changes: Stream.haltWhen(state.changes, Deferred.await(closed))
  }
  const isPlayback = place.stream.direction === "playback"
  const player = isPlayback ? yield* application.playback(opened) : undefined
  const recorder = isPlayback ? undefined : yield* application.capture(opened)
  return new Session<E, R>({ shape, format, opened, bytes, progress, state, teller, player, recorder })
})
