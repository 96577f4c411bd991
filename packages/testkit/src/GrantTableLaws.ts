/**
 * What must hold of every grant table: the laws of the service that all buffers are built on.
 *
 * @since 0.1.0
 */

import { Access } from "@xen-shbuf/core/Access"
import { type GrantRef, isGrantRef } from "@xen-shbuf/core/GrantRef"
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Page from "@xen-shbuf/core/Page"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Arbitrary from "effect/Arbitrary"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Domains from "./Domains.ts"
import * as Generators from "./Generators.ts"
import * as Channels from "./internal/channels.ts"
import {
  allZero,
  between,
  ended,
  notNumbers,
  page,
  room,
  sameBytes,
  sameReason,
  separately,
  travels
} from "./internal/laws.ts"
import * as Law from "./Law.ts"

const law = Law.inSuite("GrantTable")

/** The reason for a refusal of the reference at `index`. */
const refusalOf = (
  domain: Domains.Party,
  refs: ArrayLike<number>,
  index: number,
  access: Access,
  status: string | undefined
) =>
  new GrantTableError.GrantRefused({
    grant: { peer: domain.id, ref: refs[index] as GrantRef },
    index,
    access,
    ...(status === undefined ? {} : { status })
  })

/** The backend may not map this, and is told that it's the reference at `index`. */
const refuses = Effect.fnUntraced(function*(
  refs: ArrayLike<number>,
  index: number,
  access: Access = "read-write"
) {
  const { backend, frontend, tellsStatus } = yield* Domains.Domains
  const reason = yield* Law.refused("GrantRefused", backend.table.map({ peer: frontend.id, refs, access }))
  yield* Law.holds(
    !tellsStatus || /^GNTST_[a-z_]+$/.test(reason.status ?? ""),
    `the status of a refused grant is ${reason.status}`
  )
  yield* sameReason(reason, refusalOf(frontend, refs, index, access, reason.status))
})

/** The backend may not map any of these: nothing of them is granted, and nothing is mapped any more. */
const allGone = (refs: ArrayLike<number>) =>
  Effect.forEach(Array.from(refs).slice(0, 8), (ref) => refuses([ref], 0, "read-only"), { discard: true })

/** Shares pages, fills them with bytes that depend on the seed, and maps them from the other side. */
const sharedAndMapped = Effect.fnUntraced(function*(pages: number, seed: number) {
  const { backend, frontend } = yield* Domains.Domains
  const shared = yield* frontend.table.share({ peer: backend.id, pages })
  shared.bytes.set(Generators.bytes(seed, pages * Page.size))
  const mapped = yield* backend.table.map({ peer: frontend.id, refs: shared.refs })
  return { shared, mapped }
})

const holders = Arbitrary.schema(Schema.Literals(["owner", "peer"]))

/** Both sides' pages, full of ones, each in a scope of its own: who is to have a notification, and who is to see it. */
const notified = Effect.fnUntraced(function*(holder: "owner" | "peer", pages: number) {
  const { backend, frontend } = yield* Domains.Domains
  const shared = yield* separately(frontend.table.share({ peer: backend.id, pages }))
  const mapped = yield* separately(backend.table.map({ peer: frontend.id, refs: shared.refs }))
  shared.bytes.fill(0xff)
  return holder === "owner"
    ? { party: frontend, armed: shared, watcher: mapped }
    : { party: backend, armed: mapped, watcher: shared }
})

/** Full of ones, but for these bytes. */
const onesBut = (length: number, ...zeros: ReadonlyArray<number>) => {
  const bytes = new Uint8Array(length).fill(0xff)
  for (const at of zeros) bytes[at] = 0
  return bytes
}

/** All views that `sharedAndMapped` has made, and one made of each. */
const viewsOf = (
  { mapped, shared }: Effect.Success<ReturnType<typeof sharedAndMapped>>
): ReadonlyArray<SharedMemory.Readable> => [
  shared.bytes,
  mapped.bytes,
  shared.bytes.subarray(1),
  mapped.bytes.subarray(Page.size - 1)
]

