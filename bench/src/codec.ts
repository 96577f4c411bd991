/**
 * What a page directory costs, against a raw copy of the same bytes, and against C that does the same job: on the way that
 * every buffer goes, and as the values that people use.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Chain from "@xen-shbuf/core/Chain"
import * as Page from "@xen-shbuf/core/Page"
import * as PageDirectory from "@xen-shbuf/core/PageDirectory"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import koffi from "koffi"
import * as Apart from "./Apart.ts"
import * as Cc from "./Cc.ts"
import * as Measure from "./Measure.ts"
import type * as Plot from "../../plot/Plot.ts"
import * as Report from "./Report.ts"

/** Jobs of `c/codec.c`: each does it so many times, and returns µs per time. */
interface C {
  readonly copy: (bytes: Uint8Array, pages: number, times: number) => number
  readonly refsToBytes: (
    links: Uint32Array,
    pages: number,
    refs: Uint32Array,
    count: number,
    times: number
  ) => number
  readonly bytesToRefs: (bytes: Uint8Array, pages: number, first: number, count: number, times: number) => number
}

/** Compiles the C side, and loads it; `undefined` where there is no C compiler. */
const compile = Effect.gen(function*() {
  const library = yield* Cc.library(["codec.c"])
  if (library === undefined) return undefined
  const codec = koffi.load(library)
  const c: C = {
    copy: codec.func("double copy(const void *, size_t, size_t)"),
    refsToBytes: codec.func("double refs_to_bytes(const uint32_t *, size_t, const uint32_t *, size_t, size_t)"),
    bytesToRefs: codec.func("double bytes_to_refs(const void *, size_t, uint32_t, size_t, size_t)")
  }
  return c
})

/** One job at one size: ours, and C's so many times in a row. */
interface Job {
  readonly name: string
  readonly target?: number | undefined
  readonly ours: () => unknown
  readonly c: (c: C, times: number) => number
}

const decode = Schema.decodeSync(PageDirectory.FromBytes)
const encode = Schema.encodeSync(PageDirectory.FromBytes)

const names = {
  read: "a buffer's way: bytes to references, checked",
  write: "a buffer's way: references checked, to bytes",
  decode: "value: bytes to directory",
  encode: "value: directory to bytes",
  toRefs: "value: bytes to directory to references, checked",
  fromRefs: "value: references checked, to directory to bytes"
}

/** What `PeerBuffer` does with a directory: copies page after page, as far as the links lead, and checks the copies. */
const read = (bytes: Uint8Array<ArrayBuffer>, first: number, pages: number, count: number) => {
  const links = [first]
  const copies: Array<Uint32Array<ArrayBuffer>> = []
  for (let page = 0; page < links.length; page++) {
    const words = Chain.copy(bytes.subarray(page * Page.size), page, count)
    copies.push(words)
    const next = Result.getOrThrow(Chain.follow(links, words[0]!, pages))
    if (next !== undefined) links.push(next)
  }
  return Result.getOrThrow(Chain.check(links, Chain.join(copies, count)))
}

/** What `SharedBuffer` does, into memory that nobody has used before. */
const write = (links: Uint32Array<ArrayBuffer>, refs: Uint32Array<ArrayBuffer>) => {
  const bytes = new Uint8Array(links.length * Page.size)
  Chain.write(bytes, links, Result.getOrThrow(Chain.check(links, refs)))
  return bytes
}

/** The bytes of a full directory, and the jobs on it. */
const jobs = (pages: number): { readonly bytes: Uint8Array<ArrayBuffer>; readonly jobs: ReadonlyArray<Job> } => {
  const count = pages * Chain.refsPerPage
  const links = Uint32Array.from({ length: pages }, (_, i) => 8 + i)
  // Not in order, as the free list of a running kernel gives them out.
  const refs = Uint32Array.from({ length: count }, (_, i) => 5000 + (i ^ 5))
  const directory = Result.getOrThrow(PageDirectory.fromRefs(links, refs))
  const bytes = new Uint8Array(encode(directory))
  const target = pages === 1 ? 1.5 : pages >= 4 ? 1.25 : undefined
  const copy: Job["c"] = (c, times) => c.copy(bytes, pages, times)
  const toRefs: Job["c"] = (c, times) => c.bytesToRefs(bytes, pages, links[0]!, count, times)
  const fromRefs: Job["c"] = (c, times) => c.refsToBytes(links, pages, refs, count, times)
  return {
    bytes,
    jobs: [
      { name: names.read, ours: () => read(bytes, links[0]!, pages, count), c: toRefs },
      { name: names.write, ours: () => write(links, refs), c: fromRefs },
      { name: names.decode, target, ours: () => decode(bytes), c: copy },
      { name: names.encode, target, ours: () => encode(directory), c: copy },
      {
        name: names.toRefs,
        ours: () => Result.getOrThrow(PageDirectory.toRefs(decode(bytes), links[0]!, count)),
        c: toRefs
      },
      {
        name: names.fromRefs,
        ours: () => encode(Result.getOrThrow(PageDirectory.fromRefs(links, refs))),
        c: fromRefs
      }
    ]
  }
}

const batchOfC = (c: C, { c: job, name }: Job): Measure.Batch => (times) =>
  Effect.sync(() => {
    const micros = job(c, times)
    if (micros < 0) throw new Error(`C refuses: ${name}`)
    return micros
  })

interface Samples {
  readonly job: string
  readonly target?: number | undefined
  readonly toCopy: ReadonlyArray<Measure.Sample>
  readonly toC?: ReadonlyArray<Measure.Sample> | undefined
}

