/** The frontend: draws frames into a buffer that it shares with a backend. */
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import { Signals } from "./Signals.ts"

export class Publisher extends Context.Service<Publisher, {
  /** Draws a frame and publishes it; waits while the backend still reads all others. */
  readonly publish: (draw: (pixels: SharedMemory.Writable) => void) => Effect.Effect<void>
}>()("example/Publisher") {}

/**
 * Ends when the backend has let go: a page that the backend has mapped can't be taken back. A backend that does not, or
 * that never came, can't hold it up for more than a while.
 */
export const layer = (options: {
  readonly peer: number
  readonly slots: number
  readonly frameLength: number
  /** How long the backend has to let go at the end; 5 seconds unless set. */
  readonly patience?: Duration.Input | undefined
}): Layer.Layer<Publisher, GrantTableError, GrantTable | Signals> =>
  Layer.effect(Publisher, Effect.gen(function*() {
    const { frameLength, patience = "5 seconds", peer, slots } = options
    const { announced, free, full, released } = yield* Signals
    const buffer = yield* SharedBuffer.alloc({ peer, byteLength: slots * frameLength, access: "read-only" })
    yield* Queue.offerAll(free, Array(slots).keys())
    yield* Effect.addFinalizer(() =>
      Effect.andThen(
        Queue.end(full),
        buffer.end({ consent: Deferred.await(released), within: patience, otherwise: "abandon" })
      )
    )
    yield* Deferred.succeed(announced, { directory: buffer.directory, slots, frameLength })
    return {
      publish: Effect.fnUntraced(function*(draw) {
        const slot = yield* Queue.take(free)
        draw(buffer.bytes.subarray(slot * frameLength, (slot + 1) * frameLength))
        yield* Queue.offer(full, slot)
      })
    }
  }))
