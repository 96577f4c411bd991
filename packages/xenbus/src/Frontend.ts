/**
 * Connects a device: the frontend's half, which shares pages and ports with a backend and tells it where they are.
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
import type { Device, Nodes } from "./Device.ts"
import * as EventPage from "./EventPage.ts"
import * as FrontendDevice from "./internal/frontendDevice.ts"
import type { Connection, Options, Publication, RunOptions } from "./internal/frontendModel.ts"
import { failWith } from "./internal/reader.ts"
import * as Ring from "./Ring.ts"
import type { RingError } from "./RingError.ts"

export type { Connection, Options, Publication, RunOptions } from "./internal/frontendModel.ts"

/**
 * Connects a device: waits for its backend, shares what `publish` makes, and waits until the backend has joined it.
 *
 * Leaving the scope closes the connection: it says Closing, waits until the backend has let go (for `closeWithin` at
 * most), releases what `publish` made, removes the nodes, and says Closed. Where an earlier process left the device
 * connected, that is closed first. Fails with `NoDevice` where the toolstack made none, and where the backend closes or
 * goes meanwhile.
 *
 * @category constructors
 * @since 0.2.0
 */
export const connect: <P extends Publication, E = never, R = never>(
  options: Options<P, E, R>
) => Effect.Effect<Connection<P>, ConnectionError | E, Exclude<R, Scope.Scope> | XenStore | Scope.Scope> =
  FrontendDevice.connect

/**
 * Connects a device again and again, and runs `use` for each connection, which is interrupted when it is over: until
 * `use` returns, which ends it, or fails for a reason of its own. While the toolstack has made no device it waits for one.
 *
 * @category running
 * @since 0.2.0
 */
export const run: <P extends Publication, A, E = never, R = never, UE = never, UR = never>(
  options: RunOptions<P, A, E, R, UE, UR>
) => Effect.Effect<A, ConnectionError | E | UE, Exclude<R, Scope.Scope> | Exclude<UR, Scope.Scope> | XenStore> =
  FrontendDevice.run

/**
 * Where to publish what is shared: names of our nodes.
 *
 * @category models
 * @since 0.2.0
 */
export interface Published {
  /** The node for the grant reference of the page, or the nodes of several pages in their order. */
  readonly ref: string | ReadonlyArray<string>
  /** The node for the port. */
  readonly port: string
}

/**
 * A ring that we share, the event channel that goes with it, and the nodes that say where.
 *
 * @category models
 * @since 0.2.0
 */
export interface SharedRing extends Publication {
  /** Our half. */
  readonly ring: Ring.Front
  /** The channel; the backend joins it. */
  readonly channel: EventChannels.EventChannel
  /** Shows the backend all that was put, and signals it where it wants that: see {@link Ring.pushAndNotify}. */
  readonly pushAndNotify: Effect.Effect<void, RingError | EventChannelError>
  /** The ring's pages. The backend may change them at any time. */
  readonly bytes: SharedMemory.Writable
}

/**
 * An event page that we share, the event channel that goes with it, and the nodes that say where.
 *
 * @category models
 * @since 0.2.0
 */
export interface SharedEvents extends Publication {
  /** Our half. */
  readonly events: EventPage.Consumer
  /** The channel; the backend joins it. */
  readonly channel: EventChannels.EventChannel
  /** The page. The backend may change it at any time. */
  readonly bytes: SharedMemory.Writable
}

/**
 * Shares zeroed pages and a port with the backend of a device, and gives the nodes that say where.
 *
 * @category rings
 * @since 0.2.0
 */
export const share: (
  device: Device,
  published: Published
) => Effect.Effect<
  {
    /** The pages. The backend may change them at any time. */
    readonly bytes: SharedMemory.Writable
    /** The channel; the backend joins it. */
    readonly channel: EventChannels.EventChannel
    /** What to publish. */
    readonly nodes: Nodes
  },
  ConnectionError,
  EventChannels.EventChannels | GrantTable | Scope.Scope
> = Effect.fnUntraced(function*(device, { port, ref }) {
  const failed = failWith(device.frontendPath)
  const table = yield* GrantTable
  const channels = yield* EventChannels.EventChannels
  const peer = device.backend
  const names = typeof ref === "string" ? [ref] : ref
  const channel = yield* Effect.mapError(channels.listen({ peer }), failed)
  const { bytes, refs } = yield* Effect.mapError(table.share({ peer, pages: names.length }), failed)
  const nodes: Nodes = {
    ...Object.fromEntries(names.map((name, i) => [name, String(refs[i])])),
    [port]: String(channel.port)
  }
  return { bytes, channel, nodes }
})

/**
 * Shares a new ring with the backend: our half, and its channel. Slots are of `slotSize` bytes.
 *
 * @category rings
 * @since 0.2.0
 */
export const shareRing = (
  device: Device,
  options: Published & Ring.Options
): Effect.Effect<SharedRing, ConnectionError, EventChannels.EventChannels | GrantTable | Scope.Scope> =>
  Effect.map(share(device, options), (shared) => {
    const ring = Ring.front(shared.bytes, options)
    return { ...shared, ring, pushAndNotify: Ring.pushAndNotify(ring, shared.channel) }
  })

/**
 * Shares a new event page with the backend: our half, which consumes, and its channel.
 *
 * @category rings
 * @since 0.2.0
 */
export const shareEvents = (
  device: Device,
  options: Published & EventPage.Options
): Effect.Effect<SharedEvents, ConnectionError, EventChannels.EventChannels | GrantTable | Scope.Scope> =>
  Effect.map(share(device, options), (shared) => ({ ...shared, events: EventPage.consumer(shared.bytes, options) }))
