/**
 * Shares a buffer with a backend: the frontend's half of a page directory.
 *
 * Either the frontend allocates the buffer (`alloc`), or it shares only an empty directory and the backend allocates
 * (`allocByBackend`). Leaving the scope ends it all, but not what the peer has mapped (see `Ending`): agree with the peer
 * on the end before you leave, or `end` the buffer with its consent.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Access } from "./Access.ts"
import * as CallSite from "./CallSite.ts"
import * as Chain from "./Chain.ts"
import type { DirectoryError } from "./DirectoryError.ts"
import type * as DomainId from "./DomainId.ts"
import type { EndByConsent } from "./Ending.ts"
import type { GrantRef } from "./GrantRef.ts"
import { GrantTable, type UnmapNotify } from "./GrantTable.ts"
import { GrantTableError } from "./GrantTableError.ts"
import { mapBuffer, notifyWithin, type Whose } from "./internal/buffer.ts"
import { endOf } from "./internal/consent.ts"
import { memoryEnded } from "./internal/ended.ts"
import * as Input from "./internal/input.ts"
import { traced } from "./internal/tracing.ts"
import * as Lifetime from "./Lifetime.ts"
import type { MappedBuffer } from "./MappedBuffer.ts"
import * as Page from "./Page.ts"
import * as SharedMemory from "./SharedMemory.ts"

/**
 * A buffer of ours that a backend may map.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedBuffer {
  /** Who may map it. */
  readonly peer: DomainId.DomainId
  /** What the peer may do with buffer and directory; we may always write. */
  readonly access: Access
  /** The reference to tell the backend, with the size: all others stand in the directory. */
  readonly directory: GrantRef
  /** Size of the buffer in bytes, as asked for. */
  readonly byteLength: number
  /** Pages of the buffer, without its directory. */
  readonly pages: Page.PageCount
  /**
   * The buffer, zero at first, exactly the size asked for. The backend sees every write at once, and may change what is
   * not read-only for it at any time, also while you look: copy it, then look at the copy.
   */
  readonly bytes: SharedMemory.Writable
  /** For a backend that wants to know when we are gone; offsets are those of `bytes`. */
  readonly unmapNotify: UnmapNotify
  /** Ends buffer and directory before their scope does, when the backend consents. */
  readonly end: EndByConsent
}

/**
 * A directory of ours that a backend fills with references to pages of its own.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedDirectory {
  /** Who is to allocate the buffer. */
  readonly peer: DomainId.DomainId
  /** The reference to tell the backend, with the size. */
  readonly directory: GrantRef
  /** Size of the buffer in bytes, as asked for. */
  readonly byteLength: number
  /** Pages of the buffer, without its directory. */
  readonly pages: Page.PageCount
  /**
   * Maps what the backend has provided, once it says so; repeat it as you like. Everything the backend wrote is
   * checked before anything is mapped: `DirectoryError` for a directory not (fully) filled in. Read-write unless said
   * otherwise; dies after the end of the directory's own scope.
   */
  readonly map: <A extends Access = "read-write">(options?: {
    readonly access?: A | undefined
  }) => Effect.Effect<MappedBuffer<A>, GrantTableError | DirectoryError, Scope.Scope>
  /** Ends the directory before its scope does, when the backend consents; what `map` has mapped stays. */
  readonly end: EndByConsent
}

/** Checks the buffer's size in bytes, and allocates by the sizes that follow from it. */
const allocate = <A>(
  operation: GrantTableError["operation"],
  byteLength: number,
  acquire: (
    table: GrantTable["Service"],
    pages: Page.PageCount,
    directoryPages: number,
    lifetime: Lifetime.Lifetime
  ) => Effect.Effect<A, GrantTableError, Scope.Scope>
) =>
  traced(
    `SharedBuffer.${operation}`,
    {},
    Effect.flatMap(GrantTable, (table) => {
      const checked = Input.byteLength("byteLength", byteLength)
      if (Result.isFailure(checked)) {
        return Effect.fail(new GrantTableError({ operation, reason: checked.failure }))
      }
      const pages = Page.countFor(checked.success)
      return Lifetime.allOrNothing((lifetime) => acquire(table, pages, Chain.pagesFor(pages), lifetime))
    })
  )

