/**
 * Looks at the process that stays, in which most commands run: nothing that they forget may go unnoticed.
 */
import * as Effect from "effect/Effect"
import { type Machine, sh } from "../Machine.ts"
import { type Check, CheckError, type Lab, run, same } from "../Plan.ts"
import type { Outcome } from "../Report.ts"
import * as Sharing from "./Sharing.ts"
import * as Tool from "./Tool.ts"

/** The devices' lines in the maps of the processes that stay. */
const mapped = (machine: Machine) =>
  Effect.map(
    sh(
      machine,
      `for process in /proc/[0-9]*; do
         if tr '\\0' ' ' < $process/cmdline 2> /dev/null | grep -q '/tool.mjs'; then
           grep -E '/dev/xen/gnt(alloc|dev)' $process/maps || :
         fi
       done`
    ),
    (text) => text.trim()
  )

/** After all commands of others. */
export const left: Check<{ readonly machine: Machine }> = {
  name: "the process that stays has nothing of the devices mapped",
  run: ({ machine }) => Effect.flatMap(mapped(machine), (found) => same("what it has mapped", found, ""))
}

/** One that keeps whatever its commands release: the lab must find it out. */
export const forgetful = (lab: Lab): Check<{ readonly machine: Machine }> => ({
  name: "a process that stays and forgets to release is found out, by Xen's list and by its maps",
  run: Effect.fnUntraced(function*({ machine }) {
    const tool = yield* Tool.resident(machine, "forget")
    const side: Sharing.Side = { name: "dom0", tool, domain: 0 }
    const outcomes: Array<Outcome> = []
    yield* run(lab, {
      where: "dom0",
      acquire: Effect.succeed({ front: side, back: side }),
      concerns: (_, grant) => Sharing.isBetween(0, 0, grant),
      checks: [{ name: "shares", run: (sides) => Sharing.frontendAllocates(lab, 4096, sides) }]
    }, { outcomes, record: (outcome) => Effect.sync(() => void outcomes.push(outcome)) })
    const [outcome] = outcomes
    yield* same("what the lab says of it", outcome?.result, "failed")
    if (outcome?.detail?.startsWith("Xen's active grants differ") !== true) {
      return yield* new CheckError({ message: `it was not Xen's list that told: ${outcome?.detail}` })
    }
    const found = yield* mapped(machine)
    for (const device of ["gntalloc", "gntdev"]) {
      if (!found.includes(device)) {
        return yield* new CheckError({ message: `${device} is not in the maps of a process that forgets it:\n${found}` })
      }
    }
  })
})
