/**
 * Says why a backend did not do what a stream asked for.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"

/**
 * The backend has answered with an error.
 *
 * @category errors
 * @since 0.2.0
 */
export class Refused extends Schema.TaggedError<Refused>()("Refused", {
  /** The operation's name in the header, such as OPEN. */
  operation: Schema.String,
  /** The error's name, such as EINVAL, or its number where the header has no name for it. */
  errno: Schema.String
}) {
  override get message() {
    return `The backend refuses ${this.operation} with ${this.errno}.`
  }
}

/**
 * The backend has answered with what is no answer.
 *
 * @category errors
 * @since 0.2.0
 */
export class WrongAnswer extends Schema.TaggedError<WrongAnswer>()("WrongAnswer", {
  /** The operation's name in the header, such as OPEN. */
  operation: Schema.String,
  /** What is wrong with the answer. */
  detail: Schema.String
}) {
  override get message() {
    return `The backend's answer to ${this.operation} can't be: ${this.detail}.`
  }
}

/**
 * Why a backend did not do what a stream asked for.
 *
 * @category errors
 * @since 0.2.0
 */
export class SoundError extends Schema.TaggedError<SoundError>()("SoundError", {
  /** Whether it was refused, or answered wrongly. */
  reason: Schema.Union([Refused, WrongAnswer])
}) {
  override get message() {
    return this.reason.message
  }
}
