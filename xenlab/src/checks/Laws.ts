/**
 * Runs the law suites in a domain, on the real devices, with itself as its peer: one outcome for every law.
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
export const start = Effect.fnUntraced(function*(machine: Machine, domain = 0) {
  const laws = yield* machine.start(["node", `${Image.place}/laws.mjs`, String(domain)], { patience: "4 minutes" })
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

/** All laws of memory. */
export const check: Check<Context> = {
  name: "the law suites",
  limit: "20 minutes",
  run: run("", { subject: "memory", runs: 10, pattern: "" })
}

/** All laws of event channels. */
const channels: Check<Context> = {
  name: "the laws of event channels",
  run: run("", { subject: "channels", runs: 10, pattern: "" })
}

/** All laws of xenstore, reached in one way. */
const store = (transport: "socket" | "device"): Check<Context> => ({
  name: `the laws of xenstore, over the ${transport}`,
  run: run(` (over the ${transport})`, { subject: "store", runs: 10, pattern: "", transport })
})

/** What the domain where xenstored runs can do besides sharing. */
export const checksInDom0: ReadonlyArray<Check<Context>> = [channels, store("socket"), store("device")]

/** The same for a guest. */
export const checksInGuest: ReadonlyArray<Check<Context>> = [channels, store("device")]

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
    yield* run(` (split at ${low} pages)`, { subject: "memory", runs: 3, pattern: split })(context, part)
  })
}
