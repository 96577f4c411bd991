/**
 * Says why a device is not connected, or not any more, and what to do.
 *
 * @since 0.2.0
 */
import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import { DeviceFailed, DeviceUnavailable, InvalidInput, Unsupported } from "@xen-shbuf/core/Reason"
import * as XenStoreError from "@xen-shbuf/core/XenStoreError"
import * as Schema from "effect/Schema"
import { XenbusState } from "./XenbusState.ts"

/**
 * The peer has ended the connection, or has begun anew: its state says so.
 *
 * @category errors
 * @since 0.2.0
 */
export class PeerClosed extends Schema.TaggedError<PeerClosed>()("PeerClosed", {
  /** The peer's state when it was looked at. */
  state: XenbusState
}) {
  override get message() {
    return `The peer has ended the connection: its state is ${this.state}. Close the scope, and connect anew.`
  }
}

/**
 * The peer's nodes are gone: its domain was destroyed, or the toolstack has removed the device.
 *
 * @category errors
 * @since 0.2.0
 */
export class PeerGone extends Schema.TaggedError<PeerGone>()("PeerGone", {
  /** The node that was looked for. */
  path: Schema.String
}) {
  override get message() {
    return `The peer is gone: there is no ${this.path} in xenstore any more.`
  }
}

/**
 * A node of the device does not hold what it must: the peer wrote it, or has not.
 *
 * @category errors
 * @since 0.2.0
 */
export class InvalidNode extends Schema.TaggedError<InvalidNode>()("InvalidNode", {
  /** Where the node is. */
  path: Schema.String,
  /** What is wrong with it; of what stands there, at most the first 64 characters are in it. */
  detail: Schema.String
}) {
  override get message() {
    return `The node ${this.path} can't be used: ${this.detail}.`
  }
}

/**
 * The toolstack has not made this device.
 *
 * @category errors
 * @since 0.2.0
 */
export class NoDevice extends Schema.TaggedError<NoDevice>()("NoDevice", {
  /** The node that was looked for. */
  path: Schema.String
}) {
  override get message() {
    return `There is no such device: ${this.path} is not in xenstore. The toolstack makes it: xl, or in dom0 ` +
      "xen-shbuf device add."
  }
}

/**
 * The toolstack has made this device already.
 *
 * @category errors
 * @since 0.2.0
 */
export class DeviceExists extends Schema.TaggedError<DeviceExists>()("DeviceExists", {
  /** The node that is there. */
  path: Schema.String
}) {
  override get message() {
    return `The device is there already: ${this.path} is in xenstore. Remove it, or choose another number.`
  }
}

/**
 * This domain was saved and restored, or its device was made anew: grants and event channels of before mean nothing.
 *
 * @category errors
 * @since 0.2.0
 */
export class Suspended extends Schema.TaggedError<Suspended>()("Suspended", {
  /** The node that is another than it was. */
  path: Schema.String
}) {
  override get message() {
    return `Nothing is connected any more, as ${this.path} shows: this domain was saved and restored, or the toolstack ` +
      "made the device anew. Close the scope, and connect anew."
  }
}

/**
 * All reasons of a {@link ConnectionError}: those of connections, then those of the services that they are made of.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Reason = Schema.Union([
  PeerClosed,
  PeerGone,
  InvalidNode,
  NoDevice,
  DeviceExists,
  Suspended,
  XenStoreError.NotFound,
  XenStoreError.AccessDenied,
  XenStoreError.QuotaExceeded,
  XenStoreError.TooLong,
  XenStoreError.Conflict,
  XenStoreError.InvalidValue,
  XenStoreError.StoreGone,
  GrantTableError.OutOfGrants,
  GrantTableError.GrantRefused,
  GrantTableError.OutOfMappings,
  EventChannelError.NoSuchDomain,
  EventChannelError.PortRefused,
  EventChannelError.OutOfPorts,
  EventChannelError.ChannelGone,
  InvalidInput,
  DeviceUnavailable,
  DeviceFailed,
  Unsupported
])

/**
 * Why a device is not connected, or not any more.
 *
 * @category models
 * @since 0.2.0
 */
export type Reason = typeof Reason.Type

/**
 * A device could not be connected, or its connection has ended; nothing that it held is left once its scope is closed.
 * `reason` says why: `Effect.catchReason("ConnectionError", "PeerClosed", …)` handles one of them.
 *
 * @category errors
 * @since 0.2.0
 */
export class ConnectionError extends Schema.TaggedError<ConnectionError>()("ConnectionError", {
  /** The path of our half of the device in xenstore. */
  device: Schema.String,
  /** What ended it, or kept it from being connected. */
  reason: Reason
}) {
  override get message() {
    return this.reason.message
  }
}
