/**
 * What must hold of shared buffers on every grant table: the frontend's half, in both modes.
 *
 * @since 0.1.0
 */

import * as Chain from "@xen-shbuf/core/Chain"
import * as DirectoryError from "@xen-shbuf/core/DirectoryError"
import * as Ending from "@xen-shbuf/core/Ending"
import { isGrantRef } from "@xen-shbuf/core/GrantRef"
import * as Page from "@xen-shbuf/core/Page"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Domains from "./Domains.ts"
import * as Generators from "./Generators.ts"
import {
  alloc,
  allocByBackend,
  allZero,
  between,
  bufferRoom,
  ended,
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
  wordsOf,
  writePages
} from "./internal/laws.ts"
import * as Law from "./Law.ts"

const law = Law.inSuite("SharedBuffer")

/** The whole way of a buffer that the backend allocates. */
const provided = Effect.fnUntraced(function*(byteLength: number) {
  const buffer = yield* allocByBackend(byteLength)
  const theirs = yield* provide(buffer.directory, byteLength)
  return { buffer, theirs, ours: yield* buffer.map() }
})

const Mode = Schema.Literals(["alloc", "allocByBackend"])
const modes = Arbitrary.schema(Mode)

/** Acquires in a scope of its own, which is not the buffer's own end. */
const apart = <A, E, R>(acquire: Effect.Effect<A, E, R>) => separately(Effect.map(acquire, (buffer) => ({ buffer })))

/** A buffer in one of both modes: its owner's side and its peer's, each in a scope of its own. */
const twoSides = Effect.fnUntraced(function*(mode: typeof Mode.Type, byteLength: number) {
  if (mode === "alloc") {
    const owner = yield* apart(alloc(byteLength))
    return { owner, peer: yield* apart(map(owner.buffer.directory, byteLength)) }
  }
  const { directory, map: mapProvided } = yield* allocByBackend(byteLength)
  const owner = yield* apart(provide(directory, byteLength))
  return { owner, peer: yield* apart(mapProvided()) }
})

const bufferIsAsAskedFor = law(
  "a buffer is exactly as long as asked for, zero, and its directory lists its pages as documented",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const lengths = Generators.byteLength({ maximum: yield* bufferRoom(frontend) })
    yield* Law.forAll(lengths, Effect.fnUntraced(function*(byteLength) {
      const { bytes, directory, pages, peer } = yield* alloc(byteLength)
      yield* Law.equal("the peer", peer, backend.id)
      yield* Law.equal("the pages", pages, Page.countFor(byteLength))
      yield* Law.equal("the size", bytes.length, byteLength)
      yield* allZero("a new buffer", bytes)
      const opened = yield* openDirectory(directory)
      const words = wordsOf(opened.pages)
      const refs = words.slice(0, pages)
      yield* Law.equal("the directory's pages", opened.pages.length, Chain.pagesFor(pages))
      yield* Law.holds(refs.every(isGrantRef), "a word in the place of a reference can't be one")
      const all = [...opened.links, ...refs]
      yield* Law.equal("the number of different references", new Set(all).size, all.length)
      yield* Law.equal("words after the last reference", words.findLastIndex((word) => word !== 0), pages - 1)
      const mapped = yield* backend.table.map({ peer: frontend.id, refs })
      yield* travels("the pages that the directory lists", bytes, mapped.bytes.subarray(0, byteLength), 0)
    }))
  }
)

const bytesTravel = law("bytes travel both ways, for sizes around every boundary", function*() {
  const { frontend } = yield* Domains.Domains
  for (const byteLength of Generators.byteLengths({ maximum: yield* bufferRoom(frontend) })) {
    yield* Effect.scoped(Effect.gen(function*() {
      const buffer = yield* alloc(byteLength)
      const mapped = yield* map(buffer.directory, byteLength)
      yield* Law.equal("the pages", mapped.pages, buffer.pages)
      yield* Law.equal("the domain", mapped.peer, frontend.id)
      yield* Law.equal("the access", mapped.access, "read-write")
      yield* travels(`what the backend sees of ${byteLength} bytes`, buffer.bytes, mapped.bytes, 1)
      yield* travels(`what the frontend sees of ${byteLength} bytes`, mapped.bytes, buffer.bytes, 2)
    }))
  }
})

