/**
 * Plays and records through a sound card that another domain serves: the guest's half, for programs of a guest that want
 * sound without a driver, and for tests in memory.
 *
 * @since 0.2.0
 */
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import type { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import type { Device } from "@xen-shbuf/xenbus/Device"
import * as Frontend from "@xen-shbuf/xenbus/Frontend"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Configuration from "./Configuration.ts"
import { type Asked, Exchange, type ExchangeError } from "./internal/exchange.ts"
import * as Protocol from "./Protocol.ts"
import * as SampleFormat from "./SampleFormat.ts"

/**
 * What a stream is to be, within what {@link Line.query} says.
 *
 * @category models
 * @since 0.2.0
 */
export interface Params {
  /** Frames a second. */
  readonly rate: number
  /** How a sample is written down; one of whole bytes. */
  readonly format: SampleFormat.SampleFormat
  /** Samples of a frame, 1 to 255. */
  readonly channels: number
  /** Frames of the buffer that is shared. */
  readonly bufferFrames: number
  /** Frames of a period: the backend tells its position after each; 0 for never. */
  readonly periodFrames: number
}

/**
 * A stream that is open. What it is for decides which of its functions make sense: the backend refuses the others.
 *
 * @category models
 * @since 0.2.0
 */
export interface OpenStream {
  /** What it was opened with. */
  readonly params: Params
  /** Bytes of a frame. */
  readonly frameSize: number
  /** The buffer that is shared. */
  readonly bytes: SharedMemory.Writable
  /** The last position that the backend has told, in bytes; modulo the buffer's size it is a place in the buffer. */
  readonly position: Effect.Effect<number>
  /** Waits until the position is another one than this, and gives it. */
  readonly moved: (since: number) => Effect.Effect<number>
  /** Tells that samples lie in a part of the buffer. */
  readonly write: (offset: number, length: number) => Effect.Effect<void, ExchangeError>
  /** Asks for samples in a part of the buffer; they are there when it succeeds. */
  readonly read: (offset: number, length: number) => Effect.Effect<void, ExchangeError>
  /** Starts, pauses, stops or resumes it. */
  readonly trigger: (type: keyof typeof Protocol.trigger) => Effect.Effect<void, ExchangeError>
  /** Stops it as far as the backend is there to do that: for the end of a scope, which waits no longer than it does for a closing. */
  readonly stop: Effect.Effect<void>
  /** Sets the volume of each channel in dB; it passes through the buffer from `offset` on. */
  readonly setVolume: (decibels: ReadonlyArray<number>, offset?: number) => Effect.Effect<void, ExchangeError>
  /** The volume of each channel in dB; it passes through the buffer from `offset` on. */
  readonly getVolume: (offset?: number) => Effect.Effect<ReadonlyArray<number>, ExchangeError>
  /** Mutes, or unmutes, the channels that are true; the flags pass through the buffer from `offset` on. */
  readonly mute: (
    channels: ReadonlyArray<boolean>,
    isMuted: boolean,
    offset?: number
  ) => Effect.Effect<void, ExchangeError>
}

/**
 * A stream of a card.
 *
 * @category models
 * @since 0.2.0
 */
export interface Line {
  /** Where it is on the card, and what it may be. */
  readonly stream: Configuration.Stream
  /** What the backend leaves of a range of parameters. */
  readonly query: (params: Protocol.HwParams) => Effect.Effect<Protocol.HwParams, ExchangeError>
  /** Opens the stream; leaving the scope closes it, waits for the backend's answer, and takes the buffer back. */
  readonly open: (params: Params) => Effect.Effect<OpenStream, ExchangeError | GrantTableError, Scope.Scope>
  /** Sends any request, sensible or not, and gives the answer; an error of the backend's is `Refused`. */
  readonly ask: Exchange["ask"]
}

/**
 * A card that is connected.
 *
 * @category models
 * @since 0.2.0
 */
export interface Card {
  /** What the toolstack says of it. */
  readonly card: Configuration.Card
  /** All streams of the card, in order. */
  readonly lines: ReadonlyArray<Line>
  /** Fails when the connection is over. A stream that waits for the backend does not notice: race it with this. */
  readonly ended: Effect.Effect<never, ConnectionError | ExchangeError>
}

/** How a stream ends: with an answer, with the connection, or when that takes too long. */
interface Closing {
  readonly ended: Effect.Effect<never, ConnectionError>
  readonly within: Duration.Input
}

const openStream = Effect.fnUntraced(function*(exchange: Exchange, peer: number, params: Params, { ended, within }: Closing) {
  const { bufferFrames, channels, format, periodFrames, rate } = params
  const frameSize = (SampleFormat.bytesOf(format) ?? 1) * channels
  const buffer = yield* SharedBuffer.alloc({ peer, byteLength: bufferFrames * frameSize })
  const { bytes, directory } = buffer
  const request = {
    _tag: "Open",
    rate,
    format: SampleFormat.details[format].code,
    channels,
    bufferSize: bytes.length,
    directory,
    periodSize: periodFrames * frameSize
  } as const
  const opening = Effect.andThen(exchange.ask(request), Effect.sync(() => exchange.hold(buffer)))
  // With the card it has ended already.
  const atLast = (asked: Asked) =>
    Effect.suspend(() =>
      exchange.isOver
        ? Effect.void
        : Effect.raceFirst(exchange.ask(asked), ended).pipe(Effect.timeoutOption(within), Effect.ignore)
    )
  yield* Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      let isRefused = false
      const close = Effect.suspend(() => {
        // Of two who open at the same time the backend takes one: the other must not close it.
        const isOurs = exchange.holder === undefined || exchange.holder === buffer
        if (isRefused || !isOurs) return Effect.void
        return Effect.ensuring(atLast({ _tag: "Close" }), Effect.sync(() => exchange.release(buffer)))
      })
      // Even where the answer did not come: the backend may have opened it.
      yield* Effect.addFinalizer(() => close)
      yield* Effect.tapError(restore(opening), (error) =>
        Effect.sync(() => {
          isRefused = error._tag === "SoundError" && error.reason._tag === "Refused"
        }))
    })
  )
  return { ...streamOf(exchange, params, frameSize, bytes), stop: atLast({ _tag: "Trigger", type: Protocol.trigger.STOP }) }
})

