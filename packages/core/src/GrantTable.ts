/**
 * Shares pages with other domains and maps theirs: the service that everything else is built on.
 *
 * Every resource belongs to a `Scope`; leaving it is the only way to release, and afterwards every view that was
 * handed out has length 0. What a peer has mapped stays its own: see `Ending`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { Access } from "./Access.ts"
import type * as DomainId from "./DomainId.ts"
import * as GrantRef from "./GrantRef.ts"
import * as GrantTableError from "./GrantTableError.ts"
import { memoryEnded, openScope } from "./internal/ended.ts"
import * as Input from "./internal/input.ts"
import { traced } from "./internal/tracing.ts"
import * as Page from "./Page.ts"
import type { InvalidInput } from "./Reason.ts"
import * as SharedMemory from "./SharedMemory.ts"

/**
 * What Linux does when our side of pages ends, however it ends: a release, an exit, `kill -9`. The byte comes first,
 * then the signal. Neither happens when the whole domain is destroyed, since its Linux does not run any more.
 *
 * @category models
 * @since 0.1.0
 */
export interface UnmapNotification {
  /** Offset of the byte that becomes 0, while the pages are still there. */
  readonly clearByte?: number | undefined
  /** The event channel to signal: its local port, which the caller has bound. */
  readonly signalPort?: number | undefined
}

/**
 * Arms a notification for the end of our side of the pages, in place of the one before; `undefined` cancels it.
 *
 * It fires at an orderly release too. `InvalidInput` for what is not in these pages, for a byte of a read-only mapping,
 * and for a port that is not open. Dies after the end of the pages' scope.
 *
 * @category models
 * @since 0.1.0
 */
export type UnmapNotify = (
  notification: UnmapNotification | undefined
) => Effect.Effect<void, GrantTableError.GrantTableError>

/**
 * Pages of ours that a peer may map.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedPages {
  /** Who may map them. */
  readonly peer: DomainId.DomainId
  /** What the peer may do with them; we may always write. */
  readonly access: Access
  /** One reference a page, in the order of the bytes. A private copy: the peer can't change it. */
  readonly refs: Uint32Array<ArrayBuffer>
  /**
   * The pages, zero at first, `refs.length * 4096` bytes. The peer sees every write at once, and may change what is not
   * read-only for it at any time: copy, then look at the copy.
   */
  readonly bytes: SharedMemory.Writable
  /** For a peer that wants to know when we are gone. */
  readonly unmapNotify: UnmapNotify
}

/**
 * Pages of a peer, mapped side by side.
 *
 * @category models
 * @since 0.1.0
 */
export interface MappedPages<A extends Access = Access> {
  /** Whose pages they are. */
  readonly peer: DomainId.DomainId
  /** Writing to a read-only mapping kills the process, as any write to read-only memory. */
  readonly access: A
  /**
   * The pages in the order of the request, 4096 bytes each. The peer may change them at any time, also while you look:
   * copy, then look at the copy.
   */
  readonly bytes: SharedMemory.WithAccess<A>
  /** For an owner who wants to know when the pages are free again. */
  readonly unmapNotify: UnmapNotify
}

/**
 * A request to share new pages, checked.
 *
 * @category models
 * @since 0.1.0
 */
export interface ShareRequest {
  /** Who may map them. */
  readonly peer: DomainId.DomainId
  /** How many, of 4096 bytes each. */
  readonly pages: Page.ShareCount
  /** What the peer may do with them. */
  readonly access: Access
}

/**
 * A request to map a peer's grants, checked. References may repeat: each place is a mapping of its own.
 *
 * @category models
 * @since 0.1.0
 */
export interface MapRequest {
  /** Whose pages they are. */
  readonly peer: DomainId.DomainId
  /** One reference a page, in the order in which they are to lie in memory. */
  readonly refs: Uint32Array<ArrayBuffer>
  /** What we may do with them. */
  readonly access: Access
}

/**
 * A piece of a granted page to read into, or write from, private memory; it must not cross the end of the page.
 *
 * @category models
 * @since 0.1.0
 */
export type CopySegment =
  | {
    readonly _tag: "Read"
    /** The page. */
    readonly grant: GrantRef.Grant
    /** Where the piece begins in it, in bytes. */
    readonly offset: number
    /** What it is copied to, as long as the piece. */
    readonly into: Uint8Array
  }
  | {
    readonly _tag: "Write"
    /** The page. */
    readonly grant: GrantRef.Grant
    /** Where the piece begins in it, in bytes. */
    readonly offset: number
    /** What is copied into it, as long as the piece. */
    readonly from: Uint8Array
  }

