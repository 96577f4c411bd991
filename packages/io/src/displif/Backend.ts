/**
 * Shows the displays of guests: the backend's half of displif, for Linux's `drm_xen_front` and whoever else speaks it.
 *
 * Each device of each guest becomes a `Display` with its connectors, and each connector a stream of pictures in the
 * guest's own memory. Buffers are mapped read-only when the guest makes them, and unmapped before it hears that they are
 * destroyed. A guest that breaks the rules gets the protocol's errors, and at worst loses its display; what all displays of
 * one guest may take is bounded.
 *
 * @since 0.2.0
 */
import type * as DomainId from "@xen-shbuf/core/DomainId"
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import type * as XenStore from "@xen-shbuf/core/XenStore"
import * as XenbusBackend from "@xen-shbuf/xenbus/Backend"
import { ConnectionError, InvalidNode } from "@xen-shbuf/xenbus/ConnectionError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { Connector, Display } from "./Display.ts"
import * as Edid from "./Edid.ts"
import { Buffers, Usage } from "./internal/buffers.ts"
import { ConnectorState } from "./internal/connector.ts"
import * as Server from "./internal/server.ts"
import * as Protocol from "./Protocol.ts"

/**
 * What there is to say about displays.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<E, R> {
  /**
   * Shows a display, in the scope of its connection; it is interrupted when the guest closes it, or is gone. A display that
   * nobody looks at goes on when this returns; when it fails the display is closed.
   */
  readonly show: (display: Display) => Effect.Effect<void, E, R>
  /** Whether a guest's displays are served here: those of all guests are, unless given. */
  readonly serves?: ((guest: DomainId.DomainId) => Effect.Effect<boolean, never, R | XenStore.XenStore>) | undefined
  /** Flips of a connector a second, at most: 60 unless given. `Infinity` acknowledges them as soon as they are taken. */
  readonly frameRate?: number | undefined
  /**
   * Whether guests may have their buffers allocated by us, where their node `be-alloc` is 1: not unless said so, because
   * then a guest that won't let go of a buffer keeps memory of ours. A warning says when it is on.
   */
  readonly allocate?: boolean | undefined
  /** Bytes of all buffers of one guest: 256 MiB unless given. */
  readonly maxBytes?: number | undefined
  /** Buffers of one guest: 64 unless given. */
  readonly maxBuffers?: number | undefined
  /** Framebuffers of one guest: 256 unless given. */
  readonly maxFramebuffers?: number | undefined
  /** Connectors of one display: 16 unless given. A display with more does not connect. */
  readonly maxConnectors?: number | undefined
  /** Displays of all guests: 256 unless given. */
  readonly maxDisplays?: number | undefined
  /**
   * The EDID of a connector, whole blocks of 128 bytes: one with its resolution unless given. Guests that ask are told
   * that there is none where this says undefined.
   */
  readonly edid?: ((connector: Connector) => Uint8Array | undefined) | undefined
}

type Connection = XenbusBackend.Connection

const fail = (connection: Connection, node: string, detail: string) =>
  Effect.fail(
    new ConnectionError({
      device: connection.backendPath,
      reason: new InvalidNode({ path: `${connection.frontendPath}/${node}`, detail })
    })
  )

/** The connectors' folders: `0`, `1` and so on, without a gap. */
const countConnectors = Effect.fnUntraced(function*(connection: Connection, most: number) {
  const names = new Set(yield* connection.directory())
  let count = 0
  while (count <= most && names.has(String(count))) count++
  if (count === 0) return yield* fail(connection, "0", "there is no connector")
  if (count > most) return yield* fail(connection, String(most), `there are more than ${most} connectors`)
  return count
})

/** Joins the ring and the event page of one connector. */
const openConnector = Effect.fnUntraced(function*(connection: Connection, index: number) {
  const at = (name: string) => `${index}/${name}`
  const resolution = yield* connection.read(at(Protocol.node.resolution), Protocol.ResolutionFromText)
  const uniqueId = yield* connection.readOptional(at(Protocol.node.uniqueId), Schema.String)
  const requests = yield* XenbusBackend.openRing(connection, {
    ref: at(Protocol.node.requestRing),
    port: at(Protocol.node.requestPort),
    slotSize: Protocol.messageSize
  })
  const events = yield* XenbusBackend.openEvents(connection, {
    ref: at(Protocol.node.eventPage),
    port: at(Protocol.node.eventPort),
    eventSize: Protocol.messageSize
  })
  const state = new ConnectorState(resolution)
  yield* Effect.addFinalizer(() => Effect.sync(() => state.pictures.end()))
  const connector: Connector = {
    index,
    uniqueId: Option.getOrUndefined(uniqueId),
    resolution,
    pictures: state.pictures.stream
  }
  return { connector, state, requests, events }
})

