/**
 * What an operation allocates, counted: a copy more, or an object for each page, fails here, not in a benchmark only.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Chain from "@xen-shbuf/core/Chain"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as FixedTable from "@xen-shbuf/testkit/FixedTable"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { getHeapStatistics } from "node:v8"

/** Operations with their release, on a buffer of so many pages. */
const operations = (pages: number) => {
  const { refs, table } = FixedTable.make(pages)
  const byteLength = pages * 4096
  const at = { peer: 1, directory: 8, byteLength }
  const run = <A, E>(effect: Effect.Effect<A, E, GrantTable | Scope.Scope>) => () =>
    Effect.runSync(Effect.provideService(Effect.scoped(effect), GrantTable, table))
  return {
    "GrantTable.share": run(Effect.suspend(() => table.share({ peer: 1, pages }))),
    "GrantTable.map": run(Effect.suspend(() => table.map({ peer: 1, refs }))),
    "SharedBuffer.alloc": run(Effect.suspend(() => SharedBuffer.alloc({ peer: 1, byteLength }))),
    "PeerBuffer.map": run(Effect.suspend(() => PeerBuffer.map(at))),
    "PeerBuffer.allocForFrontend": run(Effect.suspend(() => PeerBuffer.allocForFrontend(at)))
  }
}

type Name = keyof ReturnType<typeof operations>

const now = () => ({ objects: getHeapStatistics().used_heap_size, arrays: process.memoryUsage().arrayBuffers })

/** Bytes that a job allocates: objects on the heap, and contents of arrays, which are outside of it. */
const allocated = (job: () => unknown) => {
  for (let i = 0; i < 300; i++) job()
  const taken = Array.from({ length: 101 }, () => {
    const before = now()
    job()
    const after = now()
    return { objects: after.objects - before.objects, arrays: after.arrays - before.arrays }
  })
  return {
    // Some times are less by what a garbage collection took away meanwhile, or more by what the compiler needs.
    objects: taken.map(({ objects }) => objects).toSorted((a, b) => a - b)[50]!,
    arrays: Math.max(...taken.map(({ arrays }) => arrays))
  }
}

describe("An operation and its release", () => {
  // A third more than was counted, with code that is not yet optimised.
  it.each(Object.entries({
    "GrantTable.share": 13_000,
    "GrantTable.map": 12_600,
    "SharedBuffer.alloc": 22_500,
    "PeerBuffer.map": 25_500,
    "PeerBuffer.allocForFrontend": 34_500
  }))("%s takes so many bytes for objects, and no more for many pages than for one", (name, most) => {
    const objects = (pages: number) => allocated(operations(pages)[name as Name]).objects
    let [one, full] = [objects(1), objects(1023)]
    // A busy machine compiles late: then once more, and the least counts. The smallest object has 16 bytes.
    for (let times = 1; times < 20 && (one >= most || full - one >= 4 * 1022); times++) {
      one = Math.min(one, objects(1))
      full = Math.min(full, objects(1023))
    }
    assert.isBelow(one, most)
    assert.isBelow(full - one, 4 * 1022)
  })

  it.each([1023, 1024, 2025])("copies nothing that it need not: %d pages", (pages) => {
    const directoryPages = Chain.pagesFor(pages)
    const refs = pages * 4
    // To find a reference that is there twice.
    const bits = 4 * Math.ceil(pages / 32)
    // Pages of a chain are read one by one, and no memory is taken for more than there are.
    const read = directoryPages * 4 + refs
    const joined = directoryPages > 1 ? refs : 0
    const most = {
      "GrantTable.share": 0,
      "GrantTable.map": refs,
      // The references of the directory's own pages are checked with the others.
      "SharedBuffer.alloc": 4 * Math.ceil((directoryPages + pages) / 32),
      // What was read, and the request with it.
      "PeerBuffer.map": read + joined + bits + refs,
      "PeerBuffer.allocForFrontend": bits
    }
    for (const [name, job] of Object.entries(operations(pages))) {
      assert.isAtMost(allocated(job).arrays, most[name as Name], name)
    }
  })
})

describe("A check of references that a peer has chosen", () => {
  it.each([1, 2, 31, 32, 33, 100, 640, 4096, 2 ** 21 - 1])("takes no more memory than they do, twice: %d apart", (step) => {
    const refs = Uint32Array.from({ length: 2025 }, (_, i) => 8 + i * step)
    const links = [0xffff_fffe, 0xffff_fffd]
    // Sorted they are numbers of 8 bytes each.
    const most = 8 * (links.length + refs.length)
    assert.isAtMost(allocated(() => Chain.check(links, refs)).arrays, most)
  })
})
