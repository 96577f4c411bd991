/**
 * Walks, checks and writes the chain of pages that a directory is, in words: the part that every buffer goes through.
 *
 * A page is 1024 little-endian 32-bit words: the reference of the next page (0 on the last), then 1023 references of
 * buffer pages (`struct xen_page_directory`; `XENDISPL_OP_DBUF_CREATE` in `xen/include/public/io/displif.h`). What a peer
 * may change is copied out once; only the copy is checked and used.
 *
 * @since 0.2.0
 */
import * as Result from "effect/Result"
import * as DirectoryError from "./DirectoryError.ts"
import * as GrantRef from "./GrantRef.ts"
import * as Page from "./Page.ts"
import type * as SharedMemory from "./SharedMemory.ts"

const wordsPerPage = Page.size / 4

/**
 * References on one directory page.
 *
 * @category constants
 * @since 0.2.0
 */
export const refsPerPage = wordsPerPage - 1

/**
 * Directory pages that so many references take.
 *
 * @category conversions
 * @since 0.2.0
 */
export const pagesFor = (refs: number): number => Math.ceil(refs / refsPerPage)

/**
 * Directory pages of the largest buffer, 4 GiB.
 *
 * @category constants
 * @since 0.2.0
 */
export const maxPages: number = pagesFor(Page.maxCount)

// Typed arrays have the byte order of the host: little-endian, as on every host that Xen runs on.
const bytesOf = ({ buffer, byteOffset, byteLength }: Uint32Array<ArrayBuffer>) =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** Copies words out of memory, from its word number `at` on: each byte is read once. */
const take = (bytes: SharedMemory.Readable, at: number, into: Uint32Array<ArrayBuffer>): void => {
  bytesOf(into).set(bytes.subarray(at * 4, (at + into.length) * 4))
}

const word = new Uint32Array(1)
const wordBytes = bytesOf(word)

/**
 * The link of a directory page to the next one, copied out of the bytes of that page: 0 on the last page.
 *
 * @category reading
 * @since 0.2.0
 */
export const link = (bytes: SharedMemory.Readable): number => {
  take(bytes, 0, word)
  return word[0]!
}

/**
 * Private memory for the words of page number `page` that count in a chain of `count` references: its link, then the
 * references on it.
 *
 * @category reading
 * @since 0.2.0
 */
export const room = (page: number, count: number): Uint32Array<ArrayBuffer> =>
  new Uint32Array(1 + Math.min(refsPerPage, count - page * refsPerPage))

/**
 * The words of page number `page` that count, as in `room`, copied out of the bytes of that page: nothing else is read.
 *
 * @category reading
 * @since 0.2.0
 */
export const copy = (bytes: SharedMemory.Readable, page: number, count: number): Uint32Array<ArrayBuffer> => {
  const words = room(page, count)
  take(bytes, 0, words)
  return words
}

/**
 * The `count` references of a chain, given copies of all its pages.
 *
 * @category reading
 * @since 0.2.0
 */
export const join = (copies: ReadonlyArray<Uint32Array<ArrayBuffer>>, count: number): Uint32Array<ArrayBuffer> => {
  if (copies.length === 1) return copies[0]!.subarray(1)
  const all = new Uint32Array(count)
  for (let page = 0; page < copies.length; page++) all.set(copies[page]!.subarray(1), page * refsPerPage)
  return all
}

/**
 * The `count` references of a chain whose pages lie one after the other, copied out of their bytes: nothing else is read.
 *
 * @category reading
 * @since 0.2.0
 */
export const refs = (bytes: SharedMemory.Readable, count: number): Uint32Array<ArrayBuffer> => {
  const all = new Uint32Array(count)
  for (let at = 0, page = 0; at < count; at += refsPerPage, page++) {
    take(bytes, page * wordsPerPage + 1, all.subarray(at, at + refsPerPage))
  }
  return all
}

/**
 * Writes the references of page number `page` into the bytes of that page; places beyond the last become 0, and the link
 * stays. Checks nothing. Throws a RangeError where the references don't fit into the bytes.
 *
 * @category writing
 * @since 0.2.0
 */
export const writeRefs = (target: SharedMemory.Writable, page: number, refs: Uint32Array<ArrayBuffer>): void => {
  const own = bytesOf(refs.subarray(page * refsPerPage, (page + 1) * refsPerPage))
  target.set(own, 4)
  target.fill(0, 4 + own.length, Page.size)
}

/**
 * Writes a chain into the beginning of `target`, such as shared pages: the links between its pages, whose references are
 * `links`, and `refs`. Checks nothing. Throws a RangeError where `target` is too small.
 *
 * @category writing
 * @since 0.2.0
 */
