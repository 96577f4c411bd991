/**
 * Does what is measured with the library's public API; `bench/c/grants.c` does the same with libxengnttab.
 */
import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import * as PageDirectory from "@xen-shbuf/core/PageDirectory"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** A buffer between us and a peer. `directory` is 0 where there is none. */
export interface Buffer {
  readonly peer: number
  readonly pages: number
  readonly directory: number
}

/** What may be refused. */
export type Refused = GrantTableError | DirectoryError

/** What is done once: whatever it acquires is released with the scope. */
export type Job = Effect.Effect<unknown, Refused, GrantTable | Scope.Scope>

/** What prepares a job; that lasts until the scope of the preparation ends. */
export type Prepare = (buffer: Buffer) => Effect.Effect<Job, Refused, GrantTable | Scope.Scope>

/** Where a buffer is, for the library. */
export const location = (buffer: Buffer) => ({ ...buffer, byteLength: buffer.pages * 4096 })

/** Copies between a peer's buffer, or as much plain memory, and plain memory. */
const copying = (copy: (buffer: SharedMemory.Writable, plain: SharedMemory.Writable) => void, isPlain = false): Prepare => (buffer) =>
  Effect.map(PeerBuffer.map(location(buffer)), ({ bytes }) => {
    const one = isPlain ? new Uint8Array(bytes.length).fill(2) : bytes
    const plain = new Uint8Array(bytes.length).fill(1)
    return Effect.sync(() => copy(one, plain))
  })

/** Every operation, by the name that the C program has for it. */
export const operations = {
  share: ({ pages, peer }) => Effect.map(GrantTable, (table) => table.share({ peer, pages })),
  alloc: (buffer) => Effect.succeed(SharedBuffer.alloc(location(buffer))),
  map: (buffer) =>
    Effect.gen(function*() {
      const table = yield* GrantTable
      const { directory } = yield* PeerBuffer.walk(location(buffer))
      const refs = PageDirectory.slots(PageDirectory.concat(directory.map(({ page }) => page)), buffer.pages)
      return table.map({ peer: buffer.peer, refs })
    }),
  walk: (buffer) => Effect.succeed(PeerBuffer.map(location(buffer))),
  provide: (buffer) => Effect.succeed(PeerBuffer.allocForFrontend(location(buffer))),
  copyIn: copying((buffer, plain) => buffer.set(plain)),
  copyOut: copying((buffer, plain) => plain.set(buffer)),
  copyPlain: copying((other, plain) => plain.set(other), true)
} satisfies Record<string, Prepare>
