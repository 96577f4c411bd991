/**
 * What the in-memory Xen takes of memory while 1023 to 65 536 pages are shared and mapped.
 */
import * as Page from "@xen-shbuf/core/Page"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { memoryUsage } from "node:process"
import * as Cycles from "./cycles.ts"
import type * as Plot from "../../plot/Plot.ts"
import * as Report from "./Report.ts"

const sizes = [1023, 2025, 8100, 32_400, 65_536]

/** Bytes, of this process or for a page. */
interface Memory {
  /** Objects on V8's heap. */
  readonly heap: number
  /** Typed arrays outside of it. */
  readonly arrays: number
  /** The kernel's page tables. */
  readonly tables: number
  /** The pages themselves, however often they are mapped: those that were ever written. */
  readonly frames: number
  /** What V8 counts for views, which is no memory of its own. */
  readonly views: number
}

/** A line of a file in /proc. */
const kernels = (file: string, key: string): number =>
  1024 * Number(new RegExp(`^${key}:\\s*(\\d+) kB$`, "m").exec(readFileSync(`/proc/self/${file}`, "utf8"))![1])

/** After all garbage has gone: what one collection finalizes, the next one frees. */
const now = Effect.sync((): Memory => {
  for (let i = 0; i < 4; i++) globalThis.gc!({ type: "major", execution: "sync", flavor: "last-resort" })
  const { arrayBuffers, external, heapUsed } = memoryUsage()
  return {
    heap: heapUsed,
    arrays: arrayBuffers,
    tables: kernels("status", "VmPTE"),
    frames: kernels("smaps_rollup", "Pss_Shmem"),
    views: external - arrayBuffers
  }
})

const each = (f: (kind: keyof Memory) => number): Memory => ({
  heap: f("heap"),
  arrays: f("arrays"),
  tables: f("tables"),
  frames: f("frames"),
  views: f("views")
})

/** What a Xen with two domains takes that share and map so many pages: with a directory only, and all written. */
const held = Effect.fnUntraced(function*(pages: number) {
  const before = yield* now
  const acquire = yield* Cycles.pair(pages)
  const views = yield* acquire(pages)
  const shared = yield* now
  for (const view of views) view.fill(1)
  const written = yield* now
  const since = (after: Memory) => each((kind) => after[kind] - before[kind])
  return { shared: since(shared), written: since(written) }
}, Effect.scoped)

/** What each page beyond the first takes, in bytes. */
interface Row {
  readonly pages: number
  /** With nothing written but the directory. */
  readonly shared: Memory
  /** With all written, by both sides. */
  readonly written: Memory
}

const total = ({ arrays, frames, heap, tables }: Memory) => heap + arrays + tables + frames

const bytes = (value: number) => value.toFixed(1)

/** Bytes a page, at all sizes. */
export const run = Effect.fnUntraced(function*() {
  // Once for what is compiled meanwhile.
  yield* held(sizes[0]!)
  const one = yield* held(1)
  const rows = yield* Effect.forEach(sizes, Effect.fnUntraced(function*(pages) {
    const many = yield* held(pages)
    const perPage = (state: "shared" | "written") =>
      each((kind) => (many[state][kind] - one[state][kind]) / (pages - 1))
    const row: Row = { pages, shared: perPage("shared"), written: perPage("written") }
    return row
  }))
  const factor = ({ written }: Row) => total(written) / Page.size
  const curve = (name: string, of: (row: Row) => number): Plot.Curve => ({
    name,
    points: rows.map((row) => ({ pages: row.pages, median: of(row) * row.pages / 2 ** 20 }))
  })
  return [Report.section({
    name: "memory",
    title: "Memory of the in-memory Xen",
    about: "Bytes for each page beyond the first, while it is shared by one domain and mapped by another. Books are " +
      "objects on the heap and typed arrays; page tables are the kernel's, for both mappings. A page takes memory of its " +
      "own only once it is written. In all, once every page is written, against the bytes of the page itself. V8 counts " +
      "both views as external memory, and `ps` counts both mappings as resident, although it is one memory.",
    columns: [
      { title: "pages", show: ({ pages }) => String(pages) },
      { title: "heap", show: ({ shared }) => bytes(shared.heap) },
      { title: "arrays", show: ({ shared }) => bytes(shared.arrays) },
      { title: "page tables", show: ({ shared }) => bytes(shared.tables) },
      { title: "memory", show: ({ shared }) => bytes(shared.frames) },
      { title: "page tables, written", show: ({ written }) => bytes(written.tables) },
      { title: "memory, written", show: ({ written }) => bytes(written.frames) },
      { title: "in all / page", show: (row) => `${factor(row).toFixed(3)}×` },
      { title: `/ at ${sizes[0]}`, show: (row) => `${(factor(row) / factor(rows[0]!)).toFixed(3)}×` },
      { title: "counted by V8", show: ({ shared }) => bytes(shared.views) }
    ],
    rows,
    plots: [{
      name: "total",
      title: "Memory while all is shared and mapped, over pages",
      curves: [
        curve("pages, once written", ({ written }) => written.frames),
        curve("page tables, once written", ({ written }) => written.tables),
        curve("books: heap and arrays", ({ shared }) => shared.heap + shared.arrays)
      ],
      show: (mebibytes) => `${mebibytes} MiB`,
      log: true
    }]
  })]
})
