/** What the two domains tell each other beside the frames: on a real Xen xenstore and event channels, here queues. */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"

/** Where the frames are: `slots` of them, one after the other in one buffer. */
export interface Announcement {
  readonly directory: number
  readonly slots: number
  readonly frameLength: number
}

export class Signals extends Context.Service<Signals, {
  readonly announced: Deferred.Deferred<Announcement>
  /** Slots with a new frame, in order; it ends when there are no more. */
  readonly full: Queue.Queue<number, Cause.Done>
  /** Slots that may be drawn into. */
  readonly free: Queue.Queue<number>
  /** The backend has let go of everything. */
  readonly released: Deferred.Deferred<void>
}>()("example/Signals") {}

export const layer: Layer.Layer<Signals> = Layer.effect(Signals, Effect.gen(function*() {
  return {
    announced: yield* Deferred.make<Announcement>(),
    full: yield* Queue.unbounded<number, Cause.Done>(),
    free: yield* Queue.unbounded<number>(),
    released: yield* Deferred.make<void>()
  }
}))
