/**
 * Serves the sound cards of guests: what they play goes to the application, what they record comes from it.
 *
 * A stream's buffer is mapped for exactly as long as the guest has it open, and what the application does with it has the
 * same scope. The guest's application is paced by the position that it is told: by a clock, as a sound card does it, or as
 * fast as it keeps up with.
 *
 * @since 0.2.0
 */
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import type { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Configuration from "./Configuration.ts"
import * as Line from "./internal/line.ts"
import { type Application, Teller } from "./internal/session.ts"
import * as Protocol from "./Protocol.ts"
import type { Opened, Player, Recorder } from "./Sound.ts"

/**
 * A guest's card that is connected.
 *
 * @category models
 * @since 0.2.0
 */
export interface Connected {
  /** The guest whose card it is. */
  readonly peer: Opened["peer"]
  /** The device's number: a guest may have several cards. */
  readonly id: number
  /** What the toolstack says of it. */
  readonly card: Configuration.Card
}

/**
 * What an application does with the streams of a card, and how they run.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<E = never, R = never> {
  /**
   * Provides a player for a stream that a guest opens, in a scope that ends when the guest closes it. A failure refuses the
   * stream. Without it, what guests play is lost.
   */
  readonly playback?: ((opened: Opened) => Effect.Effect<Player<E, R>, E, R>) | undefined
  /** The same for what is recorded. Without it there is silence. */
  readonly capture?: ((opened: Opened) => Effect.Effect<Recorder<E, R>, E, R>) | undefined
  /** Is told of each card when it is connected, in a scope that ends when it is not any more. */
  readonly connected?: ((card: Connected) => Effect.Effect<void, E, R>) | undefined
  /**
   * What moves streams on: "real-time", the clock, at the rate that the guest asked for, unless given; or "unpaced", the
   * guest's own work where it is faster: a period counts as played as soon as the guest has written the one after it.
   */
  readonly pace?: "real-time" | "unpaced" | undefined
  /** The most time between two deliveries to a player, for players that want to hear more than once a period. */
  readonly step?: Duration.Input | undefined
  /** How much one card may have: {@link Configuration.defaultLimits} unless given. */
  readonly limits?: Partial<Configuration.Limits> | undefined
}

const discarded: Player = { play: () => Effect.void }

const silent: Recorder = { record: () => Effect.succeed(0) }

const applicationOf = <E, R>(options: Options<E, R>): Application<E, R> => ({
  playback: options.playback ?? (() => Effect.succeed(discarded)),
  capture: options.capture ?? (() => Effect.succeed(silent)),
  isUnpaced: options.pace === "unpaced",
  step: options.step === undefined ? undefined : Duration.fromInputUnsafe(options.step)
})

/** Frontends that name no version, as Linux's, are taken to speak any. */
const version = Schema.Literals(Protocol.versions.map(String))

/** Joins the ring and the event page of a stream. */
const join = Effect.fnUntraced(function*(
  connection: Backend.Connection,
  card: Configuration.Card,
  stream: Configuration.Stream
) {
  const path = `${stream.device}/${stream.index}`
  const size = Protocol.messageSize
  const { channel, pushAndNotify, ring } = yield* Backend.openRing(connection, {
    ref: `${path}/ring-ref`,
    port: `${path}/event-channel`,
    slotSize: size
  })
  const events = yield* Backend.openEvents(connection, {
    ref: `${path}/evt-ring-ref`,
    port: `${path}/evt-event-channel`,
    eventSize: size
  })
  const teller = new Teller(events)
  return { ring, channel, pushAndNotify, teller, peer: connection.frontend, id: connection.id, card, stream }
})

/**
 * Serves one card whose frontend has published its streams, until it is interrupted. It is the handler of {@link serve},
 * for who has a loop of his own. Fails where the guest breaks the rules of a ring or an event page, describes what can't
 * be, or publishes what can't be joined, and where the application fails.
 *
 * @category running
 * @since 0.2.0
 */
export const serveCard: <E = never, R = never>(
  connection: Backend.Connection,
  options: Options<E, R>
) => Effect.Effect<
  never,
  E | ConnectionError | Configuration.ConfigurationError | RingError | EventChannelError,
  R | GrantTable | EventChannels | Scope.Scope
> = Effect.fnUntraced(function*<E, R>(connection: Backend.Connection, options: Options<E, R>) {
  yield* connection.readOptional("version", version)
  const card = yield* Configuration.read(connection, { ...Configuration.defaultLimits, ...options.limits })
  const lines = yield* Effect.forEach(Configuration.streamsOf(card), (stream) => join(connection, card, stream))
  yield* connection.ready
  if (options.connected !== undefined) {
    yield* options.connected({ peer: connection.frontend, id: connection.id, card })
  }
  const application = applicationOf(options)
  yield* Effect.forEach(lines, (line) => Line.serve(line, application), { concurrency: "unbounded", discard: true })
  return yield* Effect.never
})

/**
 * Serves the sound cards of all guests that the toolstack gives one, present and future, until it is interrupted. A guest
 * that breaks the rules loses its card, and no other does.
 *
 * @category running
 * @since 0.2.0
 */
export const serve = <E = never, R = never>(
  options:
    & Options<E, R>
    & Pick<Backend.Options<never, never, never, XenStore>, "closeWithin" | "maxDevices" | "restarts" | "serves">
): Effect.Effect<
  never,
  ConnectionError,
  Exclude<R, Scope.Scope> | GrantTable | EventChannels | XenStore
> =>
  Backend.serve({
    type: Protocol.type,
    advertise: () => Effect.succeed({ versions: Protocol.versions.join(",") }),
    handler: (connection) => serveCard(connection, options),
    serves: options.serves,
    maxDevices: options.maxDevices,
    restarts: options.restarts,
    closeWithin: options.closeWithin
  })
