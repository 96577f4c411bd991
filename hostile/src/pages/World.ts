/**
 * A hypervisor for many cases: a hostile domain that has granted every kind of page there is, and its victim.
 */
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { Access } from "@xen-shbuf/core/Access"
import * as Page from "@xen-shbuf/core/Page"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"

/** The domains: who lies, who must not be hurt, and who has nothing to do with it. */
export const ids = { hostile: 1, victim: 2, stranger: 3 } as const

/** Pages that the victim can share at one time: more than a directory, less than the biggest buffer of a case. */
export const sharedPages = 2040

const grantRefs = 32_768

/** 32-bit words of a page. */
export const wordsPerPage = Page.size / 4

/** What a word of a directory can stand for; `n` chooses one of the kind. */
export interface Value {
  readonly kind: typeof kinds[number]
  readonly n: number
}

/** The kinds of values, the harmless ones first. */
export const kinds = [
  /** Pages for the victim to use: of one big share, and of another. */
  "Good",
  "Other",
  /** Pages of directories that the victim may write to, or only read. */
  "Directory",
  "ReadOnlyDirectory",
  /** Pages of buffers that look like directories. */
  "Lookalike",
  /** Pages that can't be mapped for writing, or not at all. */
  "ReadOnly",
  "Stranger",
  "Ended",
  /** References of the victim's own table, which mean nothing in the peer's. */
  "Mine",
  /** Numbers beyond the table, at its edge, at the end of their range, reserved ones, and any. */
  "Beyond",
  "Extreme",
  "Reserved",
  "Random"
] as const

/** Pages that the hostile domain holds, for as long as the world lasts. */
interface GrantedPages {
  readonly refs: Uint32Array<ArrayBuffer>
  readonly words: SharedMemory.Writable<Uint32Array<ArrayBuffer>>
  readonly access: Access
  readonly peer: number
}

export interface World {
  readonly xen: TestXen.TestXen["Service"]
  readonly victim: GrantTable["Service"]
  /** The hostile domain's own table, to look at what it was given. */
  readonly hostile: GrantTable["Service"]
  /** The pages of its directories, and their references. */
  readonly directory: { readonly refs: Uint32Array<ArrayBuffer>; readonly words: SharedMemory.Writable<Uint32Array<ArrayBuffer>> }
  /** Pages for the victim to use, side by side. */
  readonly good: Uint32Array<ArrayBuffer>
  readonly word: (value: Value) => number
  /** Xen's reason to refuse the victim a page, or nothing. */
  readonly refusal: (ref: number, access: Access) => string | undefined
  /** The hostile domain's own view of a page that it grants. */
  readonly page: (ref: number) => SharedMemory.Writable<Uint32Array<ArrayBuffer>>
  /** Pages that the victim shares while no case runs. */
  readonly shared: number
  /** Pages of memory that are granted while no case runs. */
  frames: number
}

/** Makes a world; it lasts as long as the scope. */
export const make = Effect.gen(function*() {
  const xen = yield* TestXen.make({ sharedPages: 8192, grantRefs })
  const hostile = yield* xen.domain(ids.hostile)
  const victim = yield* xen.domain(ids.victim, { sharedPages })

  // The victim's references are numbers that the hostile domain once granted and no longer does.
  const mine = (yield* victim.share({ peer: ids.hostile, pages: 4 })).refs
  const ended = (yield* Effect.scoped(hostile.share({ peer: ids.victim, pages: 8 }))).refs
  // Whatever is shared after that would use them again: keep them away from all that is asked for below.
  yield* hostile.share({ peer: ids.stranger, pages: 8 })
  const share = (pages: number, access: Access = "read-write", peer: number = ids.victim) =>
    Effect.map(hostile.share({ peer, pages, access }), ({ bytes, refs }): GrantedPages => ({
      refs,
      words: SharedMemory.viewAs(bytes, Uint32Array),
      access,
      peer
    }))
  const directory = yield* share(4)
  const good = yield* share(2100)
  const other = yield* share(8)
  const lookalike = yield* share(4)
  const readOnlyDirectory = yield* share(2, "read-only")
  const readOnly = yield* share(4, "read-only")
  const stranger = yield* share(4, "read-write", ids.stranger)

  const all = [directory, good, other, lookalike, readOnlyDirectory, readOnly, stranger]
  const places = new Map(all.flatMap((held) => Array.from(held.refs, (ref, i) => [ref, { held, i }] as const)))
  const page = (ref: number) => {
    const { held, i } = places.get(ref)!
    return held.words.subarray(i * wordsPerPage, (i + 1) * wordsPerPage)
  }
  // Directories that do not change: ends, and links to one of the others, or to itself.
  const fixed = [...lookalike.refs, ...readOnlyDirectory.refs]
  fixed.forEach((ref, i) => {
    const words = page(ref)
    words.set(good.refs.subarray(i, i + wordsPerPage - 1), 1)
    words[0] = [0, directory.refs[1]!, readOnlyDirectory.refs[0]!, ref, 0, lookalike.refs[0]!][i]!
  })

  const lists: { readonly [kind in Value["kind"]]: ArrayLike<number> | undefined } = {
    Good: good.refs,
    Other: other.refs,
    Directory: directory.refs,
    ReadOnlyDirectory: readOnlyDirectory.refs,
    Lookalike: lookalike.refs,
    ReadOnly: readOnly.refs,
    Stranger: stranger.refs,
    Ended: ended,
    Mine: mine,
    Beyond: [grantRefs, grantRefs + 1, grantRefs - 1],
    Extreme: [0xffff_fffe, 0x7fff_ffff, 0x8000_0000],
    Reserved: [0, 1, 2, 3, 4, 5, 6, 7, 0xffff_ffff],
    Random: undefined
  }
  const world: World = {
    xen,
    victim,
    hostile,
    directory,
    good: good.refs,
    word: ({ kind, n }) => {
      const list = lists[kind]
      return list === undefined ? Math.imul(n + 1, 0x9e37_79b1) >>> 0 : list[n % list.length]!
    },
    refusal: (ref, access) => {
      if (ref >= grantRefs) return "GNTST_bad_gntref"
      const held = places.get(ref)?.held
      const granted = held?.peer === ids.victim && (access === "read-only" || held.access === "read-write")
      return granted ? undefined : "GNTST_general_error"
    },
    page,
    shared: mine.length,
    frames: yield* xen.framesInUse
  }
  return world
})
