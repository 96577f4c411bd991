/**
 * What a hostile peer does, as data: the directory that it publishes, what is wrong with it, and what it rewrites
 * while the victim reads. Shrinks towards a sound directory of one page that nobody touches.
 */
import * as Chain from "@xen-shbuf/core/Chain"
import * as Page from "@xen-shbuf/core/Page"
import * as Generators from "@xen-shbuf/testkit/Generators"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import { kinds, type Value, wordsPerPage, type World } from "./World.ts"

/** What the victim does: a backend's half for a hostile frontend, or a frontend's for a hostile backend. */
export const modes = ["map", "map read-only", "provide", "walk", "map provided", "map provided read-only"] as const

/** Whether the victim is the frontend. */
export const isFrontend = ({ mode }: Case): boolean => mode === "map provided" || mode === "map provided read-only"

/** One word that the peer writes. */
export interface Write {
  readonly page: number
  readonly place: typeof places[number]
  readonly n: number
  readonly value: Value
}

/** Words of a directory page: its link, a reference that counts, one beyond the last that does, any. */
const places = ["slot", "link", "beyond", "any"] as const

export interface Case {
  readonly mode: typeof modes[number]
  /** Pages of the buffer, as the peer claims them, and bytes on the last of them. */
  readonly pages: number
  readonly last: number
  /** References that really stand in the directory: so many more than claimed. */
  readonly extra: number
  readonly order: typeof orders[number]
  /** Which of its directory pages is the first. */
  readonly from: number
  /** What the peer says is the first page of its directory, if it lies. */
  readonly first: Value | undefined
  readonly limit: typeof limits[number]
  /** Whether the memory of the directory counts how often it is read. */
  readonly watched: boolean
  /** Written before the victim begins. */
  readonly damage: ReadonlyArray<Write>
  /** Written at moments before, between and after the victim's operations, counted from 0. */
  readonly rewrites: ReadonlyArray<Write & { readonly at: number }>
}

const orders = ["ascending", "descending", "shuffled"] as const

/** The victim's own limit: its default, just enough, a byte too small, or none. */
const limits = ["default", "exact", "below", "none"] as const

const between = (minimum: number, maximum: number) =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

/** One of the values, as often as its weight says; shrinks towards the first. */
const weighted = <A>(weights: ReadonlyArray<readonly [weight: number, value: A]>): Arbitrary.Arbitrary<A> => {
  const all = weights.flatMap(([weight, value]) => Array.from({ length: weight }, () => value))
  return Arbitrary.map(between(0, all.length - 1), (i) => all[i]!)
}

const oneOf = <A>(values: ReadonlyArray<A>) => weighted(values.map((value) => [1, value]))

/** Mostly one of few: so that two choices are often the same. */
const number = Arbitrary.map(
  Arbitrary.all({ small: between(0, 15), big: between(0, 0xffff), isBig: weighted([[3, false], [1, true]]) }),
  ({ big, isBig, small }) => isBig ? big : small
)

const value = (...favourites: ReadonlyArray<Value["kind"]>): Arbitrary.Arbitrary<Value> =>
  Arbitrary.all({ kind: weighted(kinds.map((kind) => [favourites.includes(kind) ? 4 : 1, kind])), n: number })

const write = Arbitrary.map(
  Arbitrary.all({
    page: between(0, 3),
    place: weighted([[5, "slot"], [4, "link"], [1, "beyond"], [1, "any"]] as const),
    n: number,
    ref: value("Good", "Other", "Directory"),
    link: value("Directory", "ReadOnlyDirectory", "Lookalike", "Reserved")
  }),
  ({ link, n, page, place, ref }): Write => ({ page, place, n, value: place === "link" ? link : ref })
)

/** Some, or none at all. */
const some = <A>(item: Arbitrary.Arbitrary<A>): Arbitrary.Arbitrary<ReadonlyArray<A>> =>
  Arbitrary.map(
    Arbitrary.all({
      none: weighted([[1, true], [3, false]]),
      first: item,
      rest: Arbitrary.array(item, { maxLength: 4 })
    }),
    ({ first, none, rest }) => none ? [] : [first, ...rest]
  )