const bytesTravelWhereBackendAllocates = law(
  "bytes travel both ways in a buffer that the backend allocates, for sizes around every boundary",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    for (const byteLength of Generators.byteLengths({ maximum: yield* bufferRoom(backend) })) {
      yield* Effect.scoped(Effect.gen(function*() {
        const { buffer, ours, theirs } = yield* provided(byteLength)
        const pages = Page.countFor(byteLength)
        yield* Law.equal("the pages", [buffer.pages, theirs.pages, ours.pages], [pages, pages, pages])
        yield* Law.equal("the peers", [buffer.peer, theirs.peer, ours.peer], [backend.id, frontend.id, backend.id])
        yield* allZero("a new buffer", theirs.bytes)
        yield* travels(`what the backend sees of ${byteLength} bytes`, ours.bytes, theirs.bytes, 1)
        yield* travels(`what the frontend sees of ${byteLength} bytes`, theirs.bytes, ours.bytes, 2)
      }))
    }
  }
)

const readOnlyIsOnlyRead = law("a buffer shared read-only can be mapped for reading, never for writing", function*() {
  yield* Law.forAll(Generators.byteLength({ maximum: 16 }), Effect.fnUntraced(function*(byteLength) {
    const { bytes, directory } = yield* alloc(byteLength, "read-only")
    const reason = yield* Law.refused("GrantRefused", map(directory, byteLength))
    yield* Law.equal("the index", reason.index, 0)
    const mapped = yield* map(directory, byteLength, "read-only")
    yield* Law.equal("the access", mapped.access, "read-only")
    yield* travels("what the backend sees", bytes, mapped.bytes, 3)
  }))
})

const providedReadOnlyIsOnlyRead = law(
  "a buffer that the backend provides read-only can be mapped for reading, never for writing",
  function*() {
    yield* Law.forAll(Generators.byteLength({ maximum: 16 }), Effect.fnUntraced(function*(byteLength) {
      const buffer = yield* allocByBackend(byteLength)
      const { bytes } = yield* provide(buffer.directory, byteLength, "read-only")
      const reason = yield* Law.refused("GrantRefused", buffer.map())
      yield* Law.equal("the index", reason.index, 0)
      const mapped = yield* buffer.map({ access: "read-only" })
      yield* Law.equal("the access", mapped.access, "read-only")
      yield* travels("what the frontend sees", bytes, mapped.bytes, 4)
    }))
  }
)

const modesLiveSideBySide = law("buffers of both modes live side by side, and end in any order", function*() {
  const kind = Arbitrary.all({
    byteLength: Generators.byteLength({ maximum: 4 }),
    byBackend: Arbitrary.schema(Schema.Boolean)
  })
  const kinds = Arbitrary.array(kind, { minLength: 2, maxLength: 6 })
  const inputs = Arbitrary.all({ kinds, order: Generators.seed })
  yield* Law.forAll(inputs, Effect.fnUntraced(function*({ kinds, order }) {
    const live = new Set(yield* Effect.forEach(kinds, Effect.fnUntraced(function*({ byBackend, byteLength }, seed) {
      const both = Effect.gen(function*() {
        if (byBackend) {
          const { ours, theirs } = yield* provided(byteLength)
          return { one: ours.bytes, other: theirs.bytes }
        }
        const buffer = yield* alloc(byteLength)
        return { one: buffer.bytes, other: (yield* map(buffer.directory, byteLength)).bytes }
      })
      const { end, one, other } = yield* separately(both)
      const contents = Generators.bytes(seed, byteLength)
      one.set(contents)
      return { end, one, other, contents }
    })))
    for (const it of Generators.shuffled(order, [...live])) {
      yield* it.end
      live.delete(it)
      yield* ended("its scope has ended", it.one, it.other)
      for (const { contents, one, other } of live) {
        yield* sameBytes("this side of a buffer", one, contents)
        yield* sameBytes("the other side of a buffer", other, contents)
      }
    }
  }))
})

