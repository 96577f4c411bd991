/**
 * Says what a backend did not do for a frontend, and why.
 *
 * @since 0.2.0
 */
import * as DirectoryError from "@xen-shbuf/core/DirectoryError"
import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import { InvalidInput } from "@xen-shbuf/core/Reason"
import { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Schema from "effect/Schema"
import { nameOf } from "../XenErrno.ts"

/**
 * The backend answered with an error.
 *
 * @category errors
 * @since 0.2.0
 */
export class Refused extends Schema.TaggedError<Refused>()("Refused", {
  /** The number as `@xen-shbuf/io/XenErrno` has it, not negated. */
  errno: Schema.Int
}) {
  override get message() {
    return `The backend refused it: ${nameOf(this.errno) ?? this.errno}.`
  }
}

/**
 * The backend did not answer in time. What became of the request is not known.
 *
 * @category errors
 * @since 0.2.0
 */
export class NoAnswer extends Schema.TaggedError<NoAnswer>()("NoAnswer", {}) {
  override get message() {
    return "The backend does not answer."
  }
}

/**
 * The backend answered what was not asked, after which the connection is not used any more; or what can't be.
 *
 * @category errors
 * @since 0.2.0
 */
export class WrongAnswer extends Schema.TaggedError<WrongAnswer>()("WrongAnswer", {
  /** What is wrong with it. */
  detail: Schema.String
}) {
  override get message() {
    return `The backend's answer can't be: ${this.detail}.`
  }
}

/**
 * The display was closed: its scope was left.
 *
 * @category errors
 * @since 0.2.0
 */
export class DisplayClosed extends Schema.TaggedError<DisplayClosed>()("DisplayClosed", {}) {
  override get message() {
    return "The display is closed: its scope was left."
  }
}

/**
 * All reasons of a {@link DisplayError}: those of the protocol, then those of what it is made of.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Reason = Schema.Union([
  Refused,
  NoAnswer,
  WrongAnswer,
  DisplayClosed,
  InvalidInput,
  RingError,
  ConnectionError,
  DirectoryError.DirectoryError,
  GrantTableError.GrantTableError,
  EventChannelError.EventChannelError
])

/**
 * Why it could not be done.
 *
 * @category models
 * @since 0.2.0
 */
export type Reason = typeof Reason.Type

/**
 * Something could not be done with a display. `reason` says why.
 *
 * @category errors
 * @since 0.2.0
 */
export class DisplayError extends Schema.TaggedError<DisplayError>()("DisplayError", {
  /** The request as the protocol calls it, or what else was to be done. */
  operation: Schema.String,
  /** Why it could not. */
  reason: Reason
}) {
  override get message() {
    return `${this.operation}: ${this.reason.message}`
  }
}
