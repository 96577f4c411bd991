/**
 * Measures two jobs against each other: batches in turn, and the ratio of each pair of neighbours. The speed of a
 * machine drifts, a ratio of neighbours does not.
 *
 * What is measured is CPU time of the process, all threads together: so what other processes do does not count, and the
 * work of the garbage collector on threads of its own does.
 */
import * as Effect from "effect/Effect"

/** The times of two neighbouring batches, in µs per iteration. */
export interface Sample {
  readonly ours: number
  readonly theirs: number
}

/** The middle of some values: half of them lie between the quartiles `low` and `high`. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** The spread of ours / theirs, pair by pair. */
export interface Ratio extends Spread {
  /** All time of ours / all time of theirs: with the rare batches that pay for many, as in a garbage collection. */
  readonly overall: number
  /** Median in µs per iteration. */
  readonly ours: number
  /** Median in µs per iteration. */
  readonly theirs: number
  readonly pairs: number
}

export const spread = (values: ReadonlyArray<number>): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (quantile: number) => sorted[Math.floor(quantile * (sorted.length - 1))]!
  return { low: at(0.25), median: at(0.5), high: at(0.75) }
}

const sum = (values: ReadonlyArray<number>) => values.reduce((a, b) => a + b, 0)

/** Takes at least one sample. */
export const ratio = (samples: ReadonlyArray<Sample>): Ratio => ({
  ...spread(samples.map(({ ours, theirs }) => ours / theirs)),
  overall: sum(samples.map(({ ours }) => ours)) / sum(samples.map(({ theirs }) => theirs)),
  ours: spread(samples.map(({ ours }) => ours)).median,
  theirs: spread(samples.map(({ theirs }) => theirs)).median,
  pairs: samples.length
})

/** CPU time of this process, in µs. */
const now = () => {
  const { system, user } = process.cpuUsage()
  return user + system
}

/** Does a job so many times in a row, and gives its µs per iteration. */
export type Batch<E = never, R = never> = (times: number) => Effect.Effect<number, E, R>

/** Where results go, so that no compiler finds out that nobody needs them. */
let sink: unknown

/** Batches of a function. */
export const batch = (job: () => unknown): Batch => (times) =>
  Effect.sync(() => {
    const begin = now()
    for (let i = 0; i < times; i++) sink = job()
    void sink
    return (now() - begin) / times
  })

/** Batches of an effect, repeated inside of one fiber. */
export const batchEffect = <E, R>(job: Effect.Effect<unknown, E, R>): Batch<E, R> => (times) =>
  Effect.suspend(() => {
    const begin = now()
    let i = 0
    return Effect.map(
      Effect.whileLoop({ while: () => i < times, body: () => job, step: () => i++ }),
      () => (now() - begin) / times
    )
  })

/**
 * Iterations that take a millisecond: short enough that most batches are left alone by the garbage collector. Found
 * after a warm-up of about 0.3 s: compilers take that long to settle.
 */
const batchSize = Effect.fnUntraced(function*<E, R>(batch: Batch<E, R>) {
  let micros = yield* batch(1)
  for (let i = 0; i < 3; i++) micros = yield* batch(Math.ceil(100_000 / Math.max(0.1, micros)))
  return Math.ceil(1000 / Math.max(0.001, micros))
})

/** Two kinds of batches in turn. */
export const sampleBatches = Effect.fnUntraced(function*<E, R>(
  ours: Batch<E, R>,
  theirs: Batch<E, R>,
  pairs: number
) {
  const sizes = { ours: yield* batchSize(ours), theirs: yield* batchSize(theirs) }
  const samples: Array<Sample> = []
  while (samples.length < pairs) {
    // Each goes first in every other pair: what one leaves behind, such as garbage, hits both alike.
    if (samples.length % 2 === 0) {
      const first = yield* theirs(sizes.theirs)
      samples.push({ ours: yield* ours(sizes.ours), theirs: first })
    } else {
      const first = yield* ours(sizes.ours)
      samples.push({ ours: first, theirs: yield* theirs(sizes.theirs) })
    }
  }
  return samples
})

/** An effect, repeated inside of one fiber, against a plain function. */
export const compareEffect = <E, R>(
  ours: Effect.Effect<unknown, E, R>,
  theirs: () => unknown,
  pairs: number
): Effect.Effect<Ratio, E, R> => Effect.map(sampleBatches<E, R>(batchEffect(ours), batch(theirs), pairs), ratio)
