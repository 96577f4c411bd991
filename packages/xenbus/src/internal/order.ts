/**
 * The only loads and stores of shared indexes. `Atomics` are sequentially consistent, on memory of any kind: what was
 * written to a slot before an index is stored is there for whoever sees the index; a slot is not read before the index
 * that announces it; and an index that is loaded after another was stored is as new as that, which thresholds need.
 * Plain element access promises none of this on arm64, and the last not even on x86.
 */
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"

/** Words in shared memory that are indexes. */
export type Words = Int32Array<ArrayBuffer>

/** The words at the beginning of a memory, which must begin at a multiple of 4 and have so many. */
export const words = (memory: SharedMemory.Readable, count: number): Words => {
  const { buffer, byteOffset } = SharedMemory.unsafeBytes(memory)
  return new Int32Array(buffer, byteOffset, count)
}

/** Loads an index, 0 to 2^32 - 1. Nothing after it happens before it. */
export const load = (words: Words, at: number): number => Atomics.load(words, at) >>> 0

/** Stores an index. Nothing before it happens after it. */
export const store = (words: Words, at: number, value: number): void => {
  Atomics.store(words, at, value | 0)
}
