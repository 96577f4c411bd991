/**
 * Drives `peer.mjs` inside a domain: a process that shares and maps what it is told to.
 */
import * as Effect from "effect/Effect"
import type { Request } from "../../guest/peer.ts"
import * as Image from "../Image.ts"
import type { Event, Machine, Process } from "../Machine.ts"
import type { Lab } from "../Plan.ts"
import type { Guest } from "../Toolstack.ts"

/** A guest, a process on each side that lives through all checks, and one in the guest that breaks the rules. */
export interface Context {
  readonly guest: Guest
  readonly inGuest: Process
  readonly inDom0: Process
  readonly hostile: Process
}

const program = Effect.fnUntraced(function*(machine: Machine, name: string, ...args: ReadonlyArray<string>) {
  const process = yield* machine.start(["node", `${Image.place}/${name}.mjs`, ...args], { patience: "4 minutes" })
  yield* process.expect("ready")
  return process
})

/** Starts one, and waits until it listens. */
export const start = (machine: Machine) => program(machine, "peer")

/** Starts what lives through all checks. */
export const acquire = Effect.fnUntraced(function*(lab: Lab, guest: Guest) {
  const [inGuest, inDom0, hostile] = yield* Effect.all(
    [start(guest), start(lab.dom0), program(guest, "hostile", "0")],
    { concurrency: "unbounded" }
  )
  const context: Context = { guest, inGuest, inDom0, hostile }
  return context
})

/** Gives an order without waiting for the answer. */
export const order = (process: Process, request: Request): Effect.Effect<void> =>
  process.send(`${JSON.stringify(request)}\n`)

/** Gives an order, which must be done. */
export const ask = (process: Process, request: Request) =>
  Effect.andThen(order(process, request), process.expect("done"))

/** Gives an order, which must be refused: the event has `reason` and `message`. */
export const refused = (process: Process, request: Request) =>
  Effect.andThen(order(process, request), process.expect("refused"))

/** A number of an answer. */
export const number = (event: Event, field: string): number => Number(event[field])