const sharedPagesAreNew = law(
  "shared pages are whole and zero, with a reference each that no other page has",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const counts = Generators.pageCount({ maximum: yield* room(frontend) })
    const access = Arbitrary.schema(Access)
    yield* Law.forAll(Arbitrary.all({ access, pages: counts }), Effect.fnUntraced(function*({ access, pages }) {
      const shared = yield* frontend.table.share({ peer: backend.id, pages, access })
      yield* Law.equal("the peer", shared.peer, backend.id)
      yield* Law.equal("the access", shared.access, access)
      yield* allZero("new pages", shared.bytes)
      yield* Law.equal("the size", shared.bytes.length, pages * Page.size)
      yield* Law.equal("the number of references", shared.refs.length, pages)
      yield* Law.holds(shared.refs.every(isGrantRef), `some of ${shared.refs} can't be references`)
      yield* Law.equal("the number of different references", new Set(shared.refs).size, pages)
      shared.bytes.fill(0xff)
    }))
  }
)

const bothSeeOneMemory = law("both sides see one memory, page by page in the order of the request", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const counts = Generators.pageCount({ maximum: yield* room(frontend) })
  const inputs = Arbitrary.all({ pages: counts, order: Generators.seed, seed: Generators.seed })
  yield* Law.forAll(inputs, Effect.fnUntraced(function*({ order, pages, seed }) {
    const { bytes, refs } = yield* frontend.table.share({ peer: backend.id, pages })
    const places = Generators.shuffled(order, Array.from(refs.keys()))
    const before = Generators.bytes(seed, bytes.length)
    bytes.set(before)
    const mapped = yield* backend.table.map({ peer: frontend.id, refs: places.map((place) => refs[place]!) })
    yield* Law.equal("the peer", mapped.peer, frontend.id)
    yield* Law.equal("the access", mapped.access, "read-write")
    yield* Law.equal("the size", mapped.bytes.length, bytes.length)
    for (const [at, place] of places.entries()) {
      yield* sameBytes(`page ${place}, mapped as number ${at}`, page(mapped.bytes, at), page(before, place))
    }
    const after = Generators.bytes(seed + 1, bytes.length)
    for (const [at, place] of places.entries()) page(mapped.bytes, at).set(page(after, place))
    yield* sameBytes("the owner's view of what its peer wrote", bytes, after)
  }))
})

const referencesMix = law(
  "references of several shares may be mixed, and repeated: each place is the same page",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const inputs = Arbitrary.all({
      shares: Arbitrary.array(between(1, 3), { minLength: 1, maxLength: 3 }),
      places: Arbitrary.array(between(0, 8), { minLength: 1, maxLength: 12 }),
      write: between(0, 11)
    })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ places, shares, write }) {
      const owned = yield* Effect.forEach(shares, (pages) => frontend.table.share({ peer: backend.id, pages }))
      const pages = owned.flatMap(({ bytes, refs }) => Array.from(refs, (ref, i) => ({ ref, bytes: page(bytes, i) })))
      const chosen = places.map((place) => pages[place % pages.length]!)
      const request = { peer: frontend.id, refs: chosen.map(({ ref }) => ref) }
      const mapped = yield* backend.table.map(request)
      const again = yield* backend.table.map({ ...request, access: "read-only" })
      page(mapped.bytes, write % chosen.length)[7] = 1
      const written = chosen[write % chosen.length]!
      for (const { bytes, ref } of pages) {
        const byte = ref === written.ref ? 1 : 0
        yield* Law.equal(`the owner's byte of reference ${ref}`, bytes[7], byte)
        for (const [at, other] of chosen.entries()) {
          if (other.ref !== ref) continue
          yield* Law.equal(`the peer's byte at place ${at}`, page(mapped.bytes, at)[7], byte)
          yield* Law.equal(`its byte in the second mapping at place ${at}`, page(again.bytes, at)[7], byte)
        }
      }
    }))
  }
)

const readOnlyIsOnlyRead = law(
  "pages shared read-only can't be mapped for writing, all can be mapped for reading",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const inputs = Arbitrary.all({ writable: between(0, 4), readable: between(1, 4), seed: Generators.seed })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ readable, seed, writable }) {
      const one = writable === 0 ? undefined : yield* frontend.table.share({ peer: backend.id, pages: writable })
      const other = yield* frontend.table.share({ peer: backend.id, pages: readable, access: "read-only" })
      const refs = [...one?.refs ?? [], ...other.refs]
      yield* refuses(refs, writable)
      const mapped = yield* backend.table.map({ peer: frontend.id, refs, access: "read-only" })
      yield* Law.equal("the access", mapped.access, "read-only")
      const contents = Generators.bytes(seed, other.bytes.length)
      other.bytes.set(contents)
      yield* sameBytes("what the owner wrote", mapped.bytes.subarray(writable * Page.size), contents)
      yield* refuses(refs, writable)
    }))
  }
)

