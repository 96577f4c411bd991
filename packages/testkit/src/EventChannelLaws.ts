/**
 * What must hold of all event channels: a signal arrives, none is lost, and many are one.
 *
 * @since 0.2.0
 */

import type * as EventChannels from "@xen-shbuf/core/EventChannels"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Domains from "./Domains.ts"
import * as Channels from "./internal/channels.ts"
import { between, notNumbers, separately } from "./internal/laws.ts"
import * as Law from "./Law.ts"

const law = Law.inSuite("EventChannels")

/** A channel that the frontend listens on and the backend has joined. */
const open = Effect.fnUntraced(function*() {
  const { backend, frontend } = yield* Domains.Domains
  return yield* Channels.open(frontend, backend)
})

/** Fails if a signal has come to the frontend's end of a channel. */
const silent = Effect.fnUntraced(function*(what: string, channel: EventChannels.EventChannel) {
  const { backend, frontend } = yield* Domains.Domains
  yield* Channels.silent(what, channel, frontend, backend)
})

const aSignalArrives = law("a signal arrives at the other end, both ways, again and again", function*() {
  const { joined, listening } = yield* open()
  for (let i = 0; i < 50; i++) {
    yield* joined.notify
    yield* Channels.taken(`round ${i}, at the end that listens`, listening)
    yield* listening.notify
    yield* Channels.taken(`round ${i}, at the end that has joined`, joined)
  }
})

const endsAreNamed = law("ends have ports of their own, and name their peers", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const { joined, listening } = yield* open()
  yield* Law.equal("the listener's peer", listening.peer, backend.id)
  yield* Law.equal("the joiner's peer", joined.peer, frontend.id)
  const other = yield* frontend.channels.listen({ peer: backend.id })
  yield* Law.holds(other.port !== listening.port, "two channels of a domain have one port")
})

const signalsCoalesce = law("signals that come before one was taken are one, and the last is never lost", function*() {
  const { joined, listening } = yield* open()
  yield* Law.forAll(between(1, 40), Effect.fnUntraced(function*(count) {
    for (let i = 0; i < count; i++) yield* joined.notify
    yield* Channels.taken("the first of many", listening)
    const marker = yield* open()
    yield* marker.joined.notify
    yield* Channels.taken("at the channel that marks the time", marker.listening)
    // What came between the first one and its taking.
    let more = 0
    while (yield* Channels.isSignalled(listening)) more++
    yield* Law.holds(more <= 1, `${count} signals woke ${more + 1} times`)
    yield* joined.notify
    yield* Channels.taken("after all were taken", listening)
  }))
})

const nothingBeforeASignal = law("an end that listens is not signalled before its peer signals", function*() {
  const { joined, listening } = yield* open()
  yield* silent("a signal came though nobody sent one", listening)
  yield* listening.notify
  yield* silent("a signal came back", listening)
  yield* Channels.taken("the one that was sent", joined)
})

const onlyTheNamedMayJoin = law("only the domain that a port is kept for may join it, and once", function*() {
  const domains = yield* Domains.Domains
  const { backend, frontend } = domains
  const { listening } = yield* open()
  const join = (port: number) => backend.channels.join({ peer: frontend.id, port })
  yield* Law.refused("PortRefused", join(listening.port))
  const kept = yield* Effect.result(frontend.channels.listen({ peer: Domains.stranger(domains) }))
  if (Result.isSuccess(kept)) yield* Law.refused("PortRefused", join(kept.success.port))
  // Xen looks for the domain at once where its policy is about pairs of domains, as SILO is.
  else yield* Law.equal("the refusal", kept.failure.reason._tag, "NoSuchDomain")
  const closed = yield* separately(frontend.channels.listen({ peer: backend.id }))
  yield* closed.end
  yield* Law.refused("PortRefused", join(closed.port))
  yield* Law.refused("NoSuchDomain", backend.channels.join({ peer: Domains.stranger(domains), port: 1 }))
})

const aClosedEndCanBeJoinedAgain = law("a closed end says nothing, and the other one can be joined again", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const { joined, listening } = yield* open()
  for (let i = 0; i < 3; i++) {
    yield* joined.end
    yield* silent("closing has signalled", listening)
    yield* listening.notify
    const again = yield* separately(backend.channels.join({ peer: frontend.id, port: listening.port }))
    yield* Channels.taken("after joining again", again)
    yield* again.notify
    yield* Channels.taken("from the one that has joined again", listening)
    yield* again.end
  }
})

