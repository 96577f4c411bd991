/**
 * Plays a case and compares what became of it with what the oracle says.
 */
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Formatter from "effect/Formatter"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Case from "./Case.ts"
import * as Oracle from "./Oracle.ts"
import * as Peer from "./Peer.ts"
import { ids, sharedPages, wordsPerPage, type World } from "./World.ts"

/** The library did something else than the rules say. */
export class Violation extends Data.TaggedError("Violation")<{ readonly message: string }> {}

/** How a case ended: "mapped", "provided", "walked", or the reason it was refused for. */
export type Outcome = string

const demand = (condition: boolean, message: () => string): void => {
  if (!condition) throw new Violation({ message: message() })
}

const bytesOf = ({ buffer, byteLength, byteOffset }: Uint32Array) => new Uint8Array(buffer, byteOffset, byteLength)

const sameWords = (a: ArrayLike<number>, b: ArrayLike<number>): boolean => {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return false
  }
  return true
}

const show = (value: unknown): string => {
  const text = Formatter.format(value)
  return text.length > 400 ? `${text.slice(0, 400)}…` : text
}

const agrees = (actual: unknown, expected: unknown): boolean =>
  typeof expected === "object" && expected !== null
    ? typeof actual === "object" && actual !== null
      && Object.entries(expected).every(([key, value]) => agrees((actual as Record<string, unknown>)[key], value))
    : Object.is(actual, expected)

/** A typed failure that says, in a sentence, one of the things that are really wrong. */
const explains = (error: unknown, faults: ReadonlyArray<Oracle.Fault>): Outcome => {
  const { message, reason } = error as { readonly message: string; readonly reason: Oracle.Fault }
  demand(
    faults.some((fault) => agrees(reason, fault)),
    () => `The reason is ${show(error)}, but ${faults.length === 0 ? "nothing is wrong" : `must be ${show(faults)}`}`
  )
  demand(message.length > 20, () => `A poor sentence: ${message}`)
  return reason._tag
}

const none = (faults: ReadonlyArray<Oracle.Fault>) =>
  demand(faults.length === 0, () => `It succeeds in spite of ${show(faults)}`)

const sameOperations = (actual: ReadonlyArray<Oracle.Operation>, expected: ReadonlyArray<Oracle.Operation>) =>
  demand(
    actual.length === expected.length && actual.every((operation, i) => {
      const other = expected[i]!
      return operation._tag === "share"
        ? other._tag === "share" && operation.pages === other.pages
        : other._tag === "map" && operation.access === other.access && sameWords(operation.refs, other.refs)
    }),
    () => `The operations are ${show(actual)}, but must be ${show(expected)}`
  )

/** Some of many places: the first, the last, and those around the ends of directory pages. */
const sample = (pages: number): ReadonlyArray<number> =>
  pages <= 16
    ? Array.from({ length: pages }, (_, i) => i)
    : [0, 1, 2, 7, 1021, 1022, 1023, 1024, 2044, 2045, 2046, pages - 1].filter((i, at, all) =>
      i < pages && all.indexOf(i) === at
    )

/** The word of a page that carries its mark. */
const mark = 1019

/** Fails unless two lists of pages are the same memory, page by page: marks on one must show on the other. */
const samePages = (
  theirs: (i: number) => SharedMemory.Writable<Uint32Array<ArrayBuffer>>,
  ours: (i: number) => SharedMemory.Readable<Uint32Array<ArrayBuffer>>,
  pages: number
) => {
  const places = sample(pages)
  const before = places.map((i) => theirs(i)[mark]!)
  places.forEach((i) => theirs(i)[mark] = 0xa000_0000 + i)
  const seen = places.map((i) => ours(i)[mark])
  places.forEach((i, at) => theirs(i)[mark] = before[at]!)
  places.forEach((i, at) =>
    demand(seen[at] === 0xa000_0000 + i, () => `Page ${i} is not the page that the directory lists`)
  )
}