/**
 * A number of pages, and what changes it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limit {
  /** How many, at most. */
  readonly pages: number
  /** What raises it. */
  readonly knob: GrantTableError.Knob
}

/**
 * What this grant table can hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Pages shared at one time, by all users of the table together; left out where the table can't share. */
  readonly shared?: Limit
  /** Pages in one request to the device; bigger mappings are split, unseen by the caller. Left out where it can't map. */
  readonly mappedPerRequest?: Limit
}

/**
 * Pages that an implementation has acquired, and what else there is to do with them. All synchronous.
 *
 * @category models
 * @since 0.1.0
 */
export interface Acquired {
  /** The pages side by side, in order: all their bytes. */
  readonly bytes: SharedMemory.Writable
  /** Arms a notification, or cancels it, while the pages are held. */
  readonly arm: (notification: UnmapNotification | undefined) => Result.Result<void, GrantTableError.Reason>
  /**
   * Detaches every view, unmaps, gives back. Called once, however the scope ends; must not throw. "moved" where somebody
   * had moved the buffer away, or had marked it as untransferable, so that a view of it is left, which must not show the pages
   * any more.
   */
  readonly release: () => void | "moved"
}

/**
 * New pages that an implementation has granted.
 *
 * @category models
 * @since 0.2.0
 */
export interface AcquiredShare extends Acquired {
  /** One reference a page. Their user gets this array, and may change it. */
  readonly refs: Uint32Array<ArrayBuffer>
}

/**
 * What an implementation provides; `make` turns it into the service. Requests, and notifications, arrive checked.
 *
 * Each acquisition is all or nothing, and runs uninterruptibly; its release is registered with it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Driver {
  /** Allocates zeroed pages and grants them to the peer. */
  readonly share: (request: ShareRequest) => Effect.Effect<AcquiredShare, GrantTableError.GrantTableError>
  /** Maps a peer's pages side by side, in the order of the request. */
  readonly map: (request: MapRequest) => Effect.Effect<Acquired, GrantTableError.GrantTableError>
  /** Copies the first `into.length` bytes of a page that it maps read-only, and unmaps, all in one synchronous step. */
  readonly read: (grant: GrantRef.Grant, into: Uint8Array) => Effect.Effect<void, GrantTableError.GrantTableError>
  /** Copies pieces one after the other; fails with the first that is refused. */
  readonly copy: (
    segments: ReadonlyArray<CopySegment>
  ) => Effect.Effect<void, GrantTableError.GrantTableError>
  /** What it can hold. */
  readonly limits: Effect.Effect<Limits, GrantTableError.GrantTableError>
}

/**
 * The grant table of the domain that we run in.
 *
 * @category services
 * @since 0.1.0
 */
export class GrantTable extends Context.Service<GrantTable, {
  /**
   * Allocates zeroed pages and grants them to `peer` (read-write unless said otherwise).
   * They are granted before this returns: what is written into them is public from the first byte.
   */
  readonly share: (options: {
    readonly peer: number
    readonly pages: number
    readonly access?: Access | undefined
  }) => Effect.Effect<SharedPages, GrantTableError.GrantTableError, Scope.Scope>
  /**
   * Maps grants of `peer` side by side as one region, all or nothing (read-write unless said otherwise).
   * `GrantRefused` names the first that Xen refused.
   */
  readonly map: <A extends Access = "read-write">(options: {
    readonly peer: number
    readonly refs: ArrayLike<number>
    readonly access?: A | undefined
  }) => Effect.Effect<MappedPages<A>, GrantTableError.GrantTableError, Scope.Scope>
  /**
   * Copies the beginning of a granted page into private memory: as many bytes as `into` has, 4096 at most. The page is
   * mapped read-only for that long, and each byte read once: what a hostile peer does afterwards changes nothing.
   */
  readonly read: (
    grant: { readonly peer: number; readonly ref: number },
    into: Uint8Array
  ) => Effect.Effect<void, GrantTableError.GrantTableError>
  /**
   * Lets Xen copy between granted pages and private memory, without mapping. Not all or nothing:
   * segments before a refused one may have been copied. `Unsupported` where the device can't.
   */
  readonly copy: (
    segments: ReadonlyArray<CopySegment>
  ) => Effect.Effect<void, GrantTableError.GrantTableError>
  /** What the table can hold, read anew each time: an administrator may change it. */
  readonly limits: Effect.Effect<Limits, GrantTableError.GrantTableError>
}>()("@xen-shbuf/core/GrantTable") {}

/**
 * Pages granted to peers since the process began.
 *
 * @category metrics
 * @since 0.1.0
 */
export const grantsShared: Metric.Counter<number> = Metric.counter("xen_shbuf_grants_shared", {
  description: "Pages granted to peers",
  incremental: true
})