export const write = (
  target: SharedMemory.Writable,
  links: ArrayLike<number>,
  refs: Uint32Array<ArrayBuffer>
): void => {
  for (let page = 0; page < links.length; page++) {
    const at = page * Page.size
    word[0] = links[page + 1] ?? 0
    target.set(wordBytes, at)
    writeRefs(target.subarray(at, at + Page.size), page, refs)
  }
}

const fail = (reason: DirectoryError.Reason) => Result.fail(new DirectoryError.DirectoryError({ reason }))

/**
 * Where page number `links.length - 1` of a chain leads, given its link `word` and the references of all pages so
 * far: the next page, or `undefined` at the proper end of a chain of `expected` pages.
 *
 * @category checking
 * @since 0.2.0
 */
export const follow = (
  links: ReadonlyArray<number>,
  word: number,
  expected: number
): Result.Result<GrantRef.GrantRef | undefined, DirectoryError.DirectoryError> => {
  const page = links.length - 1
  const last = links.length === expected
  if (word === 0) {
    return last ? Result.succeed(undefined) : fail(new DirectoryError.TooShort({ pages: links.length, expected }))
  }
  const firstPage = links.indexOf(word)
  if (firstPage >= 0) return fail(new DirectoryError.Cyclic({ page, ref: word, firstPage }))
  if (last) return fail(new DirectoryError.TooLong({ expected, next: word }))
  return GrantRef.isGrantRef(word)
    ? Result.succeed(word)
    : fail(new DirectoryError.InvalidLink({ to: page + 1, word }))
}

const pageOf = (index: number) => Math.floor(index / refsPerPage)

/** The first place of a reference that stood before, in `links` or in `refs`; -1 if there is none. */
const repeatedIndex = (links: ArrayLike<number>, refs: Uint32Array, low: number, high: number): number => {
  // One bit a reference, as long as the peer's choice of references can't make that much more than a word each.
  if (high - low >= 32 * (refs.length + links.length)) return repeatedIndexSorting(links, refs)
  const seen = new Int32Array(((high - low) >>> 5) + 1)
  for (let i = 0; i < links.length; i++) {
    const link = links[i]!
    if (link >= low && link <= high) seen[(link - low) >>> 5]! |= 1 << (link - low)
  }
  for (let i = 0; i < refs.length; i++) {
    const at = (refs[i]! - low) | 0
    const word = seen[at >>> 5]!
    const bit = 1 << at
    if ((word & bit) !== 0) return i
    seen[at >>> 5] = word | bit
  }
  return -1
}

/**
 * Sorting has no bad case: with hashing, a peer could choose references that collide. Each is sorted together with its
 * place, links first, as one number: 32 bits and 21.
 */
const repeatedIndexSorting = (links: ArrayLike<number>, refs: Uint32Array): number => {
  const places = 2 ** 21
  const sorted = new Float64Array(links.length + refs.length)
  for (let i = 0; i < links.length; i++) sorted[i] = links[i]! * places + i
  for (let i = 0; i < refs.length; i++) sorted[links.length + i] = refs[i]! * places + links.length + i
  sorted.sort()
  let first = Infinity
  for (let i = 1; i < sorted.length; i++) {
    const place = sorted[i]! % places
    const isRepeated = Math.floor(sorted[i]! / places) === Math.floor(sorted[i - 1]! / places)
    if (isRepeated && place >= links.length && place < first) first = place
  }
  return first === Infinity ? -1 : first - links.length
}

/**
 * Checks the references of a buffer against each other, and against those of its directory's pages (`links`) where
 * both belong to one domain; `links` is empty where they don't.
 *
 * @category checking
 * @since 0.2.0
 */
export const check = (
  links: ArrayLike<number>,
  refs: Uint32Array<ArrayBuffer>
): Result.Result<Uint32Array<ArrayBuffer>, DirectoryError.DirectoryError> => {
  let low = refs[0]!
  let high = low
  for (let i = 1; i < refs.length; i++) {
    const ref = refs[i]!
    if (ref < low) low = ref
    if (ref > high) high = ref
  }
  if (low < GrantRef.minimum || high > GrantRef.maximum) {
    const index = refs.findIndex((word) => !GrantRef.isGrantRef(word))
    return fail(new DirectoryError.InvalidRef({ page: pageOf(index), index, word: refs[index]! }))
  }
  const index = repeatedIndex(links, refs, low, high)
  if (index < 0) return Result.succeed(refs)
  const ref = refs[index]!
  const linked = Array.prototype.indexOf.call(links, ref)
  const first = linked < 0
    ? { part: "buffer", page: refs.indexOf(ref) } as const
    : { part: "directory", page: linked } as const
  return fail(new DirectoryError.RepeatedRef({ page: pageOf(index), index, ref, first }))
}
