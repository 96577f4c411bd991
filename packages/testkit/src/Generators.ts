/**
 * Generates the field's values for property tests: ids, references, sizes near the boundaries, and page directories,
 * sound or damaged on purpose. Everything shrinks to small and plain values.
 *
 * @since 0.1.0
 */

import * as Chain from "@xen-shbuf/core/Chain"
import * as DirectoryError from "@xen-shbuf/core/DirectoryError"
import * as DomainId from "@xen-shbuf/core/DomainId"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import * as Page from "@xen-shbuf/core/Page"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"

const between = (minimum: number, maximum: number) =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

/** One of `values`; shrinks towards the first. */
const oneOf = <A>(values: ReadonlyArray<A>) => Arbitrary.map(between(0, values.length - 1), (i) => values[i]!)

/**
 * Ids of ordinary domains.
 *
 * @category generators
 * @since 0.1.0
 */
export const domainId: Arbitrary.Arbitrary<DomainId.DomainId> = Arbitrary.schema(DomainId.DomainId)

/**
 * Grant references, all over their range.
 *
 * @category generators
 * @since 0.1.0
 */
export const grantRef: Arbitrary.Arbitrary<GrantRef.GrantRef> = Arbitrary.schema(GrantRef.GrantRef)

/**
 * Words that can't be grant references: 0 to 7, and 0xFFFFFFFF.
 *
 * @category generators
 * @since 0.1.0
 */
export const invalidRef: Arbitrary.Arbitrary<number> = oneOf([0, 1, 2, 3, 4, 5, 6, 7, 0xffff_ffff])

/**
 * Numbers to seed `bytes` and `shuffled` with.
 *
 * @category generators
 * @since 0.1.0
 */
export const seed: Arbitrary.Arbitrary<number> = between(0, 0xffff)

/** Where a directory takes one page more, and the neighbours. */
const boundaries = [1, 2].flatMap((pages) => [-1, 0, 1].map((d) => pages * Chain.refsPerPage + d))

/**
 * Upper bounds for the size of what is generated.
 *
 * @category models
 * @since 0.1.0
 */
export interface Size {
  /** Pages at most: adapt it to the limits of the grant table. */
  readonly maximum?: number | undefined
}

/**
 * Page counts: 1 to 32, and around the boundaries of one and two directory pages: 1022, 1023, 1024, 2045, 2046, 2047.
 *
 * @category generators
 * @since 0.1.0
 */
export const pageCount = ({ maximum = Infinity }: Size = {}): Arbitrary.Arbitrary<Page.PageCount> =>
  oneOf(
    [...Array.from({ length: 32 }, (_, i) => i + 1), ...boundaries]
      .filter((pages) => pages <= maximum)
      .map((pages) => Page.PageCount.make(pages))
  )

const lastPageLengths = [Page.size, 1, 2, Page.size - 1]

/**
 * Lengths in bytes of so many pages as `pageCount` gives: the last page full, nearly full, or nearly empty.
 *
 * @category generators
 * @since 0.1.0
 */
export const byteLength = (size: Size = {}): Arbitrary.Arbitrary<Page.ByteLength> =>
  Arbitrary.map(
    Arbitrary.all([pageCount(size), oneOf(lastPageLengths)]),
    ([pages, last]) => Page.ByteLength.make((pages - 1) * Page.size + last)
  )

/**
 * The lengths worth trying one by one: on both sides of one page, and a byte short of each size that `pageCount` knows
 * as a boundary, up to `maximum` pages.
 *
 * @category examples
 * @since 0.1.0
 */
export const byteLengths = ({ maximum = Infinity }: Size = {}): ReadonlyArray<Page.ByteLength> =>
  [1, Page.size - 1, Page.size, Page.size + 1, ...boundaries.map((pages) => pages * Page.size - 1)]
    .filter((length) => length <= maximum * Page.size)
    .map((length) => Page.ByteLength.make(length))

/**
 * Bytes that look random; the same for the same seed, and different at every page.
 *
 * @category expansion
 * @since 0.1.0
 */
export const bytes = (seed: number, length: number): Uint8Array<ArrayBuffer> => {
  const words = new Uint32Array(Math.ceil(length / 4))
  let word = (seed + 1) * 0x9e37_79b1 | 1
  for (let i = 0; i < words.length; i++) {
    word ^= word << 13
    word ^= word >>> 17
    word ^= word << 5
    words[i] = word
  }
  return new Uint8Array(words.buffer, 0, length)
}