const providedCanBeMappedAgain = law(
  "what the backend provides can be mapped again and again, and each view ends by itself",
  function*() {
    yield* Law.forAll(Generators.byteLength({ maximum: 8 }), Effect.fnUntraced(function*(byteLength) {
      const { buffer, ours, theirs } = yield* provided(byteLength)
      for (let seed = 0; seed < 3; seed++) {
        const again = yield* separately(buffer.map())
        yield* travels("a repeated mapping", theirs.bytes, again.bytes, seed)
        yield* again.end
        yield* ended("a repeated mapping has ended", again.bytes)
        yield* sameBytes("the first mapping", ours.bytes, theirs.bytes)
      }
    }))
  }
)

const anotherCanBeProvided = law(
  "the backend can provide another buffer, into the same directory, after the end of the first",
  function*() {
    yield* Law.forAll(Generators.byteLength({ maximum: 8 }), Effect.fnUntraced(function*(byteLength) {
      const buffer = yield* allocByBackend(byteLength)
      for (let seed = 0; seed < 2; seed++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const theirs = yield* provide(buffer.directory, byteLength)
          const ours = yield* buffer.map()
          yield* travels("a buffer provided anew", theirs.bytes, ours.bytes, seed)
        }))
        const reason = yield* Law.refused("GrantRefused", buffer.map())
        yield* Law.equal("the index", reason.index, 0)
      }
    }))
  }
)

const unfilledIsRefused = law(
  "a directory that the backend has not filled in, or not all of it, is refused",
  function*() {
    const { frontend } = yield* Domains.Domains
    const inputs = Arbitrary.all({ byteLength: Generators.byteLength(), filled: between(0, 2046) })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ byteLength, filled }) {
      if (Chain.pagesFor(Page.countFor(byteLength)) > (yield* room(frontend))) return
      const buffer = yield* allocByBackend(byteLength)
      const { links, pages } = yield* openDirectory(buffer.directory)
      const index = filled % buffer.pages
      const refs = madeUp(index)
      writePages(pages, Generators.layOut({ links, refs }))
      const reason = yield* Law.refused("InvalidRef", buffer.map())
      yield* sameReason(
        reason,
        new DirectoryError.InvalidRef({ page: Math.floor(index / Chain.refsPerPage), index, word: 0 })
      )
    }))
  }
)

const hostileBackendIsRefused = law(
  "what a hostile backend fills in is refused for the reason that it gives",
  function*() {
    yield* Law.forAll(Generators.hostile(["BadRef", "Repeated"]), Effect.fnUntraced(function*({ damage, pages: count }) {
      const buffer = yield* allocByBackend(count * Page.size)
      const { links, pages } = yield* openDirectory(buffer.directory)
      const refs = madeUp(count)
      const { bytes, reason } = Generators.damaged({ links, refs }, damage)
      writePages(pages, bytes)
      yield* sameReason(yield* Law.refused(reason._tag, buffer.map()), reason)
    }))
  }
)

const domainsMayUseTheSameNumbers = law("references of two domains may be the same numbers", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const buffer = yield* allocByBackend(Page.size)
  const { pages } = yield* openDirectory(buffer.directory)
  // One domain alone can't give a number twice; two may or may not.
  for (let attempt = 0; attempt < 32 && frontend.id !== backend.id; attempt++) {
    const { bytes, refs } = yield* backend.table.share({ peer: frontend.id, pages: 1 })
    if (refs[0] !== buffer.directory) continue
    writePages(pages, Generators.layOut({ links: Uint32Array.of(buffer.directory), refs }))
    const mapped = yield* buffer.map()
    return yield* travels("a page with the number of the directory", bytes, mapped.bytes, attempt)
  }
})

const overwrittenLinksChangeNothing = law(
  "links that the backend overwrites change nothing for the frontend",
  function*() {
    yield* Law.forAll(Generators.seed, Effect.fnUntraced(function*(seed) {
      const byteLength = 3 * Page.size
      const { buffer, ours, theirs } = yield* provided(byteLength)
      const { pages } = yield* openDirectory(buffer.directory)
      pages[0]!.set(Generators.bytes(seed, 4))
      const again = yield* buffer.map()
      yield* travels("a mapping after that", theirs.bytes, again.bytes, seed)
      yield* sameBytes("the mapping from before", ours.bytes, theirs.bytes)
    }))
  }
)