const refusedIsNamed = law(
  "a reference that is refused is named, and nothing of its request stays mapped",
  function*() {
    const all = yield* Domains.Domains
    const { backend, frontend } = all
    const kind = Arbitrary.schema(Schema.Literals(["never granted", "granted to another", "ended"]))
    const inputs = Arbitrary.all({ pages: between(1, 8), kind, at: between(0, 8), alsoAt: between(0, 8) })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ alsoAt, at, kind, pages }) {
      const others = yield* frontend.table.share({ peer: Domains.stranger(all), pages: 1 })
      const past = yield* Effect.scoped(frontend.table.share({ peer: backend.id, pages: 1 }))
      const bad = { "never granted": 0x7fff_0000, "granted to another": others.refs[0]!, ended: past.refs[0]! }[kind]
      const good = yield* Effect.scoped(Effect.gen(function*() {
        // The end of `past` has freed its reference: it must not be one that is granted anew.
        const { bytes, refs } = yield* frontend.table.share({ peer: backend.id, pages })
        const free = refs.includes(bad) ? 0x7fff_0000 : bad
        const request = Array.from(refs)
        for (const place of new Set([at, alsoAt])) request.splice(Math.min(place, request.length), 0, free)
        for (const access of ["read-write", "read-only"] as const) {
          yield* refuses(request, request.indexOf(free), access)
        }
        const mapped = yield* backend.table.map({ peer: frontend.id, refs })
        mapped.bytes[0] = 1
        yield* Law.equal("the owner's byte", bytes[0], 1)
        return refs
      }))
      yield* allGone(good)
    }))
  }
)

const readIsAPrivateCopy = law(
  "what is read of a page is a private copy of its beginning, and the page does not stay mapped",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const access = Arbitrary.schema(Access)
    const inputs = Arbitrary.all({ access, length: between(0, Page.size), place: between(0, 2), seed: Generators.seed })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ access, length, place, seed }) {
      const refs = yield* Effect.scoped(Effect.gen(function*() {
        const { bytes, refs } = yield* frontend.table.share({ peer: backend.id, pages: 3, access })
        const contents = Generators.bytes(seed, bytes.length)
        bytes.set(contents)
        const into = new Uint8Array(length + 1).fill(0xaa)
        yield* backend.table.read({ peer: frontend.id, ref: refs[place]! }, into.subarray(0, length))
        bytes.fill(0xff)
        yield* sameBytes("what was read", into.subarray(0, length), page(contents, place).subarray(0, length))
        yield* Law.equal("the byte behind it", into[length], 0xaa)
        return refs
      }))
      yield* allGone(refs)
    }))
  }
)

const unmappableCantBeRead = law("a reference that can't be mapped can't be read, and is named", function*() {
  const all = yield* Domains.Domains
  const { backend, frontend } = all
  const others = yield* frontend.table.share({ peer: Domains.stranger(all), pages: 1 })
  const past = yield* Effect.scoped(frontend.table.share({ peer: backend.id, pages: 1 }))
  for (const ref of [0x7fff_0000, others.refs[0]!, past.refs[0]!]) {
    const into = new Uint8Array(Page.size).fill(0xaa)
    const reason = yield* Law.refused("GrantRefused", backend.table.read({ peer: frontend.id, ref }, into))
    yield* sameReason(reason, refusalOf(frontend, [ref], 0, "read-only", reason.status))
    yield* Law.holds(into.every((byte) => byte === 0xaa), "something was read all the same")
  }
})

const noDomainNoGrants = law("a domain that does not exist has no grants", function*() {
  const all = yield* Domains.Domains
  const peer = Domains.stranger(all)
  const reason = yield* Law.refused("GrantRefused", all.backend.table.map({ peer, refs: [8, 9] }))
  yield* Law.equal("the grant", reason.grant, { peer, ref: 8 as GrantRef })
  yield* Law.equal("the index", reason.index, 0)
})

