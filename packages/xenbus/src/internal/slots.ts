import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"

/** Slots of one size, one after the other, in shared memory. */
export class Slots {
  readonly memory: SharedMemory.Writable
  readonly offset: number
  readonly size: number
  /** One view a slot, made once: a copy allocates nothing. */
  readonly views: ReadonlyArray<SharedMemory.Readable>

  constructor(memory: SharedMemory.Writable, offset: number, size: number, count: number) {
    this.memory = memory
    this.offset = offset
    this.size = size
    this.views = Array.from({ length: count }, (_, slot) => {
      const at = offset + slot * size
      return memory.subarray(at, at + size)
    })
  }

  get count(): number {
    return this.views.length
  }

  /** Writes every byte of a slot: those of `from`, then zeros. */
  write(slot: number, from: ArrayLike<number>): void {
    if (from.length > this.size) {
      throw new RangeError(`${from.length} bytes were given for a slot of ${this.size}`)
    }
    const at = this.offset + slot * this.size
    this.memory.set(from, at)
    if (from.length < this.size) this.memory.fill(0, at + from.length, at + this.size)
  }

  /** Copies a slot, once, into the beginning of `into`. */
  read(slot: number, into: Uint8Array): void {
    if (into.length < this.size) {
      throw new RangeError(`a slot of ${this.size} bytes was to be copied into ${into.length}`)
    }
    into.set(this.views[slot]!)
  }

  /** Writes `count` slots from this one on, and after the last from the first on, with the bytes of `from`. */
  writeMany(slot: number, from: Uint8Array, count: number): void {
    const first = Math.min(count, this.count - slot) * this.size
    const all = count * this.size
    this.memory.set(first === from.length ? from : from.subarray(0, first), this.offset + slot * this.size)
    if (first < all) this.memory.set(from.subarray(first, all), this.offset)
  }

  /** Copies `count` slots likewise, each once, into the beginning of `into`. */
  readMany(slot: number, into: Uint8Array, count: number): void {
    const first = Math.min(count, this.count - slot) * this.size
    const all = count * this.size
    const at = this.offset + slot * this.size
    into.set(this.memory.subarray(at, at + first))
    if (first < all) into.set(this.memory.subarray(this.offset, this.offset + all - first), first)
  }
}
