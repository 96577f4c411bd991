/**
 * What must hold of peers' buffers on every grant table: the backend's half, against frontends that can't be trusted.
 *
 * @since 0.1.0
 */

import * as Chain from "@xen-shbuf/core/Chain"
import * as DirectoryError from "@xen-shbuf/core/DirectoryError"
import type { Access } from "@xen-shbuf/core/Access"
import * as Page from "@xen-shbuf/core/Page"
import * as PageDirectory from "@xen-shbuf/core/PageDirectory"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Domains from "./Domains.ts"
import * as Faults from "./Faults.ts"
import * as Generators from "./Generators.ts"
import {
  alloc,
  allocByBackend,
  allZero,
  between,
  bufferRoom,
  ended,
  following,
  madeUp,
  map,
  notNumbers,
  openDirectory,
  provide,
  room,
  sameBytes,
  sameReason,
  separately,
  travels,
  wordsOf
} from "./internal/laws.ts"
import * as Law from "./Law.ts"

const law = Law.inSuite("PeerBuffer")

/** A directory that the frontend writes as it likes, shared without the help of the library. */
const shareDirectory = Effect.fnUntraced(function*(refs: number, access?: Access) {
  const { backend, frontend } = yield* Domains.Domains
  const { bytes, refs: links } = yield* frontend.table.share({
    peer: backend.id,
    pages: Chain.pagesFor(refs),
    access
  })
  return { bytes, links, first: links[0]! }
})

/** Pages of the frontend for a directory to list. */
const sharePages = Effect.fnUntraced(function*(pages: number, access?: Access) {
  const { backend, frontend } = yield* Domains.Domains
  return yield* frontend.table.share({ peer: backend.id, pages, access })
})

const walk = Effect.fnUntraced(function*(directory: number, byteLength: number) {
  const { backend, frontend } = yield* Domains.Domains
  return yield* PeerBuffer.walk({ peer: frontend.id, directory, byteLength }).pipe(Domains.runIn(backend))
})

/** Runs what the backend does, with an action of the peer whenever the backend has mapped or read something. */
const meanwhile = (action: (refs: ArrayLike<number>) => Effect.Effect<void, never, Scope.Scope>) =>
<A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Domains.Domains, (domains) => {
    const { table } = domains.backend
    const map: typeof table.map = (options) => Effect.tap(table.map(options), () => action(options.refs))
    const read: typeof table.read = (grant, into) =>
      Effect.scoped(Effect.tap(table.read(grant, into), () => action([grant.ref])))
    const backend = Domains.withTable(domains.backend, { ...table, map, read })
    return Effect.provideService(program, Domains.Domains, { ...domains, backend })
  })

/** Fails unless a walk ends with this problem. */
const walkFinds = Effect.fnUntraced(function*(directory: number, byteLength: number, reason: DirectoryError.Reason) {
  const { problem } = yield* walk(directory, byteLength)
  if (problem?._tag !== "DirectoryError") return yield* Law.holds(false, `a walk finds ${problem ?? "nothing wrong"}`)
  yield* sameReason(problem.reason, reason)
})

const descriptions: { readonly [kind in Generators.Damage["_tag"]]: string } = {
  EndsEarly: "a directory that ends early",
  GoesOn: "a directory that goes on after its last page",
  Cycle: "a directory that leads back to an earlier page",
  BadLink: "a directory with a link that can't be a reference",
  BadRef: "a directory with a word that can't be a reference",
  Repeated: "a directory that lists a page twice",
  OwnPage: "a directory that lists a page of its own"
}

/** Whether the frontend has room for the directory of so many pages. */
const hasRoom = (pages: number) =>
  Effect.gen(function*() {
    const { frontend } = yield* Domains.Domains
    return Chain.pagesFor(pages) <= (yield* room(frontend))
  })

