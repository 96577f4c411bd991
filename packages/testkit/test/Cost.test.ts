/**
 * What a cycle (share, write the directory, read it, map, release) takes, counted instead of timed: what must not grow
 * with the pages.
 */
import { assert, describe, it, vi } from "@effect/vitest"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { getHeapStatistics } from "node:v8"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"

/** Domain 1 shares a buffer with domain 0, which maps it, until the scope ends. */
const acquire = Effect.fnUntraced(function*(pages: number) {
  const xen = yield* TestXen.TestXen
  const byteLength = pages * 4096
  const buffer = yield* Effect.provideService(
    SharedBuffer.alloc({ peer: 0, byteLength }),
    GrantTable,
    yield* xen.domain(1)
  )
  return yield* Effect.provideService(
    PeerBuffer.map({ peer: 1, directory: buffer.directory, byteLength }),
    GrantTable,
    yield* xen.domain(0)
  )
})

const cycle = (pages: number) => Effect.scoped(acquire(pages))

const system = SystemCalls.native()
// munmap is left out: it gives addresses back, whenever V8 has let go of a buffer.
const calls = ["open", "close", "ioctl", "mmap", "madvise", "memfd", "ftruncate"] as const

/** The system calls of a program that are ours. */
const counted = Effect.fnUntraced(function*<E, R>(program: Effect.Effect<unknown, E, R>) {
  const spies = calls.map((name) => [name, vi.spyOn(system, name)] as const)
  yield* program
  const counts = Object.fromEntries(spies.map(([name, spy]) => [name, spy.mock.calls.length]))
  spies.forEach(([, spy]) => spy.mockRestore())
  return counts
})

/** The memory itself, the owner's mapping, and the peer's, each with its end. The directory is read from the file. */
const expected = { open: 0, ioctl: 0, memfd: 1, ftruncate: 1, close: 1, mmap: 4, madvise: system.isMainThread ? 0 : 2 }

const sizes = [1, 2, 1023, 1024, 2025, 8100]

/** Heap that a cycle takes for its objects, in bytes: what most of 300 take. */
const allocated = Effect.fnUntraced(function*(pages: number) {
  const taken: Array<number> = []
  for (let i = 0; i < 300; i++) {
    const before = getHeapStatistics().used_heap_size
    yield* cycle(pages)
    taken.push(getHeapStatistics().used_heap_size - before)
  }
  // Less than nothing: garbage was collected meanwhile.
  const sorted = taken.filter((bytes) => bytes > 0).toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 5)]!
})

describe("A cycle", () => {
  it.effect("takes the same system calls at any number of pages", () =>
    Effect.gen(function*() {
      for (const pages of sizes) assert.deepStrictEqual(yield* counted(cycle(pages)), expected)
    }).pipe(Effect.provide(TestXen.layer({ sharedPages: 8192 }))))

  it.effect("takes no more of them when the references it gets are in no order", () =>
    Effect.gen(function*() {
      const scopes = yield* Effect.forEach([700, 1, 500, 3, 900], Effect.fnUntraced(function*(pages) {
        const scope = yield* Scope.make()
        yield* Scope.provide(acquire(pages), scope)
        return scope
      }))
      for (const i of [2, 0, 4, 1, 3]) yield* Scope.close(scopes[i]!, Exit.void)
      const xen = yield* TestXen.TestXen
      yield* Effect.scoped(Effect.gen(function*() {
        yield* acquire(2025)
        const share = (yield* xen.holdings).find((held) => "refs" in held)
        const turns = share!.refs.filter((ref, i, refs) => i > 0 && ref !== refs[i - 1]! - 1)
        assert.isAtLeast(turns.length, 4)
      }))
      assert.deepStrictEqual(yield* counted(cycle(2025)), expected)
    }).pipe(Effect.provide(TestXen.layer({ sharedPages: 8192 }))))

  it.effect("makes no object for a page", () =>
    Effect.gen(function*() {
      let [one, full] = [Infinity, Infinity]
      // What is not compiled yet makes objects for numbers, and a busy machine compiles late: the least of some times counts.
      // The smallest object has 16 bytes.
      for (let times = 0; times < 3 || times < 20 && (full - one) / 1022 >= 4; times++) {
        one = Math.min(one, yield* allocated(1))
        full = Math.min(full, yield* allocated(1023))
      }
      assert.isBelow((full - one) / 1022, 4, `${one} bytes for a page, ${full} for 1023`)
    }).pipe(Effect.provide(TestXen.layer())))

  it.effect("of 65 536 pages takes the grants of these and of their directory, and not one less", () =>
    Effect.gen(function*() {
      const shared = 65_536 + 65
      const enough = { sharedPages: shared, grantRefs: 8 + shared, mappedPages: 65_536 }
      yield* cycle(65_536).pipe(Effect.provide(TestXen.layer(enough)))
      for (const limit of ["sharedPages", "grantRefs", "mappedPages"] as const) {
        const tooFew = { ...enough, [limit]: enough[limit] - 1 }
        const error = yield* Effect.flip(cycle(65_536).pipe(Effect.provide(TestXen.layer(tooFew))))
        assert.strictEqual(error.reason._tag, limit === "mappedPages" ? "OutOfMappings" : "OutOfGrants")
      }
    }))
})
