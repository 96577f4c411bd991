/**
 * Runs a Xen in memory, with any number of domains, for tests without a hypervisor.
 *
 * It keeps Xen's rules, and gives Xen's reasons: grants for one peer only, read-only grants, limits, at most 128 maps
 * of one kind for a grant, grants still in use when their owner lets go, processes and domains that die. Pages are
 * real: what one domain writes the other sees, and every view ends with its own mapping.
 *
 * @since 0.1.0
 */
import type { Access } from "@xen-shbuf/core/Access"
import * as DomainId from "@xen-shbuf/core/DomainId"
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as Page from "@xen-shbuf/core/Page"
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { channelsTellingCaller, storeTellingCaller, tellingCaller, withCallers } from "./internal/callers.ts"
import * as Driver from "./internal/driver.ts"
import * as Hypervisor from "./internal/hypervisor.ts"
import * as Linux from "./internal/linux.ts"
import type * as Store from "./internal/store.ts"

/**
 * What a domain can hold. What is left out is as on a real Xen with Linux.
 *
 * A buffer takes a grant for each page, and one more for each 1023 of them: 256 MiB, which is as much as `PeerBuffer.map`
 * takes unless told otherwise, need `{ sharedPages: 65_601, grantRefs: 65_609 }`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Capacity {
  /** Pages shared at one time: gntalloc's limit, 1024. */
  readonly sharedPages?: number | undefined
  /** References in the domain's grant table, the 8 reserved ones included: 32 768. */
  readonly grantRefs?: number | undefined
  /** Pages of peers mapped at one time: the domain's maptrack, 262 144. */
  readonly mappedPages?: number | undefined
  /** Event channels open at one time: `max_event_channels`, 1023. */
  readonly ports?: number | undefined
}

/**
 * A grant that is mapped: a line of Xen's own list (`xl debug-keys g`).
 *
 * @category models
 * @since 0.1.0
 */
export interface ActiveGrant {
  /** The domain that granted the page; it may be dead. */
  readonly domain: number
  /** Its reference in that table. */
  readonly ref: number
  /** Who may map it. */
  readonly peer: number
  /** What the peer may do with it. */
  readonly access: Access
  /** Mappings that can read only. */
  readonly readers: number
  /** Mappings that can write. */
  readonly writers: number
}

/** What is known of all that is held. */
interface Held {
  /** Counts up in the order in which everything is made. */
  readonly id: number
  /** The domain that holds it, or held it until it let go. */
  readonly domain: number
  /** The calls that made it, the innermost first, as lines of a stack trace. */
  readonly madeBy: ReadonlyArray<string>
}

/**
 * Pages that a domain shares, pages that it has let go of but its peer has not, or pages that it has mapped.
 *
 * @category models
 * @since 0.2.0
 */
export interface HeldPages extends Held {
  readonly _tag: "Share" | "Deferred" | "Mapping"
  /** The domain on the other side. */
  readonly peer: number
  /** What the peer may do, or for a mapping, what its maker may. */
  readonly access: Access
  /** The references of the pages, in order. */
  readonly refs: ReadonlyArray<number>
}

/**
 * An event channel that is open.
 *
 * @category models
 * @since 0.2.0
 */
export interface HeldChannel extends Held {
  readonly _tag: "Channel"
  /** The domain at the other end, or the only one that may join. */
  readonly peer: number
  /** The domain's own port. */
  readonly port: number
  /** Whether somebody is at the other end. */
  readonly isJoined: boolean
}

/**
 * A watch of a path, or a transaction that has begun.
 *
 * @category models
 * @since 0.2.0
 */
export type HeldInStore =
  | Held & {
    readonly _tag: "Watch"
    /** What is watched, with all below it. */
    readonly path: string
  }
  | Held & { readonly _tag: "Transaction" }

/**
 * Something that a domain holds.
 *
 * @category models
 * @since 0.1.0
 */
export type Holding = HeldPages | HeldChannel | HeldInStore

/**
 * The hypervisor, as nobody inside a domain can see it.
 *
 * @category services
 * @since 0.1.0
 */
