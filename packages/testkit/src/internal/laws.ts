import type { Access } from "@xen-shbuf/core/Access"
import * as Chain from "@xen-shbuf/core/Chain"
import * as Page from "@xen-shbuf/core/Page"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Domains from "../Domains.ts"
import * as Generators from "../Generators.ts"
import * as Law from "../Law.ts"

/** Whole numbers. */
export const between = (minimum: number, maximum: number) =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

/** A number of each kind that no argument may have. */
export const notNumbers = [-1, 0.5, 1.5, Number.NaN, Infinity, -Infinity, 2 ** 53]

/** Where two byte arrays differ first, in words. */
const difference = (actual: SharedMemory.Readable, expected: SharedMemory.Readable): string | undefined => {
  if (actual.length !== expected.length) return `there are ${actual.length} bytes instead of ${expected.length}`
  for (let at = 0; at < actual.length; at++) {
    if (actual[at] !== expected[at]) return `byte ${at} is ${actual[at]} instead of ${expected[at]}`
  }
  return undefined
}

/** Fails unless two byte arrays are the same. */
export const sameBytes = (what: string, actual: SharedMemory.Readable, expected: SharedMemory.Readable) => {
  const differs = difference(actual, expected)
  return Law.holds(differs === undefined, `${what}: ${differs}`)
}

/** Fails unless all bytes are 0. */
export const allZero = (what: string, bytes: SharedMemory.Readable) =>
  sameBytes(what, bytes, new Uint8Array(bytes.length))

/** Fails unless two reasons say the same. */
export const sameReason = <A extends { readonly message: string }>(actual: A, expected: A) =>
  Law.equal<object>("the reason", { ...actual, message: actual.message }, { ...expected, message: expected.message })

/** The i-th page of a region. */
export const page = <Bytes extends SharedMemory.Readable>(bytes: Bytes, i: number) =>
  bytes.subarray(i * Page.size, (i + 1) * Page.size) as Bytes

/** Pages that a domain can share at one time. */
export const room = ({ table }: Domains.Party) => Effect.map(table.limits, ({ shared }) => shared!.pages)

/** The largest buffer, in pages, that can be shared at one time together with its directory. */
export const bufferRoom = (party: Domains.Party) =>
  Effect.map(room(party), (pages) => pages - Math.ceil(pages / (Chain.refsPerPage + 1)))

/** Acquires in a scope of its own, to be left by `end`, or with the scope around it. */
export const separately = <A, E, R>(acquire: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), Scope.close)
    const resource = yield* Scope.provide(acquire, scope)
    return { ...resource, end: Scope.close(scope, Exit.void) }
  })

/** The frontend shares a buffer. */
export const alloc = Effect.fnUntraced(function*(byteLength: number, access?: Access) {
  const { backend, frontend } = yield* Domains.Domains
  return yield* SharedBuffer.alloc({ peer: backend.id, byteLength, access }).pipe(Domains.runIn(frontend))
})

/** The frontend shares a directory for the backend to fill in. */
export const allocByBackend = Effect.fnUntraced(function*(byteLength: number) {
  const { backend, frontend } = yield* Domains.Domains
  return yield* SharedBuffer.allocByBackend({ peer: backend.id, byteLength }).pipe(Domains.runIn(frontend))
})

/** The laws choose their sizes themselves. */
const maxByteLength = Page.maxCount * Page.size

/** The backend maps a buffer of the frontend. */
export const map = Effect.fnUntraced(function*<A extends Access = "read-write">(
  directory: number,
  byteLength: number,
  access?: A
) {
  const { backend, frontend } = yield* Domains.Domains
  return yield* PeerBuffer.map({ peer: frontend.id, directory, byteLength, maxByteLength, access }).pipe(
    Domains.runIn(backend)
  )
})

/** The backend provides a buffer to the frontend. */
export const provide = Effect.fnUntraced(function*(directory: number, byteLength: number, access?: Access) {
  const { backend, frontend } = yield* Domains.Domains
  return yield* PeerBuffer.allocForFrontend({ peer: frontend.id, directory, byteLength, maxByteLength, access }).pipe(
    Domains.runIn(backend)
  )
})

/** A directory that the backend has opened for writing, as far as its links lead, read without a check. */
export const openDirectory = Effect.fnUntraced(function*(first: number) {
  const { backend, frontend } = yield* Domains.Domains
  const links: Array<number> = []
  const pages: Array<SharedMemory.Writable> = []
  for (let ref = first; ref !== 0 && links.length < 8;) {
    const { bytes } = yield* backend.table.map({ peer: frontend.id, refs: [ref] })
    links.push(ref)
    pages.push(bytes)
    ref = Chain.link(bytes)
  }
  return { links: Uint32Array.from(links), pages }
})

/** The words in the places of references, page by page. */
export const wordsOf = (pages: ReadonlyArray<SharedMemory.Readable>) =>
  Uint32Array.from(pages.flatMap((bytes) => Array.from(new Uint32Array(bytes.slice().buffer, 4))))

/** Writes the pages of a directory. */
export const writePages = (pages: ReadonlyArray<SharedMemory.Writable>, bytes: Uint8Array) =>
  pages.forEach((page, i) => page.set(bytes.subarray(i * Page.size, (i + 1) * Page.size)))

/** So many references that nobody has granted, far from all that are. */
export const madeUp = (count: number) => Uint32Array.from({ length: count }, (_, i) => 0x4000_0000 + i)

/** So many references right after others: as dense as a real domain's. */
export const following = (refs: Uint32Array, count: number) => {
  const last = refs.reduce((max, ref) => Math.max(max, ref), 0)
  return Uint32Array.from({ length: count }, (_, i) => last + 1 + i)
}

/** Writes into one view and reads from another, which must be the same memory. */
export const travels = (what: string, from: SharedMemory.Writable, to: SharedMemory.Readable, seed: number) =>
  Effect.suspend(() => {
    const contents = Generators.bytes(seed, from.length)
    from.set(contents)
    return sameBytes(what, to, contents)
  })

/** Fails unless views have length 0. */
export const ended = (what: string, ...views: ReadonlyArray<SharedMemory.Readable>) =>
  Law.equal(`the length of views, when ${what}`, views.map(({ length }) => length), views.map(() => 0))