/**
 * The items in an order that the seed decides: as they are for 0, reversed for 1, mixed up for others.
 *
 * @category expansion
 * @since 0.1.0
 */
export const shuffled = <A>(seed: number, items: ArrayLike<A>): Array<A> => {
  const order = Array.from(items)
  if (seed === 0) return order
  if (seed === 1) return order.reverse()
  const random = new Uint32Array(bytes(seed, order.length * 4).buffer)
  for (let i = order.length - 1; i > 0; i--) {
    const j = random[i]! % (i + 1)
    const item = order[i]!
    order[i] = order[j]!
    order[j] = item
  }
  return order
}

/**
 * The references of a sound directory: of its own pages, in order, and of the buffer's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Directory {
  /** The references of its own pages, in order. */
  readonly links: Uint32Array<ArrayBuffer>
  /** The references of the buffer's pages, in order. */
  readonly refs: Uint32Array<ArrayBuffer>
}

/**
 * The bytes of a directory: on each page the reference of the next, then 1023 references of the buffer's pages;
 * places left over are 0.
 *
 * @category expansion
 * @since 0.1.0
 */
export const layOut = ({ links, refs }: Directory): Uint8Array<ArrayBuffer> => {
  const words = new Uint32Array(links.length * 1024)
  links.subarray(1).forEach((link, page) => words[page * 1024] = link)
  refs.forEach((ref, i) => words[slot(i)] = ref)
  return new Uint8Array(words.buffer)
}

/** The word of a directory at which a reference stands. */
const slot = (index: number) => pageOf(index) * 1024 + 1 + index % 1023

const pageOf = (index: number) => Math.floor(index / 1023)

const validRefs = GrantRef.maximum - GrantRef.minimum + 1

/** So many different references, `step` apart. */
const sequence = (first: number, step: number, count: number) =>
  Uint32Array.from({ length: count }, (_, i) =>
    GrantRef.minimum + (first - GrantRef.minimum + i * step + validRefs * 1024) % validRefs)

/**
 * Directories as a well-behaved peer makes them: references all over their range, ascending or descending.
 *
 * @category generators
 * @since 0.1.0
 */
export const directory = (size: Size = {}): Arbitrary.Arbitrary<Directory> =>
  Arbitrary.map(
    Arbitrary.all([pageCount(size), grantRef, oneOf([1, -1, 2, 17, -1000])]),
    ([pages, first, step]) => {
      const links = Chain.pagesFor(pages)
      const all = sequence(first, step, links + pages)
      return { links: all.slice(0, links), refs: all.slice(links) }
    }
  )

/**
 * What can be wrong with a directory. Pages and indexes count from 0.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Damage = Schema.TaggedUnion({
  /** A page before the last has no link to the next. */
  EndsEarly: {
    /** The page. */
    page: Schema.Int
  },
  /** The last page links on. */
  GoesOn: {
    /** What stands there as a link. */
    word: Schema.Int
  },
  /** A page links to itself or to an earlier one. */
  Cycle: {
    /** The page. */
    page: Schema.Int,
    /** The page that it links to. */
    to: Schema.Int
  },
  /** A page before the last links to what can't be a reference. */
  BadLink: {
    /** The page. */
    page: Schema.Int,
    /** What stands there as a link. */
    word: Schema.Int
  },
  /** A word that can't be a reference stands where one must be. */
  BadRef: {
    /** The page of the buffer. */
    index: Schema.Int,
    /** What stands there as its reference. */
    word: Schema.Int
  },
  /** A reference stands twice. */
  Repeated: {
    /** The page of the buffer whose reference it is the second time. */
    index: Schema.Int,
    /** The one whose reference it is first. */
    first: Schema.Int
  },
  /** A page of the directory is a page of the buffer too. */
  OwnPage: {
    /** The page of the buffer. */
    index: Schema.Int,
    /** The page of the directory. */
    page: Schema.Int
  }
})

/**
 * What is wrong with a directory.
 *
 * @category models
 * @since 0.1.0
 */
export type Damage = typeof Damage.Type

/**
 * A directory of a buffer of so many pages, with one thing wrong.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hostile {
  /** Pages of the buffer. */
  readonly pages: Page.PageCount
  /** What is wrong. */
  readonly damage: Damage
}

