/**
 * Says why a vchan was refused, or has ended.
 *
 * @since 0.2.0
 */

import { DomainId } from "@xen-shbuf/core/DomainId"
import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as XenStoreError from "@xen-shbuf/core/XenStoreError"
import { Suspended } from "@xen-shbuf/xenbus/ConnectionError"
import * as RingError from "@xen-shbuf/xenbus/RingError"
import * as Schema from "effect/Schema"

/**
 * The peer has closed the vchan, or its process has ended: the protocol does not tell one from the other.
 *
 * @category errors
 * @since 0.2.0
 */
export class PeerClosed extends Schema.TaggedError<PeerClosed>()("PeerClosed", {
  /** The domain at the other end. */
  peer: DomainId
}) {
  override get message() {
    return `Domain ${this.peer} has closed its end of the vchan, or its process has ended. Close this end, and begin anew.`
  }
}

/**
 * The peer's whole domain is gone: what it sent last may be missing.
 *
 * @category errors
 * @since 0.2.0
 */
export class PeerGone extends Schema.TaggedError<PeerGone>()("PeerGone", {
  /** The domain that was at the other end. */
  peer: DomainId
}) {
  override get message() {
    return `Domain ${this.peer} is gone: it was destroyed, or shut down. Its id changes when it is started again.`
  }
}

/**
 * The sizes that a server claims for its rings can't be.
 *
 * @category errors
 * @since 0.2.0
 */
export class InvalidOrders extends Schema.TaggedError<InvalidOrders>()("InvalidOrders", {
  /** The binary logarithm of the size of the ring that the client writes. */
  left: Schema.Int,
  /** That of the ring that the server writes. */
  right: Schema.Int,
  /** What is wrong with them. */
  detail: Schema.String
}) {
  override get message() {
    return `The server's rings can't be of 2^${this.left} and 2^${this.right} bytes: ${this.detail}.`
  }
}

/**
 * A page of a ring has no reference that can be one.
 *
 * @category errors
 * @since 0.2.0
 */
export class InvalidRingRef extends Schema.TaggedError<InvalidRingRef>()("InvalidRingRef", {
  /** The client writes the left one, the server the right one. */
  ring: Schema.Literals(["left", "right"]),
  /** The page of the ring, from 0. */
  page: Schema.Int,
  /** What stands for its reference. */
  ref: Schema.Int
}) {
  override get message() {
    return `The server's reference to page ${this.page} of the ${this.ring} ring is ${this.ref}, which can't be one.`
  }
}

/**
 * All reasons of a {@link VchanError}.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Reason = Schema.Union([
  PeerClosed,
  PeerGone,
  InvalidOrders,
  InvalidRingRef,
  Suspended,
  RingError.Reason,
  GrantTableError.Reason,
  EventChannelError.Reason,
  XenStoreError.Reason
])

/**
 * Why a vchan was refused, or has ended.
 *
 * @category models
 * @since 0.2.0
 */
export type Reason = typeof Reason.Type

/**
 * A vchan was refused and nothing of it is held, or it is over: whatever it is asked for afterwards fails for the same
 * reason.
 *
 * @category errors
 * @since 0.2.0
 */
export class VchanError extends Schema.TaggedError<VchanError>()("VchanError", {
  /** The function that was called. */
  operation: Schema.Literals(["listen", "connect", "connected", "read", "write", "drained", "closed"]),
  /** Why it failed. */
  reason: Reason
}) {
  override get message() {
    return this.reason.message
  }
}