const mapsHaveAnEnd = law("a grant can be mapped many times, but not without end, and all of them end", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const refs = yield* Effect.scoped(Effect.gen(function*() {
    const { bytes, refs } = yield* frontend.table.share({ peer: backend.id, pages: 1 })
    const repeated = (times: number) =>
      backend.table.map({ peer: frontend.id, refs: Array.from({ length: times }, () => refs[0]!) })
    const { bytes: mapped } = yield* repeated(32)
    bytes.fill(7)
    yield* sameBytes("32 mappings", mapped, new Uint8Array(32 * Page.size).fill(7))
    // Xen counts to 128; a paravirtual domain needs two for each mapping.
    const end = yield* Effect.match(Effect.scoped(repeated(129)), {
      onSuccess: () => "no error",
      onFailure: ({ reason }) => reason._tag
    })
    yield* Law.holds(end === "GrantRefused" || end === "OutOfMappings", `129 mappings of one grant give ${end}`)
    yield* repeated(1)
    return refs
  }))
  yield* allGone(refs)
})

const viewsEndWithTheirScope = law(
  "every view has length 0 after its own scope, in any order, and others live on",
  function*() {
    const inputs = Arbitrary.all({
      pages: Arbitrary.array(between(1, 4), { minLength: 1, maxLength: 4 }),
      order: Generators.seed
    })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ order, pages }) {
      const { backend, frontend } = yield* Domains.Domains
      const holders = (yield* Effect.forEach(pages, Effect.fnUntraced(function*(count, seed) {
        const contents = Generators.bytes(seed, count * Page.size)
        const shared = yield* separately(frontend.table.share({ peer: backend.id, pages: count }))
        shared.bytes.set(contents)
        const map = (access: Access) =>
          separately(backend.table.map({ peer: frontend.id, refs: shared.refs, access }))
        return [shared, yield* map("read-write"), yield* map("read-only")].map((holder) => ({
          contents,
          holder,
          views: [holder.bytes, holder.bytes.subarray(5), new Uint8Array(SharedMemory.unsafeBytes(holder.bytes).buffer)]
        }))
      }))).flat()
      const living = new Set(holders)
      for (const it of Generators.shuffled(order, holders)) {
        yield* it.holder.end
        living.delete(it)
        yield* ended("its scope has ended", ...it.views)
        for (const { contents, holder } of living) yield* sameBytes("a view of another scope", holder.bytes, contents)
      }
    }))
  }
)

const scopeGivesBack = law("a scope gives back everything however it ends", function*() {
  const ends = {
    success: Effect.void,
    failure: Effect.fail("stop"),
    defect: Effect.die("stop"),
    interruption: Effect.interrupt
  }
  for (const [name, end] of Object.entries<Effect.Effect<void, string>>(ends)) {
    let views: ReadonlyArray<SharedMemory.Readable> = []
    let refs: ArrayLike<number> = []
    const use = Effect.gen(function*() {
      const two = yield* sharedAndMapped(3, 0)
      views = viewsOf(two)
      refs = two.shared.refs
      yield* end
    })
    // In a fiber of its own, since an interruption spreads to whoever runs in the same.
    yield* Fiber.await(yield* Effect.forkChild(Effect.scoped(use)))
    yield* Law.equal("the number of views", views.length, 4)
    yield* ended(`the scope has ended with ${name}`, ...views)
    yield* allGone(refs)
  }
})

const interruptionLeavesNothing = law("an interruption at any point leaves nothing", function*() {
  yield* Law.interrupted(sharedAndMapped(3, 0))
})

const interruptedRefusalLeavesNothing = law(
  "an interruption at any point of a request that is refused leaves nothing",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const { refs } = yield* separately(frontend.table.share({ peer: backend.id, pages: 3, access: "read-only" }))
    yield* Law.interrupted(Law.refused("GrantRefused", backend.table.map({ peer: frontend.id, refs })))
  }
)

const grantsEndWithTheirScope = law("grants end with the scope of who shares", function*() {
  const { backend, frontend } = yield* Domains.Domains
  yield* Law.forAll(between(1, 8), Effect.fnUntraced(function*(pages) {
    const { refs } = yield* Effect.scoped(frontend.table.share({ peer: backend.id, pages }))
    yield* allGone(refs)
  }))
})

