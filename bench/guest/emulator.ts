/**
 * Shows what the emulator makes of JavaScript and of system calls, apart from any device: prints medians in µs.
 */
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { spread } from "../src/Measure.ts"

/** A system call that does next to nothing. */
const call = (): void => void process.getuid!()

/** Maps and releases, on a grant table that has nothing behind it but these two. */
const mapping = (acquire: () => void, release: () => void) => {
  const bytes = new Uint8Array()
  const never = Effect.die(new Error("not used here"))
  const table = GrantTable.make({
    map: () =>
      Effect.sync(() => {
        acquire()
        return { bytes, arm: () => Result.succeed(undefined), release }
      }),
    read: () => never,
    share: () => never,
    copy: () => never,
    limits: never
  })
  return Effect.scoped(table.map({ peer: 0, refs: [8] }))
}

const calls = Effect.sync(() => {
  call()
  call()
})
const jobs = { calls, map: mapping(() => {}, () => {}), mapWithCalls: mapping(call, call) }

/** What is measured, by name: µs each time. */
export type Figures = Readonly<Record<keyof typeof jobs, number>>

const runs = 500
const rounds = 30
const warm = 10

const time = Effect.fnUntraced(function*(job: Effect.Effect<unknown, unknown>) {
  const start = performance.now()
  for (let n = 0; n < runs; n++) yield* job
  return (performance.now() - start) * 1000 / runs
})

const main = Effect.gen(function*() {
  const times: Record<keyof typeof jobs, Array<number>> = { calls: [], map: [], mapWithCalls: [] }
  for (let round = 0; round < rounds; round++) {
    for (const name of ["calls", "map", "mapWithCalls"] as const) {
      const micros = yield* time(jobs[name])
      if (round >= warm) times[name].push(micros)
    }
  }
  const median = (values: ReadonlyArray<number>) => spread(values).median
  const figures: Figures = {
    calls: median(times.calls),
    map: median(times.map),
    mapWithCalls: median(times.mapWithCalls)
  }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
})

await Effect.runPromise(main)
