/**
 * An index in shared memory that the peer writes: each time that it is read it is checked, and only what was checked is
 * kept.
 *
 * @since 0.2.0
 */
import * as Result from "effect/Result"
import { no, yes } from "./internal/answer.ts"
import { load, type Words } from "./Ordered.ts"
import { Backwards, type Reason, RingError, TooFar } from "./RingError.ts"

/**
 * How far index `a` is ahead of `b`, where indexes wrap at 2^32.
 *
 * @category conversions
 * @since 0.2.0
 */
export const ahead = (a: number, b: number): number => (a - b) >>> 0

/**
 * An index that the peer writes.
 *
 * @category models
 * @since 0.2.0
 */
export class PeerIndex {
  /** Where it stood when it was last read. */
  seen: number
  /** The answer to everything, once the peer has broken the rules. */
  broken: Result.Result<never, RingError> | undefined
  /** Its name, for errors. */
  readonly index: string
  /** The memory that it is in. */
  readonly words: Words
  /** Which word it is. */
  readonly at: number

  /** `start` is where it stands, or the furthest back that it can. */
  constructor(index: string, words: Words, at: number, start: number) {
    this.index = index
    this.words = words
    this.at = at
    this.seen = start
  }

  /** Reads it: the peer can have got to `limit`, and not back. Answers whether it has moved on. */
  read(limit: number): Result.Result<boolean, RingError> {
    const value = load(this.words, this.at)
    const { index, seen } = this
    const moved = ahead(value, seen)
    if (moved > ahead(limit, seen)) {
      // An index has come back, rather than forward by as much, where that is the shorter way.
      return this.end(moved >= 2 ** 31 ? new Backwards({ index, value, seen }) : new TooFar({ index, value, seen, limit }))
    }
    this.seen = value
    return moved > 0 ? yes : no
  }

  private end(reason: Reason): Result.Result<never, RingError> {
    return this.broken = Result.fail(new RingError({ reason }))
  }
}