const mappedPagesStay = law(
  "who has a page mapped keeps it, and its reference is not handed out again until it is unmapped",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const inputs = Arbitrary.all({ pages: between(1, 8), seed: Generators.seed })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ pages, seed }) {
      const shared = yield* separately(frontend.table.share({ peer: backend.id, pages }))
      const contents = Generators.bytes(seed, pages * Page.size)
      shared.bytes.set(contents)
      const mapped = yield* separately(backend.table.map({ peer: frontend.id, refs: shared.refs }))
      yield* shared.end
      yield* ended("the owner's scope has ended", shared.bytes)
      yield* sameBytes("a mapping whose owner let go", mapped.bytes, contents)
      const other = yield* frontend.table.share({ peer: backend.id, pages: pages + 8 })
      const twice = Array.from(other.refs).filter((ref) => shared.refs.includes(ref))
      yield* Law.equal("references in use that are handed out again", twice, [])
      yield* allZero("pages shared meanwhile", other.bytes)
      mapped.bytes.fill(1)
      yield* allZero("pages shared meanwhile, after a write to the old ones", other.bytes)
      yield* mapped.end
      yield* ended("the peer's scope has ended", mapped.bytes)
    }))
  }
)

const byteIsCleared = law(
  "the byte of an unmap notification is cleared when its side ends, not before, and no other byte",
  function*() {
    const inputs = Arbitrary.all({ holder: holders, pages: between(1, 4), at: between(0, 4 * Page.size - 1) })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ at, holder, pages }) {
      const { armed, watcher } = yield* notified(holder, pages)
      const clearByte = at % watcher.bytes.length
      yield* armed.unmapNotify({ clearByte })
      yield* sameBytes("before the end", watcher.bytes, onesBut(watcher.bytes.length))
      yield* armed.end
      yield* sameBytes("after the end", watcher.bytes, onesBut(watcher.bytes.length, clearByte))
    }))
  }
)

const lastNotificationCounts = law(
  "of several notifications the last counts, or none if it was cancelled",
  function*() {
    const offsets = Arbitrary.array(between(-1, 4 * Page.size - 1), { minLength: 2, maxLength: 4 })
    const inputs = Arbitrary.all({ holder: holders, offsets })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ holder, offsets }) {
      const { armed, watcher } = yield* notified(holder, 4)
      for (const clearByte of offsets) yield* armed.unmapNotify(clearByte < 0 ? undefined : { clearByte })
      yield* armed.end
      const expected = onesBut(watcher.bytes.length, ...offsets.slice(-1).filter((clearByte) => clearByte >= 0))
      yield* sameBytes("after the end", watcher.bytes, expected)
    }))
  }
)

const mappingsNotifyByThemselves = law(
  "each mapping has a notification of its own, whatever else maps the page",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const inputs = Arbitrary.all({ order: Generators.seed, count: between(2, 4) })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ count, order }) {
      const { bytes, refs } = yield* frontend.table.share({ peer: backend.id, pages: 1 })
      bytes.fill(0xff)
      const mappings: Array<{ readonly at: number; readonly end: Effect.Effect<void> }> = []
      for (let at = 0; at < count; at++) {
        // Of a mapping that repeats the page, the second place.
        const mapped = yield* separately(backend.table.map({ peer: frontend.id, refs: [refs[0]!, refs[0]!] }))
        yield* mapped.unmapNotify({ clearByte: Page.size + at })
        mappings.push({ at, end: mapped.end })
      }
      const cleared: Array<number> = []
      for (const { at, end } of Generators.shuffled(order, mappings)) {
        yield* end
        cleared.push(at)
        yield* sameBytes("the page", bytes, onesBut(Page.size, ...cleared))
      }
    }))
  }
)

