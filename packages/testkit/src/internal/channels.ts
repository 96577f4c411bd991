import type { EventChannel } from "@xen-shbuf/core/EventChannels"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Party } from "../Domains.ts"
import * as Law from "../Law.ts"
import { separately } from "./laws.ts"

/** Takes a signal, which must come. */
export const taken = (what: string, { wait }: Pick<EventChannel, "wait">) =>
  Effect.timeoutOrElse(wait, {
    duration: "20 seconds",
    orElse: () => Effect.fail(new Law.LawViolation({ detail: `no signal has come in 20 seconds: ${what}` }))
  })

/** Whether a signal has come that nobody has taken, which is then taken. */
export const isSignalled = Effect.fnUntraced(function*({ wait }: Pick<EventChannel, "wait">) {
  const fiber = yield* Effect.forkChild(wait, { startImmediately: true })
  const isDone = fiber.pollUnsafe() !== undefined
  yield* Fiber.interrupt(fiber)
  return isDone
})

/** A channel that one domain listens on and the other has joined, each end with a scope of its own. */
export const open = Effect.fnUntraced(function*(listener: Party, joiner: Party) {
  const listening = yield* separately(listener.channels.listen({ peer: joiner.id }))
  const joined = yield* separately(joiner.channels.join({ peer: listener.id, port: listening.port }))
  yield* taken("after joining", joined)
  return { listening, joined }
})

/**
 * Fails if a signal of the joiner has come to the listener's end of a channel. Signals of one domain arrive in their
 * order: what was sent before that of another channel is there when that one is.
 */
export const silent = Effect.fnUntraced(function*(what: string, channel: EventChannel, listener: Party, joiner: Party) {
  const marker = yield* open(listener, joiner)
  yield* marker.joined.notify
  yield* taken("at the channel that marks the time", marker.listening)
  yield* Law.holds(!(yield* isSignalled(channel)), what)
})
