/**
 * How long the in-memory Xen takes for a cycle (share, write the directory, read it, map, release) of 1 to 65 536 pages.
 */
import * as Chain from "@xen-shbuf/core/Chain"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as Page from "@xen-shbuf/core/Page"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { GCProfiler } from "node:v8"
import * as Apart from "./Apart.ts"
import * as Measure from "./Measure.ts"
import * as Report from "./Report.ts"

/** Full directory pages, full-HD and 4K frames, up to 256 MiB, the most that `PeerBuffer` takes unless told otherwise. */
const sizes = [1, 64, 1023, 2025, 8100, 32_400, 65_536]

/** Where the cost per page begins to count: one full page of a directory. */
const full = 1023

/** What the owner of so many pages needs: references for them and for their directory, after the 8 reserved ones. */
const limitsFor = (pages: number): TestXen.Capacity => {
  const sharedPages = pages + Chain.pagesFor(pages)
  return { sharedPages, grantRefs: 8 + sharedPages }
}

/** A frontend that shares a buffer and a backend that maps it. */
export const pair = Effect.fnUntraced(function*(largest: number) {
  const xen = yield* TestXen.make(limitsFor(largest))
  const frontend = yield* xen.domain(1)
  const backend = yield* xen.domain(0)
  return Effect.fnUntraced(function*(pages: number) {
    const byteLength = pages * Page.size
    const sharing = SharedBuffer.alloc({ peer: 0, byteLength })
    const shared = yield* Effect.provideService(sharing, GrantTable, frontend)
    const mapping = PeerBuffer.map({ peer: 1, directory: shared.directory, byteLength })
    const mapped = yield* Effect.provideService(mapping, GrantTable, backend)
    return [shared.bytes, mapped.bytes] as const
  })
})

/** The same mappings of the same memory, with as much of it written, but no Xen: what a cycle can't do without. */
const bare = (pages: number) => {
  const directory = Chain.pagesFor(pages) * Page.size
  const buffer = pages * Page.size
  const fd = Result.getOrThrow(MappedMemory.memfd("bench", directory + buffer))
  const map = (offset: number, byteLength: number) =>
    Result.getOrThrow(MappedMemory.map([{ fd, offset, byteLength }], "read-write"))
  const own = map(0, directory + buffer)
  new Uint8Array(own.buffer, 0, directory).fill(1)
  for (let offset = 0; offset < directory; offset += Page.size) MappedMemory.unmap(map(offset, Page.size))
  const peers = map(directory, buffer)
  MappedMemory.unmap(peers)
  MappedMemory.unmap(own)
  MappedMemory.close(fd)
}

/** About 15 ms of cycles. */
const timesOf = (pages: number) => Math.ceil(100 / (1 + pages / 500))

/** As many cycles of one page as V8 needs to compile all that it will. */
const warmUp = 20_000

/** Cycles of one size, as they are. */
interface Alone {
  readonly pages: number
  /** In µs. */
  readonly time: Measure.Spread
  /** Major garbage collections in a cycle. */
  readonly collections: number
}

/** What a program gives, and how many major garbage collections ended meanwhile. */
const counted = Effect.fnUntraced(function*<A, E, R>(program: Effect.Effect<A, E, R>) {
  const profiler = new GCProfiler()
  profiler.start()
  const result = yield* program
  const { statistics } = profiler.stop()
  return [result, statistics.filter(({ gcType }) => gcType === "MarkSweepCompact").length] as const
})

/** One size after the other, the big ones last: what their garbage costs is not for the small ones to pay. */
const alone = Effect.fnUntraced(function*(batches: number) {
  const acquire = yield* pair(sizes.at(-1)!)
  yield* Measure.batchEffect(Effect.scoped(acquire(1)))(warmUp)
  return yield* Effect.forEach(sizes, Effect.fnUntraced(function*(pages) {
    const cycles = Measure.batchEffect(Effect.scoped(acquire(pages)))
    const times = timesOf(pages)
    // With the second page of a directory, code runs that V8 has not compiled yet.
    yield* cycles(100 * times)
    const [samples, collections] = yield* counted(Effect.replicateEffect(cycles(times), batches))
    const row: Alone = { pages, time: Measure.spread(samples), collections: collections / (batches * times) }
    return row
  }))
}, Effect.scoped)

