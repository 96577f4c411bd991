/**
 * Asks whether an event channel was signalled, without waiting for it.
 */
import type { EventChannel } from "@xen-shbuf/core/EventChannels"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/** Lets the event loop look at the device, wherever in its turn it is. */
const look = Effect.promise(() => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve))))

/** Whether a signal has come since this was last asked. */
export const isSignalled = Effect.fnUntraced(function*({ wait }: EventChannel) {
  yield* look
  const fiber = yield* Effect.forkChild(Effect.orDie(wait), { startImmediately: true })
  const isDone = fiber.pollUnsafe() !== undefined
  yield* Fiber.interrupt(fiber)
  return isDone
})
