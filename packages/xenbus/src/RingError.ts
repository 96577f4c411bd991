/**
 * Says which index of a peer can't be, and why: for rings, event pages, and all that is built on `PeerIndex`.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"

const hex = (word: number) => `${word} (0x${word.toString(16)})`

/**
 * The index is further than anything that the peer can have done: a producer beyond the slots that were free, or that
 * were asked to be answered; a consumer beyond what was produced.
 *
 * @category errors
 * @since 0.2.0
 */
export class TooFar extends Schema.TaggedError<TooFar>()("TooFar", {
  /** Its name in the protocol's header. */
  index: Schema.String,
  /** As it stood in shared memory: 0 to 2^32 - 1, as all indexes here. */
  value: Schema.Int,
  /** Where it stood when it was read before. */
  seen: Schema.Int,
  /** The furthest that it can be. */
  limit: Schema.Int
}) {
  override get message() {
    return `The peer's ${this.index} is ${hex(this.value)}, but can't be beyond ${hex(this.limit)}; ` +
      `it was ${hex(this.seen)} before.`
  }
}

/**
 * The index ran backwards.
 *
 * @category errors
 * @since 0.2.0
 */
export class Backwards extends Schema.TaggedError<Backwards>()("Backwards", {
  /** Its name in the protocol's header. */
  index: Schema.String,
  /** What it is now. */
  value: Schema.Int,
  /** What it was before. */
  seen: Schema.Int
}) {
  override get message() {
    return `The peer's ${this.index} is ${hex(this.value)}, but was ${hex(this.seen)} before: it ran backwards.`
  }
}

/**
 * All reasons of a {@link RingError}.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Reason = Schema.Union([TooFar, Backwards])

/**
 * What is wrong with a peer's index.
 *
 * @category models
 * @since 0.2.0
 */
export type Reason = typeof Reason.Type

/**
 * The peer broke the rules of a ring, an event page or the like. Nothing was read on the strength of its index, and that half is
 * over: whatever it is asked for afterwards fails with this same error.
 *
 * @category errors
 * @since 0.2.0
 */
export class RingError extends Schema.TaggedError<RingError>()("RingError", {
  /** What the peer did. */
  reason: Reason
}) {
  override get message() {
    return this.reason.message
  }
}