const readOnlyCantClear = law(
  "a read-only mapping can't clear a byte, but the owner of read-only pages can",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const shared = yield* separately(frontend.table.share({ peer: backend.id, pages: 1, access: "read-only" }))
    shared.bytes.fill(0xff)
    const map = () => backend.table.map({ peer: frontend.id, refs: shared.refs, access: "read-only" })
    const mapped = yield* separately(map())
    const watcher = yield* map()
    const reason = yield* Law.refused("InvalidInput", mapped.unmapNotify({ clearByte: 1 }))
    yield* Law.equal("the argument", reason.argument, "clearByte")
    yield* mapped.end
    yield* shared.unmapNotify({ clearByte: 2 })
    yield* sameBytes("the pages", watcher.bytes, onesBut(Page.size))
    yield* shared.end
    yield* sameBytes("the pages after the owner's end", watcher.bytes, onesBut(Page.size, 2))
  }
)

const wrongNotificationIsRefused = law(
  "a notification outside of the pages, or with a port that is not open, is refused",
  function*() {
    for (const holder of ["owner", "peer"] as const) {
      const { armed, watcher } = yield* notified(holder, 2)
      yield* armed.unmapNotify({ clearByte: 5000 })
      const refused = Effect.fnUntraced(function*(argument: string, notification: GrantTable.UnmapNotification) {
        const reason = yield* Law.refused("InvalidInput", armed.unmapNotify(notification))
        yield* Law.equal("the argument", reason.argument, argument)
      })
      yield* refused("clearByte", {})
      for (const clearByte of [...notNumbers, 2 * Page.size]) yield* refused("clearByte", { clearByte })
      for (const signalPort of [...notNumbers, 0, 2 ** 32]) yield* refused("signalPort", { signalPort })
      // The last number that can be a port, which no domain has open.
      yield* refused("signalPort", { signalPort: 0xffff_ffff })
      yield* refused("signalPort", { clearByte: 1, signalPort: 0xffff_ffff })
      yield* armed.end
      yield* sameBytes("after the end", watcher.bytes, onesBut(watcher.bytes.length, 5000))
    }
  }
)

const portIsSignalled = law(
  "the port of a notification is signalled when its side ends, not before, and not if cancelled",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    // Where a domain has none in this program, there is nothing to be signalled.
    const tried = yield* Effect.result(Effect.scoped(frontend.channels.listen({ peer: backend.id })))
    if (Result.isFailure(tried) && tried.failure.reason._tag === "Unsupported") return
    for (const holder of ["owner", "peer"] as const) {
      for (const clearByte of [undefined, 5000]) {
        for (const isCancelled of [false, true]) {
          const { armed, party, watcher } = yield* notified(holder, 2)
          const other = holder === "owner" ? backend : frontend
          const { joined, listening } = yield* Channels.open(other, party)
          yield* armed.unmapNotify({ clearByte, signalPort: joined.port })
          if (isCancelled) yield* armed.unmapNotify(undefined)
          yield* Channels.silent("the port is signalled before the end", listening, other, party)
          yield* armed.end
          if (!isCancelled) yield* Channels.taken("the port of a notification, after the end", listening)
          yield* Channels.silent("the port is signalled twice, or though it was cancelled", listening, other, party)
          const cleared = clearByte === undefined || isCancelled ? [] : [clearByte]
          yield* sameBytes("after the end", watcher.bytes, onesBut(watcher.bytes.length, ...cleared))
        }
      }
    }
  }
)

const notificationAfterTheEndDies = law("after the end of pages their notification dies", function*() {
  for (const holder of ["owner", "peer"] as const) {
    const { armed } = yield* notified(holder, 1)
    yield* armed.end
    for (const notification of [{ clearByte: 0 }, undefined]) {
      const exit = yield* Effect.exit(armed.unmapNotify(notification))
      yield* Law.holds(Exit.hasDies(exit), `a notification after the end gives ${exit}`)
    }
  }
})

const fibersShareAndMap = law("fibers can share and map at the same time", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const inputs = Arbitrary.array(between(1, 4), { minLength: 2, maxLength: 8 })
  yield* Law.forAll(inputs, Effect.fnUntraced(function*(counts) {
    const ready = yield* Effect.forEach(counts, () => Deferred.make<ReadonlyArray<number>>())
    const refs = yield* Effect.forEach(counts, (pages, i) =>
      Effect.scoped(Effect.gen(function*() {
        const { bytes, refs } = yield* frontend.table.share({ peer: backend.id, pages })
        bytes.set(Generators.bytes(i, bytes.length))
        yield* Effect.yieldNow
        const mapped = yield* backend.table.map({ peer: frontend.id, refs })
        yield* Deferred.succeed(ready[i]!, Array.from(refs))
        // All are held at one time: only then must they differ.
        const all = yield* Effect.forEach(ready, Deferred.await)
        yield* sameBytes("what this fiber wrote", mapped.bytes, Generators.bytes(i, bytes.length))
        return all.flat()
      })), { concurrency: "unbounded" })
    yield* Law.equal("the number of different references", new Set(refs[0]).size, refs[0]!.length)
  }))
})