const damagedDirectoriesAreRefused = [...Generators.kinds.links, ...Generators.kinds.refs].map((kind) =>
  law(`${descriptions[kind]} is refused for that reason, and nothing of it is mapped`, function*() {
    yield* Law.forAll(Generators.hostile([kind]), Effect.fnUntraced(function*({ damage, pages }) {
      if (!(yield* hasRoom(pages))) return
      const { bytes, first, links } = yield* shareDirectory(pages)
      const hostile = Generators.damaged({ links, refs: following(links, pages) }, damage)
      bytes.set(hostile.bytes)
      const byteLength = pages * Page.size
      yield* sameReason(yield* Law.refused(hostile.reason._tag, map(first, byteLength)), hostile.reason)
      yield* walkFinds(first, byteLength, hostile.reason)
      yield* sameBytes("the directory", bytes, hostile.bytes)
    }))
  })
)

const nothingIsProvidedIntoABrokenChain = law(
  "nothing is provided into a broken chain, and its places stay as they are",
  function*() {
    const { backend } = yield* Domains.Domains
    const maximum = yield* bufferRoom(backend)
    yield* Law.forAll(Generators.hostile(Generators.kinds.links), Effect.fnUntraced(function*({ damage, pages }) {
      if (pages > maximum) return
      const { bytes, first, links } = yield* shareDirectory(pages)
      const hostile = Generators.damaged({ links, refs: madeUp(pages) }, damage)
      bytes.set(hostile.bytes)
      yield* sameReason(yield* Law.refused(hostile.reason._tag, provide(first, pages * Page.size)), hostile.reason)
      yield* sameBytes("the directory", bytes, hostile.bytes)
    }))
  }
)

const ungrantedPageIsNamed = law(
  "a page that is not granted is named by its place in the buffer, and nothing is mapped",
  function*() {
    const all = yield* Domains.Domains
    const inputs = Arbitrary.all({
      pages: between(1, 8),
      at: between(0, 7),
      kind: Arbitrary.schema(Schema.Literals(["never granted", "granted to another", "granted read-only"]))
    })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ at, kind, pages }) {
      const { bytes, first, links } = yield* shareDirectory(pages)
      const good = yield* sharePages(pages)
      const bad = {
        "never granted": Effect.succeed(madeUp(1)),
        "granted to another": Effect.map(
          all.frontend.table.share({ peer: Domains.stranger(all), pages: 1 }),
          ({ refs }) => refs
        ),
        "granted read-only": Effect.map(sharePages(1, "read-only"), ({ refs }) => refs)
      }[kind]
      const index = at % pages
      const refs = good.refs.slice()
      refs[index] = (yield* bad)[0]!
      bytes.set(Generators.layOut({ links, refs }))
      const byteLength = pages * Page.size
      const reason = yield* Law.refused("GrantRefused", map(first, byteLength))
      yield* Law.equal("the index", reason.index, index)
      yield* Law.equal<object>("the grant", reason.grant, { peer: all.frontend.id, ref: refs[index] })
      if (kind === "granted read-only") {
        yield* map(first, byteLength, "read-only")
      } else {
        const { problem } = yield* walk(first, byteLength)
        yield* Law.equal("the problem that a walk finds", problem?.reason._tag, "GrantRefused")
      }
    }))
  }
)

const ungrantedDirectoryPageIsNamed = law("a directory page that is not granted is named", function*() {
  const { frontend } = yield* Domains.Domains
  const pages = Chain.refsPerPage + 1
  const { bytes, first, links } = yield* shareDirectory(pages)
  const second = 0x7fff_0000
  bytes.set(Generators.layOut({ links: Uint32Array.of(links[0]!, second), refs: madeUp(pages) }))
  for (const attempt of [map(first, pages * Page.size), map(second, 1), provide(second, 1)]) {
    const reason = yield* Law.refused("GrantRefused", attempt)
    yield* Law.equal<object>("the grant", reason.grant, { peer: frontend.id, ref: second })
  }
})

