/**
 * Uses a buffer that a frontend shares: the backend's half of a page directory.
 *
 * The frontend is not trusted: its directory is copied page by page, each page once, and checked as a whole before
 * any page of the buffer is mapped.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as DirectoryError from "./DirectoryError.ts"
import type * as DomainId from "./DomainId.ts"
import type { End } from "./Ending.ts"
import type * as GrantRef from "./GrantRef.ts"
import { GrantTable, type UnmapNotify } from "./GrantTable.ts"
import type { Access, GrantTableError } from "./GrantTableError.ts"
import { atomic } from "./internal/atomic.ts"
import { ending, notifyIn } from "./internal/ending.ts"
import * as Input from "./internal/input.ts"
import { mapBuffer } from "./internal/mapping.ts"
import { operation } from "./internal/tracing.ts"
import * as Page from "./Page.ts"
import * as PageDirectory from "./PageDirectory.ts"

/**
 * A peer's buffer, mapped.
 *
 * @category models
 * @since 0.1.0
 */
export interface MappedBuffer {
  readonly peer: DomainId.DomainId
  /** Writing to a read-only buffer kills the process. */
  readonly access: Access
  /** Pages of the buffer, without its directory. */
  readonly pages: Page.PageCount
  /** The buffer, exactly the size asked for. The peer may change it at any time: copy, then check the copy. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** For an owner who wants to know when its buffer is free again; offsets are those of `bytes`. */
  readonly unmapNotify: UnmapNotify
}

/**
 * A buffer of ours that a frontend found a place for in its directory.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProvidedBuffer {
  readonly peer: DomainId.DomainId
  /** Pages of the buffer, without its directory. */
  readonly pages: Page.PageCount
  /** The buffer, zero at first, exactly the size asked for. The frontend sees every write at once. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** For a frontend that wants to know when we are gone; offsets are those of `bytes`. */
  readonly unmapNotify: UnmapNotify
  /** Ends it before its scope does, when the frontend consents. */
  readonly end: End
}

/**
 * Where a frontend's buffer is: what its request said.
 *
 * @category models
 * @since 0.1.0
 */
export interface Location {
  /** The frontend's domain. Take it from who is connected, never from what it wrote. */
  readonly peer: number
  /** Reference of the directory's first page. */
  readonly directory: number
  /** Size of the buffer, 1 to 2^32 bytes: what the peer claims. */
  readonly byteLength: number
  /** The largest size to accept, in bytes; {@link defaultMaxByteLength} unless said otherwise. */
  readonly maxByteLength?: number | undefined
}

/**
 * The largest buffer that is accepted from a peer unless `maxByteLength` says otherwise: 256 MiB, room for a frame of
 * 8192×8192 pixels. A bigger `byteLength` is `InvalidInput` before anything is mapped or allocated.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultMaxByteLength = 2 ** 28

/** A location, checked, and what follows from it. */
interface Located {
  readonly peer: DomainId.DomainId
  readonly first: GrantRef.GrantRef
  readonly byteLength: number
  readonly pages: Page.PageCount
  readonly directoryPages: number
}

const locate = (
  { byteLength, directory, maxByteLength: maximum = defaultMaxByteLength, peer }: Location
): Located | GrantTableError => {
  const problem = Input.byteLength("map", "maxByteLength", maximum) ??
    Input.domainId("map", "peer", peer) ??
    Input.byteLength("map", "byteLength", byteLength) ??
    (byteLength <= maximum
      ? undefined
      : Input.invalid("map", "byteLength", byteLength, `at most ${maximum} bytes, this caller's limit (maxByteLength)`)) ??
    Input.grantRef("map", "directory", directory)
  if (problem !== undefined) return problem
  const pages = Page.countFor(byteLength as Page.ByteLength)
  return {
    peer: peer as DomainId.DomainId,
    first: directory as GrantRef.GrantRef,
    byteLength,
    pages,
    directoryPages: PageDirectory.pagesFor(pages)
  }
}