/**
 * Allocates a zeroed buffer and shares it with `peer` through a page directory, all in one request to the grant table.
 *
 * `byteLength` is 1 to 2^32 bytes; pages are rounded up. `access` is what the peer may do with buffer and directory:
 * read-write by default, because the existing backends map everything for writing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const alloc: (options: {
  readonly peer: number
  readonly byteLength: number
  readonly access?: Access | undefined
}) => Effect.Effect<SharedBuffer, GrantTableError, GrantTable | Scope.Scope> = CallSite.named(
  "SharedBuffer.alloc",
  ({ access, byteLength, peer }) =>
    allocate("alloc", byteLength, (table, pages, directoryPages, lifetime) =>
      Effect.flatMap(table.share({ peer, pages: pages + directoryPages, access }), (shared) => {
        const checked = Chain.check([], shared.refs)
        // Our own grant table gave out the references: it is a bug of ours, not of the caller, if they don't fit.
        if (Result.isFailure(checked)) return Effect.die(checked.failure)
        // The buffer first: who makes a view of another type over it does not reach the directory by mistake.
        const links = shared.refs.subarray(pages)
        Chain.write(shared.bytes.subarray(pages * Page.size), links, shared.refs.subarray(0, pages))
        return Effect.succeed({
          peer: shared.peer,
          access: shared.access,
          directory: links[0] as GrantRef,
          byteLength,
          pages,
          bytes: shared.bytes.subarray(0, byteLength),
          unmapNotify: notifyWithin(shared.unmapNotify, byteLength),
          end: endOf(lifetime)
        })
      }))
)

/**
 * Shares an empty page directory with `peer`, which is to allocate the buffer and fill the directory in.
 *
 * Tell it `directory` and the size, wait for its answer, then `map`. The backend keeps the power over the pages:
 * with an untrusted backend prefer `alloc`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const allocByBackend: (options: {
  readonly peer: number
  readonly byteLength: number
}) => Effect.Effect<SharedDirectory, GrantTableError, GrantTable | Scope.Scope> = CallSite.named(
  "SharedBuffer.allocByBackend",
  ({ byteLength, peer }) =>
    allocate("allocByBackend", byteLength, (table, pages, directoryPages, lifetime) =>
      Effect.map(table.share({ peer, pages: directoryPages }), (shared): SharedDirectory => {
        Chain.write(shared.bytes, shared.refs, new Uint32Array(0))
        const buffer = { peer: shared.peer, pages, byteLength }
        return {
          ...buffer,
          directory: shared.refs[0] as GrantRef,
          map: CallSite.named("SharedBuffer.map", (options) =>
            traced("SharedBuffer.map", {}, mapFilled(table, shared.bytes, buffer, options?.access))),
          end: endOf(lifetime)
        }
      }))
)

/** Maps what a backend has filled into a directory of ours, which is `bytes`. */
const mapFilled = <A extends Access>(
  table: GrantTable["Service"],
  bytes: SharedMemory.Readable,
  buffer: Whose,
  access: A | undefined
) =>
  Effect.suspend((): Effect.Effect<MappedBuffer<A>, GrantTableError | DirectoryError, Scope.Scope> => {
    if (SharedMemory.hasEnded(bytes)) return memoryEnded
    // The links are ours and known: only what the backend filled in is read, once, into a private copy.
    const refs = Chain.check([], Chain.refs(bytes, buffer.pages))
    return Result.isFailure(refs) ? Effect.fail(refs.failure) : mapBuffer(table, buffer, refs.success, access)
  })