export class TestXen extends Context.Service<TestXen, {
  /**
   * The grant table of a domain. The domain is created, with this capacity, unless it is there already.
   */
  readonly domain: (id: number, capacity?: Capacity) => Effect.Effect<GrantTable.GrantTable["Service"]>
  /** The event channels of a domain, which is created like that as well. */
  readonly eventChannels: (id: number, capacity?: Capacity) => Effect.Effect<EventChannels.EventChannels["Service"]>
  /** Xenstore as a domain sees it, which is created like that as well. */
  readonly store: (id: number, capacity?: Capacity) => Effect.Effect<XenStore.XenStore["Service"]>
  /** Changes how many pages a domain can share at one time, as its administrator can; nothing is taken away. */
  readonly setSharedPages: (id: number, pages: number) => Effect.Effect<void>
  /**
   * Kills the process that runs in a domain, as `kill -9` does: its views end, its mappings and grants go, and what
   * `unmapNotify` has armed takes place. The domain lives on, with its table for the next process.
   */
  readonly killProcess: (id: number) => Effect.Effect<void>
  /**
   * Kills a domain: its views end, its mappings go, its grants can't be mapped any more, and nobody is notified. Peers
   * keep what they have mapped. Its table answers `DeviceUnavailable` from now on; `domain` makes a new domain with the
   * same id.
   */
  readonly destroy: (id: number) => Effect.Effect<void>
  /**
   * Saves and restores a domain, or moves it to another host, under another id, as a rule, or under the one that it had, as
   * `xl save -D` and `xl migrate -D` keep it. Its process goes on, with the services that it has. What it shared is its own
   * memory now, what it mapped is nobody's and reads as ones, its event channels are gone and nobody tells; its nodes are
   * removed, and made as for a new domain; its transactions conflict, and its watches tell anew. Peers keep what they have
   * mapped.
   */
  readonly suspendAndResume: (id: number, restored: { readonly as: number }) => Effect.Effect<void>
  /** Opens an event channel in a domain that nobody else joins, for `unmapNotify` to signal, and gives its port. */
  readonly bindPort: (id: number) => Effect.Effect<number>
  /** The ports of a domain that `unmapNotify` has signalled, in their order; they stay. */
  readonly signals: (id: number) => Effect.Effect<ReadonlyArray<number>>
  /** Xen's list of active grants: all that are mapped, ordered by domain and reference. */
  readonly activeGrants: Effect.Effect<ReadonlyArray<ActiveGrant>>
  /** Pages of memory that are granted or still mapped. */
  readonly framesInUse: Effect.Effect<number>
  /** What all domains hold, in the order in which it was made; ports that `bindPort` has opened are nobody's. */
  readonly holdings: Effect.Effect<ReadonlyArray<Holding>>
  /** The paths of all nodes of xenstore, in their order, whoever may see them. */
  readonly nodes: Effect.Effect<ReadonlyArray<string>>
}>()("@xen-shbuf/testkit/TestXen") {}

/** What is missing: a system, a file in memory, koffi, or pages of the right size. */
const why = (cause: unknown): string => {
  if (process.platform !== "linux") return `it runs ${process.platform}, not Linux`
  return cause instanceof Error ? cause.message : `memfd_create fails with ${String(cause)}`
}

/** Tries what everything depends on: two pages of one file, side by side in reverse order. Throws if that fails. */
const tryRealPages = () => {
  try {
    const fd = Result.getOrThrow(MappedMemory.memfd("xen-shbuf", 2 * Page.size))
    const pieces = [Page.size, 0].map((offset) => ({ fd, offset, byteLength: Page.size }))
    const region = MappedMemory.map(pieces, "read-write")
    MappedMemory.close(fd)
    MappedMemory.unmap(Result.getOrThrow(region))
  } catch (cause) {
    throw new Error(`TestXen needs real memory pages of 4096 bytes, which this machine does not give: ${why(cause)}`, {
      cause
    })
  }
}

/** A number that can't be is a mistake in the test: it throws, and the effect dies. */
const mistake = (argument: string, value: unknown, expected: string) =>
  new RangeError(`TestXen: ${argument} is ${String(value)}, but must be ${expected}.`)

const isDomainId = Schema.is(DomainId.DomainId)

const idOf = (id: number): DomainId.DomainId => {
  if (!isDomainId(id)) throw mistake("id", id, DomainId.expected)
  return id
}

const checkCapacity = (capacity: Capacity) => {
  for (const name of ["sharedPages", "grantRefs", "mappedPages", "ports"] as const) {
    const value = capacity[name]
    if (value !== undefined && !(Number.isInteger(value) && value >= 0 && value <= 2 ** 32)) {
      throw mistake(name, value, "a number of pages, references or ports: a whole number from 0 to 4294967296")
    }
  }
}

const activeGrants = (xen: Hypervisor.Hypervisor): ReadonlyArray<ActiveGrant> =>
  Hypervisor.all(xen).flatMap(({ domain, shares, table: { pins } }) =>
    [...shares].flatMap((share) =>
      Array.from(Linux.granted(share), (ref) => ({
        domain: domain.id,
        ref,
        peer: share.peer,
        access: share.access,
        readers: pins["read-only"][ref]!,
        writers: pins["read-write"][ref]!
      }))
    )
  ).filter(({ readers, writers }) => readers + writers > 0).toSorted((a, b) => a.domain - b.domain || a.ref - b.ref)

const heldPages = ({ domain: { id: domain }, mappings, shares }: Linux.Linux): ReadonlyArray<Holding> => [
  ...Array.from(shares, (share): Holding => withCallers({
    _tag: share.held ? "Share" : "Deferred",
    id: share.id,
    domain,
    peer: share.peer,
    access: share.access,
    refs: [...Linux.granted(share)]
  }, share.caller)),
  ...Array.from(mappings, ({ access, caller, granter, id, refs }): Holding => withCallers({
    _tag: "Mapping",
    id,
    domain,
    peer: granter.domain.id,
    access,
    refs: [...refs]
  }, caller))
  ]

