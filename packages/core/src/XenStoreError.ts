/**
 * Says why xenstore refused, which path it was about, and what to do.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import { DeviceFailed, DeviceUnavailable, InvalidInput, Unsupported } from "./Reason.ts"

/**
 * There is no such node.
 *
 * @category errors
 * @since 0.2.0
 */
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", {
  /** The path that was asked for. */
  path: Schema.String
}) {
  override get message() {
    return `There is no ${this.path} in xenstore. Whoever writes it has not done so yet, or has removed it: watch the path.`
  }
}

/**
 * This domain may not read, or not write, the node.
 *
 * @category errors
 * @since 0.2.0
 */
export class AccessDenied extends Schema.TaggedError<AccessDenied>()("AccessDenied", {
  /** The path that was asked for. */
  path: Schema.String
}) {
  override get message() {
    return `xenstore does not let this domain use ${this.path} so. Its owner, or dom0, can change its permissions.`
  }
}

/**
 * A quota of this domain is used up: xenstore bounds what a guest can make it keep.
 *
 * @category errors
 * @since 0.2.0
 */
export class QuotaExceeded extends Schema.TaggedError<QuotaExceeded>()("QuotaExceeded", {
  /** The path that was asked for. */
  path: Schema.String,
  /** What there are too many of, or what is too big, as far as xenstore's answer tells. */
  quota: Schema.Literals(["nodes", "watches", "transactions", "size"])
}) {
  override get message() {
    const what = {
      nodes: "too many nodes: remove others",
      watches: "too many watches: end others, or watch a path above them",
      transactions: "too many transactions at one time: end others",
      size: "a node, or its permissions, are too big: write less into one"
    }[this.quota]
    return `xenstore's quota for this domain does not allow this at ${this.path}: ${what}, or let dom0 raise the quota ` +
      "(xenstored's options)."
  }
}

/**
 * The request is longer than a message to xenstore can be.
 *
 * @category errors
 * @since 0.2.0
 */
export class TooLong extends Schema.TaggedError<TooLong>()("TooLong", {
  /** The path that was asked for. */
  path: Schema.String,
  /** Bytes of the request's payload. */
  byteLength: Schema.Int,
  /** Bytes that a payload can have here. */
  limit: Schema.Int
}) {
  override get message() {
    return `A request about ${this.path} takes ${this.byteLength} bytes, but xenstore takes ${this.limit}: spread the ` +
      "value over several nodes."
  }
}

/**
 * Others changed what a transaction used, as often as it was tried; or the names below a node, which take several messages.
 *
 * @category errors
 * @since 0.2.0
 */
export class Conflict extends Schema.TaggedError<Conflict>()("Conflict", {
  /** How often it was tried. */
  attempts: Schema.Int,
  /** Whose names were to be listed; missing for a transaction. */
  path: Schema.optional(Schema.String)
}) {
  override get message() {
    if (this.path !== undefined) {
      return `The names below ${this.path} were listed ${this.attempts} times, and each time somebody else changed them ` +
        "meanwhile: they take several messages. Try again later, or keep fewer there."
    }
    return `A transaction was tried ${this.attempts} times, and each time somebody else changed what it used. Use fewer ` +
      "nodes in it, or try again later."
  }
}

/**
 * A value is not what it must be. A peer may write what it likes.
 *
 * @category errors
 * @since 0.2.0
 */
export class InvalidValue extends Schema.TaggedError<InvalidValue>()("InvalidValue", {
  /** Where the value is. */
  path: Schema.String,
  /** What is wrong with it; at most its first 64 characters are in it. */
  detail: Schema.String
}) {
  override get message() {
    return `The value of ${this.path} in xenstore can't be used: ${this.detail}.`
  }
}

/**
 * The connection to xenstore has ended though its scope is open.
 *
 * @category errors
 * @since 0.2.0
 */
export class StoreGone extends Schema.TaggedError<StoreGone>()("StoreGone", {
  /** What ended it, in words. */
  detail: Schema.String
}) {
  override get message() {
    return `The connection to xenstore is gone: ${this.detail}. Build its layer anew.`
  }
}

/**
 * All reasons of a {@link XenStoreError}.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Reason = Schema.Union([
  InvalidInput,
  NotFound,
  AccessDenied,
  QuotaExceeded,
  TooLong,
  Conflict,
  InvalidValue,
  StoreGone,
  DeviceUnavailable,
  DeviceFailed,
  Unsupported
])

/**
 * Why xenstore refused.
 *
 * @category models
 * @since 0.2.0
 */
export type Reason = typeof Reason.Type

/**
 * An operation on xenstore failed and has changed nothing. `reason` says why, and what to do.
 *
 * @category errors
 * @since 0.2.0
 */
export class XenStoreError extends Schema.TaggedError<XenStoreError>()("XenStoreError", {
  /** The function that was called. */
  operation: Schema.Literals([
    "read",
    "write",
    "directory",
    "makeDirectory",
    "remove",
    "permissions",
    "setPermissions",
    "transaction",
    "watch",
    "ownId"
  ]),
  /** Why it failed. */
  reason: Reason
}) {
  override get message() {
    return this.reason.message
  }
}
