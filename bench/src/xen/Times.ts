/**
 * Measures what sharing and mapping cost, the library against C, between dom0 and a guest and in either.
 */
import * as Effect from "effect/Effect"
import type { ProcessError } from "../../../xenlab/src/Machine.ts"
import { say } from "../../../xenlab/src/Progress.ts"
import { Target } from "../../../xenlab/src/Target.ts"
import type { Kind } from "../../../xenlab/src/Toolstack.ts"
import * as Measure from "../Measure.ts"
import type * as Plot from "../../../plot/Plot.ts"
import * as Report from "../Report.ts"
import * as Domain from "./Domain.ts"

/**
 * One page; in between; a directory of one page; the first that needs two; frames of 1080p and 4K; nearly all. On arm64 the
 * fixed price alone: what more pages cost is hypercalls, whose price is the emulator's.
 */
const sizes = { quick: [1, 1024], x86: [1, 64, 1023, 1024, 2025, 8100, 32_400], arm64: [1] }

/** An operation at a size, in a place. */
export interface Row {
  readonly where: string
  readonly operation: string
  readonly pages: number
  readonly ratio?: Measure.Ratio
  /** Why there is no ratio. */
  readonly why?: string
}

const names: Partial<Record<Domain.Operation, string>> = {
  share: "share + release",
  alloc: "share with directory + release",
  map: "map + unmap",
  walk: "walk + map + unmap",
  provide: "fill in + release",
  mapProvided: "map what was filled in + unmap"
}

/** V8 optimises in earnest what was called some thousand times; what is called for more pages was called for one before. */
const effort = (pages: number, isQuick: boolean): Domain.Effort => {
  if (isQuick) return { pairs: 3, warmUpRuns: Math.ceil(100 / pages) }
  if (pages === 1) return { pairs: 31, warmUpRuns: 20_000 }
  return { pairs: pages > 10_000 ? 5 : pages > 4000 ? 9 : 15, warmUpRuns: Math.ceil(300_000 / pages) }
}

/** Something to measure. */
interface Job {
  readonly domain: Domain.Domain
  readonly where: string
  readonly operation: Domain.Operation
  /** How the library is called, in one running fiber unless said otherwise. */
  readonly way?: Domain.Way
}

const nameOf = ({ operation, way }: Job) => `${names[operation]}${way === undefined ? "" : `, ${way} for each`}`

/** Measures jobs after their preparation: a row for each in any case. */
const measure = Effect.fnUntraced(function*(
  pages: number,
  prepare: Effect.Effect<Domain.Buffer, Domain.Refused | ProcessError>,
  jobs: ReadonlyArray<Job>,
  isQuick: boolean
) {
  const prepared = yield* Effect.result(prepare)
  return yield* Effect.forEach(
    jobs,
    Effect.fnUntraced(function*(job) {
      const { domain, operation, way = "fiber", where } = job
      const name = nameOf(job)
      const theirs = { way: "c", operation } as const
      const row: Row = yield* Effect.fromResult(prepared).pipe(
        Effect.flatMap((buffer) =>
          Domain.measure(domain, buffer, { way, operation }, theirs, effort(pages, isQuick))
        ),
        Effect.map((samples) => ({ where, operation: name, pages, ratio: Measure.ratio(samples) })),
        Effect.catchTag("Refused", ({ message }) => Effect.succeed({ where, operation: name, pages, why: message }))
      )
      const found = row.ratio === undefined
        ? row.why
        : `${Report.times(row.ratio.median)} (${Report.quartiles(row.ratio)})`
      yield* say(`${where}: ${name}, ${pages} pages: ${found}`)
      return row
    })
  )
})

