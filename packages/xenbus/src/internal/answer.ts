import * as Result from "effect/Result"
import type { RingError } from "../RingError.ts"

/** What every operation of a half answers. Made once: an answer allocates nothing. */
export type Answer = Result.Result<boolean, RingError>

export const yes: Answer = Result.succeed(true)
export const no: Answer = Result.succeed(false)
