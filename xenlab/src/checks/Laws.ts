/**
 * Runs the law suites in dom0, on the real devices (loopback): one outcome for every law.
 */
import * as Effect from "effect/Effect"
import * as Image from "../Image.ts"
import type { Machine } from "../Machine.ts"
import { sh } from "../Machine.ts"
import type { Check, Part } from "../Plan.ts"
import { CheckError } from "../Plan.ts"

interface Law {
  readonly suite: string
  readonly law: string
  readonly ok: boolean
  readonly millis: number
  readonly error?: string
}

/** The law runner prints one JSON line for every law. */
const run = (suffix: string, ...args: ReadonlyArray<string>) =>
  Effect.fnUntraced(function*(machine: Machine, part: Part) {
    const process = yield* machine.start(["node", `${Image.place}/laws.mjs`, ...args], { patience: "4 minutes" })
    let ran = 0
    for (;;) {
      const line = yield* Effect.option(process.nextLine)
      if (line._tag === "None") break
      if (!line.value.startsWith("{")) continue
      const { error, law, millis, ok, suite } = JSON.parse(line.value) as Law
      yield* part(`${suite}: ${law}${suffix}`, ok, millis, error)
      ran++
    }
    const { code } = yield* process.completed
    if (ran === 0) return yield* process.fail("no law was run")
    // Failed laws have their own lines; an exit code without one is a failure of the runner.
    if (code !== 0 && code !== 1) return yield* new CheckError({ message: `the law runner ended with ${code}` })
  })

/** All laws. */
export const check: Check<Machine> = { name: "the law suites", needs: "laws", limit: "20 minutes", run: run("") }

/** gntdev's limit of pages in one request. */
const limit = "/sys/module/xen_gntdev/parameters/limit"
const low = 100

/** Laws whose mappings have more pages than that, so that they are split, and searched piece by piece. */
const split = "both sides see one memory|a reference that is refused is named|travel both ways|is named by its place|" +
  "any point of a request that is refused|notifications count from|what is provided stands"

/** The same devices, but gntdev takes few pages at a time. */
export const checkSplit: Check<Machine> = {
  name: `the laws of mapping, with gntdev's limit at ${low} pages`,
  needs: "laws",
  run: Effect.fnUntraced(function*(machine, part) {
    const before = (yield* sh(machine, `cat ${limit}`)).trim()
    yield* Effect.acquireRelease(
      sh(machine, `echo ${low} > ${limit}`),
      () => Effect.ignore(sh(machine, `echo ${before} > ${limit}`))
    )
    yield* run(` (split at ${low} pages)`, "3", split)(machine, part)
  })
}
