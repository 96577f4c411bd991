/**
 * Runs the law suites on the real devices of the domain that it runs in, which shares with itself.
 *
 * Prints one JSON line for every law; ends with exit code 1 if one does not hold. Usage: node laws.mjs [RUNS] [PATTERN]
 */
import * as Domains from "@xen-shbuf/testkit/Domains"
import * as GrantTableLaws from "@xen-shbuf/testkit/GrantTableLaws"
import type { Law } from "@xen-shbuf/testkit/Law"
import * as PeerBufferLaws from "@xen-shbuf/testkit/PeerBufferLaws"
import * as SharedBufferLaws from "@xen-shbuf/testkit/SharedBufferLaws"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as EventChannels from "./EventChannels.ts"

// Cases of a property: each is real system calls under emulation, and memory has had its thousands.
const options = { runs: Number(process.argv[2] ?? 10) }
/** Which laws, by their names; all unless said otherwise. */
const pattern = new RegExp(process.argv[3] ?? "")
const laws = [
  ...GrantTableLaws.laws(options),
  ...SharedBufferLaws.laws(options),
  ...PeerBufferLaws.laws(options)
].filter(({ name }) => pattern.test(name))

/** Signals over `port` arrive at the other end, which this process has too. */
const openChannel = () =>
  Effect.map(EventChannels.open, (channels): Domains.Channel => {
    const end = channels.listen(0)
    const port = channels.join(0, end)
    return { port, signalled: Effect.sync(() => channels.signalled().includes(end)) }
  })
const dom0 = Domains.loopback(0, { openChannel }).pipe(Layer.provide(GntDev.layer()))

const run = Effect.fnUntraced(function*({ check, name, suite }: Law) {
  const start = performance.now()
  const exit = yield* check.pipe(Effect.provide(Layer.fresh(dom0)), Effect.timeout("3 minutes"), Effect.exit)
  const ok = Exit.isSuccess(exit)
  const error = ok ? {} : { error: Cause.pretty(exit.cause) }
  const millis = Math.round(performance.now() - start)
  process.stdout.write(`${JSON.stringify({ suite, law: name, ok, millis, ...error })}\n`)
  return ok
})

const held = await Effect.runPromise(Effect.forEach(laws, run))
process.exitCode = held.every((ok) => ok) ? 0 : 1
