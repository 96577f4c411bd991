/**
 * Drives `peer.mjs` inside a domain: a process that shares and maps what it is told to.
 */
import * as Effect from "effect/Effect"
import type { Request } from "../../guest/peer.ts"
import * as Image from "../Image.ts"
import type { Event, Machine, Process } from "../Machine.ts"

/** Starts one, and waits until it listens. */
export const start = Effect.fnUntraced(function*(machine: Machine) {
  const process = yield* machine.start(["node", `${Image.place}/peer.mjs`], { patience: "4 minutes" })
  yield* process.expect("ready")
  return process
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