const heldChannels = ({ channels, domain: { id: domain } }: Linux.Linux): ReadonlyArray<Holding> =>
  [...channels.ends.values()].filter(Driver.isHeld).map(({ caller, id, other, peer, port }) => withCallers({
    _tag: "Channel",
    id,
    domain,
    peer,
    port,
    isJoined: other !== undefined
  }, caller))

const heldInStore = ({ client, domain: { id: domain } }: Linux.Linux): ReadonlyArray<Holding> => [
  ...[...client.store.watches].filter((watch) => watch.client === client).map(({ caller, made, path }): Holding => withCallers({
    _tag: "Watch",
    id: made,
    domain,
    path
  }, caller)),
  ...Array.from(client.transactions.values(), ({ caller, made }): Holding => withCallers({
    _tag: "Transaction",
    id: made,
    domain
  }, caller))
]

const holdings = (xen: Hypervisor.Hypervisor): ReadonlyArray<Holding> =>
  Hypervisor.all(xen).flatMap((linux) => [...heldPages(linux), ...heldChannels(linux), ...heldInStore(linux)])
    .toSorted((a, b) => a.id - b.id)

/** The paths of all nodes below one. */
const paths = (path: string, { children }: Store.Node): ReadonlyArray<string> =>
  [...children].flatMap(([name, node]) => [`${path}/${name}`, ...paths(`${path}/${name}`, node)])

/**
 * Starts a hypervisor without any domains. It stops with its scope: all domains are destroyed, all views end.
 * Every domain has this capacity unless it is created with another. Dies where there are no real pages to be had.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: (capacity?: Capacity) => Effect.Effect<TestXen["Service"], never, Scope.Scope> = Effect.fnUntraced(
  function*(defaults = {}) {
    yield* Effect.sync(() => {
      checkCapacity(defaults)
      tryRealPages()
    })
    const xen = yield* Effect.acquireRelease(
      Effect.sync(Hypervisor.make),
      (xen) => Effect.sync(() => Hypervisor.stop(xen))
    )
    const find = (id: number, capacity: Capacity = {}) => {
      const domainId = idOf(id)
      checkCapacity(capacity)
      return xen.domains.get(domainId) ?? Hypervisor.add(xen, domainId, {
        sharedPages: capacity.sharedPages ?? defaults.sharedPages ?? 1024,
        grantRefs: capacity.grantRefs ?? defaults.grantRefs ?? 32_768,
        mappedPages: capacity.mappedPages ?? defaults.mappedPages ?? 262_144,
        ports: capacity.ports ?? defaults.ports ?? 1023
      })
    }
    return TestXen.of({
      domain: (id, capacity) => Effect.sync(() => tellingCaller(GrantTable.make(Driver.grantTable(xen, find(id, capacity))))),
      eventChannels: (id, capacity) => Effect.sync(() => channelsTellingCaller(EventChannels.make(Driver.eventChannels(xen, find(id, capacity))))),
      store: (id, capacity) => Effect.sync(() => storeTellingCaller(XenStore.make(Driver.store(find(id, capacity))))),
      setSharedPages: (id, pages) =>
        Effect.sync(() => {
          checkCapacity({ sharedPages: pages })
          find(id).sharedLimit = pages
        }),
      suspendAndResume: (id, { as }) =>
        Effect.sync(() => {
          const linux = find(id)
          const restored = idOf(as)
          if (as !== id && xen.domains.has(restored)) throw mistake("as", as, "the id of no other domain")
          Hypervisor.restore(xen, linux, restored)
        }),
      killProcess: (id) => Effect.sync(() => Linux.killProcess(find(id))),
      destroy: (id) =>
        Effect.sync(() => {
          const linux = xen.domains.get(idOf(id))
          if (linux !== undefined) Hypervisor.destroy(xen, linux)
        }),
      bindPort: (id) => Effect.sync(() => Driver.bindPort(find(id))),
      signals: (id) => Effect.sync(() => [...find(id).signalled]),
      activeGrants: Effect.sync(() => activeGrants(xen)),
      framesInUse: Effect.sync(() =>
        Hypervisor.all(xen).flatMap(({ shares }) => [...shares]).reduce((sum, { frames }) => sum + frames, 0)
      ),
      holdings: Effect.sync(() => holdings(xen)),
      nodes: Effect.sync(() => paths("", xen.store.root).toSorted())
    })
  }
)

/**
 * Provides a hypervisor; see `make`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (capacity?: Capacity): Layer.Layer<TestXen> => Layer.effect(TestXen, make(capacity))

/**
 * Provides all that a domain of the hypervisor has: what an application that runs in this domain sees.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerDomain = (
  id: number,
  capacity?: Capacity
): Layer.Layer<GrantTable.GrantTable | EventChannels.EventChannels | XenStore.XenStore, never, TestXen> =>
  Layer.effectContext(Effect.gen(function*() {
    const xen = yield* TestXen
    return Context.make(GrantTable.GrantTable, yield* xen.domain(id, capacity)).pipe(
      Context.add(EventChannels.EventChannels, yield* xen.eventChannels(id)),
      Context.add(XenStore.XenStore, yield* xen.store(id))
    )
  }))