/** All jobs at one size, in this process. */
const here = Effect.fnUntraced(function*(pages: number, pairs: number, c: C | undefined) {
  const { bytes, jobs: all } = jobs(pages)
  return yield* Effect.forEach(all, Effect.fnUntraced(function*(job) {
    const ours = Measure.batch(job.ours)
    const samples: Samples = {
      job: job.name,
      target: job.target,
      toCopy: yield* Measure.sampleBatches(ours, Measure.batch(() => bytes.slice()), pairs),
      toC: c && (yield* Measure.sampleBatches(ours, batchOfC(c, job), pairs))
    }
    return samples
  }))
})

/** Directories this small are measured in several processes: how fast arrays of a page come differs between them. */
const small = 2
const processes = 5

/** The same in some processes, one after the other. */
const apart = (pages: number, pairs: number) =>
  Effect.map(
    Effect.replicateEffect(
      Apart.run<ReadonlyArray<Samples>>(import.meta.filename, [String(pages), String(Math.ceil(pairs / processes))]),
      processes
    ),
    (runs): ReadonlyArray<Samples> =>
      runs[0]!.map(({ toC, ...job }, i) => ({
        ...job,
        toCopy: runs.flatMap((run) => run[i]!.toCopy),
        toC: toC && runs.flatMap((run) => run[i]!.toC!)
      }))
  )

interface Row {
  readonly pages: number
  readonly job: string
  readonly target?: number | undefined
  readonly toCopy: Measure.Ratio
  readonly toC?: Measure.Ratio | undefined
}

const measure = Effect.fnUntraced(function*(pages: number, pairs: number, c: C | undefined) {
  const all = yield* pages <= small ? apart(pages, pairs) : here(pages, pairs, c)
  return all.map(({ toC, toCopy, ...job }): Row => ({
    pages,
    ...job,
    toCopy: Measure.ratio(toCopy),
    toC: toC && Measure.ratio(toC)
  }))
})

const curve = (rows: ReadonlyArray<Row>, job: string, of: (row: Row) => Measure.Ratio | undefined): Plot.Curve => ({
  name: job,
  points: rows.flatMap((row) => {
    const ratio = of(row)
    return row.job === job && ratio !== undefined ? [{ pages: row.pages, ...ratio }] : []
  })
})

const columns: ReadonlyArray<Report.Column<Row>> = [
  { title: "job", show: ({ job }) => job },
  { title: "directory pages", show: ({ pages }) => String(pages) },
  { title: "ours / copy", show: ({ toCopy }) => Report.times(toCopy.median) },
  { title: "quartiles", show: ({ toCopy }) => Report.quartiles(toCopy) },
  {
    title: "target",
    show: ({ target, toCopy }) => target === undefined ? "" : Report.atMost(target, toCopy.median)
  },
  { title: "ours / C", show: ({ toC }) => toC === undefined ? "not run: no C compiler" : Report.times(toC.median) },
  { title: "quartiles", show: ({ toC }) => toC === undefined ? "" : Report.quartiles(toC) },
  { title: "with collections", show: ({ toC }) => toC === undefined ? "" : Report.times(toC.overall) },
  { title: "ours", show: ({ toCopy }) => Report.time(toCopy.ours) },
  { title: "copy", show: ({ toCopy }) => Report.time(toCopy.theirs) },
  { title: "C", show: ({ toC }) => toC === undefined ? "" : Report.time(toC.theirs) }
]

/** All jobs at all sizes. */
export const run = Effect.fnUntraced(function*(pairs: number) {
  const c = yield* compile
  const measured = yield* Effect.forEach([1, 2, 4, 8, 16, 64, 256, 1024], (pages) => measure(pages, pairs, c))
  const rows = Object.values(names).flatMap((job) => measured.flat().filter((row) => row.job === job))
  const show = (value: number) => `${value}×`
  const plots: ReadonlyArray<Plot.Plot> = [
    {
      name: "copy",
      title: "Bytes to directory and back: time / time of a raw copy, over directory pages",
      curves: [names.decode, names.encode].map((job) => curve(rows, job, ({ toCopy }) => toCopy)),
      targets: [{ from: 1, to: 1, value: 1.5 }, { from: 4, to: 1024, value: 1.25 }],
      show
    },
    {
      name: "c",
      title: "Every reference checked: time / time of C for the same checks, over directory pages",
      curves: [names.read, names.write].map((job) => curve(rows, job, ({ toC }) => toC)),
      show
    }
  ]
  return [Report.section({
    name: "codec",
    title: "Page directories",
    about: "What every buffer does with its directory (`Chain`), and the values and schemas for people " +
      "(`PageDirectory`). Each job on a full directory, in turn with a copy of the same bytes by `slice()`, and with C that does " +
      "the same (`bench/c/codec.c`, `cc -O2`; for a value and its bytes that is `malloc` and `memcpy`): " +
      `${pairs} pairs of batches of a millisecond, CPU time, medians and quartiles of the ratios; up to ${small} pages ` +
      `these are from ${processes} processes, because V8 and malloc take other ways in each. Few batches meet a ` +
      "garbage collection, so medians leave them out; \"with collections\" is all our time against all of C's.",
    columns,
    rows,
    plots: c === undefined ? plots.slice(0, 1) : plots
  })]
}, Effect.scoped)

if (import.meta.main) {
  const [, , pages, pairs] = process.argv
  const program = Effect.flatMap(compile, (c) => here(Number(pages), Number(pairs), c)).pipe(
    Effect.scoped,
    Effect.provide(NodeFileSystem.layer)
  )
  console.log(JSON.stringify(await Effect.runPromise(program)))
}
