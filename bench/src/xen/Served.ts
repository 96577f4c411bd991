/**
 * A backend in dom0 that serves the driver of a guest's kernel, the library's or C's: what it uses, and what it calls.
 */
import * as Effect from "effect/Effect"
import { type Machine, sh } from "../../../xenlab/src/Machine.ts"
import type { Kind } from "../../../xenlab/src/Target.ts"
import * as Report from "../Report.ts"

/** Starts one that waits for its guest. */
export const start = Effect.fnUntraced(function*(dom0: Machine, argv: ReadonlyArray<string>) {
  const process = yield* dom0.start(argv, { patience: "10 minutes" })
  const { pid } = yield* process.expect("ready")
  return { process, pid: Number(pid) }
})

export type Backend = Effect.Success<ReturnType<typeof start>>

/** What a process and all its threads have used of the processor until now, in µs. */
export const used = Effect.fnUntraced(function*(dom0: Machine, pid: number) {
  const nanos = yield* sh(dom0, `awk '{ sum += $1 } END { printf "%.0f", sum }' /proc/${pid}/task/*/schedstat`)
  return Number(nanos) / 1000
})

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

/** What all threads of a process call while something is done so many times. */
export const callsOf = Effect.fnUntraced(function*<E, R>(
  dom0: Machine,
  pid: number,
  times: number,
  work: Effect.Effect<unknown, E, R>
) {
  const strace = yield* dom0.start(["strace", "-f", "-c", "-o", trace, "-p", String(pid)])
  // It says nothing when it has begun.
  yield* Effect.sleep("3 seconds")
  yield* work
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

/** The columns of a table of calls; the library is to make so many at most. */
export const columns = (target: number): ReadonlyArray<Report.Column<Counted>> => [
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