/**
 * Pages of peers mapped since the process began.
 *
 * @category metrics
 * @since 0.1.0
 */
export const pagesMapped: Metric.Counter<number> = Metric.counter("xen_shbuf_pages_mapped", {
  description: "Pages of peers mapped",
  incremental: true
})

/**
 * Requests refused since the process began, with the attribute `reason`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const refusals: Metric.Counter<number> = Metric.counter("xen_shbuf_refusals", {
  description: "Requests refused",
  incremental: true
})

/**
 * Buffers that somebody moved away from shared memory since the process began.
 *
 * @category metrics
 * @since 0.2.0
 */
export const buffersMoved: Metric.Counter<number> = Metric.counter("xen_shbuf_buffers_moved", {
  description: "Buffers moved away from shared memory",
  incremental: true
})

const moved = Effect.andThen(
  Metric.update(buffersMoved, 1),
  Effect.logWarning(
    "The buffer of memory shared with another domain was moved away before its end (by transfer, a byte stream, or " +
      "postMessage), or marked as untransferable. What is left of it shows zeros from now on, and its addresses stay taken. " +
      "Copy instead: SharedMemory.copy."
  )
)

const countRefusal = ({ reason }: GrantTableError.GrantTableError) =>
  Metric.update(Metric.withAttributes(refusals, { reason: reason._tag }), 1)

type Operation = GrantTableError.GrantTableError["operation"]

/**
 * What all operations have alike: arguments that are checked first, a span with what was asked for, the count of refusals.
 */
const asked = <A, R>(
  name: Operation,
  attributes: Record<string, unknown>,
  request: () => Result.Result<Effect.Effect<A, GrantTableError.GrantTableError, R>, GrantTableError.Reason>
): Effect.Effect<A, GrantTableError.GrantTableError, R> =>
  traced(
    `GrantTable.${name}`,
    attributes,
    Effect.tapError(
      Effect.suspend(() => {
        const checked = request()
        return Result.isSuccess(checked)
          ? checked.success
          : Effect.fail(new GrantTableError.GrantTableError({ operation: name, reason: checked.failure }))
      }),
      countRefusal
    )
  )

/**
 * The place of the first word that can't be a reference; -1 if there is none. On its own since it runs for every page, and
 * with bounds of its own: to look them up each time would take three times as long.
 */
const firstNoRef = (words: Uint32Array): number => {
  const { maximum, minimum } = GrantRef
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    if (word < minimum || word > maximum) return i
  }
  return -1
}

/**
 * A private copy of a caller's references, checked: the caller's array may change, or even be memory of a peer's. References
 * out of a directory were copied and checked before, but the service can't tell them from others; twice is 4 µs a thousand.
 */
const references = (refs: ArrayLike<number>): Result.Result<Uint32Array<ArrayBuffer>, InvalidInput> => {
  const count = Input.pageCount("refs.length", refs.length)
  if (Result.isFailure(count)) return Result.fail(count.failure)
  // Not every number is a word: of -1 it would make another number. 0 stands for all that can't be references.
  const isRef = (ref: number) => Number.isInteger(ref) && GrantRef.isGrantRef(ref)
  const words = refs instanceof Uint32Array ? refs : Array.from(refs, (ref) => isRef(ref) ? ref : 0)
  const copy = new Uint32Array(words)
  const bad = firstNoRef(copy)
  return bad < 0 ? Result.succeed(copy) : Input.invalid(`refs[${bad}]`, refs[bad], GrantRef.expected)
}

/** Memory of the caller's to copy into or from: anything else would fail between two calls on a device. */
const memory = (argument: string, value: Uint8Array): Result.Result<Uint8Array, InvalidInput> =>
  value instanceof Uint8Array ? Result.succeed(value) : Input.invalid(argument, value, "a Uint8Array")

const grantIn = (argument: string, { peer, ref }: { readonly peer: number; readonly ref: number }) =>
  Result.all({
    peer: Input.domainId(`${argument}peer`, peer),
    ref: Input.grantRef(`${argument}ref`, ref)
  })

/** Checks that a segment is a piece of one page. */
const checkSegment = (segment: CopySegment, i: number): Result.Result<void, InvalidInput> => {
  const { grant, offset } = segment
  const [name, ours] = segment._tag === "Read" ? ["into", segment.into] : ["from", segment.from]
  return Result.flatMap(
    Result.all([grantIn(`segments[${i}].grant.`, grant), memory(`segments[${i}].${name}`, ours)]),
    ([, { length }]) => {
      const isPiece = Number.isInteger(offset) && offset >= 0 && offset + length <= Page.size
      const expected = "a piece of one page: offset and length add up to 4096 at most"
      return isPiece
        ? Result.succeed(undefined)
        : Input.invalid(`segments[${i}]`, `${length} bytes at offset ${offset}`, expected)
    }
  )
}

