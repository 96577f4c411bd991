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

const locate = Effect.fnUntraced(function*(
  { byteLength: length, directory, maxByteLength = defaultMaxByteLength, peer: id }: Location
) {
  const maximum = yield* Input.byteLength("map", "maxByteLength", maxByteLength)
  const peer = yield* Input.domainId("map", "peer", id)
  const byteLength = yield* Input.byteLength("map", "byteLength", length)
  if (byteLength > maximum) {
    return yield* Input.invalid("map", "byteLength", byteLength, `at most ${maximum} bytes, this caller's limit (maxByteLength)`)
  }
  const first = yield* Input.grantRef("map", "directory", directory)
  const pages = Page.countFor(byteLength)
  return { peer, first, byteLength, pages, directoryPages: PageDirectory.pagesFor(pages) }
})

type Located = Effect.Success<ReturnType<typeof locate>>

const decode = Schema.decodeSync(PageDirectory.FromBytes)

/** Visits the pages of a peer's directory in order; `visit` gives what it has copied of one. */
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
  return { links, parts }
})

/** Copies one page of a peer's directory. */
const readPage = (table: GrantTable["Service"], domain: number) => (ref: GrantRef.GrantRef) => {
  const bytes = new Uint8Array(Page.size)
  return Effect.map(table.read({ domain, ref }, bytes), () => PageDirectory.fromBytesUnsafe(bytes))
}

/** The references of the buffer, checked together with those of its directory. */
const refsOf = (
  { pages }: Located,
  { links, parts }: { readonly links: ReadonlyArray<number>; readonly parts: ReadonlyArray<PageDirectory.PageDirectory> }
) => Effect.fromResult(PageDirectory.check(links, PageDirectory.slots(PageDirectory.concat(parts), pages)))

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
> = Effect.fnUntraced(function*(options) {
  const at = yield* locate(options)
  const table = yield* GrantTable
  const refs = yield* refsOf(at, yield* chain(at, readPage(table, at.peer)))
  const mapped = yield* table.map({ domain: at.peer, refs, access: options.access })
  return {
    peer: mapped.domain,
    access: mapped.access,
    pages: at.pages,
    bytes: mapped.bytes.subarray(0, at.byteLength),
    unmapNotify: notifyIn(mapped.unmapNotify, 0, at.byteLength)
  }
}, operation("PeerBuffer.map"))

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
> = Effect.fnUntraced(function*(options) {
  const at = yield* locate(options)
  const table = yield* GrantTable
  return yield* atomic((scope) =>
    // The directory's pages stay mapped from the check of the chain until they are filled in; the buffer stays on.
    Effect.scoped(Effect.gen(function*() {
      const { links, targets } = yield* open(table, at)
      const shared = yield* Scope.provide(
        table.share({ peer: at.peer, pages: at.pages, access: options.access }),
        scope
      )
      yield* fill(links, targets, shared.refs)
      return {
        peer: shared.peer,
        pages: at.pages,
        bytes: shared.bytes.subarray(0, at.byteLength),
        unmapNotify: notifyIn(shared.unmapNotify, 0, at.byteLength),
        end: ending(scope)
      }
    })))
}, operation("PeerBuffer.provide"))

/** Maps the pages of a peer's directory for writing, and checks its chain. */
const open = Effect.fnUntraced(function*(table: GrantTable["Service"], at: Located) {
  const targets: Array<Uint8Array> = []
  const { links } = yield* chain(at, (ref) =>
    Effect.map(table.map({ domain: at.peer, refs: [ref] }), ({ bytes }) => {
      targets.push(bytes)
      return decode(bytes)
    }))
  return { links, targets }
})

/** Writes `refs` into the pages of a directory; the links between them are the peer's, and stay as they are. */
const fill = Effect.fnUntraced(function*(
  links: ReadonlyArray<number>,
  targets: ReadonlyArray<Uint8Array>,
  refs: Uint32Array<ArrayBuffer>
) {
  const filled = yield* Effect.orDie(Effect.fromResult(PageDirectory.fromRefs(links, refs)))
  for (const [page, target] of targets.entries()) {
    PageDirectory.copyTo(filled, target.subarray(4), page * Page.size + 4, (page + 1) * Page.size)
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
) => Effect.Effect<Walk, GrantTableError, GrantTable> = Effect.fnUntraced(function*(options) {
  const at = yield* locate(options)
  const table = yield* GrantTable
  const directory: Array<Walk["directory"][number]> = []
  const problem = yield* Effect.gen(function*() {
    const visited = yield* chain(at, (ref) =>
      Effect.tap(readPage(table, at.peer)(ref), (page) => Effect.sync(() => directory.push({ ref, page }))))
    const refs = yield* refsOf(at, visited)
    yield* Effect.scoped(table.map({ domain: at.peer, refs, access: "read-only" }))
    return undefined
  }).pipe(
    Effect.catchTag("DirectoryError", Effect.succeed),
    Effect.catchIf((error) => error.reason._tag === "GrantRefused", Effect.succeed)
  )
  return { pages: at.pages, directory, problem }
}, operation("PeerBuffer.walk"))
