/**
 * A backend in dom0 that serves the driver of a guest's kernel, the library's or C's: what it uses, and what it calls.
 */
import * as Effect from "effect/Effect"
import { type Machine, sh } from "../../../xenlab/src/Machine.ts"
import { say } from "../../../xenlab/src/Progress.ts"
import type { Kind } from "../../../xenlab/src/Target.ts"
import * as Measure from "../Measure.ts"
import * as Report from "../Report.ts"

/** Starts one that waits for its guest. */
export const start = Effect.fnUntraced(function*(dom0: Machine, argv: ReadonlyArray<string>) {
  const process = yield* dom0.start(argv, { patience: "10 minutes" })
  const { pid } = yield* process.expect("ready")
  return { process, pid: Number(pid) }
})

export type Backend = Effect.Success<ReturnType<typeof start>>

/** What a process and all its threads have used of the processor until now, in µs. */
const used = Effect.fnUntraced(function*(dom0: Machine, pid: number) {
  const nanos = yield* sh(dom0, `awk '{ sum += $1 } END { printf "%.0f", sum }' /proc/${pid}/task/*/schedstat`)
  return Number(nanos) / 1000
})

/** A backend at work for its guest. */
export interface Work<E, R> {
  readonly pid: number
  /** Serves `times` requests, and gives the µs that each took. */
  readonly once: Effect.Effect<number, E, R>
  readonly times: number
}

/** The library's backend and C's, each with a guest of its own. */
export interface Pair<E, R> {
  readonly ours: Work<E, R>
  readonly theirs: Work<E, R>
}

/** What the library takes against C. */
export interface Time {
  readonly kind: Kind
  readonly what: string
  readonly ratio: Measure.Ratio
  readonly target?: number | undefined
}

/** Runs both in turn, `rounds` times: the time of a request, and dom0's processor time for it. */
export const compare = Effect.fnUntraced(function*<E, R>(
  dom0: Machine,
  { ours, theirs }: Pair<E, R>,
  { kind, rounds, target, what }: { readonly rounds: number } & Omit<Time, "ratio">
) {
  const batch = Effect.fnUntraced(function*({ once, pid, times }: Work<E, R>) {
    const before = yield* used(dom0, pid)
    const time = yield* once
    return { time, processor: ((yield* used(dom0, pid)) - before) / times }
  })
  const times: Array<Measure.Sample> = []
  const processor: Array<Measure.Sample> = []
  while (times.length < rounds) {
    // Each goes first every other time.
    const isFirst = times.length % 2 === 0
    const first = yield* batch(isFirst ? ours : theirs)
    const second = yield* batch(isFirst ? theirs : ours)
    const [our, their] = isFirst ? [first, second] : [second, first]
    times.push({ ours: our.time, theirs: their.time })
    processor.push({ ours: our.processor, theirs: their.processor })
  }
  const rows: ReadonlyArray<Time> = [
    { kind, what, ratio: Measure.ratio(times), target },
    { kind, what: "processor time of the backend", ratio: Measure.ratio(processor) }
  ]
  for (const { ratio, what } of rows) {
    yield* say(`${kind}: ${what}: ${Report.times(ratio.median)}, ${Report.time(ratio.ours)}, C ${Report.time(ratio.theirs)}`)
  }
  return rows
})

/** The columns of a table of times. */
export const timeColumns: ReadonlyArray<Report.Column<Time>> = [
  { title: "guest", show: ({ kind }) => kind },
  { title: "what", show: ({ what }) => what },
  ...Report.ratioColumns<Time>(({ ratio }) => ratio, "ours", "C")
]

/** How often something is called for one of what is counted, by its name. */
export type Calls = Readonly<Record<string, number>>

/** Reads the table of `strace -c` of so many. What is called less than once in ten of them is V8's own. */
export const parse = (table: string, times: number): Calls =>
  Object.fromEntries(
    [...table.matchAll(/^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$/gm)]
      .map(([, calls, name]) => [name!, Number(calls) / times] as const)
      .filter(([name, calls]) => name !== "total" && calls >= 0.1)
  )

const trace = "/tmp/calls"

/** What all threads of a backend call while it works. */
const callsOf = Effect.fnUntraced(function*<E, R>(dom0: Machine, { once, pid, times }: Work<E, R>) {
  const strace = yield* dom0.start(["strace", "-f", "-c", "-o", trace, "-p", String(pid)])
  // It says nothing when it has begun.
  yield* Effect.sleep("3 seconds")
  yield* once
  yield* strace.signal("SIGINT")
  yield* strace.completed
  return parse(yield* sh(dom0, `cat ${trace}`), times)
}, Effect.scoped)

const clocks = ["clock_gettime", "gettimeofday"]

/** How many calls there are in all: those for the time, or the others. */
const sum = (calls: Calls, isClock: boolean) =>
  Object.entries(calls).reduce((all, [name, count]) => clocks.includes(name) === isClock ? all + count : all, 0)

/** Which there are, but for the time's. */
const list = (calls: Calls) =>
  Object.entries(calls).filter(([name]) => !clocks.includes(name)).toSorted(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${count.toFixed(1)}`).join(", ")

/** What a backend has called while it served a kind of guest. */
export interface Counted {
  readonly kind: Kind
  readonly backend: "the library" | "C"
  readonly calls: Calls
}

/** Counts what both call. */
export const count = Effect.fnUntraced(function*<E, R>(dom0: Machine, { ours, theirs }: Pair<E, R>, kind: Kind) {
  const counted: ReadonlyArray<Counted> = [
    { kind, backend: "the library", calls: yield* callsOf(dom0, ours) },
    { kind, backend: "C", calls: yield* callsOf(dom0, theirs) }
  ]
  return counted
})

/** The columns of a table of calls; the library is to make so many at most. */
export const callColumns = (target: number): ReadonlyArray<Report.Column<Counted>> => [
  { title: "guest", show: ({ kind }) => kind },
  { title: "backend", show: ({ backend }) => backend },
  { title: "system calls", show: ({ calls }) => sum(calls, false).toFixed(1) },
  {
    title: "target",
    show: ({ backend, calls }) =>
      backend === "C" ? "" : Report.atMost(target, Number(sum(calls, false).toFixed(1)), (count) => count.toFixed(1))
  },
  { title: "which", show: ({ calls }) => list(calls) },
  { title: "for the time", show: ({ calls }) => sum(calls, true).toFixed(1) }
]
