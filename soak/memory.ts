/**
 * `npm run soak`: random buffers between random domains of one in-memory Xen, for a long time. Both ways of allocation,
 * sizes from a byte to a full-HD frame, several alive at once, the halves ending in any order, domains that die now and
 * then. Ten times it ends all, and measures; from the first time to the last nothing may grow.
 *
 * `--cycles N` (100000) or `--minutes N`; `--seed N` (1) repeats a run; `--out DIR` writes `soak.json` and `soak.svg`.
 */
import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as Sample from "./Sample.ts"

const { values: options } = parseArgs({
  options: {
    cycles: { type: "string", default: "100000" },
    minutes: { type: "string" },
    seed: { type: "string", default: "1" },
    out: { type: "string" }
  }
})
const seed = Number(options.seed)

const domains = [0, 1, 2, 5]

/** Pages of a full-HD frame of 4 bytes a pixel. */
const fullHd = 2025

/** One of so many: 0 up to `count` - 1. */
const below = (count: number) => Random.nextIntBetween(0, count, { halfOpen: true })

const oneOf = <A>(items: ReadonlyArray<A>) => Effect.map(below(items.length), (i) => items[i]!)

/** Mostly small. */
const pages = Effect.flatMap(below(100), (percent) => {
  if (percent === 0) return Effect.succeed(fullHd)
  return Effect.map(below(percent < 10 ? 300 : 8), (pages) => pages + 1)
})

const run = (domain: number) => Effect.provide(TestXen.layerDomain(domain))

/** What one half holds, and the cycle at which it ends. */
interface Half {
  readonly scope: Scope.Closeable
  readonly until: number
}

/** Writes at a few places of one view, and finds it in the other. */
const travels = Effect.fnUntraced(function*(from: SharedMemory.Writable, to: SharedMemory.Readable) {
  for (const at of [0, yield* below(from.length), from.length - 1]) {
    const byte = yield* below(256)
    from[at] = byte
    if (to[at] !== byte) return yield* Effect.die(new Error(`byte ${at} is ${to[at]} instead of ${byte}`))
  }
})

type Failure = GrantTableError | DirectoryError

/** Both halves of a buffer, each in a scope of its own. */
const open = Effect.fnUntraced(function*(
  cycle: number
): Effect.fn.Return<ReadonlyArray<Half>, Failure, TestXen.TestXen> {
  const frontend = yield* oneOf(domains)
  const backend = yield* oneOf(domains)
  const byteLength = (yield* pages) * 4096 - (yield* below(4096))
  const half = Effect.map(below(16), (lifetime): Half => ({ scope: Scope.makeUnsafe(), until: cycle + lifetime }))
  const mine = yield* half
  const theirs = yield* half
  if (yield* Random.nextBoolean) {
    const buffer = yield* SharedBuffer.alloc({ peer: backend, byteLength }).pipe(
      run(frontend),
      Scope.provide(mine.scope)
    )
    const at = { peer: frontend, directory: buffer.directory, byteLength }
    const mapped = yield* PeerBuffer.map(at).pipe(run(backend), Scope.provide(theirs.scope))
    yield* travels(buffer.bytes, mapped.bytes)
    yield* travels(mapped.bytes, buffer.bytes)
  } else {
    const buffer = yield* SharedBuffer.allocByBackend({ peer: backend, byteLength }).pipe(
      run(frontend),
      Scope.provide(mine.scope)
    )
    const at = { peer: frontend, directory: buffer.directory, byteLength }
    const provided = yield* PeerBuffer.allocForFrontend(at).pipe(run(backend), Scope.provide(theirs.scope))
    const mapped = yield* buffer.map().pipe(Scope.provide(mine.scope))
    yield* travels(provided.bytes, mapped.bytes)
    yield* travels(mapped.bytes, provided.bytes)
  }
  return [mine, theirs]
})

const end = (halves: ReadonlyArray<Half>) =>
  Effect.forEach(halves, ({ scope }) => Scope.close(scope, Exit.void), { discard: true })

const soak = Effect.gen(function*() {
  const xen = yield* TestXen.TestXen
  const minutes = options.minutes === undefined ? undefined : Number(options.minutes)
  const target = minutes === undefined ? Number(options.cycles) : minutes * 60_000
  const begin = performance.now()
  const samples: Array<Sample.Sample> = []
  let alive: ReadonlyArray<Half> = []
  console.log(Sample.line())
  for (let cycle = 1; samples.length < 10; cycle++) {
    yield* end(alive.filter(({ until }) => until < cycle))
    alive = [...alive.filter(({ until }) => until >= cycle), ...yield* open(cycle)]
    if ((yield* below(1000)) === 0) yield* xen.destroy(yield* oneOf(domains))
    const done = minutes === undefined ? cycle : performance.now() - begin
    if (done < target * (samples.length + 1) / 10) continue
    yield* end(alive)
    alive = []
    yield* Ledger.assertEmpty
    const sample: Sample.Sample = {
      cycles: cycle,
      seconds: (performance.now() - begin) / 1000,
      ...yield* Sample.processNow,
      frames: yield* xen.framesInUse,
      grants: (yield* xen.activeGrants).length,
      holdings: (yield* xen.holdings).length
    }
    samples.push(sample)
    console.log(Sample.line(sample))
  }
  return samples
})

const samples = await Effect.runPromise(
  soak.pipe(Random.withSeed(seed), Effect.provide(TestXen.layer({ sharedPages: 32_000 })))
)
const growths = Sample.growths(samples)
const allowed = "memory may grow by 8 MiB, the heap by 1 MiB, mappings by 8, the rest not at all"
const verdict = growths.length === 0 ? "flat from the first tenth to the last" : `not flat: ${growths.join("; ")}`
console.log(`${verdict} (${allowed})`)
if (options.out !== undefined) {
  const { arch, version: node } = process
  const report = { seed, node, arch, verdict, samples }
  mkdirSync(options.out, { recursive: true })
  writeFileSync(join(options.out, "soak.json"), `${JSON.stringify(report, null, 2)}\n`)
  const title = `${samples.at(-1)!.cycles} cycles in memory: ${verdict}`
  // Only now: a library to draw with would be most of what is measured.
  const Plot = await import("../plot/Plot.ts")
  const charts = Sample.measures.map((measure) => ({
    name: measure,
    values: samples.map((sample) => sample[measure]),
    show: (value: number) => Sample.show(measure, value)
  }))
  writeFileSync(join(options.out, "soak.svg"), Plot.run(title, samples.map(({ cycles }) => cycles), charts))
}
process.exitCode = growths.length === 0 ? 0 : 1
