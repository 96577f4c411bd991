/**
 * Lays out the grant references of a buffer on a chain of pages, and reads them back.
 *
 * A page is 1024 little-endian 32-bit words: the reference of the next page (0 on the last), then 1023 references of
 * buffer pages (`struct xen_page_directory`; `XENDISPL_OP_DBUF_CREATE` in `xen/include/public/io/displif.h`).
 * Everything here is pure and works on private copies: copy shared memory once, then check the copy.
 *
 * @since 0.1.0
 */
import * as Equivalence from "effect/Equivalence"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as DirectoryError from "./DirectoryError.ts"
import * as GrantRef from "./GrantRef.ts"
import * as Page from "./Page.ts"

const TypeId = "~@xen-shbuf/core/PageDirectory"
const wordsPerPage = Page.size / 4

/**
 * References on one directory page.
 *
 * @category constants
 * @since 0.1.0
 */
export const refsPerPage = wordsPerPage - 1

/**
 * Directory pages that so many references take.
 *
 * @category conversions
 * @since 0.1.0
 */
export const pagesFor = (refs: number): number => Math.ceil(refs / refsPerPage)

/**
 * Directory pages of the largest buffer, 4 GiB.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxPages: number = pagesFor(Page.maxCount)

/**
 * One page of a directory, or a whole chain in order: any words, not yet checked. Opaque and unchangeable.
 *
 * @category models
 * @since 0.1.0
 */
export interface PageDirectory {
  readonly [TypeId]: typeof TypeId
  /** Directory pages, 1 to 1026. */
  readonly pages: number
}

// The bytes stay behind this class: who holds a directory can't change it.
class PageDirectoryImpl implements PageDirectory {
  readonly [TypeId]: typeof TypeId = TypeId
  readonly bytes: Uint8Array<ArrayBuffer>
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes
  }
  get pages() {
    return this.bytes.length / Page.size
  }
}

// Typed arrays have the byte order of the host: little-endian, as on every host that Xen runs on.
const wordsOf = (self: PageDirectory): Uint32Array<ArrayBuffer> => {
  const { buffer, byteLength, byteOffset } = (self as PageDirectoryImpl).bytes
  return new Uint32Array(buffer, byteOffset, byteLength / 4)
}

// A runtime takes longer for the memory of one page than for copying it. So directories of one or two pages lie side by
// side in blocks, which nobody else ever sees; one directory keeps no more than its block alive.
const blockSize = 8 * Page.size
let block = new Uint8Array(0)
let used = 0

/** Zeroed memory for a directory, given out once. */
const blank = (byteLength: number): Uint8Array<ArrayBuffer> => {
  if (byteLength > blockSize / 4) return new Uint8Array(byteLength)
  if (used + byteLength > block.length) {
    block = new Uint8Array(blockSize)
    used = 0
  }
  const bytes = new Uint8Array(block.buffer, used, byteLength)
  used += byteLength
  return bytes
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint32Array<ArrayBuffer>) =>
  new Uint8Array(buffer, byteOffset, byteLength)

/**
 * Makes a directory of bytes without copying them: 1 to 1026 whole pages at a multiple of 4 bytes in their buffer, which
 * nobody changes any more. For all other bytes decode {@link FromBytes}.
 *
 * @category unsafe
 * @since 0.1.0
 */
export const fromBytesUnsafe = (bytes: Uint8Array<ArrayBuffer>): PageDirectory => new PageDirectoryImpl(bytes)

/**
 * Tells whether a value is a directory.
 *
 * @category guards
 * @since 0.1.0
 */
export const isPageDirectory = (u: unknown): u is PageDirectory => Predicate.hasProperty(u, TypeId)

/**
 * The link of a page to the next one, as it stands there: 0 on the last page.
 *
 * @category accessors
 * @since 0.1.0
 */
export const next = (self: PageDirectory, page: number): number => wordsOf(self)[page * wordsPerPage]!

/**
 * The first `count` words in the places of references, as they stand there, page by page.
 *
 * @category accessors
 * @since 0.1.0
 */
export const slots = (self: PageDirectory, count: number): Uint32Array<ArrayBuffer> => {
  const words = wordsOf(self)
  const refs = new Uint32Array(count)
  for (let at = 0, word = 1; at < count; at += refsPerPage, word += wordsPerPage) {
    refs.set(words.subarray(word, word + Math.min(refsPerPage, count - at)), at)
  }
  return refs
}