const pagesOf = (bytes: SharedMemory.Writable) => {
  const words = new Uint32Array(SharedMemory.unsafeBytes(bytes).buffer)
  return (i: number) => words.subarray(i * wordsPerPage, (i + 1) * wordsPerPage)
}

/** What the hostile peer wrote into its directory, and what it must look like now. */
const makeDirectory = (self: Case.Case, world: World, words: SharedMemory.Writable<Uint32Array<ArrayBuffer>>) => {
  const pages = words.length / wordsPerPage
  const expected = Case.sound(self, world, pages)
  const write = (write: Case.Write) => {
    const at = Case.target(self, write, pages)
    words[at] = expected[at] = world.word(write.value)
  }
  words.set(expected)
  self.damage.forEach(write)
  return { words, expected, write }
}

type Directory = ReturnType<typeof makeDirectory>

const untouched = ({ expected, words }: Pick<Directory, "expected" | "words">) =>
  demand(Buffer.compare(bytesOf(words.slice()), bytesOf(expected)) === 0, () => "The peer's directory was written to")

/** Each byte of so many pages of the directory is read exactly once, or of each the ones that count, and no other. */
const readOnce = (reads: ReadonlyArray<Uint8Array>, pages: number, counts = (_byte: number) => true) =>
  readAsNeeded(reads, (i, byte) => i < pages && counts(byte))

const readAsNeeded = (reads: ReadonlyArray<Uint8Array>, isNeeded: (memory: number, byte: number) => boolean) =>
  reads.forEach((counts, i) => {
    const times = (byte: number) => isNeeded(i, byte) ? 1 : 0
    const at = counts.findIndex((count, byte) => count !== times(byte))
    demand(at < 0, () => `Byte ${at} of watched memory number ${i} was read ${counts[at]} times instead of ${times(at)}`)
  })

/** What the victim has to say for itself: nothing but a result or a typed failure. */
const settled = <A, E>(exit: Exit.Exit<A, E>): Result.Result<A, E> => {
  if (Exit.isSuccess(exit)) return Result.succeed(exit.value)
  const failure = Cause.findErrorOption(exit.cause)
  if (Option.isNone(failure)) throw new Violation({ message: `A defect: ${Cause.pretty(exit.cause)}` })
  return Result.fail(failure.value)
}

const access = ({ mode }: Case.Case) => mode.endsWith("read-only") || mode === "walk" ? "read-only" : "read-write"

const released = (record: Peer.Record, bytes: SharedMemory.Readable | undefined) => {
  demand(record.mapped === 0, () => `${record.mapped} mappings are left behind`)
  demand(bytes === undefined || bytes.length === 0, () => "A view outlives its scope")
}

/** No page of memory may be granted or mapped beyond those of the world. */
const nothingLeft = (world: World) =>
  Effect.map(world.xen.framesInUse, (frames) => {
    const left = frames - world.frames
    // What one case leaves behind is not held against the next, or else its shrinking would go astray.
    world.frames = frames
    demand(left === 0, () => `${left} pages are left behind`)
  })

/** A mapping must show, in order, what the peer sees in the pages that the directory lists. */
const sameBuffer = (world: World, bytes: SharedMemory.Writable, byteLength: number, refs: ReadonlyArray<number>) => {
  demand(bytes.length === byteLength, () => `There are ${bytes.length} bytes instead of ${byteLength}`)
  samePages((i) => world.page(refs[i]!), pagesOf(bytes), refs.length)
}