/** Cycles of one size, compared. */
interface Compared {
  /** A cycle / the bare mappings, in µs. */
  readonly toBare: Measure.Ratio
  /** What each page beyond the first takes, in ns. */
  readonly perPage: Measure.Spread
  /** The same / the same at 1023 pages. */
  readonly toFull: Measure.Spread
}

/** All sizes again and again: what is compared comes from one round. */
const compared = Effect.fnUntraced(function*(rounds: number) {
  const acquire = yield* pair(sizes.at(-1)!)
  const jobs = sizes.map((pages) => ({
    pages,
    ours: Measure.batchEffect(Effect.scoped(acquire(pages)))(timesOf(pages)),
    theirs: Measure.batch(() => bare(pages))(timesOf(pages))
  }))
  yield* Measure.batchEffect(Effect.scoped(acquire(1)))(warmUp)
  const round = Effect.forEach(jobs, ({ ours, theirs }) => Effect.all({ theirs, ours }))
  yield* Effect.replicateEffect(round, 10, { discard: true })
  const all = yield* Effect.replicateEffect(round, rounds)
  /** By size, then by round. */
  const costs = sizes.map((pages, size) =>
    all.map((samples) => 1000 * (samples[size]!.ours - samples[0]!.ours) / (pages - 1))
  )
  const ofFull = costs[sizes.indexOf(full)]!
  return sizes.map((_, size): Compared => ({
    toBare: Measure.ratio(all.map((samples) => samples[size]!)),
    perPage: Measure.spread(costs[size]!),
    toFull: Measure.spread(costs[size]!.map((cost, round) => cost / ofFull[round]!))
  }))
}, Effect.scoped)

const programs = { alone, compared }

/** Runs a program above in a process of its own, with options for V8. */
const apart = <Name extends keyof typeof programs>(name: Name, batches: number, options: ReadonlyArray<string> = []) =>
  Apart.run<Effect.Success<ReturnType<typeof programs[Name]>>>(import.meta.filename, [name, String(batches)], options)

/** V8's options to let memory outside of its heap start no garbage collection. */
const noPressure = ["--external-memory-accounted-in-global-limit", "--initial-heap-size=4096"]

/** Cycles of one size as they are, and compared without collections for views. */
interface Row extends Alone {
  readonly perPage: number
  readonly toFull: number
  readonly uncollected: Compared
}

const perSecond = ({ high, low, median }: Measure.Spread): Measure.Spread => ({
  median: 1e6 / median,
  low: 1e6 / high,
  high: 1e6 / low
})

const whole = (value: number) => value.toFixed(0)
const wholeQuartiles = ({ high, low }: Measure.Spread) => `${whole(low)} to ${whole(high)}`

/** Cycles a second that are aimed at. */
const targets = new Map([[1, 5000], [2025, 300]])

const cyclesSection = (rows: ReadonlyArray<Row>, batches: number) =>
  Report.section({
    name: "cycles",
    title: "Cycles of the in-memory Xen",
    about: "A cycle is what a test does with a buffer: one domain shares it, another maps it through its directory, both " +
      "let go. The ratio is to the bare system calls: the same memory, made, mapped as often and unmapped, as many of its " +
      `bytes written. ${batches} batches of 15 ms or more; medians and quartiles; CPU time of all threads, so that other ` +
      "programs on the machine do not count. The ratios are from a process in which V8 collects no garbage for views (see " +
      "[Cost per page](per-page.md)). What a cycle of one page takes beyond the bare calls is checks, scopes and fibers.",
    columns: [
      { title: "pages", show: ({ pages }) => String(pages) },
      { title: "cycles/s", show: ({ time }) => whole(perSecond(time).median) },
      { title: "quartiles", show: ({ time }) => wholeQuartiles(perSecond(time)) },
      {
        title: "target",
        show: ({ pages, time }) => {
          const target = targets.get(pages)
          return target === undefined ? "" : Report.atLeast(target, perSecond(time).median, whole)
        }
      },
      ...Report.ratioColumns(({ uncollected }: Row) => uncollected.toBare, "a cycle", "bare")
    ],
    rows,
    plots: [{
      name: "time",
      title: "Time of a cycle, over pages",
      curves: [
        { name: "as it is", points: rows.map(({ pages, time }) => ({ pages, ...time })) },
        {
          name: "without collections for views",
          points: rows.map(({ pages, uncollected }) => ({ pages, median: uncollected.toBare.ours }))
        },
        {
          name: "bare system calls, likewise",
          points: rows.map(({ pages, uncollected }) => ({ pages, median: uncollected.toBare.theirs }))
        }
      ],
      show: Report.time,
      log: true
    }]
  })