const notificationsStayInside = law(
  "notifications count from the buffer's beginning and clear no byte outside of it, on both sides",
  function*() {
    const inputs = Arbitrary.all({
      mode: modes,
      byteLength: Generators.byteLength({ maximum: 8 }),
      at: Generators.seed,
      isOwners: Arbitrary.schema(Schema.Boolean)
    })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ at, byteLength, isOwners, mode }) {
      const { owner, peer } = yield* twoSides(mode, byteLength)
      const [armed, watcher] = isOwners ? [owner, peer] : [peer, owner]
      watcher.buffer.bytes.fill(0xff)
      for (const clearByte of [-1, byteLength]) {
        const reason = yield* Law.refused("InvalidInput", armed.buffer.unmapNotify({ clearByte }))
        yield* Law.equal("the argument and its value", [reason.argument, reason.value], ["clearByte", `${clearByte}`])
      }
      const expected = new Uint8Array(byteLength).fill(0xff)
      const clearByte = at % byteLength
      yield* armed.buffer.unmapNotify({ clearByte })
      yield* sameBytes("before the end", watcher.buffer.bytes, expected)
      yield* armed.end
      expected[clearByte] = 0
      yield* sameBytes("after the end", watcher.buffer.bytes, expected)
    }))
  }
)

const endsWithConsent = law("a buffer ends when its peer consents, before its scope does", function*() {
  for (const mode of Mode.literals) {
    const { owner: { buffer }, peer } = yield* twoSides(mode, Page.size + 1)
    buffer.bytes[Page.size] = 1
    yield* peer.buffer.unmapNotify({ clearByte: Page.size })
    const consent = Ending.byteCleared(buffer.bytes, Page.size, "1 millis")
    const end = buffer.end({ consent, within: "2 seconds", otherwise: "keep" })
    const ending = yield* Effect.forkChild(Effect.orDie(end), { startImmediately: true })
    yield* Law.equal("the size while the peer still maps it", buffer.bytes.length, Page.size + 1)
    yield* peer.end
    yield* Law.equal("the outcome", (yield* Fiber.join(ending))._tag, "Released")
    yield* ended("it is released", buffer.bytes)
  }
})

const directoryEndsWithConsent = law(
  "a directory for the backend ends when it consents, and what was mapped through it stays",
  function*() {
    const { buffer, ours, theirs } = yield* provided(3 * Page.size)
    const { _tag } = yield* buffer.end({ consent: Effect.void, within: "1 minute", otherwise: "keep" })
    yield* Law.equal("the outcome", _tag, "Released")
    yield* travels("what is mapped", theirs.bytes, ours.bytes, 5)
    yield* Law.refused("GrantRefused", openDirectory(buffer.directory))
    const exit = yield* Effect.exit(Effect.scoped(buffer.map()))
    yield* Law.holds(Exit.hasDies(exit), `a mapping through a directory that has ended gives ${exit}`)
  }
)

const keptOrAbandoned = law(
  "without consent in time a buffer is kept, any number of times, or abandoned to its peer",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const inputs = Arbitrary.all({ mode: modes, byteLength: Generators.byteLength({ maximum: 8 }) })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ byteLength, mode }) {
      const { owner: { buffer }, peer } = yield* twoSides(mode, byteLength)
      const end = (otherwise: "keep" | "abandon") =>
        Effect.map(buffer.end({ consent: Effect.never, within: 0, otherwise }), ({ _tag }) => _tag)
      for (const seed of [1, 2]) {
        yield* Law.equal("the outcome", yield* end("keep"), "Kept")
        yield* travels("what the peer sees of a buffer that is kept", buffer.bytes, peer.buffer.bytes, seed)
      }
      yield* Law.equal("the outcome", yield* end("abandon"), "Abandoned")
      yield* ended("it is abandoned", buffer.bytes)
      const contents = Generators.bytes(3, byteLength)
      yield* sameBytes("what the peer has", peer.buffer.bytes, Generators.bytes(2, byteLength))
      const owner = mode === "alloc" ? frontend : backend
      const { bytes } = yield* owner.table.share({ peer: owner.id, pages: buffer.pages + 1 })
      peer.buffer.bytes.set(contents)
      yield* allZero("pages shared meanwhile, after the peer has written to the old ones", bytes)
      yield* sameBytes("what the peer has", peer.buffer.bytes, contents)
    }))
  }
)

