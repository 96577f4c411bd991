import * as Result from "effect/Result"
import { Backwards, type Index, type Reason, RingError, TooFar } from "../RingError.ts"
import { load, type Words } from "./order.ts"

/** What every operation of a half answers. Made once: an answer allocates nothing. */
export type Answer = Result.Result<boolean, RingError>

export const yes: Answer = Result.succeed(true)
export const no: Answer = Result.succeed(false)

/** How far index `a` is ahead of `b`, where indexes wrap at 2^32. */
export const ahead = (a: number, b: number): number => (a - b) >>> 0

/** An index that the peer writes: each time that it is read it is checked, and only what was checked is kept. */
export class PeerIndex {
  /** Where it stood when it was last read. */
  seen: number
  /** The answer to everything, once the peer has broken the rules. */
  broken: Answer | undefined
  readonly index: Index
  readonly words: Words
  readonly at: number

  constructor(index: Index, words: Words, at: number, start: number) {
    this.index = index
    this.words = words
    this.at = at
    this.seen = start
  }

  /** Reads it: the peer can have got to `limit`, and not back. Answers whether it has moved on. */
  read(limit: number): Answer {
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

  private end(reason: Reason): Answer {
    return this.broken = Result.fail(new RingError({ reason }))
  }
}
