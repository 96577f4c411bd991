/**
 * Counts the memory that a job allocates, whether or not it is garbage at once.
 */
import * as Effect from "effect/Effect"
import type { HeapProfiler } from "node:inspector"
import { Session } from "node:inspector/promises"
import { basename } from "node:path"
import { getHeapStatistics } from "node:v8"
import * as Measure from "./Measure.ts"

/** What one time of a job allocates, in bytes. */
export interface Bytes {
  /** On V8's heap. */
  readonly objects: number
  /** Contents of typed arrays, which are outside of the heap. */
  readonly arrays: number
}

const now = (): Bytes => ({
  objects: getHeapStatistics().used_heap_size,
  arrays: process.memoryUsage().arrayBuffers
})

/** So few times that a garbage collection meanwhile is the exception. */
const times = 20

/** Counted, not sampled: the differences of V8's own books, once the compilers are done. */
export const perTime = Effect.fnUntraced(function*<E, R>(batch: Measure.Batch<E, R>) {
  const taken: Array<Bytes> = []
  yield* batch(2000)
  while (taken.length < 51) {
    const before = now()
    yield* batch(times)
    const after = now()
    taken.push({ objects: (after.objects - before.objects) / times, arrays: (after.arrays - before.arrays) / times })
  }
  const bytes: Bytes = {
    objects: Measure.spread(taken.map(({ objects }) => objects)).median,
    // Nobody else makes arrays, but their memory may be given back at any time.
    arrays: Math.max(...taken.map(({ arrays }) => arrays))
  }
  return bytes
})

/** A function and the bytes that it allocates on the heap, itself, each time. */
export interface Site {
  readonly name: string
  readonly bytes: number
}

/** Adds what each function allocates itself, but the profiler. What built-ins allocate counts for who calls them. */
const addUp = (
  { callFrame, children, selfSize }: HeapProfiler.SamplingHeapProfileNode,
  caller: string,
  into: Map<string, number>
) => {
  const { functionName, lineNumber, url } = callFrame
  if (url === "node:inspector") return
  const name = url === "" ? caller : `${functionName || "(anonymous)"} ${basename(url)}:${lineNumber + 1}`
  into.set(name, (into.get(name) ?? 0) + selfSize)
  children.forEach((child) => addUp(child, name, into))
}

/** Where a job allocates, most first: from V8's heap profiler, which notes every object here. */
export const sites = Effect.fnUntraced(function*<E, R>(batch: Measure.Batch<E, R>) {
  const session = new Session()
  session.connect()
  yield* batch(2000)
  yield* Effect.promise(() =>
    session.post("HeapProfiler.startSampling", {
      samplingInterval: 1,
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true
    }))
  yield* batch(times)
  const { profile } = yield* Effect.promise(() => session.post("HeapProfiler.stopSampling"))
  session.disconnect()
  const bytes = new Map<string, number>()
  addUp(profile.head, "", bytes)
  return [...bytes].map(([name, bytes]): Site => ({ name, bytes: bytes / times })).toSorted((a, b) => b.bytes - a.bytes)
})
