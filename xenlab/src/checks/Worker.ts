/**
 * Lets workers of one process end while they share and map on the real devices, and looks at what is left.
 */
import * as Effect from "effect/Effect"
import type { WayOut } from "../../guest/worker.ts"
import * as Grants from "../Grants.ts"
import * as Image from "../Image.ts"
import type { Machine } from "../Machine.ts"
import { type Check, type Lab, same } from "../Plan.ts"

/** Pages of the buffer; its directory is not mapped for longer than it is read. */
const pages = 8

/** How many of dom0's grants dom0 itself has mapped, when that number is as expected, or after a while. */
const settled = Effect.fnUntraced(function*(lab: Lab, expected: number) {
  let found = -1
  for (let n = 0; n < 50 && found !== expected; n++) {
    if (n > 0) yield* Effect.sleep("200 millis")
    found = (yield* lab.grants).filter((grant) => Grants.isUsers(grant) && grant.granter === 0 && grant.mapper === 0).length
  }
  return found
})

const ends: ReadonlyArray<readonly [end: WayOut, name: string, code: number, left: number]> = [
  ["release", "by itself", 0, 0],
  ["exit", "by process.exit", 7, 0],
  ["throw", "by an error that nobody catches", 1, 0],
  // Nothing of it runs any more that could unmap.
  ["terminate", "by terminate()", 1, pages]
]

/** A worker for each way to end, in one process in dom0. */
export const check = (lab: Lab): Check<{ readonly machine: Machine }> => ({
  name: "a worker that ends in any way leaves nothing mapped; after terminate(), until its process ends",
  run: Effect.fnUntraced(function*({ machine }) {
    const process = yield* machine.start(["node", `${Image.place}/worker.mjs`], { patience: "4 minutes" })
    yield* process.expect("ready")
    for (const [end, name, code, left] of ends) {
      yield* process.send(`${end}\n`)
      yield* process.expect("held")
      yield* same("the pages that the worker has mapped", yield* settled(lab, pages), pages)
      yield* process.enter
      yield* same(`the exit code of a worker that ended ${name}`, (yield* process.expect("ended"))["code"], code)
      yield* same(`the pages still mapped after it ended ${name}`, yield* settled(lab, left), left)
    }
    yield* process.closeInput
    yield* process.completed
    yield* same("the pages still mapped after its process", yield* settled(lab, 0), 0)
  })
})
