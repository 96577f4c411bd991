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
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { Access } from "./Access.ts"
import * as CallSite from "./CallSite.ts"
import * as Chain from "./Chain.ts"
import * as DirectoryError from "./DirectoryError.ts"
import type * as DomainId from "./DomainId.ts"
import type { EndByConsent } from "./Ending.ts"
import * as GrantRef from "./GrantRef.ts"
import { GrantTable, type UnmapNotify } from "./GrantTable.ts"
import { GrantTableError } from "./GrantTableError.ts"
import { mapBuffer, notifyWithin } from "./internal/buffer.ts"
import { endOf } from "./internal/consent.ts"
import * as Input from "./internal/input.ts"
import { traced } from "./internal/tracing.ts"
import * as Lifetime from "./Lifetime.ts"
import type { MappedBuffer } from "./MappedBuffer.ts"
import * as Page from "./Page.ts"
import * as PageDirectory from "./PageDirectory.ts"
import type * as SharedMemory from "./SharedMemory.ts"

/**
 * A buffer of ours whose references stand in a frontend's directory.
 *
 * @category models
 * @since 0.1.0
 */
export interface AllocatedBuffer {
  /** Who may map it: the frontend whose directory lists it. */
  readonly peer: DomainId.DomainId
  /** What the frontend may do with the buffer; we may always write. */
  readonly access: Access
  /** Size of the buffer in bytes, as asked for. */
  readonly byteLength: number
  /** Pages of the buffer, without its directory. */
  readonly pages: Page.PageCount
  /**
   * The buffer, zero at first, exactly the size asked for. The frontend sees every write at once, and may change what is
   * not read-only for it at any time, also while you look: copy it, then look at the copy.
   */
  readonly bytes: SharedMemory.Writable
  /** For a frontend that wants to know when we are gone; offsets are those of `bytes`. */
  readonly unmapNotify: UnmapNotify
  /** Ends it before its scope does, when the frontend consents. */
  readonly end: EndByConsent
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
  /** Size of the buffer in bytes: what the peer claims, a number of 32 bits. */
  readonly byteLength: number
}

/**
 * What the caller takes from any peer.
 *
 * @category models
 * @since 0.2.0
 */
export interface Policy {
  /** The largest size to accept, 1 to 2^32 bytes; {@link defaultMaxByteLength} unless said otherwise. */
  readonly maxByteLength?: number | undefined
}

/**
 * The largest buffer that is accepted from a peer unless `maxByteLength` says otherwise: 256 MiB, room for a frame of
 * 8192×8192 pixels. A bigger `byteLength` is `WrongSize` before anything is mapped or allocated.
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

const isWord = (value: number) => Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff

const wrong = (reason: DirectoryError.Reason) => Result.fail(new DirectoryError.DirectoryError({ reason }))

/** The size of a buffer. What fits the protocols' 32 bits is the peer's claim, all else our caller's mistake. */
const size = (byteLength: number, maximum: Page.ByteLength) => {
  const isClaim = isWord(byteLength) || byteLength === 2 ** 32
  return isClaim && (byteLength === 0 || byteLength > maximum)
    ? wrong(new DirectoryError.WrongSize({ byteLength, maximum }))
    : Input.byteLength("byteLength", byteLength)
}

/** The reference of the first directory page. What is a word is the peer's claim, all else our caller's mistake. */
const firstLink = (directory: number) =>
  isWord(directory) && !GrantRef.isGrantRef(directory)
    ? wrong(new DirectoryError.InvalidLink({ to: 0, word: directory }))
    : Input.grantRef("directory", directory)

const locate = ({ byteLength, directory, maxByteLength: maximum = defaultMaxByteLength, peer }: Location & Policy) =>
  Result.flatMap(Input.byteLength("maxByteLength", maximum), (maximum) =>
    Result.map(
      Result.all({
        peer: Input.domainId("peer", peer),
        byteLength: size(byteLength, maximum),
        first: firstLink(directory)
      }),
      ({ byteLength, first, peer }): Located => {
        const pages = Page.countFor(byteLength)
        return { peer, first, byteLength, pages, directoryPages: Chain.pagesFor(pages) }
      }
    ))

