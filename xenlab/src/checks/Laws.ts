/**
 * Runs the law suites in dom0, on the real devices (loopback): one outcome for every law.
 */
import * as Effect from "effect/Effect"
import * as Image from "../Image.ts"
import type { Machine } from "../Machine.ts"
import type { Check } from "../Plan.ts"
import { CheckError } from "../Plan.ts"

interface Law {
  readonly suite: string
  readonly law: string
  readonly ok: boolean
  readonly millis: number
  readonly error?: string
}

/** The law runner prints one JSON line for every law. */
export const check: Check<Machine> = {
  name: "the law suites",
  needs: "laws",
  limit: "20 minutes",
  run: Effect.fnUntraced(function*(machine, part) {
    const process = yield* machine.start(["node", `${Image.place}/laws.mjs`], { patience: "4 minutes" })
    let ran = 0
    for (;;) {
      const line = yield* Effect.option(process.nextLine)
      if (line._tag === "None") break
      if (!line.value.startsWith("{")) continue
      const { error, law, millis, ok, suite } = JSON.parse(line.value) as Law
      yield* part(`${suite}: ${law}`, ok, millis, error)
      ran++
    }
    const { code } = yield* process.completed
    if (ran === 0) return yield* process.fail("no law was run")
    // Failed laws have their own lines; an exit code without one is a failure of the runner.
    if (code !== 0 && code !== 1) return yield* new CheckError({ message: `the law runner ended with ${code}` })
  })
}