/** Checks where a buffer is, and does with it what there is to do. */
const located = <A, E, R>(
  location: Location,
  use: (table: GrantTable["Service"], at: Located) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | GrantTableError, GrantTable | R> =>
  Effect.flatMap(GrantTable, (table): Effect.Effect<A, E | GrantTableError, R> => {
    const at = locate(location)
    return "pages" in at ? use(table, at) : at
  })

/** Visits the pages of a peer's directory in order; `visit` gives the link that it has copied of one. */
const chain = <E, R>(
  { directoryPages, first }: Located,
  visit: (ref: GrantRef.GrantRef, page: number) => Effect.Effect<number, E, R>
): Effect.Effect<ReadonlyArray<GrantRef.GrantRef>, E | DirectoryError.DirectoryError, R> => {
  const links = [first]
  const from = (ref: GrantRef.GrantRef): ReturnType<typeof chain<E, R>> =>
    Effect.flatMap(visit(ref, links.length - 1), (word) => {
      const link = PageDirectory.follow(links, word, directoryPages)
      if (Result.isFailure(link)) return link.failure
      if (link.success === undefined) return Effect.succeed(links)
      links.push(link.success)
      return from(link.success)
    })
  return from(first)
}

/** Copies the references of the buffer out of a peer's directory, page by page, and checks them together with its links. */
const readRefs = (table: GrantTable["Service"], at: Located) => {
  // Not all at once: a claim alone takes no memory.
  const parts: Array<Uint32Array<ArrayBuffer>> = []
  const links = chain(at, (ref, page) => {
    const words = new Uint32Array(1 + Math.min(PageDirectory.refsPerPage, at.pages - page * PageDirectory.refsPerPage))
    return Effect.map(table.read({ domain: at.peer, ref }, new Uint8Array(words.buffer)), () => {
      parts.push(words.subarray(1))
      return words[0]!
    })
  })
  return Effect.flatMap(links, (links) => Effect.fromResult(PageDirectory.check(links, join(parts, at.pages))))
}

const join = (parts: ReadonlyArray<Uint32Array<ArrayBuffer>>, count: number) => {
  const [only] = parts
  if (only?.length === count) return only
  const all = new Uint32Array(count)
  for (const [page, part] of parts.entries()) all.set(part, page * PageDirectory.refsPerPage)
  return all
}

/**
 * Maps the buffer behind a frontend's directory as one region, all or nothing.
 *
 * The directory itself is copied page by page, and checked before the buffer is mapped. `access` is
 * read-write by default; a buffer that was granted read-only must be mapped read-only.
 *
 * @category constructors
 * @since 0.1.0
 */
export const map: (
  options: Location & { readonly access?: Access | undefined }
) => Effect.Effect<
  MappedBuffer,
  GrantTableError | DirectoryError.DirectoryError,
  GrantTable | Scope.Scope
> = (options) =>
  operation(
    "PeerBuffer.map",
    located(options, (table, at) =>
      Effect.flatMap(readRefs(table, at), (refs) => mapBuffer(table, at, refs, options.access)))
  )

/**
 * Allocates a zeroed buffer, shares it with the frontend, and fills the frontend's directory with its references.
 *
 * The whole chain is checked before anything is allocated; unused places become 0. Answer the frontend's
 * request when this returns. `access` is what the frontend may do with the buffer, read-write by default.
 *
 * @category constructors
 * @since 0.1.0
 */
export const provide: (
  options: Location & { readonly access?: Access | undefined }
) => Effect.Effect<
  ProvidedBuffer,
  GrantTableError | DirectoryError.DirectoryError,
  GrantTable | Scope.Scope
> = (options) =>
  operation(
    "PeerBuffer.provide",
    located(options, (table, at) =>
      atomic((scope) =>
        // The directory's pages stay mapped from the check of the chain until they are filled in; the buffer stays on.
        Effect.scoped(Effect.flatMap(open(table, at), (targets) => {
          const sharing = table.share({ peer: at.peer, pages: at.pages, access: options.access })
          return Effect.flatMap(Scope.provide(sharing, scope), (shared) => {
            const checked = PageDirectory.check([], shared.refs)
            // Our own grant table gave out the references: it is a bug of ours, not of the caller, if they don't fit.
            if (Result.isFailure(checked)) return Effect.die(checked.failure)
            for (const [page, target] of targets.entries()) PageDirectory.writeRefs(target, page, shared.refs)
            return Effect.succeed({
              peer: shared.peer,
              pages: at.pages,
              bytes: shared.bytes.subarray(0, at.byteLength),
              unmapNotify: notifyIn(shared.unmapNotify, 0, at.byteLength),
              end: ending(scope)
            })
          })
        }))
      ))
  )

/** Maps the pages of a peer's directory for writing, and checks its chain; its links are the peer's, and stay. */
const open = (table: GrantTable["Service"], at: Located) => {
  const targets: Array<Uint8Array> = []
  const links = chain(at, (ref) =>
    Effect.map(table.map({ domain: at.peer, refs: [ref] }), ({ bytes }) => {
      targets.push(bytes)
      return PageDirectory.linkIn(bytes)
    }))
  return Effect.as(links, targets)
}

/**
 * What a frontend's directory looks like, sound or not.
 *
 * @category models
 * @since 0.1.0
 */
export interface Walk {
  /** Pages of the buffer, as its size says. */
  readonly pages: Page.PageCount
  /** The directory's pages that could be read, in order, with their references. */
  readonly directory: ReadonlyArray<{ readonly ref: GrantRef.GrantRef; readonly page: PageDirectory.PageDirectory }>
  /** What keeps the buffer from being mapped; nothing if all is well. */
  readonly problem: DirectoryError.DirectoryError | GrantTableError | undefined
}

/**
 * Reads a frontend's directory as far as it goes and tells what is wrong with it, for people who look for a fault.
 * Each reference is tried: mapped read-only, and let go.
 *
 * @category debugging
 * @since 0.1.0
 */
export const walk: (
  options: Location
) => Effect.Effect<Walk, GrantTableError, GrantTable> = (options) =>
  operation("PeerBuffer.walk", located(options, walkLocated))

const walkLocated = Effect.fnUntraced(function*(table: GrantTable["Service"], at: Located) {
  const directory: Array<Walk["directory"][number]> = []
  const problem = yield* Effect.gen(function*() {
    const links = yield* chain(at, (ref) => {
      const bytes = new Uint8Array(Page.size)
      return Effect.map(table.read({ domain: at.peer, ref }, bytes), () => {
        const page = PageDirectory.fromBytesUnsafe(bytes)
        directory.push({ ref, page })
        return PageDirectory.next(page, 0)
      })
    })
    const slots = PageDirectory.slots(PageDirectory.concat(directory.map(({ page }) => page)), at.pages)
    const refs = yield* Effect.fromResult(PageDirectory.check(links, slots))
    yield* Effect.scoped(table.map({ domain: at.peer, refs, access: "read-only" }))
    return undefined
  }).pipe(
    Effect.catchTag("DirectoryError", Effect.succeed),
    Effect.catchIf((error) => error.reason._tag === "GrantRefused", Effect.succeed)
  )
  return { pages: at.pages, directory, problem }
})
