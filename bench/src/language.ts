/**
 * What the language costs: the library and C make the same system calls, on a file in memory in the place of the devices.
 */
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as Page from "@xen-shbuf/core/Page"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Abi from "../../packages/xen-gntdev/src/internal/Abi.ts"
import * as GntAlloc from "../../packages/xen-gntdev/src/internal/GntAlloc.ts"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import type * as Native from "../guest/Native.ts"
import * as Operations from "../guest/Operations.ts"
import * as Measure from "./Measure.ts"
import * as Report from "./Report.ts"
import * as StandIn from "./StandIn.ts"

/** Of Xen's, that the C program has too. */
const names = {
  share: "share + release",
  alloc: "share with directory + release",
  map: "map + unmap",
  walk: "walk + map + unmap",
  provide: "fill in + release"
} as const
type Operation = keyof typeof names

const operations = ["share", "alloc", "map", "walk", "provide"] as const satisfies ReadonlyArray<Operation>

/** One page; a directory of one page; a frame of 1920×1080 with 4 bytes a pixel. */
const sizes = [1, 1023, 2025]

/** Both sides on one file. */
interface Sides {
  readonly fd: number
  readonly system: SystemCalls.SystemCalls
  readonly native: Native.Native
}

const sides = Effect.gen(function*() {
  const fd = yield* StandIn.memory
  const system = yield* StandIn.calls(fd)
  const native = yield* StandIn.native(fd)
  if (system === undefined || native === undefined) return undefined
  const both: Sides = { fd, system, native }
  return both
})

const batchOfC = ({ native }: Sides, operation: Operation, buffer: Operations.Buffer): Measure.Batch => (times) =>
  Effect.map(Effect.orDie(native.run(operation, buffer, times)), ({ nanos }) => nanos / 1000 / times)

interface Row {
  readonly operation: string
  readonly pages: number
  readonly ratio: Measure.Ratio
}

/** An operation of the library's on a buffer of so many pages, which we share with ourselves until the scope ends. */
const prepare = Effect.fnUntraced(function*(operation: Operation, pages: number) {
  const options = { peer: 0, byteLength: pages * Page.size }
  const acquire = operation === "provide" ? SharedBuffer.allocByBackend(options) : SharedBuffer.alloc(options)
  const buffer: Operations.Buffer = { peer: 0, pages, directory: Number((yield* acquire).directory) }
  const of: Operations.Prepare = Operations.operations[operation]
  return { buffer, batch: Measure.batchEffect(Effect.scoped(yield* of(buffer))) }
})

/** V8 optimises in earnest only what was called some thousand times. */
const warmUp = (operation: Operation) =>
  Effect.forEach([[1, 10_000], [2025, 3000]] as const, ([pages, times]) =>
    Effect.scoped(Effect.flatMap(prepare(operation, pages), ({ batch }) => batch(times))))

const measure = Effect.fnUntraced(function*(sides: Sides, operation: Operation, pages: number, pairs: number) {
  const { batch, buffer } = yield* prepare(operation, pages)
  if (operation === "map") {
    yield* sides.native.run("holdRefs", buffer, 1)
    yield* Effect.addFinalizer(() => Effect.orDie(sides.native.run("releaseRefs", buffer, 1)))
  }
  const samples = yield* Measure.sampleBatches(batch, batchOfC(sides, operation, buffer), pairs)
  const row: Row = { operation: names[operation], pages, ratio: Measure.ratio(samples) }
  return row
}, Effect.scoped)

interface Step {
  readonly what: string
  readonly ratio: Measure.Ratio
}

