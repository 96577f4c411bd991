/**
 * Shares a buffer with a backend: the frontend's half of a page directory.
 *
 * Either the frontend allocates the buffer (`alloc`), or it shares only an empty directory and the backend allocates
 * (`allocByBackend`). Leaving the scope ends it all; a page that the peer still has mapped stays the peer's to read and
 * write until it unmaps, so agree with the peer on the end before you leave, or `end` the buffer with its consent.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { DirectoryError } from "./DirectoryError.ts"
import type * as DomainId from "./DomainId.ts"
import type { End } from "./Ending.ts"
import type { GrantRef } from "./GrantRef.ts"
import { GrantTable, type UnmapNotify } from "./GrantTable.ts"
import type { Access, GrantTableError } from "./GrantTableError.ts"
import { atomic } from "./internal/atomic.ts"
import { ending, notifyIn } from "./internal/ending.ts"
import * as Input from "./internal/input.ts"
import { mapBuffer, type Whose } from "./internal/mapping.ts"
import { operation } from "./internal/tracing.ts"
import * as Page from "./Page.ts"
import * as PageDirectory from "./PageDirectory.ts"
import type { MappedBuffer } from "./PeerBuffer.ts"

/**
 * A buffer of ours that a backend may map.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedBuffer {
  readonly peer: DomainId.DomainId
  /** The reference to tell the backend, with the size: all others stand in the directory. */
  readonly directory: GrantRef
  /** Pages of the buffer, without its directory. */
  readonly pages: Page.PageCount
  /** The buffer, zero at first, exactly the size asked for. The backend sees every write at once. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** For a backend that wants to know when we are gone; offsets are those of `bytes`. */
  readonly unmapNotify: UnmapNotify
  /** Ends buffer and directory before their scope does, when the backend consents. */
  readonly end: End
}

/**
 * A directory of ours that a backend fills with references to pages of its own.
 *
 * @category models
 * @since 0.1.0
 */
export interface BackendBuffer {
  readonly peer: DomainId.DomainId
  /** The reference to tell the backend, with the size. */
  readonly directory: GrantRef
  /** Pages of the buffer, without its directory. */
  readonly pages: Page.PageCount
  /**
   * Maps what the backend has provided, once it says so; repeat it as you like. Everything the backend wrote is
   * checked before anything is mapped: `DirectoryError` for a directory not (fully) filled in. Read-write unless said
   * otherwise; dies after the end of the directory's own scope.
   */
  readonly map: (options?: {
    readonly access?: Access | undefined
  }) => Effect.Effect<MappedBuffer, GrantTableError | DirectoryError, Scope.Scope>
  /** Ends the directory before its scope does, when the backend consents; what `map` has mapped stays. */
  readonly end: End
}

/** Checks the buffer's size in bytes, and allocates by the sizes that follow from it. */
const allocate = <A>(
  byteLength: number,
  acquire: (
    table: GrantTable["Service"],
    pages: Page.PageCount,
    directoryPages: number,
    scope: Scope.Closeable
  ) => Effect.Effect<A, GrantTableError, Scope.Scope>
) =>
  Effect.flatMap(GrantTable, (table) => {
    const problem = Input.byteLength("share", "byteLength", byteLength)
    if (problem !== undefined) return problem
    const pages = Page.countFor(byteLength as Page.ByteLength)
    return atomic((scope) => acquire(table, pages, PageDirectory.pagesFor(pages), scope))
  })

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
}) => Effect.Effect<SharedBuffer, GrantTableError, GrantTable | Scope.Scope> = ({ access, byteLength, peer }) =>
  operation(
    "SharedBuffer.alloc",
    allocate(byteLength, (table, pages, directoryPages, scope) =>
      Effect.flatMap(table.share({ peer, pages: directoryPages + pages, access }), (shared) => {
        const checked = PageDirectory.check([], shared.refs)
        // Our own grant table gave out the references: it is a bug of ours, not of the caller, if they don't fit.
        if (Result.isFailure(checked)) return Effect.die(checked.failure)
        const links = shared.refs.subarray(0, directoryPages)
        PageDirectory.write(shared.bytes, links, shared.refs.subarray(directoryPages))
        const start = directoryPages * Page.size
        return Effect.succeed({
          peer: shared.peer,
          directory: links[0] as GrantRef,
          pages,
          bytes: shared.bytes.subarray(start, start + byteLength),
          unmapNotify: notifyIn(shared.unmapNotify, start, byteLength),
          end: ending(scope)
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
}) => Effect.Effect<BackendBuffer, GrantTableError, GrantTable | Scope.Scope> = ({ byteLength, peer }) =>
  operation(
    "SharedBuffer.allocByBackend",
    allocate(byteLength, (table, pages, directoryPages, scope) =>
      Effect.map(table.share({ peer, pages: directoryPages }), (shared) => {
        PageDirectory.write(shared.bytes, shared.refs, new Uint32Array(0))
        const buffer = { peer: shared.peer, pages, byteLength }
        return {
          peer: shared.peer,
          directory: shared.refs[0] as GrantRef,
          pages,
          map: (options) => operation("SharedBuffer.map", mapFilled(table, shared.bytes, buffer, options?.access)),
          end: ending(scope)
        }
      }))
  )

const decode = Schema.decodeSync(PageDirectory.FromBytes)

/** Maps what a backend has filled into a directory of ours, which is `bytes`. */
const mapFilled = (
  table: GrantTable["Service"],
  bytes: Uint8Array,
  buffer: Whose,
  access: Access | undefined
) =>
  Effect.suspend((): Effect.Effect<MappedBuffer, GrantTableError | DirectoryError, Scope.Scope> => {
    if (bytes.length === 0) return Effect.die(new Error("The scope of this directory has ended"))
    // The links are ours and known: only what the backend filled in is read, once, into a private copy.
    const refs = PageDirectory.check([], PageDirectory.slots(decode(bytes), buffer.pages))
    return Result.isFailure(refs) ? refs.failure : mapBuffer(table, buffer, refs.success, access)
  })