const streamOf = (exchange: Exchange, params: Params, frameSize: number, bytes: SharedMemory.Writable): Omit<OpenStream, "stop"> => {
  const part = (_tag: "Read" | "Write" | "SetVolume" | "GetVolume" | "Mute" | "Unmute", offset: number, length: number) =>
    Effect.asVoid(exchange.ask({ _tag, offset, length }))
  const volumeSize = 4
  return {
    params,
    frameSize,
    bytes,
    position: Effect.sync(() => exchange.position),
    moved: (since) => exchange.moved(since),
    write: (offset, length) => part("Write", offset, length),
    read: (offset, length) => part("Read", offset, length),
    trigger: (type) => Effect.asVoid(exchange.ask({ _tag: "Trigger", type: Protocol.trigger[type] })),
    setVolume: (decibels, offset = 0) =>
      Effect.suspend(() => {
        const view = new DataView(new ArrayBuffer(decibels.length * volumeSize))
        for (const [i, value] of decibels.entries()) view.setInt32(i * volumeSize, Math.round(value * 1000), true)
        bytes.set(new Uint8Array(view.buffer), offset)
        return part("SetVolume", offset, view.byteLength)
      }),
    getVolume: (offset = 0) =>
      Effect.map(part("GetVolume", offset, params.channels * volumeSize), () => {
        const view = new DataView(bytes.slice(offset, offset + params.channels * volumeSize).buffer)
        return Array.from({ length: params.channels }, (_, i) => view.getInt32(i * volumeSize, true) / 1000)
      }),
    mute: (channels, isMuted, offset = 0) =>
      Effect.suspend(() => {
        bytes.set(channels.flatMap((channel) => [Number(channel), 0, 0, 0]), offset)
        return part(isMuted ? "Mute" : "Unmute", offset, channels.length * 4)
      })
  }
}

/** Shares the pages of all streams. */
const publish = Effect.fnUntraced(function*(device: Device, limits: Configuration.Limits) {
  const card = yield* Configuration.read(device.own, limits)
  const streams = Configuration.streamsOf(card)
  const shared = yield* Effect.forEach(streams, Effect.fnUntraced(function*(stream) {
    const path = `${stream.device}/${stream.index}`
    const ring = yield* Frontend.shareRing(device, {
      ref: `${path}/ring-ref`,
      port: `${path}/event-channel`,
      slotSize: Protocol.messageSize
    })
    const events = yield* Frontend.shareEvents(device, {
      ref: `${path}/evt-ring-ref`,
      port: `${path}/evt-event-channel`,
      eventSize: Protocol.messageSize
    })
    return { stream, exchange: new Exchange(ring, events), nodes: { ...ring.nodes, ...events.nodes } }
  }))
  return { card, shared, nodes: Object.assign({}, ...shared.map(({ nodes }) => nodes)) as Frontend.Publication["nodes"] }
})

/**
 * Connects a card: reads what the toolstack says about it, shares the pages of its streams, and waits for the backend.
 * Leaving the scope closes the connection. `closeWithin` is how long a stream waits for the answer to its closing, 3
 * seconds unless given.
 *
 * @category constructors
 * @since 0.2.0
 */
export const connect: (options?: {
  /** Which card: 0 unless given. */
  readonly id?: number | undefined
  readonly limits?: Partial<Configuration.Limits> | undefined
  readonly closeWithin?: Duration.Input | undefined
}) => Effect.Effect<
  Card,
  ConnectionError | Configuration.ConfigurationError,
  GrantTable | EventChannels | XenStore | Scope.Scope
> = Effect.fnUntraced(function*({ closeWithin = "3 seconds", id, limits } = {}) {
  const connection = yield* Frontend.connect({
    type: Protocol.type,
    id,
    publish: (device) => publish(device, { ...Configuration.defaultLimits, ...limits })
  })
  const { card, shared } = connection.published
  const table = yield* GrantTable
  const listening = Effect.forEach(shared, ({ exchange }) => exchange.listening, { concurrency: "unbounded", discard: true })
  const broken = yield* Deferred.make<never, ExchangeError>()
  yield* Effect.forkScoped(Effect.catch(listening, (error) => Deferred.fail(broken, error)))
  yield* Effect.addFinalizer(() => Effect.sync(() => {
    for (const { exchange } of shared) exchange.end()
  }))
  const lines = shared.map(({ exchange, stream }): Line => ({
    stream,
    query: (params) =>
      Effect.map(exchange.ask({ _tag: "HwParamQuery", params }), (response) =>
        response._tag === "HwParams" ? response.params : params),
    open: (params) =>
      openStream(exchange, connection.backend, params, { ended: connection.ended, within: closeWithin }).pipe(
        Effect.provideService(GrantTable, table)
      ),
    ask: (asked) => exchange.ask(asked)
  }))
  return { card, lines, ended: Effect.raceFirst(connection.ended, Deferred.await(broken)) }
})
