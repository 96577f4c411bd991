/**
 * The rules of docs/page-directory.md once more, as plainly as they can be said, from which a case's outcome follows.
 * It shares no code with the library on purpose.
 */

/** A reason as the library must give it: these fields at least. */
export interface Fault {
  readonly _tag: string
  readonly [field: string]: unknown
}

/** One operation on the grant table. */
export type Operation =
  | { readonly _tag: "map"; readonly refs: ArrayLike<number>; readonly access: "read-only" | "read-write" }
  | { readonly _tag: "share"; readonly pages: number }

/** What must happen: these operations, no others, and one of these faults, or none. */
export interface Verdict {
  readonly operations: ReadonlyArray<Operation>
  readonly faults: ReadonlyArray<Fault>
  readonly links: ReadonlyArray<number>
  readonly refs: ReadonlyArray<number>
}

export interface Question {
  readonly peer: number
  readonly pages: number
  /** Xen's reason to refuse a page, if any. */
  readonly refusal: (ref: number, access: "read-only" | "read-write") => string | undefined
}

const reserved = (word: number) => word <= 7 || word === 0xffff_ffff

const refused = (
  { peer, refusal }: Question,
  refs: ReadonlyArray<number>,
  access: "read-only" | "read-write"
): ReadonlyArray<Fault> => {
  const index = refs.findIndex((ref) => refusal(ref, access) !== undefined)
  if (index < 0) return []
  const ref = refs[index]!
  return [{ _tag: "GrantRefused", grant: { peer, ref }, index, access, status: refusal(ref, access) }]
}

/** What is wrong with a request before anything is asked of Xen. */
export const bounds = (first: number, byteLength: number, maximum: number = 256 * 1024 * 1024): ReadonlyArray<Fault> => [
  ...(byteLength > maximum ? [{ _tag: "WrongSize", byteLength, maximum }] : []),
  ...(reserved(first) ? [{ _tag: "InvalidLink", to: 0, word: first }] : [])
]

/** Shares a buffer of so many pages, if the domain has room for it. */
export const share = (pages: number, room: number): Pick<Verdict, "operations" | "faults"> => ({
  operations: [{ _tag: "share", pages }],
  faults: pages > room ? [{ _tag: "OutOfGrants", requested: pages }] : []
})

/** Follows the chain from `first`; `read` gives the words of the n-th page at the moment when it was read. */
export const follow = (
  question: Question,
  first: number,
  access: "read-only" | "read-write",
  read: (n: number, ref: number) => Uint32Array
): Verdict & { readonly words: ReadonlyArray<Uint32Array> } => {
  const expected = Math.ceil(question.pages / 1023)
  const links: Array<number> = []
  const words: Array<Uint32Array> = []
  const operations: Array<Operation> = []
  const done = (...faults: ReadonlyArray<Fault>) => ({ operations, faults, links, refs: [], words })
  for (let ref = first;;) {
    operations.push({ _tag: "map", refs: [ref], access })
    const fault = refused(question, [ref], access)
    if (fault.length > 0) return done(...fault)
    const page = read(links.length, ref)
    links.push(ref)
    words.push(page)
    const link = page[0]!
    const firstPage = links.indexOf(link)
    const cyclic = { _tag: "Cyclic", page: links.length - 1, ref: link, firstPage }
    if (links.length === expected) {
      if (link === 0) return done()
      const tooLong = { _tag: "TooLong", expected, next: link }
      return firstPage >= 0 ? done(cyclic, tooLong) : done(tooLong)
    }
    if (link === 0) return done({ _tag: "TooShort", pages: links.length, expected })
    if (firstPage >= 0) return done(cyclic)
    if (reserved(link)) return done({ _tag: "InvalidLink", to: links.length, word: link })
    ref = link
  }
}

/** Judges the references on the pages of a directory; `links` are those that belong to the same domain. */
export const judge = (
  question: Question,
  links: ReadonlyArray<number>,
  words: ReadonlyArray<Uint32Array>,
  access: "read-only" | "read-write"
): Pick<Verdict, "operations" | "faults" | "refs"> => {
  const seen = new Map<number, object>(links.map((ref, page) => [ref, { part: "directory", page }]))
  const refs: Array<number> = []
  const faults: Array<Fault> = []
  for (let index = 0; index < question.pages; index++) {
    const page = Math.floor(index / 1023)
    const ref = words[page]![1 + index % 1023]!
    const first = seen.get(ref)
    if (reserved(ref)) faults.push({ _tag: "InvalidRef", page, index, word: ref })
    else if (first !== undefined) faults.push({ _tag: "RepeatedRef", page, index, ref, first })
    else seen.set(ref, { part: "buffer", page: index })
    refs.push(ref)
  }
  if (faults.length > 0) return { operations: [], faults, refs }
  return { operations: [{ _tag: "map", refs, access }], faults: refused(question, refs, access), refs }
}