const pages = Arbitrary.map(
  Arbitrary.all({
    few: between(1, 8),
    some: Generators.pageCount(),
    chained: oneOf([1024, 1025, 2046, 2047, 2050, 3069, 3070, 4092]),
    many: oneOf([4093, 65_536, 65_537, 524_288, Page.maxCount]),
    choice: weighted([[28, "few"], [4, "some"], [7, "chained"], [1, "many"]] as const)
  }),
  ({ choice, ...counts }) => counts[choice]
)

/** The biggest directory of our own that a backend fills in here. */
const maxPages = 2 * Chain.refsPerPage + 1

/** All that a peer can do to us. */
export const arbitrary: Arbitrary.Arbitrary<Case> = Arbitrary.map(Arbitrary.all({
  mode: weighted([
    [6, "map"],
    [2, "map read-only"],
    [6, "provide"],
    [2, "walk"],
    [4, "map provided"],
    [1, "map provided read-only"]
  ] as const),
  pages,
  last: oneOf([Page.size, 1, 2, Page.size - 1]),
  extra: weighted([[16, 0], [1, 1], [1, -1], [1, 5], [1, -1022], [1, 1023]]),
  order: weighted([[4, "ascending"], [1, "descending"], [1, "shuffled"]] as const),
  from: between(0, 3),
  first: Arbitrary.map(
    Arbitrary.all({ word: value("ReadOnlyDirectory", "Lookalike"), lies: weighted([[9, false], [1, true]]) }),
    ({ lies, word }) => lies ? word : undefined
  ),
  limit: weighted([[5, "none"], [2, "default"], [2, "exact"], [1, "below"]] as const),
  watched: weighted([[31, false], [1, true]]),
  damage: some(write),
  rewrites: some(Arbitrary.map(Arbitrary.all({ write, at: between(0, 13) }), ({ at, write }) => ({ ...write, at })))
}), (self): Case =>
  // A frontend's size, first page and chain are its own: there is nothing to lie about.
  isFrontend(self)
    ? { ...self, pages: Math.min(self.pages, maxPages), from: 0, first: undefined, limit: "none" }
    : self)

/** The size that the peer claims, in bytes. */
export const byteLength = ({ last, pages }: Case): number => (pages - 1) * Page.size + last

/** The victim's limit, as it gives it. */
export const maxByteLength = (self: Case): number | undefined =>
  ({
    none: Page.maxCount * Page.size,
    default: undefined,
    exact: byteLength(self),
    below: Math.max(byteLength(self) - 1, 1)
  })[self.limit]

/** The directory's pages as the peer chains them: all that it has, in its order. */
const chain = ({ from }: Case, pages: number) => Array.from({ length: pages }, (_, i) => (from + i) % pages)

/** The words of `pages` directory pages before any damage. */
export const sound = (self: Case, { directory, good }: World, pages: number): Uint32Array<ArrayBuffer> => {
  const words = new Uint32Array(pages * wordsPerPage)
  const listed = Math.min(Math.max(self.pages + self.extra, 1), pages * Chain.refsPerPage, good.length)
  // Each run of neighbours is mapped at one go: many of them would take a long time.
  const refs = listed > 64 || self.order === "ascending"
    ? good.subarray(0, listed)
    : Uint32Array.from(Generators.shuffled(self.order === "descending" ? 1 : 7, good.subarray(0, listed)))
  const order = chain(self, pages)
  for (let at = 0, i = 0; at < listed; at += Chain.refsPerPage, i++) {
    const begin = order[i]! * wordsPerPage
    words.set(refs.subarray(at, at + Chain.refsPerPage), begin + 1)
    if (at + Chain.refsPerPage < listed) words[begin] = directory.refs[order[i + 1]!]!
  }
  return words
}

/** The word that a write goes to, in a directory of `pages` pages. */
export const target = (self: Case, { n, page, place }: Write, pages: number): number => {
  const order = chain(self, pages)
  const used = Math.min(Math.max(self.pages - (page % pages) * Chain.refsPerPage, 1), Chain.refsPerPage)
  const word = {
    slot: 1 + n % used,
    link: 0,
    beyond: Math.min(1 + used, wordsPerPage - 1),
    any: n % wordsPerPage
  }[place]
  return order[page % pages]! * wordsPerPage + word
}