const interruptedEndLeavesNothing = law(
  "an interruption at any point of an end leaves nothing, not even a fiber that waits for the consent",
  function*() {
    for (const consent of [Effect.yieldNow, Effect.sleep(0)]) {
      yield* Law.interrupted(Effect.gen(function*() {
        const { bytes, end } = yield* alloc(1)
        const waiting = { fibers: 0, hasConsent: false }
        const watched = Effect.acquireUseRelease(
          Effect.sync(() => waiting.fibers++),
          () => Effect.tap(consent, () => Effect.sync(() => waiting.hasConsent = true)),
          () => Effect.sync(() => waiting.fibers--)
        )
        yield* end({ consent: watched, within: "1 minute", otherwise: "keep" }).pipe(
          Effect.onInterrupt(() =>
            Effect.gen(function*() {
              yield* Law.equal("fibers that wait for the consent, after an interruption", waiting.fibers, 0)
              if (!waiting.hasConsent) yield* Law.equal("the size without consent", bytes.length, 1)
            }).pipe(Effect.orDie)
          )
        )
      }))
    }
  }
)

const wrongArgumentsAreRefused = law(
  "a size or a peer outside of its bounds is refused, and nothing is held",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const refused = Effect.fnUntraced(function*(argument: string, peer: number, byteLength: number) {
      for (const make of [SharedBuffer.alloc, SharedBuffer.allocByBackend]) {
        const reason = yield* Law.refused("InvalidInput", make({ peer, byteLength })).pipe(Domains.runIn(frontend))
        yield* Law.equal("the argument", reason.argument, argument)
      }
    })
    for (const byteLength of [...notNumbers, 0, 2 ** 32 + 1]) yield* refused("byteLength", backend.id, byteLength)
    for (const peer of [...notNumbers, 0x7ff0, 0xffff]) yield* refused("peer", peer, 1)
  }
)

const noRoomIsRefused = law("a buffer that the limit has no room for is refused, and nothing is held", function*() {
  const { frontend } = yield* Domains.Domains
  const pages = yield* room(frontend)
  if (pages > Page.maxCount) return
  // The pages alone would fit, but not their directory.
  const reason = yield* Law.refused("OutOfGrants", alloc(pages * Page.size))
  yield* Law.equal("the pages asked for", reason.requested, pages + Chain.pagesFor(pages))
  yield* Law.equal("the limit", reason.limit, pages)
  yield* alloc(1)
})

const interruptionLeavesNothing = law("an interruption at any point leaves nothing", function*() {
  yield* Law.interrupted(Effect.gen(function*() {
    const { directory } = yield* alloc(Page.size + 1)
    return yield* map(directory, Page.size + 1)
  }))
})

const interruptionLeavesNothingWhereBackendAllocates = law(
  "an interruption at any point leaves nothing where the backend allocates",
  function*() {
    yield* Law.interrupted(provided(Page.size + 1))
  }
)

/**
 * The laws of shared buffers.
 *
 * @category laws
 * @since 0.1.0
 */
export const laws: ReadonlyArray<Law.Law> = [
  bufferIsAsAskedFor,
  bytesTravel,
  bytesTravelWhereBackendAllocates,
  readOnlyIsOnlyRead,
  providedReadOnlyIsOnlyRead,
  modesLiveSideBySide,
  providedCanBeMappedAgain,
  anotherCanBeProvided,
  unfilledIsRefused,
  hostileBackendIsRefused,
  domainsMayUseTheSameNumbers,
  overwrittenLinksChangeNothing,
  notificationsStayInside,
  endsWithConsent,
  directoryEndsWithConsent,
  keptOrAbandoned,
  interruptedEndLeavesNothing,
  wrongArgumentsAreRefused,
  noRoomIsRefused,
  interruptionLeavesNothing,
  interruptionLeavesNothingWhereBackendAllocates
]