/**
 * Joins single pages, or parts of a chain, in order.
 *
 * @category combinators
 * @since 0.1.0
 */
export const concat = (parts: ReadonlyArray<PageDirectory>): PageDirectory => {
  const [only] = parts
  if (only !== undefined && parts.length === 1) return only
  const bytes = new Uint8Array(parts.reduce((pages, part) => pages + part.pages, 0) * Page.size)
  let at = 0
  for (const part of parts) {
    bytes.set((part as PageDirectoryImpl).bytes, at)
    at += part.pages * Page.size
  }
  return new PageDirectoryImpl(bytes)
}

/**
 * The link that stands at the beginning of a page's bytes, each read once: they may be shared memory.
 *
 * @category accessors
 * @since 0.1.0
 */
export const linkIn = (page: Uint8Array): number =>
  (page[0]! | page[1]! << 8 | page[2]! << 16 | page[3]! << 24) >>> 0

/**
 * Writes the references of page number `page` into the bytes of that page; places beyond the last become 0, and the link
 * stays. Checks nothing. Throws a RangeError where the references don't fit into the bytes.
 *
 * @category conversions
 * @since 0.1.0
 */
export const writeRefs = (target: Uint8Array, page: number, refs: Uint32Array<ArrayBuffer>): void => {
  const own = bytesOf(refs.subarray(page * refsPerPage, (page + 1) * refsPerPage))
  target.set(own, 4)
  target.subarray(4 + own.length, Page.size).fill(0)
}

const word = new Uint32Array(1)
const wordBytes = bytesOf(word)

/**
 * Writes a directory into the beginning of `target`: into shared pages, without a copy in between as encoding would make.
 * Checks nothing: `links` and `refs` are those of {@link fromRefs}. Throws a RangeError where `target` is too small.
 *
 * @category conversions
 * @since 0.1.0
 */
export const write = (target: Uint8Array, links: ArrayLike<number>, refs: Uint32Array<ArrayBuffer>): void => {
  for (let page = 0; page < links.length; page++) {
    const at = page * Page.size
    word[0] = links[page + 1] ?? 0
    target.set(wordBytes, at)
    writeRefs(target.subarray(at, at + Page.size), page, refs)
  }
}

const layOut = (links: ArrayLike<number>, refs: Uint32Array<ArrayBuffer>): PageDirectory => {
  const bytes = blank(links.length * Page.size)
  write(bytes, links, refs)
  return new PageDirectoryImpl(bytes)
}

/**
 * A directory without references, for the backend to fill in: only the links between its pages.
 * `links` are the references of the directory's own pages, in order, at least one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromLinks = (links: ArrayLike<number>): PageDirectory => layOut(links, new Uint32Array(0))

/**
 * A directory of the pages `links` that lists `refs`; places beyond the last reference are 0.
 * Fails on what no peer could use: a wrong number of pages, a word that can't be a reference, a reference twice.
 * Links and references may be the same numbers: in a directory that a backend fills they belong to two domains.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromRefs = (
  links: ArrayLike<number>,
  refs: Uint32Array<ArrayBuffer>
): Result.Result<PageDirectory, DirectoryError.DirectoryError> => {
  if (!isCount(refs.length) || links.length !== pagesFor(refs.length)) {
    return fail(new DirectoryError.WrongCount({ refs: refs.length, pages: links.length }))
  }
  const directory = layOut(links, refs)
  return followAll(directory, links[0]!, links.length).pipe(
    Result.flatMap(() => check([], refs)),
    Result.map(() => directory)
  )
}

const isCount = Schema.is(Page.PageCount)

const fail = (reason: DirectoryError.Reason) => Result.fail(new DirectoryError.DirectoryError({ reason }))

/**
 * Where page number `links.length - 1` of a chain leads, given its link `word` and the references of all pages so
 * far: the next page, or `undefined` at the proper end of a chain of `expected` pages.
 *
 * @category walking
 * @since 0.1.0
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
    : fail(new DirectoryError.InvalidLink({ page: page + 1, word }))
}

/** The references of all pages of a chain whose pages are at hand. */
const followAll = (
  self: PageDirectory,
  first: number,
  expected: number
): Result.Result<ReadonlyArray<number>, DirectoryError.DirectoryError> => {
  if (!GrantRef.isGrantRef(first)) return fail(new DirectoryError.InvalidLink({ page: 0, word: first }))
  const links = [first]
  for (let page = 0; page < self.pages; page++) {
    const link = follow(links, next(self, page), expected)
    if (Result.isFailure(link)) return Result.fail(link.failure)
    if (link.success !== undefined) links.push(link.success)
  }
  return Result.succeed(links)
}