const wrongSizeIsRefused = law(
  "a size that does not fit the directory is refused, a smaller one that does maps the beginning",
  function*() {
    const { frontend } = yield* Domains.Domains
    const maximum = yield* bufferRoom(frontend)
    const inputs = Arbitrary.all({ actual: Generators.pageCount({ maximum }), claimed: Generators.pageCount() })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ actual, claimed }) {
      const { bytes, directory } = yield* alloc(actual * Page.size)
      const mapped = map(directory, claimed * Page.size)
      const has = Chain.pagesFor(actual)
      const expected = Chain.pagesFor(claimed)
      if (has < expected) {
        const reason = new DirectoryError.TooShort({ pages: has, expected })
        yield* sameReason(yield* Law.refused("TooShort", mapped), reason)
      } else if (has > expected) {
        const { links } = yield* openDirectory(directory)
        const reason = new DirectoryError.TooLong({ expected, next: links[expected]! })
        yield* sameReason(yield* Law.refused("TooLong", mapped), reason)
      } else if (actual < claimed) {
        const reason = new DirectoryError.InvalidRef({ page: expected - 1, index: actual, word: 0 })
        yield* sameReason(yield* Law.refused("InvalidRef", mapped), reason)
      } else {
        yield* travels("the beginning", bytes.subarray(0, claimed * Page.size), (yield* mapped).bytes, 1)
      }
    }))
    const { directory } = yield* alloc(1)
    yield* Law.refused("TooShort", map(directory, 2 ** 32))
  }
)

const wordsAfterTheLastDontCount = law("words after the last reference are not looked at", function*() {
  const inputs = Arbitrary.all({ pages: between(1, 8), seed: Generators.seed })
  yield* Law.forAll(inputs, Effect.fnUntraced(function*({ pages, seed }) {
    const { bytes, first, links } = yield* shareDirectory(pages)
    const buffer = yield* sharePages(pages)
    bytes.set(Generators.bytes(seed, Page.size))
    bytes.set(Generators.layOut({ links, refs: buffer.refs }).subarray(0, 4 + 4 * pages))
    const mapped = yield* map(first, pages * Page.size)
    yield* travels("the buffer", buffer.bytes, mapped.bytes, seed)
  }))
})

const rewrittenDirectoryChangesNothing = law(
  "a directory that is rewritten later changes nothing that is mapped",
  function*() {
    const inputs = Arbitrary.all({ pages: between(1, 8), seed: Generators.seed })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ pages, seed }) {
      const { bytes, first, links } = yield* shareDirectory(pages)
      const buffer = yield* sharePages(pages)
      bytes.set(Generators.layOut({ links, refs: buffer.refs }))
      const mapped = yield* separately(map(first, pages * Page.size))
      bytes.set(Generators.bytes(seed, Page.size))
      yield* travels("the buffer", buffer.bytes, mapped.bytes, seed)
      yield* mapped.end
      yield* ended("it is unmapped", mapped.bytes)
    }))
  }
)

const directoryIsReadOnce = law(
  "each directory page is read once: a peer that rewrites it meanwhile changes nothing",
  function*() {
    const { frontend } = yield* Domains.Domains
    const maximum = yield* bufferRoom(frontend)
    const inputs = Arbitrary.all({ pages: Generators.pageCount({ maximum }), seed: Generators.seed })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ pages, seed }) {
      const { bytes, first, links } = yield* shareDirectory(pages)
      const buffer = yield* sharePages(pages)
      bytes.set(Generators.layOut({ links, refs: buffer.refs }))
      // The peer acts as soon as the backend has read a directory page.
      const rewrite = (ref: number) => {
        const page = links.indexOf(ref)
        if (page >= 0) bytes.set(Generators.bytes(seed, Page.size), page * Page.size)
      }
      const mapped = yield* map(first, pages * Page.size).pipe(meanwhile((refs) =>
        Effect.addFinalizer(() => Effect.sync(() => rewrite(refs[0]!)))
      ))
      yield* sameBytes("the first directory page", bytes.subarray(0, Page.size), Generators.bytes(seed, Page.size))
      yield* travels("the buffer", buffer.bytes, mapped.bytes, seed)
    }))
  }
)

