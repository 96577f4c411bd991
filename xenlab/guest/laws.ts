/**
 * Runs the law suites on the real devices of the domain that it runs in, which is its own peer.
 *
 * Each line of input asks for some of them, see `Request`. It prints one event for every law that fits, and then `end`.
 * Usage: node laws.mjs DOMAIN
 */
import * as Domains from "@xen-shbuf/testkit/Domains"
import * as EventChannelLaws from "@xen-shbuf/testkit/EventChannelLaws"
import * as GrantTableLaws from "@xen-shbuf/testkit/GrantTableLaws"
import * as Law from "@xen-shbuf/testkit/Law"
import * as PeerBufferLaws from "@xen-shbuf/testkit/PeerBufferLaws"
import * as SharedBufferLaws from "@xen-shbuf/testkit/SharedBufferLaws"
import * as XenStoreLaws from "@xen-shbuf/testkit/XenStoreLaws"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { nextLine, say } from "./Program.ts"

/** What the laws are about. */
export type Subject = "memory" | "channels" | "store"

export interface Request {
  readonly subject: Subject
  /** Cases of a property. Each is real system calls under emulation, and memory has had its thousands. */
  readonly runs: number
  /** What a law's name must have. */
  readonly pattern: string
  /** How xenstore is reached. */
  readonly transport?: "socket" | "device"
}

const domain = Number(process.argv[2])

const laws: Readonly<Record<Subject, ReadonlyArray<Law.Law>>> = {
  memory: [...GrantTableLaws.laws, ...SharedBufferLaws.laws, ...PeerBufferLaws.laws],
  channels: EventChannelLaws.laws,
  store: XenStoreLaws.laws
}

const run = (transport: Request["transport"]) => {
  const domains = Domains.loopback(domain).pipe(Layer.provide(XenDevices.layer({ transport })))
  return Effect.fnUntraced(function*({ check, name, suite }: Law.Law) {
    const start = performance.now()
    const exit = yield* check.pipe(Effect.provide(Layer.fresh(domains)), Effect.timeout("3 minutes"), Effect.exit)
    const ok = Exit.isSuccess(exit)
    const error = ok ? {} : { error: Cause.pretty(exit.cause) }
    yield* say("law", { suite, law: name, ok, millis: Math.round(performance.now() - start), ...error })
  })
}

const main = Effect.gen(function*() {
  yield* say("ready")
  for (let line = yield* nextLine; line !== undefined; line = yield* nextLine) {
    const { pattern, runs, subject, transport } = JSON.parse(line) as Request
    const chosen = laws[subject].filter(({ name }) => new RegExp(pattern).test(name))
    yield* Effect.provideService(Effect.forEach(chosen, run(transport)), Law.CurrentOptions, { runs })
    yield* say("end")
  }
})

await Effect.runPromise(main)
process.exit(0)