const target = (pages: number, toFull: number) => pages === full ? "" : Report.atMost(1.5, toFull)

const perPageSection = (all: ReadonlyArray<Row>) => {
  const rows = all.filter(({ pages }) => pages >= full)
  return Report.section({
    name: "per-page",
    title: "Cost per page",
    about: `What a cycle takes for each page beyond the first, against the same at ${full} pages. V8 counts each view of ` +
      "mapped memory as memory that it could free, and starts a major garbage collection when those that are there come to " +
      "64 MiB, unless one is under way; the only buffers that it does not count are shared ones, and those can't be " +
      "detached. What a collection takes depends on the heap and not on the pages. So the cost is shown as it is, with the " +
      "number of collections in a cycle, and " +
      `for a process that collects nothing for views (\`${noPressure.join(" ")}\`).`,
    columns: [
      { title: "pages", show: ({ pages }) => String(pages) },
      { title: "as it is", show: ({ perPage }) => `${whole(perPage)} ns` },
      { title: `/ at ${full}`, show: ({ toFull }) => Report.times(toFull) },
      { title: "target", show: ({ pages, toFull }) => target(pages, toFull) },
      { title: "collections", show: ({ collections }) => collections.toFixed(2) },
      { title: "without them", show: ({ uncollected }) => `${whole(uncollected.perPage.median)} ns` },
      { title: `/ at ${full}`, show: ({ uncollected }) => Report.times(uncollected.toFull.median) },
      { title: "quartiles", show: ({ uncollected }) => Report.quartiles(uncollected.toFull) },
      { title: "target", show: ({ pages, uncollected }) => target(pages, uncollected.toFull.median) }
    ],
    rows,
    plots: [{
      name: "cost",
      title: "Time for each page beyond the first, over pages",
      curves: [
        { name: "as it is", points: rows.map(({ pages, perPage }) => ({ pages, median: perPage })) },
        {
          name: "without collections for views",
          points: rows.map(({ pages, uncollected }) => ({ pages, ...uncollected.perPage }))
        }
      ],
      targets: [{ from: full, to: sizes.at(-1)!, value: 1.5 * rows[0]!.uncollected.perPage.median }],
      show: (nanos) => `${nanos} ns`
    }]
  })
}

/** Both tables. */
export const run = Effect.fnUntraced(function*(pairs: number) {
  // A batch here takes as long as many pairs elsewhere.
  const batches = Math.ceil(pairs / 4)
  const usual = yield* apart("alone", batches)
  const uncollected = yield* apart("compared", batches, noPressure)
  const costs = usual.map(({ pages, time }) => 1000 * (time.median - usual[0]!.time.median) / (pages - 1))
  const ofFull = costs[sizes.indexOf(full)]!
  const rows = usual.map((row, i): Row =>
    ({ ...row, perPage: costs[i]!, toFull: costs[i]! / ofFull, uncollected: uncollected[i]! })
  )
  return [cyclesSection(rows, batches), perPageSection(rows)]
})

if (import.meta.main) {
  const [, , name, batches] = process.argv
  const program: (batches: number) => Effect.Effect<unknown, unknown> = programs[name as keyof typeof programs]
  console.log(JSON.stringify(await Effect.runPromise(program(Number(batches)))))
}
