/**
 * Serves the devices of a type: the backend's half, for all guests that the toolstack gives one.
 *
 * Each device is a scope of its own. A guest that breaks the rules, crashes or goes away ends alone, and one that comes
 * back is a new connection. The frontend's domain is the one that the toolstack named, never what a guest could write.
 *
 * @since 0.2.0
 */
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ConnectionError } from "./ConnectionError.ts"
import type { Device } from "./Device.ts"
import * as EventPage from "./EventPage.ts"
import type { Options } from "./internal/backendModel.ts"
import { failWith } from "./internal/reader.ts"
import * as Server from "./internal/server.ts"
import * as Values from "./internal/values.ts"
import * as Ring from "./Ring.ts"
import type { RingError } from "./RingError.ts"

export type { Connection, Options } from "./internal/backendModel.ts"

/**
 * Serves all devices of a type that the toolstack has given to this domain or will give, until it is interrupted: then
 * all of them are closed, at the same time. Fails where xenstore can't be used any more.
 *
 * Where this domain is saved and restored, what was connected ends (`Suspended` in the log, at level Debug), and what the
 * toolstack makes under the domain's new id is served.
 *
 * The backend of a device that was served before, by a process that was killed, takes the connection down: the frontend
 * begins anew.
 *
 * @category running
 * @since 0.2.0
 */
export const serve: <E, R, AE = never, AR = never>(
  options: Options<E, R, AE, AR>
) => Effect.Effect<never, ConnectionError, Exclude<R, Scope.Scope> | Exclude<AR, Scope.Scope> | XenStore> = Server.serve

/**
 * A ring that a frontend shares, and the event channel that goes with it.
 *
 * @category models
 * @since 0.2.0
 */
export interface OpenRing {
  /** Our half. */
  readonly ring: Ring.Back
  /** The channel, joined. */
  readonly channel: EventChannels.EventChannel
  /** Shows the frontend all that was put, and signals it where it wants that: see {@link Ring.pushAndNotify}. */
  readonly pushAndNotify: Effect.Effect<void, RingError | EventChannelError>
  /** The ring's pages. The frontend may change them at any time. */
  readonly bytes: SharedMemory.Writable
}

/**
 * An event page that a frontend shares, and the event channel that goes with it.
 *
 * @category models
 * @since 0.2.0
 */
export interface OpenEvents {
  /** Our half. */
  readonly events: EventPage.Producer
  /** The channel, joined. */
  readonly channel: EventChannels.EventChannel
  /** Shows the frontend all that was put, and signals it where it wants that: see {@link Ring.pushAndNotify}. */
  readonly pushAndNotify: Effect.Effect<void, RingError | EventChannelError>
  /** The page. The frontend may change it at any time. */
  readonly bytes: SharedMemory.Writable
}

/**
 * Where a frontend published what it shares: names of its nodes.
 *
 * @category models
 * @since 0.2.0
 */
export interface Published {
  /** The node with the grant reference of the page, or the nodes of several pages in their order. */
  readonly ref: string | ReadonlyArray<string>
  /** The node with the port to join. */
  readonly port: string
}

/**
 * Maps the pages and joins the port that a frontend published. At the end the pages are unmapped, then the port is closed.
 *
 * @category rings
 * @since 0.2.0
 */
export const open: (
  connection: Device,
  published: Published
) => Effect.Effect<
  {
    /** The pages, side by side. The frontend may change them at any time. */
    readonly bytes: SharedMemory.Writable
    /** The channel, joined. */
    readonly channel: EventChannels.EventChannel
  },
  ConnectionError,
  EventChannels.EventChannels | GrantTable | Scope.Scope
> = Effect.fnUntraced(function*(connection, { port, ref }) {
  const failed = failWith(connection.backendPath)
  const table = yield* GrantTable
  const channels = yield* EventChannels.EventChannels
  const peer = connection.frontend
  const refs = yield* Effect.forEach(typeof ref === "string" ? [ref] : ref, (node) => connection.read(node, Values.GrantRef))
  const theirs = yield* connection.read(port, Values.Port)
  const channel = yield* Effect.mapError(channels.join({ peer, port: theirs }), failed)
  const { bytes } = yield* Effect.mapError(table.map({ peer, refs }), failed)
  return { bytes, channel }
})

/**
 * Opens the ring that a frontend published: our half, and its channel. Slots are of `slotSize` bytes.
 *
 * @category rings
 * @since 0.2.0
 */
export const openRing = (
  connection: Device,
  options: Published & Ring.Options
): Effect.Effect<OpenRing, ConnectionError, EventChannels.EventChannels | GrantTable | Scope.Scope> =>
  Effect.map(open(connection, options), (opened) => {
    const ring = Ring.back(opened.bytes, options)
    return { ...opened, ring, pushAndNotify: Ring.pushAndNotify(ring, opened.channel) }
  })

/**
 * Opens the event page that a frontend published: our half, which produces, and its channel.
 *
 * @category rings
 * @since 0.2.0
 */
export const openEvents = (
  connection: Device,
  options: Published & EventPage.Options
): Effect.Effect<OpenEvents, ConnectionError, EventChannels.EventChannels | GrantTable | Scope.Scope> =>
  Effect.map(open(connection, options), (opened) => {
    const events = EventPage.producer(opened.bytes, options)
    return { ...opened, events, pushAndNotify: Ring.pushAndNotify(events, opened.channel) }
  })
