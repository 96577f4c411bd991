/**
 * Drives `grants.mjs` in a domain: the program that measures there, and holds buffers for who measures elsewhere.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Image from "../../../xenlab/src/Image.ts"
import { type Event, type Machine, type Process, sh } from "../../../xenlab/src/Machine.ts"
import type { Operation, Request, Side, Way } from "../../guest/grants.ts"
import type { Buffer } from "../../guest/Operations.ts"
import type { Sample } from "../Measure.ts"

export type { Buffer, Operation, Side, Way }

/** Says why something could not be done, such as a size that does not fit. */
export class Refused extends Data.TaggedError("Refused")<{ readonly message: string }> {}

/** A domain with a running program. */
export interface Domain {
  readonly machine: Machine
  readonly id: number
  readonly process: Process
}

/** Prepares a domain for shares of so many pages, its whole grant table. */
export const prepare = (machine: Machine, tableSize: number) => {
  const limit = "/sys/module/xen_gntalloc/parameters/limit"
  return sh(machine, `modprobe xen-gntalloc; modprobe xen-gntdev; echo ${tableSize} > ${limit}`)
}

/**
 * The program's command line, on one processor: under emulation the clocks of two are not the same. The library leaves
 * an eighth of the table alone, but the largest buffer needs nearly all of a guest's.
 */
export const argv = (tableSize: number): ReadonlyArray<string> => [
  ...["taskset", "1", "node"],
  `${Image.place}/grants.mjs`,
  String(Math.ceil(tableSize * 8 / 7))
]

/** Starts the program in a prepared domain. */
export const start = Effect.fnUntraced(function*(machine: Machine, id: number, tableSize: number) {
  const process = yield* machine.start(argv(tableSize), { patience: "10 minutes" })
  yield* process.expect("ready")
  const domain: Domain = { machine, id, process }
  return domain
})

/** Has a program do something. */
export const ask = Effect.fnUntraced(function*(process: Process, request: Request) {
  yield* process.send(`${JSON.stringify(request)}\n`)
  const answer = JSON.parse(yield* process.nextLine) as Event
  if (answer.event === "refused") return yield* new Refused({ message: String(answer["message"]) })
  return answer
})

/** How much to measure: pairs of batches, after each side was run so many times. */
export interface Effort {
  readonly pairs: number
  readonly warmUpRuns: number
}

/** Measures one side against the other: samples in µs. */
export const measure = Effect.fnUntraced(function*(
  { process }: Domain,
  buffer: Buffer,
  ours: Side,
  theirs: Side,
  effort: Effort
) {
  const { samples } = yield* ask(process, { do: "measure", ...buffer, ours, theirs, ...effort })
  return (samples as ReadonlyArray<readonly [number, number]>)
    .map(([ours, theirs]): Sample => ({ ours: ours / 1000, theirs: theirs / 1000 }))
})