/** Everything between dom0 and one guest. */
const withGuest = Effect.fnUntraced(function*(
  dom0: Domain.Domain,
  guest: Domain.Domain,
  kind: Kind,
  isFirst: boolean,
  isQuick: boolean
) {
  const inDom0 = (operation: Domain.Operation): Job => ({ domain: dom0, where: `dom0, ${kind} peer`, operation })
  const inGuest = (operation: Domain.Operation): Job => ({ domain: guest, where: `${kind} guest`, operation })
  const release = Effect.forEach([dom0, guest], ({ process }) => Domain.ask(process, { do: "release" }))
  const rows: Array<ReadonlyArray<Row>> = []

  const { arch } = yield* Target
  for (const pages of sizes[isQuick ? "quick" : arch.name]) {
    const ofDom0 = { peer: 0, pages, directory: 0 }
    const ofGuest = (directory: unknown = 0) => ({ peer: guest.id, pages, directory: Number(directory) })
    const alloc = Effect.map(
      Domain.ask(guest.process, { do: "alloc", ...ofDom0 }),
      ({ directory }) => ofGuest(directory)
    )
    const directories = Effect.map(
      Domain.ask(guest.process, { do: "directories", ...ofDom0 }),
      ({ directory, native }) => ({ ours: ofGuest(directory), native: ofGuest(native) })
    )
    const provided = Effect.gen(function*() {
      const { native, ours } = yield* directories
      yield* Domain.ask(dom0.process, { do: "provide", ...ours })
      yield* Domain.ask(dom0.process, { do: "provide", ...native })
      return ofDom0
    })
    const groups = [
      // What it costs to share does not depend on the peer: once is enough in dom0.
      { prepare: Effect.succeed(ofGuest()), jobs: isFirst ? [inDom0("share"), inDom0("alloc")] : [] },
      { prepare: Effect.succeed(ofDom0), jobs: [inGuest("alloc")] },
      {
        prepare: alloc,
        jobs: [
          inDom0("map"),
          ...(isFirst && pages === 1 ? ["runSync", "runPromise"] as const : []).map((way) => ({
            ...inDom0("map"),
            way
          })),
          inDom0("walk")
        ]
      },
      { prepare: Effect.map(directories, ({ ours }) => ours), jobs: [inDom0("provide")] },
      { prepare: provided, jobs: [inGuest("mapProvided")] }
    ]
    for (const { jobs, prepare } of groups) {
      rows.push(yield* measure(pages, prepare, jobs, isQuick))
      yield* release
    }
  }
  return rows.flat()
})

/** At one page the fixed costs count, and from a directory's page on only those that grow. */
const target = ({ operation, pages, ratio }: Row): string =>
  ratio === undefined || operation.includes("for each")
    ? ""
    : pages === 1
    ? Report.atMost(1.5, ratio.median)
    : pages >= 1023
    ? Report.atMost(1.1, ratio.median)
    : ""

const plot = (where: string, rows: ReadonlyArray<Row>): Plot.Plot => {
  const here = rows.filter((row) => row.where === where && !row.operation.includes("for each"))
  return {
    name: where.replaceAll(/[^a-z0-9]+/g, "-"),
    title: `${where}: time of the library / time of C, over pages`,
    curves: [...new Set(here.map(({ operation }) => operation))].map((operation) => ({
      // The legend has one line: without "+ release", "+ map + unmap".
      name: operation.replace(/ \+.*/, ""),
      points: here.flatMap(({ operation: name, pages, ratio }) =>
        name === operation && ratio !== undefined ? [{ pages, ...ratio }] : []
      )
    })).filter(({ points }) => points.length > 0),
    targets: [{ from: 1, to: 1, value: 1.5 }, { from: 1023, to: 32_400, value: 1.1 }],
    show: (value) => `${value}×`
  }
}

/** Measures it all. */
export const section = Effect.fnUntraced(function*(
  dom0: Domain.Domain,
  guests: ReadonlyArray<Domain.Domain & { readonly kind: Kind }>,
  where: string,
  isQuick: boolean
) {
  const rows = (yield* Effect.forEach(guests, (guest, at) => withGuest(dom0, guest, guest.kind, at === 0, isQuick))).flat()
  return Report.section<Row>({
    name: "xen",
    title: "On the real Xen: the library against C with libxengnttab",
    about: "Walk is to read a peer's directory page by page, and to check it; fill in is to share pages and to write " +
      "their references into a peer's directory. Each operation acquires and releases: once by the library, through " +
      "its public interface in one running fiber, and once by a C program that does the same work with the same " +
      "checks. Batches of 30 ms in turn, at the longest one operation; a ratio is that of two neighbours, all time " +
      "is the ratio of the sums.",
    where,
    columns: [
      { title: "where", show: ({ where }) => where },
      { title: "operation", show: ({ operation }) => operation },
      { title: "pages", show: ({ pages }) => String(pages) },
      ...Report.ratioColumns<Row>(({ ratio }) => ratio, "ours", "C"),
      { title: "all time", show: ({ ratio }) => ratio === undefined ? "" : Report.times(ratio.overall) },
      { title: "target", show: (row) => row.why ?? target(row) }
    ],
    rows,
    // Of one size there is nothing to draw.
    plots: rows.some(({ pages }) => pages > 1) ? [...new Set(rows.map(({ where }) => where))].map((where) => plot(where, rows)) : []
  })
})
