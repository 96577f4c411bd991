/**
 * Shares random buffers for many cycles, and compares what is used after the first tenth and after the last.
 */
import * as Effect from "effect/Effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Plot from "../../../plot/Plot.ts"
import * as Grants from "../Grants.ts"
import * as Image from "../Image.ts"
import { results } from "../Lab.ts"
import type { Event, Machine } from "../Machine.ts"
import { type Check, CheckError, type Lab } from "../Plan.ts"
import type { Guest } from "../Toolstack.ts"

const command = (...args: ReadonlyArray<string | number>): ReadonlyArray<string> => [
  // A small young generation: its size comes and goes, and would hide what really grows.
  ...["node", "--expose-gc", "--max-semi-space-size=1", `${Image.place}/soak.mjs`],
  ...args.map(String)
]

/** How much more the last sample may have, in bytes: V8 compiles, and keeps for itself, a little more with time. */
const slack = { rss: 16 * 2 ** 20, heap: 2 ** 20 }

/** What a process uses, and what Xen counts, after a tenth. */
interface Sample {
  readonly rss: ReadonlyArray<number>
  readonly heap: ReadonlyArray<number>
  readonly fds: ReadonlyArray<number>
  readonly active: number
}

const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1)

const column = (samples: ReadonlyArray<Sample>, of: (sample: Sample) => ReadonlyArray<number | string>): string =>
  (samples[0] === undefined ? [] : of(samples[0])).map((_, i) => samples.map((one) => of(one)[i]).join(" "))
    .join("; ")

/** Draws the samples into the results: every measure of every process. */
const plot = (where: string, cycles: number, samples: ReadonlyArray<Sample>): void => {
  const processes = samples[0]!.rss.map((_, i) => i)
  const charts: ReadonlyArray<Plot.Measure> = [
    ...processes.flatMap((i) => {
      const name = processes.length === 1 ? "" : ` (${where.split(" and ")[i]})`
      const mebibytes = (value: number) => `${megabytes(value)} MiB`
      return [
        { name: `rss${name}`, values: samples.map(({ rss }) => rss[i]!), show: mebibytes },
        { name: `heap${name}`, values: samples.map(({ heap }) => heap[i]!), show: mebibytes },
        { name: `descriptors${name}`, values: samples.map(({ fds }) => fds[i]!), show: String }
      ]
    }),
    { name: "active grants", values: samples.map(({ active }) => active), show: String }
  ]
  const title = `${cycles} cycles on a real Xen, ${where}`
  const svg = Plot.run(title, samples.map((_, i) => (i + 1) * cycles / samples.length), charts)
  writeFileSync(join(results, `soak-${where.replaceAll(" ", "-")}.svg`), svg)
}

/** Both processes run; `front` says when a tenth is over and goes on when it is told to. */
const soak = (
  lab: Lab,
  cycles: number,
  front: Machine,
  back: Machine | undefined,
  peers: readonly [front: number, back: number]
) =>
  Effect.gen(function*() {
    const options = { patience: "10 minutes" } as const
    const one = yield* front.start(command(back === undefined ? "both" : "front", peers[1], cycles), options)
    const { directory } = yield* one.expect("control")
    const other = back === undefined ? undefined : yield* back.start(command("back", peers[0], Number(directory)), options)
    const processes = other === undefined ? [one] : [one, other]
    const start = performance.now()
    const samples: Array<Sample> = []
    while (samples.length < 10) {
      const used = yield* Effect.forEach(processes, (process): Effect.Effect<Event, unknown> => process.expect("sample"))
      const active = (yield* lab.grants).filter((grant) =>
        Grants.isUsers(grant) && peers.includes(grant.granter) && peers.includes(grant.mapper)
      )
      samples.push({
        rss: used.map((event) => Number(event["rss"])),
        heap: used.map((event) => Number(event["heap"])),
        fds: used.map((event) => Number(event["fds"])),
        active: active.length
      })
      yield* one.enter
    }
    for (const process of processes) {
      if ((yield* process.completed).code !== 0) return yield* process.fail("did not end with exit code 0")
    }
    const seconds = ((performance.now() - start) / 1000).toFixed(0)
    const said = [
      `${cycles} cycles in ${seconds} s; after each tenth:`,
      `resident memory, MiB: ${column(samples, ({ rss }) => rss.map(megabytes))}`,
      `of it JavaScript's, after a collection, MiB: ${column(samples, ({ heap }) => heap.map(megabytes))}`,
      `descriptors: ${column(samples, ({ fds }) => fds)}`,
      `active grants: ${column(samples, ({ active }) => [active])}`
    ].join("\n")
    plot(`${front.name}${back === undefined ? "" : ` and ${back.name}`}`, cycles, samples)
    const [first, last] = [samples[0]!, samples.at(-1)!]
    const isFlat = last.active === first.active && String(last.fds) === String(first.fds) &&
      last.rss.every((rss, i) => rss <= first.rss[i]! + slack.rss) &&
      last.heap.every((heap, i) => heap <= first.heap[i]! + slack.heap)
    return isFlat ? said : yield* new CheckError({ message: `not flat: ${said}` })
  })

/** dom0 shares with itself, in one process. */
export const inDom0 = (lab: Lab, cycles: number): Check<Machine> => ({
  name: `${cycles} random buffers, dom0 with itself: memory, descriptors and Xen's table stay flat`,
  limit: "20 minutes",
  run: (machine) => soak(lab, cycles, machine, undefined, [0, 0])
})

/** The guest shares, dom0 maps and provides. */
export const withGuest = (lab: Lab, cycles: number): Check<{ readonly guest: Guest }> => ({
  name: `${cycles} random buffers, the guest with dom0: memory, descriptors and Xen's table stay flat`,
  limit: "20 minutes",
  run: ({ guest }) => soak(lab, cycles, guest, lab.dom0, [guest.domain, 0])
})