/** What must become of a frontend's directory, given what stood on its pages when they were read. */
const judgeFrontend = (world: World, self: Case.Case, first: number, record: Peer.Record): Oracle.Verdict => {
  const outOfBounds = Oracle.bounds(first, Case.byteLength(self), Case.maxByteLength(self))
  if (outOfBounds.length > 0) return { operations: [], faults: outOfBounds, links: [], refs: [] }
  const question = { peer: ids.hostile, pages: self.pages, refusal: world.refusal }
  const provides = self.mode === "provide"
  const chain = Oracle.follow(question, first, provides ? "read-write" : "read-only", (n, ref) => {
    const operation = record.operations[n]
    const snapshot = record.snapshots[n]
    if (snapshot !== undefined && operation?._tag === "map" && operation.refs[0] === ref) return snapshot
    throw new Violation({ message: `Directory page ${n} (${ref}) is not read, but ${show(operation)}` })
  })
  if (chain.faults.length > 0) return chain
  const rest = provides
    ? Oracle.share(self.pages, sharedPages - world.shared)
    : Oracle.judge(question, chain.links, chain.words, access(self))
  return { ...chain, ...rest, operations: [...chain.operations, ...rest.operations] }
}

/** The victim is a backend; the directory is the peer's. */
const hostileFrontend = Effect.fnUntraced(function*(world: World, self: Case.Case) {
  const directory = makeDirectory(self, world, world.directory.words)
  let moment = 0
  let atEnd: Pick<Directory, "expected" | "words"> = directory
  const { record, table } = Peer.around(world.victim, (when) => {
    if (when === "end" && atEnd === directory) {
      atEnd = { words: directory.words.slice(), expected: directory.expected.slice() }
    }
    for (const rewrite of self.rewrites) if (rewrite.at === moment) directory.write(rewrite)
    moment++
  }, self.watched)
  const first = self.first === undefined ? world.directory.refs[self.from]! : world.word(self.first)
  const location = {
    peer: ids.hostile,
    directory: first,
    byteLength: Case.byteLength(self),
    maxByteLength: Case.maxByteLength(self)
  }

  let view: SharedMemory.Readable | undefined
  const judged = Effect.fnUntraced(function*<A, E>(exit: Exit.Exit<A, E>, mappings: number, bytes?: (byte: number) => boolean) {
    const result = settled(exit)
    const verdict = judgeFrontend(world, self, first, record)
    sameOperations(record.operations, verdict.operations)
    readOnce(record.reads, verdict.links.length, bytes)
    // The scope is still open: the directory is let go already, and after a failure so is all else.
    const held = Result.isSuccess(result) ? mappings : 0
    demand(record.mapped === held, () => `${record.mapped} mappings are held instead of ${held}`)
    if (Result.isFailure(result)) yield* nothingLeft(world)
    return { result, verdict }
  })

  const mapped = Effect.fnUntraced(function*() {
    const exit = yield* Effect.exit(PeerBuffer.map({ ...location, access: access(self) }))
    const { result, verdict } = yield* judged(exit, 1)
    untouched(directory)
    if (Result.isFailure(result)) return explains(result.failure, verdict.faults)
    none(verdict.faults)
    view = result.success.bytes
    sameBuffer(world, result.success.bytes as SharedMemory.Writable, location.byteLength, verdict.refs)
    return "mapped"
  })

  const walked = Effect.fnUntraced(function*() {
    const exit = yield* Effect.exit(PeerBuffer.walk(location))
    const { result, verdict } = yield* judged(exit, 0)
    untouched(directory)
    if (Result.isFailure(result)) return explains(result.failure, verdict.faults)
    const { directory: seen, problem } = result.success
    demand(sameWords(seen.map(({ ref }) => ref), verdict.links), () => `The walk shows other pages: ${show(seen)}`)
    if (problem !== undefined) return explains(problem, verdict.faults)
    none(verdict.faults)
    return "walked"
  })

  const provided = Effect.fnUntraced(function*() {
    const exit = yield* Effect.exit(PeerBuffer.allocForFrontend(location))
    // Of a page that it fills in, it needs nothing but the link.
    const { result, verdict } = yield* judged(exit, 0, (byte) => byte < 4)
    if (Result.isFailure(result)) {
      untouched(atEnd)
      untouched(directory)
      return explains(result.failure, verdict.faults)
    }
    none(verdict.faults)
    const { bytes } = result.success
    view = bytes
    demand(bytes.length === location.byteLength, () => `There are ${bytes.length} bytes`)
    // Pages that are no part of the directory are not rewritten by anyone else; put back what stood there.
    const pages = verdict.links.map((link, i) => {
      const at = world.directory.refs.indexOf(link) * wordsPerPage
      if (at >= 0) {
        return { words: atEnd.words.subarray(at, at + wordsPerPage), link: atEnd.expected[at]! }
      }
      const words = world.page(link).slice()
      world.page(link).set(record.snapshots[i]!)
      return { words, link: record.snapshots[i]![0]! }
    })
    pages.forEach(({ link, words }, i) => demand(words[0] === link, () => `The link of page ${i} was written to`))
    const listed = pages.flatMap(({ words }) => Array.from(words.subarray(1)))
    demand(listed.slice(self.pages).every((word) => word === 0), () => "A place that is not used is not 0")
    const refs = listed.slice(0, self.pages)
    const theirs = yield* Effect.orDie(world.hostile.map({ peer: ids.victim, refs }))
    samePages(pagesOf(theirs.bytes), pagesOf(bytes), self.pages)
    return "provided"
  })

  const part = self.mode === "walk" ? walked() : self.mode === "provide" ? provided() : mapped()
  const outcome = yield* part.pipe(Effect.provideService(GrantTable, table), Effect.scoped)
  released(record, view)
  return outcome
})

