/**
 * The garbage collections that V8 runs for views of mapped memory, because it takes them for memory that it could free.
 */
import * as Effect from "effect/Effect"
import { GCProfiler } from "node:v8"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Apart from "./Apart.ts"
import * as Measure from "./Measure.ts"
import * as Report from "./Report.ts"

/** Memory that is mapped and unmapped again, never written to: so many pieces at a time. */
interface Case {
  readonly what: string
  readonly mebibytes: number
  readonly pieces: number
  readonly isViewed: boolean
}

/** 32 400 pages are 126 MiB. */
const cases: ReadonlyArray<Case> = [
  { what: "never looked at", mebibytes: 126, pieces: 2, isViewed: false },
  { what: "a view of each", mebibytes: 31, pieces: 2, isViewed: true },
  { what: "a view of each", mebibytes: 32, pieces: 2, isViewed: true },
  { what: "a view of it", mebibytes: 126, pieces: 1, isViewed: true },
  { what: "a view of each", mebibytes: 126, pieces: 2, isViewed: true },
  { what: "a view of each", mebibytes: 4, pieces: 32, isViewed: true }
]

const cycle = ({ isViewed, mebibytes, pieces }: Case) => () => {
  const system = SystemCalls.native()
  const byteLength = mebibytes * 2 ** 20
  const flags = SystemCalls.MAP_PRIVATE | SystemCalls.MAP_ANONYMOUS | SystemCalls.MAP_NORESERVE
  const addresses = Array.from({ length: pieces }, () => system.mmap(null, byteLength, SystemCalls.PROT_READ, flags, -1, 0))
  const views = isViewed ? addresses.map((address) => system.view(address, byteLength)) : []
  for (const view of views) view.transfer(0)
  for (const address of addresses) system.munmap(address, byteLength)
}

interface Row extends Case {
  /** Major ones, in a cycle. */
  readonly collections: number
  /** CPU time of all threads, in µs: a few cycles pay for many. */
  readonly time: number
}

const cycles = 100

/** In this process. */
const measure = Effect.fnUntraced(function*(one: Case) {
  const batch = Measure.batch(cycle(one))
  yield* batch(10)
  const profiler = new GCProfiler()
  profiler.start()
  const time = yield* batch(cycles)
  const collections = profiler.stop().statistics.filter(({ gcType }) => gcType === "MarkSweepCompact").length
  const row: Row = { ...one, collections: collections / cycles, time }
  return row
})

/** Each in a process of its own, since a heap remembers. */
export const run = Effect.fnUntraced(function*() {
  const rows = yield* Effect.forEach(cases, (_, i) => Apart.run<Row>(import.meta.filename, [String(i)]))
  return [Report.section<Row>({
    name: "views",
    title: "What a view costs",
    about: "Memory is mapped, looked at by a view, and unmapped with the view detached, in a process that does nothing " +
      `else: the mean of ${cycles} times. 126 MiB are the 32 400 pages of a 4K frame with 16 bytes a pixel. V8 starts to ` +
      "collect when the views that are there come to 64 MiB; what that takes depends on the program's heap, here an empty one.",
    columns: [
      { title: "memory", show: ({ mebibytes, pieces }) => pieces === 1 ? `${mebibytes} MiB` : `${pieces} × ${mebibytes} MiB` },
      { title: "looked at", show: ({ what }) => what },
      { title: "collections", show: ({ collections }) => collections.toFixed(2) },
      { title: "time", show: ({ time }) => Report.time(time) }
    ],
    rows,
    plots: []
  })]
})

if (import.meta.main) {
  console.log(JSON.stringify(await Effect.runPromise(measure(cases[Number(process.argv[2])]!))))
}