const pageOf = (index: number) => Math.floor(index / refsPerPage)

/** The place of a reference that stood before, in `links` or in `refs`; -1 if there is none. */
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

/** Sorting has no bad case: with hashing, a peer could choose references that collide. */
const repeatedIndexSorting = (links: ArrayLike<number>, refs: Uint32Array): number => {
  const sorted = new Uint32Array(links.length + refs.length)
  sorted.set(links)
  sorted.set(refs, links.length)
  sorted.sort()
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i] === sorted[i - 1]) return refs.lastIndexOf(sorted[i]!)
  }
  return -1
}

/**
 * Reads `count` references from the chain that begins with the page granted as `first`, and checks all of it: exactly
 * the right number of pages, no cycle, no word that can't be a reference, none twice. Words beyond `count` don't count.
 *
 * @category walking
 * @since 0.1.0
 */
export const toRefs = (
  self: PageDirectory,
  first: number,
  count: number
): Result.Result<Uint32Array<ArrayBuffer>, DirectoryError.DirectoryError> => {
  const expected = pagesFor(count)
  if (!isCount(count) || self.pages !== expected) {
    return fail(new DirectoryError.WrongCount({ refs: count, pages: self.pages }))
  }
  return Result.flatMap(followAll(self, first, expected), (links) => check(links, slots(self, count)))
}

/**
 * Checks the references of a buffer against each other, and against those of its directory's pages (`links`) where
 * both belong to one domain; `links` is empty where they don't.
 *
 * @category walking
 * @since 0.1.0
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
  const link = Array.prototype.indexOf.call(links, ref)
  const first = link >= 0 ? `directory page ${link}` : `buffer page ${refs.indexOf(ref)}`
  return fail(new DirectoryError.RepeatedRef({ page: pageOf(index), index, ref, first }))
}

/**
 * The decoded side of {@link FromBytes}. Checked as a whole, so that its cost does not grow with the references.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PageDirectory = Schema.declare(isPageDirectory, {
  expected: "PageDirectory",
  toEquivalence: () =>
    Equivalence.make((self: PageDirectory, that: PageDirectory) => {
      const words = wordsOf(that)
      return self.pages === that.pages && wordsOf(self).every((word, i) => word === words[i])
    }),
  // Short and padded: generating and shrinking thousands of words a page would be slow.
  toCodecArbitrary: () =>
    Schema.link<PageDirectory>()(
      Schema.Struct({
        links: Schema.Array(GrantRef.GrantRef).check(Schema.isMaxLength(3)),
        refs: Schema.Array(GrantRef.GrantRef).check(Schema.isMaxLength(16))
      }),
      {
        decode: SchemaGetter.transform(({ links, refs }) => layOut([0, ...links], Uint32Array.from(refs))),
        encode: SchemaGetter.transform((self) => ({
          links: Array.from({ length: self.pages - 1 }, (_, page) => next(self, page) as GrantRef.GrantRef),
          refs: Array.from(slots(self, 16)) as Array<GrantRef.GrantRef>
        }))
      }
    )
})

const PageBytes = Schema.declare(
  (u: unknown): u is Uint8Array =>
    u instanceof Uint8Array && u.length > 0 && u.length % Page.size === 0 && u.length <= maxPages * Page.size,
  { expected: `1 to ${maxPages} whole pages of ${Page.size} bytes` }
)

/** Not slice(): that of a Buffer shares memory. */
const copyTo = (copy: Uint8Array<ArrayBuffer>, bytes: Uint8Array): Uint8Array<ArrayBuffer> => {
  copy.set(bytes)
  return copy
}

/**
 * Bytes to directory and back, for one page or a whole chain; total both ways, the same bytes again.
 * Decoding copies once, so it may read shared memory: each word is read exactly once.
 *
 * @category schemas
 * @since 0.1.0
 */
export const FromBytes = PageBytes.pipe(Schema.decodeTo(
  PageDirectory,
  SchemaTransformation.transform<PageDirectory, Uint8Array>({
    decode: (bytes) => new PageDirectoryImpl(copyTo(blank(bytes.length), bytes)),
    encode: (self) => {
      const { bytes } = self as PageDirectoryImpl
      return copyTo(new Uint8Array(bytes.length), bytes) // The caller's alone, so memory of its own.
    }
  })
))