const defaults = {
  maxBytes: 2 ** 28,
  maxBuffers: 64,
  maxFramebuffers: 256,
  maxConnectors: 16,
  frameRate: 60
} as const

const makeEdid = ({ resolution }: Connector) => Edid.make(resolution)

/** Connects one display, and serves it until its frontend is gone. */
const connect = Effect.fnUntraced(function*<E, R>(
  connection: Connection,
  usage: Usage,
  { frameRate = defaults.frameRate, edid = makeEdid, ...options }: Options<E, R>
) {
  const version = yield* connection.readOptional(Protocol.node.version, Protocol.VersionFromText)
  const beAlloc = yield* connection.readOptional(Protocol.node.beAlloc, Schema.String)
  const count = yield* countConnectors(connection, options.maxConnectors ?? defaults.maxConnectors)
  // Closed after the connectors, so that those who look come to the end before the pixels do.
  const scope = yield* Scope.fork(yield* Effect.scope)
  const buffers = new Buffers({
    guest: connection.frontend,
    scope,
    table: yield* GrantTable,
    limits: {
      bytes: options.maxBytes ?? defaults.maxBytes,
      buffers: options.maxBuffers ?? defaults.maxBuffers,
      framebuffers: options.maxFramebuffers ?? defaults.maxFramebuffers
    },
    usage,
    mayAllocate: options.allocate === true && Option.contains(beAlloc, "1")
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => buffers.end()))
  const open = yield* Effect.forEach(Array.from({ length: count }, (_, i) => i), (i) => openConnector(connection, i))
  const states = open.map(({ state }) => state)
  const display: Display = {
    guest: connection.frontend,
    id: connection.id,
    connectors: open.map(({ connector }) => connector)
  }
  yield* connection.ready
  yield* Effect.all([
    options.show(display),
    ...open.flatMap(({ connector, events, requests, state }) => [
      Server.answer(requests, {
        version: Option.getOrElse(version, () => 2 as const),
        buffers,
        connectors: states,
        index: connector.index,
        edid: () => edid(connector)
      }),
      Server.acknowledge(events, state.pictures, 1000 / frameRate)
    ])
  ], { concurrency: "unbounded", discard: true })
})

const warnAllocation = Effect.logWarning(
  "Guests whose be-alloc is 1 have their buffers allocated by this backend: what such a guest does not let go of stays lost, " +
    "and in a PV guest Linux can't use it (set be-alloc=0 there)."
)

/**
 * Serves the displays of all guests that have one with this domain as its backend, now and later, until it is interrupted.
 * Fails where xenstore can't be used any more.
 *
 * @category running
 * @since 0.2.0
 */
export const serve = <E, R>(
  options: Options<E, R>
): Effect.Effect<
  never,
  ConnectionError,
  Exclude<R, Scope.Scope> | GrantTable | EventChannels | XenStore.XenStore
> =>
  Effect.suspend(() => {
    const { frameRate = defaults.frameRate, maxBuffers, maxBytes, maxConnectors, maxFramebuffers } = options
    if (!(frameRate > 0)) return Effect.die(new RangeError(`frameRate is ${frameRate}, but must be more than 0`))
    // Nothing exceeds what is no number.
    for (const [name, most = 0] of Object.entries({ maxBuffers, maxBytes, maxConnectors, maxFramebuffers })) {
      if (!(most >= 0)) return Effect.die(new RangeError(`${name} is ${most}, but must be a number that bounds something`))
    }
    const usages = new Map<DomainId.DomainId, Usage>()
    const usageOf = (guest: DomainId.DomainId) => {
      const usage = usages.get(guest) ?? new Usage()
      usages.set(guest, usage)
      return usage
    }
    const serving = XenbusBackend.serve({
      type: Protocol.type,
      serves: options.serves,
      advertise: () => Effect.succeed({ [Protocol.node.versions]: Protocol.versions }),
      maxDevices: options.maxDisplays,
      handler: (connection) => connect(connection, usageOf(connection.frontend), options)
    })
    return options.allocate === true ? Effect.andThen(warnAllocation, serving) : serving
  })
