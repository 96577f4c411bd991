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

const decode = Schema.decodeSync(PageDirectory.FromBytes)

/** The sizes that follow from the buffer's size in bytes. */
const sizes = Effect.fnUntraced(function*(value: number) {
  const byteLength = yield* Input.byteLength("share", "byteLength", value)
  const pages = Page.countFor(byteLength)
  return { byteLength, pages, directoryPages: PageDirectory.pagesFor(pages) }
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
}) => Effect.Effect<SharedBuffer, GrantTableError, GrantTable | Scope.Scope> = Effect.fnUntraced(
  function*({ access, byteLength: length, peer }) {
    const { byteLength, directoryPages, pages } = yield* sizes(length)
    const table = yield* GrantTable
    return yield* atomic(Effect.fnUntraced(function*(scope) {
      const shared = yield* table.share({ peer, pages: directoryPages + pages, access })
      const links = shared.refs.subarray(0, directoryPages)
      // Our own grant table gave out the references: it is a bug of ours, not of the caller, if they don't fit.
      const directory = yield* Effect.orDie(
        Effect.fromResult(PageDirectory.fromRefs(links, shared.refs.subarray(directoryPages)))
      )
      PageDirectory.copyTo(directory, shared.bytes)
      const start = directoryPages * Page.size
      return {
        peer: shared.peer,
        directory: links[0] as GrantRef,
        pages,
        bytes: shared.bytes.subarray(start, start + byteLength),
        unmapNotify: notifyIn(shared.unmapNotify, start, byteLength),
        end: ending(scope)
      }
    }))
  },
  operation("SharedBuffer.alloc")
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
}) => Effect.Effect<BackendBuffer, GrantTableError, GrantTable | Scope.Scope> = Effect.fnUntraced(function*(
  { byteLength: length, peer }
) {
  const { byteLength, directoryPages, pages } = yield* sizes(length)
  const table = yield* GrantTable
  return yield* atomic(Effect.fnUntraced(function*(scope) {
    const shared = yield* table.share({ peer, pages: directoryPages })
    PageDirectory.copyTo(PageDirectory.fromLinks(shared.refs), shared.bytes)
    return {
      peer: shared.peer,
      directory: shared.refs[0] as GrantRef,
      pages,
      map: Effect.fnUntraced(function*(options) {
        if (shared.bytes.length === 0) return yield* Effect.die(new Error("The scope of this directory has ended"))
        // The links are ours and known: only what the backend filled in is read, once, into a private copy.
        const filled = decode(shared.bytes)
        const refs = yield* Effect.fromResult(
          PageDirectory.check([], PageDirectory.slots(filled, pages))
        )
        const mapped = yield* table.map({ domain: shared.peer, refs, access: options?.access })
        return {
          peer: shared.peer,
          access: mapped.access,
          pages,
          bytes: mapped.bytes.subarray(0, byteLength),
          unmapNotify: notifyIn(mapped.unmapNotify, 0, byteLength)
        }
      }, operation("SharedBuffer.map")),
      end: ending(scope)
    }
  }))
}, operation("SharedBuffer.allocByBackend"))
