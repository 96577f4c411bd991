/**
 * `npm run hostile`: plays a million cases of hostile peers, and says what became of them.
 */
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import * as Devices from "./devices/Devices.ts"
import * as Rings from "./devices/Rings.ts"
import * as Vchan from "./devices/Vchan.ts"
import * as Connections from "./connections/Connections.ts"
import * as Batch from "./pages/Batch.ts"
import * as Case from "./pages/Case.ts"
import * as Services from "./services/Services.ts"

const usage = `npm run hostile -- [options]

  --of WHAT       directories, which is what it plays unless told, services (xenstore and
                  event channels), connections, display, keyboard, vchan or rings (and event
                  pages)
  --cases N       cases to play (1000000)
  --seed N        where their choice begins (random); the same seed plays the same cases
  --replay TOKEN  play one failure again, as its report says; of services, a vchan and rings it is --cases 1 with its seed
`

/** Cases that share a world: its books are checked when they are over. */
const batch = 10_000

const count = (text: string, name: string, minimum: number) => {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= minimum) return value
  throw new Error(`--${name} takes a whole number from ${minimum}, not ${text}.`)
}

const parse = () => {
  const { values } = parseArgs({
    options: {
      of: { type: "string", default: "directories" },
      cases: { type: "string" },
      seed: { type: "string" },
      replay: { type: "string" },
      help: { type: "boolean" }
    }
  })
  if (!["directories", "services", "connections", "vchan", "rings"].includes(values.of) && !Devices.isKind(values.of)) {
    throw new Error(`--of takes directories, services, connections, display, keyboard, vchan or rings, not ${values.of}.`)
  }
  return {
    of: values.of,
    cases: count(values.cases ?? "1000000", "cases", 1),
    seed: count(values.seed ?? String(Math.floor(Math.random() * 2 ** 31)), "seed", 0),
    replay: values.replay,
    help: values.help === true
  }
}

const megabytes = () => `${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB`

/** The table of outcomes: a line each, a column for each thing that the victim did. */
const table = (tally: Batch.Tally): string => {
  const outcomes = [...new Set([...tally.values()].flatMap((counts) => [...counts.keys()]))].sort()
  const of = (mode: Case.Case["mode"], outcome: string) => tally.get(mode)?.get(outcome) ?? 0
  const sum = (outcome: string) => Case.modes.reduce((total, mode) => total + of(mode, outcome), 0)
  const line = (head: string, cells: ReadonlyArray<string | number>) =>
    head.padEnd(14) + cells.map((cell, i) => String(cell).padStart(Math.max((Case.modes[i] ?? "").length, 8) + 2)).join("")
  return [
    line("", [...Case.modes, "all"]),
    ...outcomes.map((outcome) => line(outcome, [...Case.modes.map((mode) => of(mode, outcome)), sum(outcome)]))
  ].join("\n")
}

const add = (to: Batch.Tally, from: Batch.Tally) => {
  for (const [mode, counts] of from) {
    const sums = to.get(mode) ?? new Map<string, number>()
    to.set(mode, sums)
    for (const [outcome, n] of counts) sums.set(outcome, (sums.get(outcome) ?? 0) + n)
  }
}

/** Plays all cases, a batch at a time, and tells how far it is. */
const progress = async (cases: number, play: (done: number, runs: number) => Promise<void> | void) => {
  const begin = performance.now()
  const seconds = () => (performance.now() - begin) / 1000
  for (let done = 0, next = cases / 20; done < cases;) {
    const runs = Math.min(batch, cases - done)
    await play(done, runs)
    done += runs
    if (done < next && done < cases) continue
    next += cases / 20
    console.log(`${String(done).padStart(9)} cases  ${seconds().toFixed(0).padStart(5)} s  memory ${megabytes()}`)
  }
  return `${cases} cases in ${seconds().toFixed(1)} s (${Math.round(cases / seconds())} a second)`
}

