/**
 * Lays out the grant references of a buffer on a chain of pages, and reads them back, as values and schemas: for people,
 * tests, and programs that keep or send directories. Buffers themselves go through `Chain`, which has the layout.
 *
 * Everything here is pure and works on private copies.
 *
 * @since 0.1.0
 */

import * as Equivalence from "effect/Equivalence"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as Chain from "./Chain.ts"
import * as DirectoryError from "./DirectoryError.ts"
import * as GrantRef from "./GrantRef.ts"
import { text } from "./internal/text.ts"
import * as Page from "./Page.ts"

const TypeId = "~@xen-shbuf/core/PageDirectory"

/**
 * One page of a directory, or a whole chain in order: any words, not yet checked. Opaque and unchangeable.
 *
 * @category models
 * @since 0.1.0
 */
export interface PageDirectory {
  /** Tells it from anything else. */
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

const bytesOf = (self: PageDirectory) => (self as PageDirectoryImpl).bytes

/** Not slice(): that of a Buffer shares memory. */
const copy = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes)

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
export const next = (self: PageDirectory, page: number): number =>
  Chain.link(bytesOf(self).subarray(page * Page.size))

/**
 * The first `count` words in the places of references, as they stand there, page by page.
 *
 * @category accessors
 * @since 0.1.0
 */
export const slots = (self: PageDirectory, count: number): Uint32Array<ArrayBuffer> => Chain.refs(bytesOf(self), count)

/**
 * Joins single pages, or parts of a chain, in order.
 *
 * @category combinators
 * @since 0.1.0
 */
export const concat = (parts: ReadonlyArray<PageDirectory>): PageDirectory => {
  const bytes = new Uint8Array(parts.reduce((pages, part) => pages + part.pages, 0) * Page.size)
  let at = 0
  for (const part of parts) {
    bytes.set(bytesOf(part), at)
    at += part.pages * Page.size
  }
  return new PageDirectoryImpl(bytes)
}

const layOut = (links: ArrayLike<number>, refs: Uint32Array<ArrayBuffer>): PageDirectory => {
  const bytes = new Uint8Array(links.length * Page.size)
  Chain.write(bytes, links, refs)
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
  if (!isCount(refs.length) || links.length !== Chain.pagesFor(refs.length)) {
    return fail(new DirectoryError.WrongCount({ refs: text(refs.length), pages: links.length }))
  }
  const directory = layOut(links, refs)
  return followAll(directory, links[0]!, links.length).pipe(
    Result.flatMap(() => Chain.check([], refs)),
    Result.map(() => directory)
  )
}

const isCount = Schema.is(Page.PageCount)

const fail = (reason: DirectoryError.Reason) => Result.fail(new DirectoryError.DirectoryError({ reason }))

/** The references of all pages of a chain whose pages are at hand. */
const followAll = (
  self: PageDirectory,
  first: number,
  expected: number
): Result.Result<ReadonlyArray<number>, DirectoryError.DirectoryError> => {
  if (!GrantRef.isGrantRef(first)) return fail(new DirectoryError.InvalidLink({ to: 0, word: first }))
  const links = [first]
  for (let page = 0; page < self.pages; page++) {
    const link = Chain.follow(links, next(self, page), expected)
    if (Result.isFailure(link)) return Result.fail(link.failure)
    if (link.success !== undefined) links.push(link.success)
  }
  return Result.succeed(links)
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
  const expected = Chain.pagesFor(count)
  if (!isCount(count) || self.pages !== expected) {
    return fail(new DirectoryError.WrongCount({ refs: text(count), pages: self.pages }))
  }
  return Result.flatMap(followAll(self, first, expected), (links) => Chain.check(links, slots(self, count)))
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
      const bytes = bytesOf(that)
      return self.pages === that.pages && bytesOf(self).every((byte, i) => byte === bytes[i])
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
    u instanceof Uint8Array && u.length > 0 && u.length % Page.size === 0 && u.length <= Chain.maxPages * Page.size,
  { expected: `1 to ${Chain.maxPages} whole pages of ${Page.size} bytes` }
)

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
    decode: (bytes) => new PageDirectoryImpl(copy(bytes)),
    encode: (self) => copy(bytesOf(self))
  })
))
