/**
 * What an operation takes besides its pages: time and memory, against the same work in plain functions.
 */
import * as Chain from "@xen-shbuf/core/Chain"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as Page from "@xen-shbuf/core/Page"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as FixedTable from "@xen-shbuf/testkit/FixedTable"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Allocations from "./Allocations.ts"
import * as Measure from "./Measure.ts"
import * as Report from "./Report.ts"

/** An operation and its release, and the same as plain functions on the driver. */
interface Operation {
  readonly name: string
  readonly ours: Effect.Effect<unknown>
  readonly plain: () => unknown
}

const operations = (pages: number): ReadonlyArray<Operation> => {
  const { directoryPages, map, refs, release, share, table } = FixedTable.make(pages)
  const byteLength = pages * Page.size
  const at = { peer: 1, directory: 8, byteLength }
  // Nothing else in the context: scopes copy it, so it would count how many services the benchmark has.
  const context = Context.make(GrantTable, table)
  const inTable = <A, E>(effect: Effect.Effect<A, E, GrantTable | Scope.Scope>): Effect.Effect<A> =>
    Effect.updateContext(Effect.orDie(Effect.scoped(effect)), () => context)

  /** Walks the chain; `visit` has each page that is mapped, and its link. */
  const chain = (visit: (bytes: Uint8Array) => number) => {
    const links = [8]
    for (let ref: number | undefined = 8; ref !== undefined;) {
      const link = visit(map(new Uint32Array([ref])).bytes)
      ref = Result.getOrThrow(Chain.follow(links, link, directoryPages))
      if (ref !== undefined) links.push(ref)
    }
    return links
  }

  return [
    {
      name: "GrantTable.share",
      ours: inTable(Effect.suspend(() => table.share({ peer: 1, pages }))),
      plain: () => release(share(pages))
    },
    {
      name: "GrantTable.map",
      ours: inTable(Effect.suspend(() => table.map({ peer: 1, refs }))),
      plain: () => release(map(refs))
    },
    {
      name: "SharedBuffer.alloc",
      ours: inTable(Effect.suspend(() => SharedBuffer.alloc({ peer: 1, byteLength }))),
      plain: () => {
        const shared = share(directoryPages + pages)
        const refs = Result.getOrThrow(Chain.check([], shared.refs))
        Chain.write(shared.bytes, refs.subarray(0, directoryPages), refs.subarray(directoryPages))
        release(shared)
      }
    },
    {
      name: "PeerBuffer.map",
      ours: inTable(Effect.suspend(() => PeerBuffer.map(at))),
      plain: () => {
        const copies: Array<Uint32Array<ArrayBuffer>> = []
        const links = chain((bytes) => {
          const words = Chain.copy(bytes, copies.length, pages)
          copies.push(words)
          release(bytes)
          return words[0]!
        })
        release(map(Result.getOrThrow(Chain.check(links, Chain.join(copies, pages)))))
      }
    },
    {
      name: "PeerBuffer.allocForFrontend",
      ours: inTable(Effect.suspend(() => PeerBuffer.allocForFrontend(at))),
      plain: () => {
        const targets: Array<Uint8Array> = []
        chain((bytes) => {
          targets.push(bytes)
          return Chain.link(bytes)
        })
        const shared = share(pages)
        const filled = Result.getOrThrow(Chain.check([], shared.refs))
        for (const [page, target] of targets.entries()) Chain.writeRefs(target, page, filled)
        targets.forEach(release)
        release(shared)
      }
    }
  ]
}

interface Row {
  readonly operation: string
  readonly pages: number
  readonly time: Measure.Ratio
  readonly ours: Allocations.Bytes
  readonly plain: Allocations.Bytes
}

const measure = Effect.fnUntraced(function*({ name, ours, plain }: Operation, pages: number, pairs: number) {
  const row: Row = {
    operation: name,
    pages,
    time: yield* Measure.compareEffect(ours, plain, pairs),
    ours: yield* Allocations.perTime(Measure.batchEffect(ours)),
    plain: yield* Allocations.perTime(Measure.batch(plain))
  }
  return row
})

const bytes = (value: number) => value >= 1024 ? `${(value / 1024).toFixed(1)} KiB` : `${value.toFixed(0)} B`

const columns: ReadonlyArray<Report.Column<Row>> = [
  { title: "operation", show: ({ operation }) => operation },
  { title: "pages", show: ({ pages }) => String(pages) },
  // A call on the bare driver is nothing to compare with.
  ...Report.ratioColumns(({ time }: Row) => time.theirs < 0.1 ? undefined : time, "ours", "plain"),
  { title: "overhead", show: ({ time }) => Report.time(time.ours - time.theirs) },
  { title: "objects, ours", show: ({ ours }) => bytes(ours.objects) },
  { title: "objects, plain", show: ({ plain }) => bytes(plain.objects) },
  { title: "arrays, ours", show: ({ ours }) => bytes(ours.arrays) },
  { title: "arrays, plain", show: ({ plain }) => bytes(plain.arrays) }
]

interface SiteRow extends Allocations.Site {
  readonly operation: string
}

const siteColumns: ReadonlyArray<Report.Column<SiteRow>> = [
  { title: "operation", show: ({ operation }) => operation },
  { title: "function", show: ({ name }) => name },
  { title: "objects", show: ({ bytes: size }) => bytes(size) }
]

/** Where the objects of each operation on one page come from: the most, and how much the rest is. */
const sites = Effect.forEach(operations(1), Effect.fnUntraced(function*({ name: operation, ours }) {
  const all = yield* Allocations.sites(Measure.batchEffect(ours))
  const rest = all.slice(8).reduce((sum, { bytes }) => sum + bytes, 0)
  return [...all.slice(0, 8), { name: "all others", bytes: rest }].map((site): SiteRow => ({ operation, ...site }))
}))

/** Each operation at 1, 1023 and 2025 pages, and where its objects come from. */
export const run = Effect.fnUntraced(function*(pairs: number) {
  const bySize = [1, 1023, 2025].map((pages) => ({ pages, operations: operations(pages) }))
  // All of them a little first: they have most of their code in common, and it is compiled for all.
  for (const { ours } of bySize.flatMap(({ operations }) => operations)) yield* Measure.batchEffect(ours)(2000)
  const rows = yield* Effect.forEach(bySize, ({ operations, pages }) =>
    Effect.forEach(operations, (operation) => measure(operation, pages, pairs)))
  return [
    Report.section({
      name: "overhead",
      title: "Overhead of an operation",
      about: "Each operation with its release, repeated in one fiber, on a grant table whose driver does " +
        "nothing: what is left is checks, scopes, metrics, fibers. Plain is the same work without " +
        "Effect: calls on the same driver, and the pure functions of `Chain`. Times are medians of " +
        `${pairs} batches of a millisecond, in turn, CPU time, nobody tracing. Bytes are allocated each time, as V8 ` +
        "counts them; arrays are contents of typed arrays, which are outside of its heap.",
      columns,
      rows: operations(1).flatMap(({ name }) => rows.flat().filter(({ operation }) => operation === name)),
      plots: []
    }),
    Report.section({
      name: "allocations",
      title: "Where the objects of an operation come from",
      about: "Bytes for each operation on one page with its release, by V8's heap profiler, which notes every object " +
        "here. What built-in functions allocate counts for who calls them.",
      columns: siteColumns,
      rows: (yield* sites).flat(),
      plots: []
    })
  ]
})
