/**
 * Uses a buffer that a frontend shares: the backend's half of a page directory.
 *
 * The frontend is not trusted: its directory is copied page by page, each page once, and checked as a whole before
 * any page of the buffer is mapped.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as DirectoryError from "./DirectoryError.ts"
import * as DomainId from "./DomainId.ts"
import * as GrantRef from "./GrantRef.ts"
import { GrantTable } from "./GrantTable.ts"
import type { Access, GrantTableError } from "./GrantTableError.ts"
import { atomic } from "./internal/atomic.ts"
import { word } from "./internal/input.ts"
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
  /** Size of the buffer, 1 to 2^32 bytes. Check it against what you are ready to map: a peer may claim 4 GiB. */
  readonly byteLength: number
}

const locate = Effect.fnUntraced(function*({ byteLength: length, directory, peer: id }: Location) {
  const peer = yield* word("map", "peer", DomainId.DomainId, DomainId.expected, id)
  const byteLength = yield* word("map", "byteLength", Page.ByteLength, Page.lengthExpected, length)
  const first = yield* word("map", "directory", GrantRef.GrantRef, GrantRef.expected, directory)
  const pages = Page.countFor(byteLength)
  return { peer, first, byteLength, pages, directoryPages: PageDirectory.pagesFor(pages) }
})

type Located = Effect.Success<ReturnType<typeof locate>>

const decode = Schema.decodeSync(PageDirectory.FromBytes)

/** Visits the pages of a peer's directory in order; `visit` decides how long each stays mapped. */
const chain = Effect.fnUntraced(function*<E, R>(
  { directoryPages, first }: Located,
  visit: (ref: GrantRef.GrantRef) => Effect.Effect<PageDirectory.PageDirectory, E, R>
) {
  const links = [first]
  const parts: Array<PageDirectory.PageDirectory> = []
  for (let ref: GrantRef.GrantRef | undefined = first; ref !== undefined;) {
    const page: PageDirectory.PageDirectory = yield* visit(ref)
    parts.push(page)
    ref = yield* Effect.fromResult(PageDirectory.follow(links, PageDirectory.next(page, 0), directoryPages))
    if (ref !== undefined) links.push(ref)
  }
  return { links, directory: PageDirectory.concat(parts) }
})

/** Copies one page of a peer's directory: mapped read-only, and only for the copy. */
const readPage = (table: GrantTable["Service"], domain: number) => (ref: GrantRef.GrantRef) =>
  table.map({ domain, refs: [ref], access: "read-only" }).pipe(
    Effect.map(({ bytes }) => decode(bytes)),
    Effect.scoped
  )

/**
 * Maps the buffer behind a frontend's directory as one region, all or nothing.
 *
 * The directory itself is mapped read-only, a page at a time, and let go before the buffer is mapped. `access` is
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
> = Effect.fn("PeerBuffer.map")(function*(options) {
  const at = yield* locate(options)
  const table = yield* GrantTable
  const { directory, links } = yield* chain(at, readPage(table, at.peer))
  const refs = yield* Effect.fromResult(PageDirectory.check(links, PageDirectory.slots(directory, at.pages)))
  const mapped = yield* table.map({ domain: at.peer, refs, access: options.access })
  return {
    peer: mapped.domain,
    access: mapped.access,
    pages: at.pages,
    bytes: mapped.bytes.subarray(0, at.byteLength)
  }
})

/**
 * Allocates a zeroed buffer, shares it with the frontend, and fills the frontend's directory with its references.
 *
 * The whole chain is checked before the first reference is written; unused places become 0. Answer the frontend's
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
> = Effect.fn("PeerBuffer.provide")(function*(options) {
  const at = yield* locate(options)
  const table = yield* GrantTable
  return yield* atomic(Effect.gen(function*() {
    const shared = yield* table.share({ peer: at.peer, pages: at.pages, access: options.access })
    yield* fill(table, at, shared.refs).pipe(Effect.scoped)
    return { peer: shared.peer, pages: at.pages, bytes: shared.bytes.subarray(0, at.byteLength) }
  }))
})

/** Writes `refs` into the peer's directory, whose pages stay mapped from the check of the chain until then. */
const fill = Effect.fnUntraced(function*(table: GrantTable["Service"], at: Located, refs: Uint32Array<ArrayBuffer>) {
  const targets: Array<Uint8Array> = []
  const { links } = yield* chain(at, (ref) =>
    Effect.map(table.map({ domain: at.peer, refs: [ref] }), ({ bytes }) => {
      targets.push(bytes)
      return decode(bytes)
    }))
  const filled = yield* Effect.orDie(Effect.fromResult(PageDirectory.fromRefs(links, refs)))
  const encoded = Schema.encodeSync(PageDirectory.FromBytes)(filled)
  for (const [page, target] of targets.entries()) {
    // The links are the peer's: only the references are ours to write.
    target.set(encoded.subarray(page * Page.size + 4, (page + 1) * Page.size), 4)
  }
})

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
) => Effect.Effect<Walk, GrantTableError, GrantTable> = Effect.fn("PeerBuffer.walk")(function*(options) {
  const at = yield* locate(options)
  const table = yield* GrantTable
  const read: Array<Walk["directory"][number]> = []
  const problem = yield* Effect.gen(function*() {
    const { directory, links } = yield* chain(at, (ref) =>
      Effect.tap(readPage(table, at.peer)(ref), (page) => Effect.sync(() => read.push({ ref, page }))))
    const refs = yield* Effect.fromResult(PageDirectory.check(links, PageDirectory.slots(directory, at.pages)))
    yield* Effect.scoped(table.map({ domain: at.peer, refs, access: "read-only" }))
    return undefined
  }).pipe(
    Effect.catchTag("DirectoryError", Effect.succeed),
    Effect.catchIf((error) => error.reason._tag === "GrantRefused", Effect.succeed)
  )
  return { pages: at.pages, directory: read, problem }
})
