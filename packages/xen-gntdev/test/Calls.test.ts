/**
 * Counts the system calls of every operation, and what each is for: they must not grow with the pages. Reading the clock
 * is one too, in many Xen domains: core's tests count that.
 */
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import * as Chain from "@xen-shbuf/core/Chain"
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as PageDirectory from "@xen-shbuf/core/PageDirectory"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Abi from "../src/internal/Abi.ts"
import * as Devices from "../src/internal/Devices.ts"
import type * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as FakeKernel from "./FakeKernel.ts"

let limits: string
beforeEach(() => {
  limits = mkdtempSync(join(tmpdir(), "xen-shbuf-"))
  writeFileSync(join(limits, "gntalloc"), "2000000\n")
  writeFileSync(join(limits, "gntdev"), "65536\n")
})
afterEach(() => rmSync(limits, { recursive: true }))

/** Sizes at which the calls are counted: one page, about a directory page, frames of 1080p and 4K, the largest share. */
const sizes = [1, 64, 1023, 1024, 2025, 8100, 60_000]

/** ALLOC_GREF grants and allocates; mmap makes it visible; the rest undoes. */
const sharing = ["ALLOC_GREF", "mmap", "end", "DEALLOC_GREF"]

/** MAP_GRANT_REF notes the references; mmap maps them, with all hypercalls; an mmap over them ends the mapping. */
const mapping = ["MAP_GRANT_REF", "mmap", "end", "UNMAP_GRANT_REF"]

/** What is read and not shown to anybody is unmapped at once. */
const reading = ["MAP_GRANT_REF", "mmap", "munmap", "UNMAP_GRANT_REF"]

/** In a worker, of what is mapped for longer than a call: keeps it from children that another thread starts meanwhile. */
const advised = (calls: ReadonlyArray<string>) => calls.flatMap((call) => call === "mmap" ? [call, "madvise"] : [call])

/** References of a peer's buffer of so many pages: the directory's first, then the buffer's. */
const first = 1000

const directoryOf = (pages: number) => {
  const links = Array.from({ length: Chain.pagesFor(pages) }, (_, i) => first + i)
  const refs = Uint32Array.from({ length: pages }, (_, i) => first + links.length + i)
  return Result.getOrThrow(PageDirectory.fromRefs(links, refs))
}

/** The names of all calls that an operation makes and its release, the devices being open. */
const callsOf = (
  operation: Effect.Effect<unknown, unknown, GrantTable.GrantTable | Scope.Scope>,
  pages: number,
  worker = false
) =>
  Effect.gen(function*() {
    const kernel = FakeKernel.make({ grants: () => 2_000_000, worker })
    const directory = directoryOf(pages)
    const bytes = Schema.encodeSync(PageDirectory.FromBytes)(directory)
    let noted = 0
    // What is mapped of a peer's directory has its contents.
    const contents = (into: Uint8Array) => {
      const page = noted - first
      if (page < directory.pages) into.set(bytes.subarray(page * 4096, page * 4096 + into.length))
    }
    const system: SystemCalls.SystemCalls = {
      ...kernel.system,
      ioctl: (fd, request, words) => {
        if (request === Abi.MAP_GRANT_REF) noted = words[5]!
        return kernel.system.ioctl(fd, request, words)
      },
      view: (address, byteLength) => {
        const view = kernel.system.view(address, byteLength)
        contents(new Uint8Array(view))
        return view
      },
      memcpy: (into, address, byteLength) => {
        kernel.system.memcpy(into, address, byteLength)
        contents(into)
      }
    }
    const table = GrantTable.make(
      yield* Devices.make(() => system, {
        gntallocLimit: join(limits, "gntalloc"),
        gntdevLimit: join(limits, "gntdev"),
        grantTableSize: 1_000_000
      })
    )
    const once = Effect.provideService(Effect.scoped(operation), GrantTable.GrantTable, table)
    yield* once
    const before = kernel.calls.length
    yield* once
    assert.deepStrictEqual(kernel.errors, [])
    return kernel.calls.slice(before).map((call) => call.split(" ")[0]!).filter((name) => !["view", "memcpy"].includes(name))
  })

const times = (n: number, calls: ReadonlyArray<string>) => Array.from({ length: n }, () => calls).flat()

describe("system calls", () => {
  for (const pages of sizes) {
    const directoryPages = Chain.pagesFor(pages)
    const at = { peer: 3, byteLength: pages * 4096, maxByteLength: 2 ** 32 }
    const refs = Uint32Array.from({ length: pages }, (_, i) => 5000 + i)

    it.effect(`${pages} pages`, () =>
      Effect.gen(function*() {
        const share = Effect.flatMap(GrantTable.GrantTable, (table) => table.share({ peer: 3, pages }))
        assert.deepStrictEqual(yield* callsOf(share, pages), sharing)
        const map = Effect.flatMap(GrantTable.GrantTable, (table) => table.map({ peer: 3, refs }))
        assert.deepStrictEqual(yield* callsOf(map, pages), mapping)
        // The buffer and its directory are one allocation.
        assert.deepStrictEqual(yield* callsOf(SharedBuffer.alloc(at), pages), sharing)
        // Each page of a peer's directory says where the next one is, so they can't be mapped together.
        const read = PeerBuffer.map({ ...at, directory: first })
        assert.deepStrictEqual(yield* callsOf(read, pages), [...times(directoryPages, reading), ...mapping])
        // The directory stays mapped until the buffer's references stand in it.
        const provided = yield* callsOf(PeerBuffer.allocForFrontend({ ...at, directory: first }), pages)
        assert.deepStrictEqual(provided, [
          ...times(directoryPages, mapping.slice(0, 2)),
          ...sharing.slice(0, 2),
          ...times(directoryPages, mapping.slice(2)),
          ...sharing.slice(2)
        ])
        assert.deepStrictEqual(yield* callsOf(share, pages, true), advised(sharing))
        assert.deepStrictEqual(yield* callsOf(read, pages, true), [...times(directoryPages, reading), ...advised(mapping)])
      }))
  }

  it.effect("65 537 pages take one request more than gntdev's limit allows, and one mmap to keep them side by side", () =>
    Effect.gen(function*() {
      const refs = Uint32Array.from({ length: 65_537 }, (_, i) => 5000 + i)
      const map = Effect.flatMap(GrantTable.GrantTable, (table) => table.map({ peer: 3, refs }))
      assert.deepStrictEqual(yield* callsOf(map, 1), [
        "MAP_GRANT_REF", "MAP_GRANT_REF", "mmap", "mmap", "mmap",
        "end", "UNMAP_GRANT_REF", "UNMAP_GRANT_REF"
      ])
    }))
})
