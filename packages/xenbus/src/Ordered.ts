/**
 * The only loads and stores of what announces something in shared memory: indexes, and flags.
 *
 * `Atomics` are sequentially consistent, on memory of any kind: what was written to a slot before an index is stored is
 * there for whoever sees the index; a slot is not read before the index that announces it; and an index that is loaded
 * after another was stored is as new as that, which thresholds need. Plain element access promises none of this on arm64,
 * and the last not even on x86.
 *
 * All are plain calls that allocate nothing, and throw a TypeError where the memory's scope has ended.
 *
 * @since 0.2.0
 */
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"

/**
 * Words in shared memory that are indexes.
 *
 * @category models
 * @since 0.2.0
 */
export type Words = Int32Array<ArrayBuffer>

/**
 * Bytes in shared memory that are flags, which both sides change.
 *
 * @category models
 * @since 0.2.0
 */
export type Flags = Uint8Array<ArrayBuffer>

/**
 * The words at the beginning of a memory, which must begin at a multiple of 4 and have so many.
 *
 * @category constructors
 * @since 0.2.0
 */
export const words = (memory: SharedMemory.Readable, count: number): Words => {
  const { buffer, byteOffset } = SharedMemory.unsafeBytes(memory)
  return new Int32Array(buffer, byteOffset, count)
}

/**
 * The bytes from `offset` on in a memory, which must have so many.
 *
 * @category constructors
 * @since 0.2.0
 */
export const flags = (memory: SharedMemory.Readable, offset: number, count: number): Flags => {
  const { buffer, byteOffset } = SharedMemory.unsafeBytes(memory)
  return new Uint8Array(buffer, byteOffset + offset, count)
}

/**
 * Loads an index, 0 to 2^32 - 1. Nothing after it happens before it.
 *
 * @category indexes
 * @since 0.2.0
 */
export const load = (words: Words, at: number): number => Atomics.load(words, at) >>> 0

/**
 * Stores an index. Nothing before it happens after it.
 *
 * @category indexes
 * @since 0.2.0
 */
export const store = (words: Words, at: number, value: number): void => {
  Atomics.store(words, at, value | 0)
}

/**
 * Loads a byte. Nothing after it happens before it.
 *
 * @category flags
 * @since 0.2.0
 */
export const loadFlags = (flags: Flags, at: number): number => Atomics.load(flags, at)

/**
 * Stores a byte. Nothing before it happens after it.
 *
 * @category flags
 * @since 0.2.0
 */
export const storeFlags = (flags: Flags, at: number, value: number): void => {
  Atomics.store(flags, at, value)
}

/**
 * Sets bits of a byte, and leaves the others as they are, whoever changes them meanwhile. Nothing after it happens before
 * it, or the other way round.
 *
 * @category flags
 * @since 0.2.0
 */
export const raise = (flags: Flags, at: number, bits: number): void => {
  Atomics.or(flags, at, bits)
}

/**
 * Clears bits of a byte, and answers whether any of them was set. Nothing after it happens before it, or the other way
 * round.
 *
 * @category flags
 * @since 0.2.0
 */
export const lower = (flags: Flags, at: number, bits: number): boolean => (Atomics.and(flags, at, ~bits) & bits) !== 0