const afterItsScopeItDies = law("after its scope an end can't be used: who waits dies, and who begins to", function*() {
  const { joined, listening } = yield* open()
  const waiting = yield* Effect.forkChild(listening.wait, { startImmediately: true })
  yield* listening.end
  for (const [what, exit] of [
    ["to have waited", yield* Fiber.await(waiting)],
    ["to wait", yield* Effect.exit(listening.wait)],
    ["to notify", yield* Effect.exit(listening.notify)]
  ] as const) yield* Law.holds(Exit.hasDies(exit), `${what} after the end gives ${exit}`)
  // Nobody hears.
  yield* joined.notify
})

const waitingIsInterruptible = law("waiting can be interrupted, and then nothing is lost", function*() {
  const { joined, listening } = yield* open()
  // A signal that nobody sent is normal, and ends a wait, too: then there is another.
  let spurious = 0
  for (let interrupted = 0; interrupted < 10;) {
    const waiting = yield* Effect.forkChild(listening.wait, { startImmediately: true })
    yield* Fiber.interrupt(waiting)
    const exit = yield* Fiber.await(waiting)
    if (Exit.isSuccess(exit) && spurious++ < 3) continue
    yield* Law.holds(Exit.hasInterrupts(exit), "it did not end by the interruption")
    interrupted++
    yield* joined.notify
    yield* Channels.taken("after an interruption", listening)
  }
})

const allAreWoken = law("all who wait are woken by one signal", function*() {
  const { joined, listening } = yield* open()
  const waiting = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(listening.wait, { startImmediately: true }))
  yield* joined.notify
  for (const fiber of waiting) yield* Channels.taken("one of three", { wait: Fiber.join(fiber) })
})

const theStreamTakesSignals = law("the stream has an element for each signal that is taken", function*() {
  const { joined, listening } = yield* open()
  let seen = 0
  const taking = yield* Effect.forkChild(
    Stream.runForEach(Stream.take(listening.signals, 5), () => {
      seen++
      return joined.notify
    }),
    { startImmediately: true }
  )
  yield* joined.notify
  yield* Channels.taken("to the stream", { wait: Fiber.join(taking) })
  yield* Law.equal("the elements", seen, 5)
})

const interruptionLeavesNothing = law("an interruption at any point of opening leaves nothing", function*() {
  const { backend, frontend } = yield* Domains.Domains
  const both = Effect.flatMap(frontend.channels.listen({ peer: backend.id }), ({ port }) =>
    backend.channels.join({ peer: frontend.id, port }))
  yield* Law.interrupted(both)
  // A port that was left open would be another one now.
  const { port } = yield* separately(frontend.channels.listen({ peer: backend.id }))
  yield* Law.interrupted(both)
  const after = yield* separately(frontend.channels.listen({ peer: backend.id }))
  yield* Law.holds(Math.abs(after.port - port) <= 2, `ports go up from ${port} to ${after.port}`)
})

const argumentsAreChecked = law("arguments out of bounds are refused, and nothing is opened", function*() {
  const { backend, frontend } = yield* Domains.Domains
  for (const peer of [...notNumbers, 0x7ff0, 0xffff]) {
    const listening = yield* Law.refused("InvalidInput", frontend.channels.listen({ peer }))
    yield* Law.equal("the argument", listening.argument, "peer")
    yield* Law.refused("InvalidInput", backend.channels.join({ peer, port: 1 }))
  }
  for (const port of [...notNumbers, 0, 2 ** 32]) {
    const joining = yield* Law.refused("InvalidInput", backend.channels.join({ peer: frontend.id, port }))
    yield* Law.equal("the argument", joining.argument, "port")
  }
})

const manyChannels = law("signals of many channels find their own ends", function*() {
  const channels = yield* Effect.forEach(Array.from({ length: 12 }), open)
  yield* Law.forAll(Arbitrary.array(between(0, 11), { minLength: 1, maxLength: 12 }), Effect.fnUntraced(function*(chosen) {
    const signalled = new Set(chosen)
    for (const i of signalled) yield* channels[i]!.joined.notify
    for (const i of signalled) yield* Channels.taken(`at channel ${i}`, channels[i]!.listening)
    for (const [i, { listening }] of channels.entries()) {
      yield* Law.holds(!(yield* Channels.isSignalled(listening)), `channel ${i} is signalled beside ${chosen.join(", ")}`)
    }
  }))
})

/**
 * The laws.
 *
 * @category laws
 * @since 0.2.0
 */
export const laws: ReadonlyArray<Law.Law> = [
  aSignalArrives,
  endsAreNamed,
  signalsCoalesce,
  nothingBeforeASignal,
  onlyTheNamedMayJoin,
  aClosedEndCanBeJoinedAgain,
  afterItsScopeItDies,
  waitingIsInterruptible,
  allAreWoken,
  theStreamTakesSignals,
  interruptionLeavesNothing,
  argumentsAreChecked,
  manyChannels
]
