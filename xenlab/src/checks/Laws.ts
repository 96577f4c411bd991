/**
 * Runs the law suites in dom0, on the real devices (loopback): one outcome for every law.
 */
import * as Effect from "effect/Effect"
import type { Request } from "../../guest/laws.ts"
import * as Image from "../Image.ts"
import { type Machine, type Process, sh } from "../Machine.ts"
import type { Check, Part } from "../Plan.ts"

/** A domain, and the process that runs laws in it. */
export interface Context {
  readonly machine: Machine
  readonly laws: Process
}

/** Starts the process. It listens only after all laws are loaded, which takes a while. */
export const start = Effect.fnUntraced(function*(machine: Machine) {
  const laws = yield* machine.start(["node", `${Image.place}/laws.mjs`], { patience: "4 minutes" })
  yield* laws.expect("ready")
  const context: Context = { machine, laws }
  return context
})

/** The process says one event for every law. */
const run = (suffix: string, request: Request) =>
  Effect.fnUntraced(function*({ laws }: Context, part: Part) {
    yield* laws.send(`${JSON.stringify(request)}\n`)
    let ran = 0
    for (;; ran++) {
      const said = JSON.parse(yield* laws.nextLine) as Said
      if (said.event === "end") break
      yield* part(`${said.suite}: ${said.law}${suffix}`, said.ok, said.millis, said.error)
    }
    if (ran === 0) return yield* laws.fail("no law was run")
  })

type Said = { readonly event: "end" } | {
  readonly event: "law"
  readonly suite: string
  readonly law: string
  readonly ok: boolean
  readonly millis: number
  readonly error?: string
}

/** All laws. */
export const check: Check<Context> = {
  name: "the law suites",
  limit: "20 minutes",
  run: run("", { runs: 10, pattern: "" })
}

/** gntdev's limit of pages in one request. */
const limit = "/sys/module/xen_gntdev/parameters/limit"
const low = 100

/** Laws whose mappings have more pages than that, so that they are split, and searched piece by piece. */
const split = "both sides see one memory|a reference that is refused is named|travel both ways|is named by its place|" +
  "any point of a request that is refused|notifications count from|what is provided stands"

/** The same devices, but gntdev takes few pages at a time. */
export const checkSplit: Check<Context> = {
  name: `the laws of mapping, with gntdev's limit at ${low} pages`,
  run: Effect.fnUntraced(function*(context, part) {
    const { machine } = context
    const before = (yield* sh(machine, `cat ${limit}`)).trim()
    yield* Effect.acquireRelease(
      sh(machine, `echo ${low} > ${limit}`),
      () => Effect.ignore(sh(machine, `echo ${before} > ${limit}`))
    )
    yield* run(` (split at ${low} pages)`, { runs: 3, pattern: split })(context, part)
  })
}