const directoryIsLetGo = law("a directory is let go as soon as it is read or filled in", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const buffer = yield* sharePages(3)
  for (const use of [map, provide, walk]) {
    const { bytes, end, first, links } = yield* separately(shareDirectory(3))
    bytes.set(Generators.layOut({ links, refs: buffer.refs }))
    yield* use(first, 3 * Page.size)
    yield* end
    // A page that is still mapped could be mapped again.
    const again = backend.table.map({ peer: frontend.id, refs: [first], access: "read-only" })
    yield* Law.refused("GrantRefused", again)
  }
})

const providedStandsInTheDirectory = law(
  "what is provided stands in the directory, after it 0, and its links are left alone",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const maximum = yield* bufferRoom(backend)
    const inputs = Arbitrary.all({ byteLength: Generators.byteLength({ maximum }), seed: Generators.seed })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ byteLength, seed }) {
      const pages = Page.countFor(byteLength)
      const { bytes, first, links } = yield* shareDirectory(pages)
      bytes.set(Generators.bytes(seed, bytes.length))
      const chain = SharedMemory.viewAs(bytes, Uint32Array)
      for (const page of links.keys()) chain[page * Page.size / 4] = links[page + 1] ?? 0
      const theirs = yield* provide(first, byteLength)
      yield* Law.equal("the size", theirs.bytes.length, byteLength)
      yield* allZero("a new buffer", theirs.bytes)
      const words = wordsOf(Array.from(links, (_, page) => bytes.subarray(page * Page.size, (page + 1) * Page.size)))
      const refs = words.slice(0, pages)
      yield* sameBytes("the directory", bytes, Generators.layOut({ links, refs }))
      const mapped = yield* frontend.table.map({ peer: backend.id, refs })
      yield* travels("the provided buffer", theirs.bytes, mapped.bytes.subarray(0, byteLength), seed)
    }))
  }
)

const rewrittenLinkIsThePeers = law(
  "a link that the peer rewrites meanwhile is the peer's, whatever is provided",
  function*() {
    const { backend } = yield* Domains.Domains
    const pages = Chain.refsPerPage + 1
    if (pages > (yield* bufferRoom(backend))) return
    const { bytes, first, links } = yield* shareDirectory(pages)
    bytes.set(Generators.layOut({ links, refs: new Uint32Array(0) }))
    const link = Uint8Array.of(1, 2, 3, 4)
    yield* provide(first, pages * Page.size).pipe(meanwhile((refs) =>
      // The first page was read by now.
      Effect.sync(() => {
        if (refs[0] === links[1]) bytes.set(link)
      })
    ))
    yield* sameBytes("the link of the first page", bytes.subarray(0, 4), link)
  }
)

const providedReadOnlyIsOnlyRead = law("what is provided read-only can only be read", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const { bytes, first } = yield* shareDirectory(1)
  const theirs = yield* provide(first, Page.size, "read-only")
  const refs = wordsOf([bytes]).slice(0, 1)
  yield* Law.refused("GrantRefused", frontend.table.map({ peer: backend.id, refs }))
  const mapped = yield* frontend.table.map({ peer: backend.id, refs, access: "read-only" })
  yield* travels("the provided buffer", theirs.bytes, mapped.bytes, 1)
})

const nothingIsProvidedIntoReadOnly = law("nothing is provided into a directory that can only be read", function*() {
  const { frontend } = yield* Domains.Domains
  const { bytes, first } = yield* shareDirectory(1, "read-only")
  const reason = yield* Law.refused("GrantRefused", provide(first, 1))
  yield* Law.equal<object>("the grant", reason.grant, { peer: frontend.id, ref: first })
  yield* allZero("the directory", bytes)
})

