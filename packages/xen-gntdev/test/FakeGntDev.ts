/**
 * gntdev in the fake kernel: notes of references, each of which is mapped once.
 */
import * as Abi from "../src/internal/Abi.ts"
import { EINVAL, ENOENT, type FakeFile, indexIn, type Kernel, type Mapping, page } from "./FakeFile.ts"

export interface Rules {
  /** Grants that Xen refuses. */
  readonly refuses?: (ref: number, writable: boolean) => boolean
  /** Pages that can be mapped at one time. */
  readonly maptrack?: number
  /** Pages in one MAP_GRANT_REF. */
  readonly perRequest?: () => number
}

interface Note {
  readonly refs: ReadonlyArray<number>
  /** A note is mapped once in its life, also when that fails. */
  used: boolean
}

/** The lowest offset with so many bytes free: first fit, as the kernel has it. */
const fit = (notes: ReadonlyMap<number, Note>, byteLength: number): number => {
  let index = 0
  for (const [at, { refs }] of Array.from(notes).toSorted(([a], [b]) => a - b)) {
    if (at - index >= byteLength) break
    index = at + refs.length * page
  }
  return index
}

/**
 * Every page granted holds its reference's low byte; what is refused gets GNTST_general_error. `bufferAt` gives the
 * memory at an address.
 */
const copy = (words: Uint32Array, bufferAt: (address: bigint) => Uint8Array, { refuses = () => false }: Rules): number => {
  const bytes = bufferAt(BigInt(words[2]!) + (BigInt(words[3]!) << 32n))
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  for (let i = 0; i < words[0]!; i++) {
    const at = i * Abi.segmentSize
    const reading = view.getUint16(at + 18, true) === 1
    const ref = view.getUint32(at + (reading ? 0 : 8), true)
    const local = bufferAt(view.getBigUint64(at + (reading ? 8 : 0), true))
    if (refuses(ref, !reading)) view.setInt16(at + 20, -1, true)
    else if (reading) local.fill(ref & 0xff)
  }
  return 0
}

/** Opens the device at this path, as often as it is called. */
export const make = (
  path: string,
  { mappingOf, wrong }: Kernel,
  rules: Rules,
  bufferAt: (address: bigint) => Uint8Array
): () => FakeFile => {
  const { maptrack = Infinity, perRequest = () => 65_536, refuses = () => false } = rules
  let pagesMapped = 0

  const mapped = (note: Note, byteLength: number, writable: boolean): Mapping | number => {
    const count = note.refs.length
    note.used = true
    if (note.refs.some((ref) => refuses(ref, writable)) || pagesMapped + count > maptrack) return EINVAL
    pagesMapped += count
    return { byteLength, writable, of: note, byte: note.refs[0]! & 0xff, ended: () => pagesMapped -= count }
  }

  return () => {
    const notes = new Map<number, Note>()
    const note = (words: Uint32Array): number => {
      const count = words[0]!
      if (count === 0 || count > perRequest()) return EINVAL
      const index = fit(notes, count * page)
      if (index >= 2 ** 31) return wrong("an offset beyond 2 GiB", EINVAL)
      words[2] = index
      notes.set(index, { refs: Array.from({ length: count }, (_, i) => words[5 + 2 * i]!), used: false })
      return 0
    }
    const forget = (words: Uint32Array): number => {
      const known = notes.get(indexIn(words))
      if (known?.refs.length !== words[2]) return wrong("UNMAP_GRANT_REF of nothing", ENOENT)
      if (mappingOf(known!) !== undefined) return wrong("UNMAP_GRANT_REF too early", EINVAL)
      notes.delete(indexIn(words))
      return 0
    }
    return {
      path,
      ioctl: (request, words) => {
        switch (request) {
          case Abi.MAP_GRANT_REF:
            return note(words)
          case Abi.UNMAP_GRANT_REF:
            return forget(words)
          case Abi.GRANT_COPY:
            return copy(words, bufferAt, rules)
          default:
            return undefined
        }
      },
      mmap: (offset, byteLength, writable) => {
        const known = notes.get(offset)
        return known === undefined || known.used || known.refs.length * page !== byteLength
          ? wrong("mmap of no whole, unused note", EINVAL)
          : mapped(known, byteLength, writable)
      },
      place: (at) => {
        const found = Array.from(notes).find(([index, { refs }]) => index <= at && at < index + refs.length * page)
        if (found === undefined) return undefined
        const [name, of] = found
        return { name, of, isClearable: mappingOf(of)?.writable === true }
      },
      has: (of) => [...notes.values()].some((note) => note === of),
      close: () => notes.clear(),
      held: () => Array.from(notes.values(), ({ refs }) => `noted ${refs.length}`)
    }
  }
}
