/**
 * Measures how long it takes from the start of a process to a peer's mapped frame, and where the time goes.
 */
import * as Effect from "effect/Effect"
import * as Image from "../../../xenlab/src/Image.ts"
import { type Spread, spread } from "../Measure.ts"
import * as Report from "../Report.ts"
import * as Domain from "./Domain.ts"

/** A frame of 1920×1080 with 4 bytes a pixel. */
const pages = 2025

/** What to start, and how. */
interface Variant {
  readonly name: string
  readonly argv: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
}

const variants = ({ directory, peer }: Domain.Buffer): ReadonlyArray<Variant> => {
  const numbers = [String(peer), String(pages), String(directory)]
  const program = (name: string) => `${Image.place}/${name}`
  const cacheOff = { NODE_DISABLE_COMPILE_CACHE: "1" }
  const cli = ["node", program("cli.mjs"), "map", "--json", "--peer", String(peer), "--directory", String(directory)]
  return [
    { name: "C", argv: [program("grants"), "frame", ...numbers] },
    { name: "Node, doing nothing", argv: ["node", program("empty.mjs")] },
    { name: "the library", argv: ["node", program("frame.mjs"), ...numbers] },
    { name: "the library, without compile cache", argv: ["node", program("frame.mjs"), ...numbers], env: cacheOff },
    { name: "the library, after the whole command line tool", argv: ["node", program("frameEager.mjs"), ...numbers] },
    { name: "xen-shbuf map, which hashes the frame", argv: [...cli, "--bytes", String(pages * 4096)] }
  ]
}

/** Moments in nanoseconds, as the programs print them. */
interface Moments {
  readonly booted?: number
  readonly evaluated?: number
  readonly koffi?: number
  readonly mapped?: number
}

/** One start, in ms. The steps are there for our own programs only. */
interface Run {
  readonly total: number
  readonly node?: number
  readonly modules?: number
  readonly koffi?: number
  readonly map?: number
}

const runOf = (started: number, heard: number, { booted, evaluated, koffi, mapped }: Moments): Run => {
  const millis = (from: number, to: number) => (to - from) / 1e6
  const total = millis(started, mapped ?? heard)
  if (booted === undefined || evaluated === undefined || koffi === undefined || mapped === undefined) return { total }
  return {
    total,
    node: millis(started, booted),
    modules: millis(booted, evaluated),
    koffi: millis(evaluated, koffi),
    map: millis(koffi, mapped)
  }
}

interface Row {
  readonly name: string
  /** Spread of the total in ms, and medians of the steps. */
  readonly total: Spread
  readonly againstC: number
  readonly steps: Readonly<Record<"node" | "modules" | "koffi" | "map", number | undefined>>
  readonly starts: number
}

const rowOf = (name: string, runs: ReadonlyArray<Run>, c: number): Row => {
  const median = (step: keyof Run): number | undefined => {
    const values = runs.flatMap((run) => run[step] ?? [])
    return values.length === 0 ? undefined : spread(values).median
  }
  const total = spread(runs.map(({ total }) => total))
  const steps = { node: median("node"), modules: median("modules"), koffi: median("koffi"), map: median("map") }
  return { name, total, againstC: total.median / c, steps, starts: runs.length }
}

/** Measures it all: dom0 maps a guest's frame. */
export const section = Effect.fnUntraced(function*(
  dom0: Domain.Domain,
  guest: Domain.Domain,
  where: string,
  isQuick: boolean
) {
  const { directory } = yield* Domain.ask(guest.process, { do: "alloc", peer: 0, pages, directory: 0 })
  const all = variants({ peer: guest.id, pages, directory: Number(directory) })
  const runs = all.map((): Array<Run> => [])
  // The first round fills the compile cache.
  for (let round = isQuick ? -1 : -2; round < (isQuick ? 1 : 9); round++) {
    for (const [i, { argv, env = {} }] of all.entries()) {
      const answer = yield* Domain.ask(dom0.process, { do: "spawn", argv, env })
      const moments = JSON.parse(String(answer["line"])) as Moments
      if (round >= 0) runs[i]!.push(runOf(Number(answer["started"]), Number(answer["heard"]), moments))
    }
  }
  yield* Domain.ask(guest.process, { do: "release" })
  const c = spread(runs[0]!.map(({ total }) => total)).median
  const time = (millis: number | undefined) => millis === undefined ? "" : `${millis.toFixed(0)} ms`
  return Report.section<Row>({
    name: "xen-start",
    title: "Time to the first frame",
    about: `From the start of a process in dom0 until a guest's frame of 1920×1080 with 4 bytes a pixel, ${pages} ` +
      "pages, is mapped, all variants in turn. The library's programs are bundled into one file; koffi is loaded " +
      "from its package.",
    where,
    columns: [
      { title: "program", show: ({ name }) => name },
      { title: "to the first frame", show: ({ total }) => time(total.median) },
      { title: "quartiles", show: ({ total }) => `${time(total.low)} to ${time(total.high)}` },
      { title: "against C", show: ({ againstC }) => Report.times(againstC) },
      { title: "Node starts", show: ({ steps }) => time(steps.node) },
      { title: "modules", show: ({ steps }) => time(steps.modules) },
      { title: "koffi", show: ({ steps }) => time(steps.koffi) },
      { title: "open, walk, map", show: ({ steps }) => time(steps.map) }
    ],
    rows: all.map(({ name }, i) => rowOf(name, runs[i]!, c)),
    plots: []
  })
})