const noRoomIsNotProvided = law("a buffer that the backend's limit has no room for is not provided", function*() {
  const { backend } = yield* Domains.Domains
  const limit = yield* room(backend)
  if (limit >= Page.maxCount) return
  const { bytes, first, links } = yield* shareDirectory(limit + 1)
  const empty = Generators.layOut({ links, refs: new Uint32Array(0) })
  bytes.set(empty)
  const reason = yield* Law.refused("OutOfGrants", provide(first, (limit + 1) * Page.size))
  yield* Law.equal("the pages asked for", reason.requested, limit + 1)
  yield* sameBytes("the directory", bytes, empty)
})

const foundOnlyWithItsOwnDomain = law("a buffer is found only with its own domain", function*() {
  const all = yield* Domains.Domains
  const { directory } = yield* alloc(1)
  const peer = Domains.stranger(all)
  for (const find of [PeerBuffer.map, PeerBuffer.allocForFrontend]) {
    const found = Law.refused("GrantRefused", find({ peer, directory, byteLength: 1 }))
    const reason = yield* found.pipe(Domains.runIn(all.backend))
    yield* Law.equal<object>("the grant", reason.grant, { peer, ref: directory })
  }
})

const walkShowsTheDirectory = law(
  "a walk shows the directory as it is, and no problem where there is none",
  function*() {
    const { frontend } = yield* Domains.Domains
    const lengths = Generators.byteLength({ maximum: yield* bufferRoom(frontend) })
    yield* Law.forAll(lengths, Effect.fnUntraced(function*(byteLength) {
      const { directory, pages } = yield* alloc(byteLength)
      const opened = yield* openDirectory(directory)
      const seen = yield* walk(directory, byteLength)
      yield* Law.equal("the problem", seen.problem?.message, undefined)
      yield* Law.equal("the pages", seen.pages, pages)
      yield* Law.equal("the links", seen.directory.map(({ ref }): number => ref), Array.from(opened.links))
      const words = seen.directory.map(({ page }) => PageDirectory.slots(page, Chain.refsPerPage))
      yield* Law.equal("the words", words.flatMap((refs) => Array.from(refs)), Array.from(wordsOf(opened.pages)))
    }))
  }
)

const mappedBufferStays = law("who has a buffer mapped keeps it when the frontend lets go", function*() {
  yield* Law.forAll(Generators.byteLength({ maximum: 8 }), Effect.fnUntraced(function*(byteLength) {
    const buffer = yield* separately(alloc(byteLength))
    const mapped = yield* map(buffer.directory, byteLength)
    const contents = Generators.bytes(byteLength, byteLength)
    buffer.bytes.set(contents)
    yield* buffer.end
    yield* ended("the frontend has let go", buffer.bytes)
    yield* sameBytes("the mapping", mapped.bytes, contents)
  }))
})

const walkFailsForOtherReasons = law(
  "a walk tells what Xen refuses, and fails for every other reason that a grant table has",
  function*() {
    const domains = yield* Domains.Domains
    const { directory } = yield* alloc(Page.size)
    for (const [i, operation] of (["read", "map"] as const).entries()) {
      for (const reason of Faults.reasons[operation]) {
        const { table } = Faults.make(domains.backend.table, [Faults.failAt(i + 1, reason)])
        const backend = Domains.withTable(domains.backend, table)
        const walked = yield* walk(directory, Page.size).pipe(
          Effect.provideService(Domains.Domains, { ...domains, backend }),
          Effect.match({
            onSuccess: ({ problem }) => ({ told: problem?.reason }),
            onFailure: ({ reason }) => ({ failed: reason })
          })
        )
        const expected = reason._tag === "GrantRefused" ? { told: reason } : { failed: reason }
        yield* Law.equal<object>(`what a walk gives when ${operation} is refused with ${reason._tag}`, walked, expected)
      }
    }
  }
)

