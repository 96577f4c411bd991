/**
 * Measures what a long run must not use up: memory of the process, descriptors, mappings, and Xen's tables.
 */
import * as Effect from "effect/Effect"
import { readdirSync, readFileSync } from "node:fs"
import { memoryUsage } from "node:process"

/** What is measured, all with nothing held and after a garbage collection. Bytes, or plain numbers. */
export interface Sample {
  readonly cycles: number
  readonly seconds: number
  readonly rss: number
  readonly heapUsed: number
  /** Memory outside of the heap that objects in it keep alive, such as buffers. */
  readonly external: number
  readonly descriptors: number
  readonly mappings: number
  readonly frames: number
  readonly grants: number
  readonly holdings: number
}

export type Measure = Exclude<keyof Sample, "cycles" | "seconds">

const MiB = 2 ** 20

/**
 * How much more the last sample may show than the first. What goes with a cycle must not grow at all; the rest is for
 * code that is compiled meanwhile and for the pieces in which memory comes: 10 bytes a cycle in 100 000 cycles.
 */
export const allowances: { readonly [measure in Measure]: number } = {
  rss: 8 * MiB,
  heapUsed: MiB,
  external: MiB,
  descriptors: 0,
  mappings: 8,
  frames: 0,
  grants: 0,
  holdings: 0
}

/** The order in which measures are shown. */
export const measures = Object.keys(allowances) as ReadonlyArray<Measure>

/** Collects garbage until nothing more goes: what one collection finalizes, the next one frees. */
const collectGarbage = Effect.gen(function*() {
  const { gc } = globalThis
  if (gc === undefined) return yield* Effect.die(new Error("The soak needs node --expose-gc"))
  for (let i = 0; i < 4; i++) {
    // The last resort also gives back the free pages that V8 keeps for later, as many as it once needed at a time.
    yield* Effect.sync(() => gc({ type: "major", execution: "sync", flavor: "last-resort" }))
    yield* Effect.sleep("20 millis")
  }
})

/** Measures this process. */
export const processNow = Effect.map(collectGarbage, () => {
  const { external, heapUsed, rss } = memoryUsage()
  return {
    rss,
    heapUsed,
    external,
    descriptors: readdirSync("/proc/self/fd").length,
    mappings: readFileSync("/proc/self/maps", "utf8").split("\n").length - 1
  }
})

/** The measures that are not flat, in words. */
export const growths = (samples: ReadonlyArray<Sample>): ReadonlyArray<string> =>
  measures.flatMap((measure) => {
    const first = samples[0]![measure]
    const last = samples.at(-1)![measure]
    return last - first > allowances[measure]
      ? [`${measure} grew from ${show(measure, first)} to ${show(measure, last)}`]
      : []
  })

const isBytes = (measure: Measure) => measure === "rss" || measure === "heapUsed" || measure === "external"

/** A measure as people read it. */
export const show = (measure: Measure, value: number): string =>
  isBytes(measure) ? `${(value / MiB).toFixed(1)} MiB` : String(value)

/** A line of the table of samples; without a sample, its head. */
export const line = (sample?: Sample): string =>
  [
    sample === undefined ? "cycles" : String(sample.cycles),
    sample === undefined ? "seconds" : sample.seconds.toFixed(0),
    ...measures.map((measure) => sample === undefined ? measure : show(measure, sample[measure]))
  ].map((cell) => cell.padStart(11)).join("")