const referencesAreCopied = law(
  "a request's references may change as soon as it is granted: they were copied",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const inputs = Arbitrary.all({ pages: between(1, 8), seed: Generators.seed })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ pages, seed }) {
      const refs = yield* Effect.scoped(Effect.gen(function*() {
        const { bytes, refs } = yield* frontend.table.share({ peer: backend.id, pages })
        const others = yield* frontend.table.share({ peer: backend.id, pages })
        const [typed, plain] = [refs.slice(), Array.from(refs)]
        const mapped = yield* separately(backend.table.map({ peer: frontend.id, refs: typed }))
        const again = yield* separately(backend.table.map({ peer: frontend.id, refs: plain }))
        typed.set(others.refs)
        plain.splice(0, pages, ...others.refs)
        yield* travels("the first mapping", bytes, mapped.bytes, seed)
        yield* travels("the second mapping", bytes, again.bytes, seed + 1)
        yield* mapped.end
        yield* again.end
        return refs
      }))
      yield* allGone(refs)
    }))
  }
)

const referencesAreGivenAway = law(
  "whatever becomes of the references that it gave, pages are shared, and end with their scope",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const inputs = Arbitrary.all({ pages: between(1, 8), seed: Generators.seed, isMoved: Arbitrary.schema(Schema.Boolean) })
    yield* Law.forAll(inputs, Effect.fnUntraced(function*({ isMoved, pages, seed }) {
      const refs = yield* Effect.scoped(Effect.gen(function*() {
        const { bytes, refs: given } = yield* frontend.table.share({ peer: backend.id, pages })
        const refs = given.slice()
        if (isMoved) given.buffer.transfer(0)
        else given.fill(0xffff_ffff)
        const mapped = yield* separately(backend.table.map({ peer: frontend.id, refs }))
        yield* travels("the mapping", bytes, mapped.bytes, seed)
        yield* mapped.end
        return refs
      }))
      yield* allGone(refs)
    }))
  }
)

const wrongArgumentsAreRefused = law(
  "arguments outside of the field's bounds are refused with their names, and nothing is held",
  function*() {
    const { backend, frontend } = yield* Domains.Domains
    const cases: ReadonlyArray<{
      readonly argument: string
      readonly operation: Effect.Effect<unknown, GrantTableError.GrantTableError, Scope.Scope>
    }> = [
      ...[...notNumbers, 2 ** 32, 0x7ff0, 0x7ff4, 0xffff].flatMap((id) => [
        { argument: "peer", operation: frontend.table.share({ peer: id, pages: 1 }) },
        { argument: "peer", operation: backend.table.map({ peer: id, refs: [8] }) }
      ]),
      ...[...notNumbers, 2 ** 32, 0, 1_048_576 + 1027].map((pages) => ({
        argument: "pages",
        operation: frontend.table.share({ peer: backend.id, pages })
      })),
      ...[...notNumbers, 2 ** 32, 0, 1, 7, 0xffff_ffff].map((ref) => ({
        argument: "refs[1]",
        operation: backend.table.map({ peer: frontend.id, refs: [8, ref] })
      })),
      ...["write", "rw", "", 3, null].flatMap((word) => {
        const access = word as Access
        return [
          { argument: "access", operation: frontend.table.share({ peer: backend.id, pages: 1, access }) },
          { argument: "access", operation: backend.table.map({ peer: frontend.id, refs: [8], access }) }
        ]
      }),
      { argument: "refs.length", operation: backend.table.map({ peer: frontend.id, refs: [] }) },
      {
        argument: "refs.length",
        operation: backend.table.map({ peer: frontend.id, refs: { length: 1_048_577, 0: 8 } })
      }
    ]
    for (const { argument, operation } of cases) {
      const reason = yield* Law.refused("InvalidInput", operation)
      yield* Law.equal("the argument", reason.argument, argument)
    }
  }
)