const wrongArgumentsAreRefused = law("an argument outside of its bounds is refused, and nothing is held", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const { directory } = yield* alloc(1)
  const sound = { peer: frontend.id, directory, byteLength: 1 }
  const cases: ReadonlyArray<readonly [string, PeerBuffer.Location & PeerBuffer.Policy]> = [
    ...[...notNumbers, 2 ** 32 + 1].map((byteLength) => ["byteLength", { ...sound, byteLength }] as const),
    ...[...notNumbers, 0, 2 ** 32 + 1].map((maxByteLength) => ["maxByteLength", { ...sound, maxByteLength }] as const),
    ...[...notNumbers, 2 ** 32].map((directory) => ["directory", { ...sound, directory }] as const),
    ...[...notNumbers, 0x7ff0, 0xffff].map((peer) => ["peer", { ...sound, peer }] as const)
  ]
  for (const [argument, location] of cases) {
    for (const operation of [PeerBuffer.map, PeerBuffer.allocForFrontend, PeerBuffer.walk]) {
      const reason = yield* Law.refused("InvalidInput", operation(location)).pipe(Domains.runIn(backend))
      yield* Law.equal("the argument", reason.argument, argument)
    }
  }
})

const beyondTheLimitIsRefused = law(
  "a size beyond the caller's own limit is refused before anything is mapped or shared",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    // Nothing is granted there: whoever looks is told so.
    const at = { peer: frontend.id, directory: madeUp(1)[0]! }
    const limits = [{ maxByteLength: Page.size }, { maxByteLength: 1 }, {}]
    for (const operation of [PeerBuffer.map, PeerBuffer.allocForFrontend, PeerBuffer.walk]) {
      for (const limit of limits) {
        const maximum = limit.maxByteLength ?? PeerBuffer.defaultMaxByteLength
        for (const byteLength of [0, maximum + 1, 2 ** 32]) {
          const claimed = operation({ ...at, ...limit, byteLength })
          const reason = yield* Law.refused("WrongSize", claimed).pipe(Domains.runIn(backend))
          yield* sameReason(reason, new DirectoryError.WrongSize({ byteLength, maximum }))
        }
      }
      // Nor does a claim of a reference that can't be.
      for (const word of [0, 7, 0xffff_ffff]) {
        const claimed = operation({ ...at, directory: word, byteLength: 1 })
        const reason = yield* Law.refused("InvalidLink", claimed).pipe(Domains.runIn(backend))
        yield* sameReason(reason, new DirectoryError.InvalidLink({ to: 0, word }))
      }
    }
    for (const operation of [PeerBuffer.map, PeerBuffer.allocForFrontend]) {
      const biggest = operation({ ...at, byteLength: Page.size, maxByteLength: Page.size })
      yield* Law.refused("GrantRefused", biggest).pipe(Domains.runIn(backend))
    }
  }
)

const interruptedMappingLeavesNothing = law("an interruption at any point of mapping leaves nothing", function*() {
  const { directory } = yield* alloc(3 * Page.size)
  yield* Law.interrupted(map(directory, 3 * Page.size))
})

const interruptedProvidingLeavesNothing = law("an interruption at any point of providing leaves nothing", function*() {
  const { directory } = yield* allocByBackend(3 * Page.size)
  yield* Law.interrupted(provide(directory, 3 * Page.size))
})

/**
 * The laws of peers' buffers.
 *
 * @category laws
 * @since 0.1.0
 */
export const laws: ReadonlyArray<Law.Law> = [
  ...damagedDirectoriesAreRefused,
  nothingIsProvidedIntoABrokenChain,
  ungrantedPageIsNamed,
  ungrantedDirectoryPageIsNamed,
  wrongSizeIsRefused,
  wordsAfterTheLastDontCount,
  rewrittenDirectoryChangesNothing,
  directoryIsReadOnce,
  directoryIsLetGo,
  providedStandsInTheDirectory,
  rewrittenLinkIsThePeers,
  providedReadOnlyIsOnlyRead,
  nothingIsProvidedIntoReadOnly,
  noRoomIsNotProvided,
  foundOnlyWithItsOwnDomain,
  walkShowsTheDirectory,
  mappedBufferStays,
  walkFailsForOtherReasons,
  wrongArgumentsAreRefused,
  beyondTheLimitIsRefused,
  interruptedMappingLeavesNothing,
  interruptedProvidingLeavesNothing
]