/** The victim is a frontend; the peer fills in its directory, and maps happen twice. */
const hostileBackend = Effect.fnUntraced(function*(world: World, self: Case.Case) {
  let directory: Directory | undefined
  let moment = 0
  const { record, table } = Peer.around(world.victim, () => {
    for (const rewrite of self.rewrites) if (rewrite.at === moment) directory?.write(rewrite)
    moment++
  }, self.watched)
  const byteLength = Case.byteLength(self)
  const buffer = yield* Effect.orDie(SharedBuffer.allocByBackend({ peer: ids.hostile, byteLength })).pipe(
    Effect.provideService(GrantTable, table)
  )
  const words = new Uint32Array(SharedMemory.unsafeBytes(record.shared[0]!).buffer)
  directory = makeDirectory(self, world, words)
  sameOperations(record.operations.splice(0), [{ _tag: "share", pages: words.length / wordsPerPage }])
  const question = { peer: ids.hostile, pages: self.pages, refusal: world.refusal }

  const once = (directory: Directory) =>
    Effect.gen(function*() {
      const before = directory.words.slice()
      record.reads.splice(0, record.reads.length, ...record.reads.slice(0, 1).map((counts) => counts.fill(0)))
      const exit = yield* Effect.exit(buffer.map({ access: access(self) }))
      const pages = Array.from({ length: before.length / wordsPerPage }, (_, i) => before.subarray(i * wordsPerPage))
      const result = settled(exit)
      const verdict = Oracle.judge(question, [], pages, access(self))
      sameOperations(record.operations.splice(0), verdict.operations)
      // The links are our own: only what the backend filled in is read.
      const references = self.pages
      readOnce(record.reads, 1, (byte) => {
        const [page, word] = [Math.floor(byte / 4096), Math.floor(byte % 4096 / 4)]
        return word > 0 && page * 1023 + word <= references
      })
      untouched(directory)
      if (Result.isFailure(result)) return { outcome: explains(result.failure, verdict.faults), view: undefined }
      none(verdict.faults)
      sameBuffer(world, result.success.bytes as SharedMemory.Writable, byteLength, verdict.refs)
      return { outcome: "mapped", view: result.success.bytes }
    }).pipe(Effect.scoped)

  const { outcome, view } = yield* once(directory)
  released(record, view)
  released(record, (yield* once(directory)).view)
  return outcome
})

/** Plays a case; dies with a {@link Violation}. Nothing may be left of it, however it ends. */
export const play = Effect.fnUntraced(function*(world: World, self: Case.Case) {
  const part = Case.isFrontend(self) ? hostileBackend(world, self) : hostileFrontend(world, self)
  const exit = yield* Effect.exit(Effect.scoped(part))
  yield* nothingLeft(world)
  return yield* exit
})