const directories = async (cases: number, seed: number) => {
  const tally: Batch.Tally = new Map()
  const played = await progress(cases, async (done, runs) => {
    const result = await Effect.runPromise(Batch.run({ runs, seed: seed + done / batch }))
    add(tally, result.tally)
    if (result.failure !== undefined) throw new Error(result.failure)
  })
  console.log(`\n${table(tally)}\n`)
  console.log(
    `${played}: each was refused for what is really wrong with it, or gave exactly the right pages; nothing was left behind.`
  )
}

const list = (tally: ReadonlyMap<string, number>) => {
  const lines = [...tally].sort(([a], [b]) => a < b ? -1 : 1).map(([outcome, n]) => outcome.padEnd(28) + String(n).padStart(8))
  console.log(`\n${lines.join("\n")}\n`)
}

const devices = async (kind: Devices.Kind, cases: number, seed: number) => {
  const tally = new Map<string, number>()
  const played = await progress(cases, async (done, runs) => {
    try {
      await Devices.play(kind, seed + done, runs, tally)
    } catch (error) {
      const again = `npm run hostile -- --of ${kind} --cases ${runs} --seed ${seed + done}`
      throw new Error(`${String(error)}\nAgain: ${again}`, { cause: error })
    }
  })
  list(tally)
  console.log(`${played}: each was answered as it must be, and nothing was left behind.`)
}

const vchans = async (cases: number, seed: number) => {
  const tally = new Map<string, number>()
  const one = (seed: number) => {
    try {
      for (const outcome of Vchan.play(seed)) tally.set(outcome, (tally.get(outcome) ?? 0) + 1)
    } catch (error) {
      throw new Error(`${String(error)}\nAgain: npm run hostile -- --of vchan --cases 1 --seed ${seed}`, { cause: error })
    }
  }
  const played = await progress(cases, (done, runs) => {
    for (let i = 0; i < runs; i++) one(seed + done + i)
  })
  list(tally)
  console.log(`${played}: each wrong index, order and reference was found out, and nothing else was read or written.`)
}

const rings = async (cases: number, seed: number) => {
  const tally = new Map<string, number>()
  const played = await progress(cases, (done, runs) => Effect.runPromise(Rings.play(seed + done, runs, tally)))
  list(tally)
  console.log(`${played}: each wrong index was found out, and nothing else was read or written.`)
}

const services = async (cases: number, seed: number) => {
  const tally = new Map<string, number>()
  const played = await progress(cases, (done, runs) => Effect.runPromise(Services.run(seed + done, runs, tally)))
  list(tally)
  console.log(`${played}: each answer was the one that plain models give, each watch told what changed, and nothing was left.`)
}

const connections = async (cases: number, seed: number) => {
  const tally = new Map<string, number>()
  const played = await progress(cases, async (done, runs) => {
    const result = await Effect.runPromise(Connections.run({ runs, seed: seed + done }))
    for (const [outcome, n] of result.tally) tally.set(outcome, (tally.get(outcome) ?? 0) + n)
    if (result.failure !== undefined) throw new Error(result.failure)
  })
  list(tally)
  console.log(`${played}: both halves found each other afterwards, and nothing was left behind.`)
}

const main = async () => {
  const { cases, help, of, replay, seed } = parse()
  if (help) return console.log(usage)
  if (replay !== undefined) {
    const { failure } = await Effect.runPromise(Batch.run({ replay }))
    if (failure !== undefined) throw new Error(failure)
    return console.log("This case no longer fails.")
  }
  console.log(`${cases} hostile cases, seed ${seed}`)
  if (Devices.isKind(of)) await devices(of, cases, seed)
  else if (of === "services") await services(cases, seed)
  else if (of === "connections") await connections(cases, seed)
  else if (of === "rings") await rings(cases, seed)
  else await (of === "vchan" ? vchans(cases, seed) : directories(cases, seed))
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
})