const limitIsEnforced = law("the limit of shared pages can be read, and is the one that is enforced", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const { mappedPerRequest, shared } = yield* frontend.table.limits
  const { knob, pages: limit } = shared!
  yield* Law.holds(Number.isInteger(limit) && limit > 0, `the limit is ${limit} pages`)
  yield* Law.holds(mappedPerRequest!.pages > 0, "no request to map is possible")
  if (limit > Page.maxCount) return
  const refused = Effect.fnUntraced(function*(requested: number, needed: number) {
    const reason = yield* Law.refused("OutOfGrants", frontend.table.share({ peer: backend.id, pages: requested }))
    yield* sameReason(reason, new GrantTableError.OutOfGrants({ requested, limit, knob, needed }))
  })
  yield* refused(limit + 1, limit + 1)
  yield* frontend.table.share({ peer: backend.id, pages: 1 })
  const reason = yield* Law.refused("OutOfGrants", frontend.table.share({ peer: backend.id, pages: limit }))
  yield* Law.equal("the pages asked for", reason.requested, limit)
  yield* frontend.table.share({ peer: backend.id, pages: 1 })
})

const copyIsExact = law("a copy reads and writes exactly its bytes, or is not supported", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const place = between(0, Page.size)
  const inputs = Arbitrary.all({ seed: Generators.seed, offset: place, length: place })
  const body = Law.forAll(inputs, Effect.fnUntraced(function*({ length: most, offset, seed }) {
    const length = Math.min(most, Page.size - offset)
    const { bytes, refs } = yield* frontend.table.share({ peer: backend.id, pages: 2 })
    const before = Generators.bytes(seed, bytes.length)
    bytes.set(before)
    const grant = { peer: frontend.id, ref: refs[1] as GrantRef }
    const into = new Uint8Array(length)
    const from = Generators.bytes(seed + 1, length)
    yield* backend.table.copy([
      { _tag: "Read", grant, offset, into },
      { _tag: "Write", grant, offset, from }
    ])
    yield* sameBytes("what was read", into, before.subarray(Page.size + offset, Page.size + offset + length))
    before.set(from, Page.size + offset)
    yield* sameBytes("the pages after the write", bytes, before)
  }))
  const { bytes, refs } = yield* frontend.table.share({ peer: backend.id, pages: 1, access: "read-only" })
  const grant = { peer: frontend.id, ref: refs[0] as GrantRef }
  const read: GrantTable.CopySegment = { _tag: "Read", grant, offset: 0, into: new Uint8Array(1) }
  const supported = yield* Effect.as(backend.table.copy([read]), true).pipe(
    Effect.catchReason("GrantTableError", "Unsupported", () => Effect.succeed(false))
  )
  if (!supported) return
  const write: GrantTable.CopySegment = { _tag: "Write", grant, offset: 0, from: Uint8Array.of(1) }
  const reason = yield* Law.refused("GrantRefused", backend.table.copy([read, write]))
  yield* sameReason(reason, refusalOf(frontend, [refs[0]!, refs[0]!], 1, "read-write", reason.status))
  yield* allZero("read-only pages after a write", bytes)
  yield* body
})

/**
 * The laws of grant tables.
 *
 * @category laws
 * @since 0.1.0
 */
export const laws: ReadonlyArray<Law.Law> = [
  sharedPagesAreNew,
  bothSeeOneMemory,
  referencesMix,
  readOnlyIsOnlyRead,
  refusedIsNamed,
  readIsAPrivateCopy,
  unmappableCantBeRead,
  noDomainNoGrants,
  mapsHaveAnEnd,
  viewsEndWithTheirScope,
  scopeGivesBack,
  interruptionLeavesNothing,
  interruptedRefusalLeavesNothing,
  grantsEndWithTheirScope,
  mappedPagesStay,
  byteIsCleared,
  lastNotificationCounts,
  mappingsNotifyByThemselves,
  readOnlyCantClear,
  wrongNotificationIsRefused,
  portIsSignalled,
  notificationAfterTheEndDies,
  fibersShareAndMap,
  referencesAreCopied,
  referencesAreGivenAway,
  wrongArgumentsAreRefused,
  limitIsEnforced,
  copyIsExact
]
