// What a program reads of a peer's frame, and how: always a copy.
import type { MappedBuffer } from "@xen-shbuf/core/MappedBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Effect from "effect/Effect"

export const reading = Effect.fnUntraced(function*(frame: MappedBuffer<"read-write">) {
  const header = yield* SharedMemory.copy(frame.bytes, { offset: 0, length: 64 }) // a Uint8Array of our own
  const width = yield* SharedMemory.decode(frame.bytes, SharedMemory.Uint32, { offset: 8, length: 4 })
  const title = yield* SharedMemory.decode(frame.bytes, SharedMemory.Text, { offset: 16, length: 32 })
  SharedMemory.viewAs(frame.bytes, Uint32Array).fill(0xff00_00ff) // the same memory, as pixels of 32 bits
  return { header, width, title }
})