/**
 * Acquires pages for the caller's scope, and counts them. Not by `acquireRelease`: it gives a release the context of the
 * acquisition, which none here needs, and which is a good part of the cost of a page.
 */
const acquire = <A extends Acquired, Pages>(
  acquisition: Effect.Effect<A, GrantTableError.GrantTableError>,
  metric: Metric.Counter<number>,
  count: number,
  pagesOf: (acquired: A) => Pages
) =>
  Effect.uninterruptible(Effect.flatMap(openScope, (scope) =>
    Effect.flatMap(acquisition, (acquired) => {
      const release = Effect.suspend(() => acquired.release() === "moved" ? moved : Effect.void)
      return Effect.as(
        Effect.andThen(Scope.addFinalizer(scope, release), Metric.update(metric, count)),
        pagesOf(acquired)
      )
    })))

/** Checks a notification for so many bytes. */
const checkNotification = (
  { clearByte, signalPort }: UnmapNotification,
  isWritable: boolean,
  length: number
): Result.Result<unknown, InvalidInput> => {
  if (clearByte === undefined && signalPort === undefined) {
    return Input.invalid("clearByte", clearByte, "an offset in these bytes, if there is no signalPort")
  }
  if (clearByte !== undefined) {
    const checked = Input.clearByte(clearByte, length)
    if (Result.isFailure(checked)) return checked
    if (!isWritable) return Input.invalid("clearByte", clearByte, "left out for a read-only mapping")
  }
  return signalPort === undefined ? Result.succeed(undefined) : Input.port("signalPort", signalPort)
}

const notifying = ({ arm, bytes }: Acquired, isWritable: boolean): UnmapNotify => (notification) =>
  Effect.suspend(() => {
    const { clearByte, signalPort } = notification ?? {}
    const given = notification && { clearByte, signalPort }
    return asked("unmapNotify", { clearByte, signalPort }, () => {
      if (SharedMemory.hasEnded(bytes)) return Result.succeed(memoryEnded)
      const checked = given === undefined ? Result.succeed(undefined) : checkNotification(given, isWritable, bytes.length)
      return Result.map(Result.flatMap(checked, () => arm(given)), Effect.succeed)
    })
  })

/**
 * Makes the service from an implementation: checks every argument, opens a span where somebody traces, counts.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (driver: Driver): GrantTable["Service"] =>
  GrantTable.of({
    share: (options) =>
      Effect.suspend(() => {
        const { access = "read-write", pages, peer } = options
        return asked("share", { peer, pages, access }, () =>
          Result.map(
            Result.all({
              peer: Input.domainId("peer", peer),
              pages: Input.shareCount("pages", pages),
              access: Input.access("access", access)
            }),
            (request) =>
              acquire(driver.share(request), grantsShared, request.pages, (acquired): SharedPages => ({
                peer: request.peer,
                access: request.access,
                refs: acquired.refs,
                bytes: acquired.bytes,
                unmapNotify: notifying(acquired, true)
              }))
          ))
      }),
    map: <A extends Access>(options: {
      readonly peer: number
      readonly refs: ArrayLike<number>
      readonly access?: A | undefined
    }) =>
      Effect.suspend(() => {
        const { access = "read-write", peer, refs } = options
        return asked("map", { peer, access, pages: refs.length }, () =>
          Result.map(
            Result.all({
              peer: Input.domainId("peer", peer),
              refs: references(refs),
              access: Input.access("access", access)
            }),
            (request) =>
              acquire(driver.map(request), pagesMapped, request.refs.length, (acquired): MappedPages<A> => ({
                peer: request.peer,
                access: request.access as A,
                bytes: acquired.bytes as SharedMemory.WithAccess<A>,
                unmapNotify: notifying(acquired, access === "read-write")
              }))
          ))
      }),
    read: (grant, into) =>
      Effect.suspend(() => {
        const { peer, ref } = grant
        return asked("read", { peer, ref }, () =>
          Result.flatMap(Result.all([grantIn("", { peer, ref }), memory("into", into)]), ([grant, { length }]) =>
            length <= Page.size
              ? Result.succeed(driver.read(grant, into))
              : Input.invalid("into.length", length, "at most 4096 bytes: a page")))
      }),
    copy: (segments) =>
      asked("copy", { segments: segments.length }, () =>
        Result.map(Result.all(segments.map(checkSegment)), () => driver.copy(segments))),
    limits: asked("limits", {}, () => Result.succeed(driver.limits))
  })