/** Checks where a buffer is, and does with it what there is to do. */
const located = <A, E, R>(
  operation: GrantTableError["operation"],
  location: Location & Policy,
  use: (table: GrantTable["Service"], at: Located) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | GrantTableError | DirectoryError.DirectoryError, GrantTable | R> =>
  traced(
    `PeerBuffer.${operation}`,
    {},
    Effect.flatMap(GrantTable, (table): Effect.Effect<A, E | GrantTableError | DirectoryError.DirectoryError, R> => {
      const at = locate(location)
      if (Result.isSuccess(at)) return use(table, at.success)
      const reason = at.failure
      return Effect.fail(reason._tag === "DirectoryError" ? reason : new GrantTableError({ operation, reason }))
    })
  )

/** Visits the pages of a peer's directory in order; `visit` gives the link that it has copied of one. */
const chain = Effect.fnUntraced(function*<E, R>(
  { directoryPages, first }: Located,
  visit: (ref: GrantRef.GrantRef, page: number) => Effect.Effect<number, E, R>
) {
  const links = [first]
  for (let page = 0; page < links.length; page++) {
    const word = yield* visit(links[page]!, page)
    const next = yield* Effect.fromResult(Chain.follow(links, word, directoryPages))
    if (next !== undefined) links.push(next)
  }
  return links
})

/** Copies the references of the buffer out of a peer's directory, page by page, and checks them together with its links. */
const readRefs = (table: GrantTable["Service"], at: Located) => {
  // Not all at once: a claim alone takes no memory.
  const copies: Array<Uint32Array<ArrayBuffer>> = []
  const links = chain(at, (ref, page) => {
    const words = Chain.room(page, at.pages)
    copies.push(words)
    return Effect.map(table.read({ peer: at.peer, ref }, new Uint8Array(words.buffer)), () => words[0]!)
  })
  return Effect.flatMap(links, (links) => Effect.fromResult(Chain.check(links, Chain.join(copies, at.pages))))
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
export const map: <A extends Access = "read-write">(
  options: Location & Policy & { readonly access?: A | undefined }
) => Effect.Effect<
  MappedBuffer<A>,
  GrantTableError | DirectoryError.DirectoryError,
  GrantTable | Scope.Scope
> = CallSite.named("PeerBuffer.map", (options) =>
  located("map", options, (table, at) =>
    Effect.flatMap(readRefs(table, at), (refs) => mapBuffer(table, at, refs, options.access))))

/**
 * Allocates a zeroed buffer, shares it with the frontend, and fills the frontend's directory with its references.
 *
 * The whole chain is checked before anything is allocated; unused places become 0. Answer the frontend's
 * request when this returns. `access` is what the frontend may do with the buffer, read-write by default.
 *
 * @category constructors
 * @since 0.1.0
 */
export const allocForFrontend: (
  options: Location & Policy & { readonly access?: Access | undefined }
) => Effect.Effect<
  AllocatedBuffer,
  GrantTableError | DirectoryError.DirectoryError,
  GrantTable | Scope.Scope
> = CallSite.named("PeerBuffer.allocForFrontend", (options) =>
  located("allocForFrontend", options, (table, at) =>
    Lifetime.allOrNothing((lifetime) =>
      // The directory's pages stay mapped from the check of the chain until they are filled in; the buffer stays on.
      Effect.scoped(Effect.flatMap(open(table, at), (targets) => {
        const sharing = table.share({ peer: at.peer, pages: at.pages, access: options.access })
        return Effect.flatMap(Scope.provide(sharing, lifetime.scope), (shared) => {
          const checked = Chain.check([], shared.refs)
          // Our own grant table gave out the references: it is a bug of ours, not of the caller, if they don't fit.
          if (Result.isFailure(checked)) return Effect.die(checked.failure)
          for (const [page, target] of targets.entries()) Chain.writeRefs(target, page, shared.refs)
          return Effect.succeed({
            peer: shared.peer,
            access: shared.access,
            byteLength: at.byteLength,
            pages: at.pages,
            bytes: shared.bytes.subarray(0, at.byteLength),
            unmapNotify: notifyWithin(shared.unmapNotify, at.byteLength),
            end: endOf(lifetime)
          })
        })
      }))
    )))

/** Maps the pages of a peer's directory for writing, and checks its chain; its links are the peer's, and stay. */
const open = (table: GrantTable["Service"], at: Located) => {
  const targets: Array<SharedMemory.Writable> = []
  const links = chain(at, (ref) =>
    Effect.map(table.map({ peer: at.peer, refs: [ref] }), ({ bytes }) => {
      targets.push(bytes)
      return Chain.link(bytes)
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
  /** Whose references stand in it: pages of the peer's, or of our own, which `allocForFrontend` has entered. */
  readonly filledBy: "peer" | "us"
  /** The directory's pages that could be read, in order, with their references. */
  readonly directory: ReadonlyArray<{
    /** The page's own reference. */
    readonly ref: GrantRef.GrantRef
    /** A copy of the page. */
    readonly page: PageDirectory.PageDirectory
  }>
  /** What keeps the buffer from being mapped; nothing if all is well. */
  readonly problem: DirectoryError.DirectoryError | GrantTableError | undefined
}

/**
 * Reads a frontend's directory as far as it goes and tells what is wrong with it, for people who look for a fault.
 * Each reference is tried: mapped read-only, and let go. One that we filled in ourselves, by `allocForFrontend`, lists
 * pages of our own, which only the frontend can map: with `filledBy: "us"` they are checked, and not tried. Fails as
 * `map` does for a location that can't be.
 *
 * @category debugging
 * @since 0.1.0
 */
export const walk: (
  options: Location & Policy & { readonly filledBy?: "peer" | "us" | undefined }
) => Effect.Effect<Walk, GrantTableError | DirectoryError.DirectoryError, GrantTable> = CallSite.named(
  "PeerBuffer.walk",
  (options) => located("walk", options, (table, at) => walkLocated(table, at, options.filledBy ?? "peer"))
)

const decodePage = Schema.decodeSync(PageDirectory.FromBytes)

const walkLocated = Effect.fnUntraced(function*(
  table: GrantTable["Service"],
  at: Located,
  filledBy: "peer" | "us"
) {
  const directory: Array<Walk["directory"][number]> = []
  const problem = yield* Effect.gen(function*() {
    const links = yield* chain(at, (ref) => {
      const bytes = new Uint8Array(Page.size)
      return Effect.map(table.read({ peer: at.peer, ref }, bytes), () => {
        const page = decodePage(bytes)
        directory.push({ ref, page })
        return PageDirectory.next(page, 0)
      })
    })
    const slots = PageDirectory.slots(PageDirectory.concat(directory.map(({ page }) => page)), at.pages)
    // References of ours, and links of the peer's, may be the same numbers.
    const refs = yield* Effect.fromResult(Chain.check(filledBy === "peer" ? links : [], slots))
    if (filledBy === "us") return undefined
    yield* Effect.scoped(table.map({ peer: at.peer, refs, access: "read-only" }))
    return undefined
  }).pipe(
    Effect.catchTag("DirectoryError", Effect.succeed),
    Effect.catchIf((error) => error.reason._tag === "GrantRefused", Effect.succeed)
  )
  return { pages: at.pages, filledBy, directory, problem }
})