/** A page is shared and let go, with ever more of what the library does. */
const steps = Effect.fnUntraced(function*(sides: Sides, pairs: number) {
  const { fd, system } = sides
  const table = yield* GrantTable.GrantTable
  const gntalloc = GntAlloc.make(() => Result.succeed(system), "", "", 1024)
  yield* Effect.addFinalizer(() => Effect.sync(() => GntAlloc.close(gntalloc)))
  const request = { peer: 0, pages: 1, access: "read-write" } as Parameters<typeof GntAlloc.sharing>[1]

  /** What a page's life asks of Linux, with `use` of its address before `end`. */
  const calls = (use: (address: bigint) => void, end: (address: bigint) => void) => () => {
    const words = Abi.allocGref(0, 1, true)
    system.ioctl(fd, Abi.ALLOC_GREF, words)
    const index = Abi.index(words)
    const address = system.mmap(null, Page.size, SystemCalls.PROT_READ | SystemCalls.PROT_WRITE, SystemCalls.MAP_SHARED, fd, index)
    use(address)
    end(address)
    system.ioctl(fd, Abi.DEALLOC_GREF, Abi.range(index, 1))
  }
  const unmap = (address: bigint) => void system.munmap(address, Page.size)
  const all: ReadonlyArray<readonly [what: string, ours: Measure.Batch]> = [
    ["the system calls", Measure.batch(calls(() => {}, unmap))],
    ["and a view, which is detached", Measure.batch(calls((address) => system.view(address, Page.size).transfer(0), unmap))],
    [
      "and its addresses kept until it is collected",
      Measure.batch(calls(() => {}, (address) =>
        MappedMemory.unmap({ address, byteLength: Page.size, buffer: system.view(address, Page.size) }, system)))
    ],
    [
      "the whole driver, without Effect",
      Measure.batch(() => Result.getOrThrow(GntAlloc.sharing(gntalloc, request)).release())
    ],
    ["GrantTable.share in a scope", Measure.batchEffect(Effect.orDie(Effect.scoped(table.share(request))))]
  ]
  return yield* Effect.forEach(all, Effect.fnUntraced(function*([what, ours]) {
    const theirs = batchOfC(sides, "share", { peer: 0, pages: 1, directory: 0 })
    const step: Step = { what, ratio: Measure.ratio(yield* Measure.sampleBatches(ours, theirs, pairs)) }
    return step
  }))
}, Effect.scoped)

const sections = (rows: ReadonlyArray<Row>, steps: ReadonlyArray<Step>, pairs: number) => [
  Report.section<Row>({
    name: "language",
    title: "What the language costs",
    about: "The library and the C program of [the benchmark on Xen](xen.md), both on this machine, with a file in memory " +
      "in the place of the devices: the same system calls, of which Linux refuses the devices' own at once, and nothing " +
      "is mapped by Xen, nor page by page by Linux. So this is the language alone, and no ratio that a user would see: " +
      `there the kernel's and Xen's work comes to both. ${pairs} pairs of batches of a millisecond, CPU time.`,
    columns: [
      { title: "operation", show: ({ operation }) => operation },
      { title: "pages", show: ({ pages }) => String(pages) },
      ...Report.ratioColumns<Row>(({ ratio }) => ratio, "ours", "C"),
      { title: "more than C", show: ({ ratio }) => Report.time(ratio.ours - ratio.theirs) }
    ],
    rows,
    plots: []
  }),
  Report.section<Step>({
    name: "language-steps",
    title: "Where the language's cost comes from",
    about: "One page, shared and let go, with ever more of what the library does, against C that makes the same system " +
      "calls on the same file in memory.",
    columns: [
      { title: "what", show: ({ what }) => what },
      ...Report.ratioColumns<Step>(({ ratio }) => ratio, "ours", "C")
    ],
    rows: steps,
    plots: []
  })
]

/** Both tables; none where there is no C compiler. */
export const run = Effect.fnUntraced(function*(pairs: number) {
  const both = yield* sides
  if (both === undefined) return []
  const table = yield* StandIn.table(both.system)
  return yield* Effect.gen(function*() {
    yield* Effect.forEach(operations, warmUp)
    const found = yield* steps(both, pairs)
    const rows = yield* Effect.forEach(sizes, (pages) =>
      Effect.forEach(operations, (operation) => measure(both, operation, pages, pairs)))
    return sections(rows.flat(), found, pairs)
  }).pipe(Effect.orDie, Effect.provideService(GrantTable.GrantTable, table))
}, Effect.scoped)