/**
 * The kinds of damage to the references, and to the links between the pages.
 *
 * @category constants
 * @since 0.1.0
 */
export const kinds = {
  /** To the references. */
  refs: ["BadRef", "OwnPage", "Repeated"],
  /** To the links. */
  links: ["Cycle", "GoesOn", "EndsEarly", "BadLink"]
} as const

/** The least pages of a buffer that such damage is possible with. */
const atLeast: { readonly [kind in Damage["_tag"]]: number } = {
  BadRef: 1,
  OwnPage: 1,
  Repeated: 2,
  Cycle: 1,
  GoesOn: 1,
  EndsEarly: Chain.refsPerPage + 1,
  BadLink: Chain.refsPerPage + 1
}

/**
 * Directories with one thing wrong, of one of these kinds or of any, which `damaged` turns into bytes: only the
 * references of the directory's own pages have to be real.
 *
 * @category generators
 * @since 0.1.0
 */
export const hostile = (
  among: ReadonlyArray<Damage["_tag"]> = [...kinds.refs, ...kinds.links]
): Arbitrary.Arbitrary<Hostile> => {
  const choices = { some: pageCount(), at: between(0, 2047), other: between(0, 2047), word: invalidRef }
  return Arbitrary.map(Arbitrary.all({ kind: oneOf(among), ...choices }), ({ at, kind, other, some, word }) => {
    const pages = Page.PageCount.make(Math.max(some, atLeast[kind]))
    const links = Chain.pagesFor(pages)
    const index = at % pages
    const page = at % links
    const damage: { readonly [kind in Damage["_tag"]]: () => Damage } = {
      BadRef: () => ({ _tag: "BadRef", index, word }),
      OwnPage: () => ({ _tag: "OwnPage", index, page: other % links }),
      Repeated: () => ({ _tag: "Repeated", index: Math.max(index, 1), first: other % Math.max(index, 1) }),
      Cycle: () => ({ _tag: "Cycle", page, to: other % (page + 1) }),
      GoesOn: () => ({ _tag: "GoesOn", word: word === 0 ? GrantRef.maximum : word }),
      EndsEarly: () => ({ _tag: "EndsEarly", page: at % (links - 1) }),
      BadLink: () => ({ _tag: "BadLink", page: at % (links - 1), word: word === 0 ? 1 : word })
    }
    return { pages, damage: damage[kind]() }
  })
}

/**
 * Damages a sound directory: the bytes that a hostile peer would publish, and the reason why they must be refused.
 *
 * @category expansion
 * @since 0.1.0
 */
export const damaged = (
  { links, refs }: Directory,
  damage: Damage
): {
  /** The pages of the directory. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** What must be said of it. */
  readonly reason: DirectoryError.Reason
} => {
  const bytes = layOut({ links, refs })
  const words = new Uint32Array(bytes.buffer)
  const expected = links.length
  switch (damage._tag) {
    case "EndsEarly":
      words[damage.page * 1024] = 0
      return { bytes, reason: new DirectoryError.TooShort({ pages: damage.page + 1, expected }) }
    case "GoesOn":
      words[(expected - 1) * 1024] = damage.word
      return { bytes, reason: new DirectoryError.TooLong({ expected, next: damage.word }) }
    case "Cycle": {
      const ref = links[damage.to]!
      words[damage.page * 1024] = ref
      return { bytes, reason: new DirectoryError.Cyclic({ page: damage.page, ref, firstPage: damage.to }) }
    }
    case "BadLink":
      words[damage.page * 1024] = damage.word
      return { bytes, reason: new DirectoryError.InvalidLink({ to: damage.page + 1, word: damage.word }) }
    case "BadRef": {
      const { index, word } = damage
      words[slot(index)] = word
      return { bytes, reason: new DirectoryError.InvalidRef({ page: pageOf(index), index, word }) }
    }
    case "Repeated": {
      const { first, index } = damage
      const ref = refs[first]!
      words[slot(index)] = ref
      return { bytes, reason: repeated(index, ref, { part: "buffer", page: first }) }
    }
    case "OwnPage": {
      const { index, page } = damage
      const ref = links[page]!
      words[slot(index)] = ref
      return { bytes, reason: repeated(index, ref, { part: "directory", page }) }
    }
  }
}

const repeated = (index: number, ref: number, first: DirectoryError.RepeatedRef["first"]) =>
  new DirectoryError.RepeatedRef({ page: pageOf(index), index, ref, first })
