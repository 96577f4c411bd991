/**
 * Runs the law suites on the real devices of the domain that it runs in, which shares with itself.
 *
 * Each line of input asks for some of them: `{ "runs": N, "pattern": "…" }`. It prints one event for every law whose
 * name fits, and then `end`.
 */
import * as Domains from "@xen-shbuf/testkit/Domains"
import * as GrantTableLaws from "@xen-shbuf/testkit/GrantTableLaws"
import * as Law from "@xen-shbuf/testkit/Law"
import * as PeerBufferLaws from "@xen-shbuf/testkit/PeerBufferLaws"
import * as SharedBufferLaws from "@xen-shbuf/testkit/SharedBufferLaws"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as EventChannels from "./EventChannels.ts"
import { nextLine, say } from "./Program.ts"

/** `runs`: cases of a property. Each is real system calls under emulation, and memory has had its thousands. */
export interface Request {
  readonly runs: number
  readonly pattern: string
}

/** Signals over `port` arrive at the other end, which this process has too. */
const openChannel = () =>
  Effect.map(EventChannels.open, (channels): Domains.Channel => {
    const end = channels.listen(0)
    const port = channels.join(0, end)
    return { port, signalled: Effect.sync(() => channels.signalled().includes(end)) }
  })
const dom0 = Domains.loopback(0, { openChannel }).pipe(Layer.provide(GntDev.layer()))

const laws = [...GrantTableLaws.laws, ...SharedBufferLaws.laws, ...PeerBufferLaws.laws]

const run = Effect.fnUntraced(function*({ check, name, suite }: Law.Law) {
  const start = performance.now()
  const exit = yield* check.pipe(Effect.provide(Layer.fresh(dom0)), Effect.timeout("3 minutes"), Effect.exit)
  const ok = Exit.isSuccess(exit)
  const error = ok ? {} : { error: Cause.pretty(exit.cause) }
  yield* say("law", { suite, law: name, ok, millis: Math.round(performance.now() - start), ...error })
})

const main = Effect.gen(function*() {
  yield* say("ready")
  for (let line = yield* nextLine; line !== undefined; line = yield* nextLine) {
    const { pattern, runs } = JSON.parse(line) as Request
    const chosen = laws.filter(({ name }) => new RegExp(pattern).test(name))
    yield* Effect.provideService(Effect.forEach(chosen, run), Law.CurrentOptions, { runs })
    yield* say("end")
  }
})

await Effect.runPromise(main)
process.exit(0)
