/**
 * gntalloc in the fake kernel: pages with references, and the limits that the real one has.
 */
import * as Abi from "../src/internal/Abi.ts"
import { EINVAL, ENOENT, ENOSPC, type FakeFile, indexIn, type Kernel, page } from "./FakeFile.ts"

export interface Rules {
  /** Pages in ALLOC_GREF, all together. */
  readonly grants?: () => number
  /** References in the grant table. */
  readonly references?: number
  /** Grants that their peer has mapped, and keeps when they are let go. */
  readonly keeps?: (ref: number) => boolean
}

interface Allocation {
  readonly refs: ReadonlyArray<number>
}

/** Opens the device at this path, as often as it is called. */
export const make = (path: string, { wrong, mappingOf }: Kernel, rules: Rules): () => FakeFile => {
  const { grants = () => 1024, keeps = () => false, references = Infinity } = rules
  /** The driver's counter of its pages, and how many there really are. */
  let counter = 0
  let granted = 0
  let kept = 0
  let nextRef = 100
  /** References given back, the last one first to be handed out again, as in Linux; those that a peer keeps aren't. */
  const free: Array<number> = []

  const letGo = ({ refs }: Allocation) => {
    counter -= refs.length
    granted -= refs.length
    for (const ref of refs) {
      if (keeps(ref)) kept++
      else free.push(ref)
    }
  }

  /** Gives out references, or why there are none. */
  const take = (count: number): Allocation | number => {
    // Compared without a sign.
    if (counter >>> 0 > grants() || count > grants() - counter) return ENOSPC
    if (granted + kept + count > references) {
      // The real bug: undoing counts one page too many.
      counter -= 1
      return ENOSPC
    }
    counter += count
    granted += count
    return { refs: Array.from({ length: count }, () => free.pop() ?? nextRef++) }
  }

  return () => {
    const allocations = new Map<number, Allocation>()
    /** Every one that there was: its pages are there for as long as they are mapped. */
    const known = new Map<number, Allocation>()
    let next = 0
    const alloc = (words: Uint32Array): number => {
      const taken = take(words[1]!)
      if (typeof taken === "number") return taken
      words[2] = next
      allocations.set(next, taken)
      known.set(next, taken)
      next += taken.refs.length * page
      words.set(taken.refs, 4)
      return 0
    }
    const dealloc = (words: Uint32Array): number => {
      const allocation = allocations.get(indexIn(words))
      if (allocation?.refs.length !== words[2]) return wrong("DEALLOC_GREF of nothing", EINVAL)
      allocations.delete(indexIn(words))
      letGo(allocation!)
      return 0
    }
    return {
      path,
      ioctl: (request, words) => {
        if (request === Abi.ALLOC_GREF) return alloc(words)
        return request === Abi.DEALLOC_GREF ? dealloc(words) : undefined
      },
      mmap: (offset, byteLength, writable) => {
        const allocation = allocations.get(offset)
        return allocation?.refs.length === byteLength / page
          ? { byteLength, writable, of: allocation }
          : wrong("mmap of no whole allocation", ENOENT)
      },
      place: (at) => {
        const found = Array.from(known).find(([index, { refs }]) => index <= at && at < index + refs.length * page)
        if (found === undefined) return undefined
        const [, of] = found
        const isThere = [...allocations.values()].includes(of) || mappingOf(of) !== undefined
        return isThere ? { name: Math.floor(at / page), of, isClearable: true } : undefined
      },
      has: (of) => [...allocations.values()].some((allocation) => allocation === of),
      close: () => {
        for (const allocation of allocations.values()) letGo(allocation)
        allocations.clear()
      },
      held: () => Array.from(allocations.values(), ({ refs }) => `allocated ${refs.length}`)
    }
  }
}
