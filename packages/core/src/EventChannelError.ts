/**
 * Says why an event channel was refused, or has ended.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import { DomainId } from "./DomainId.ts"
import { Port } from "./Port.ts"
import { DeviceFailed, DeviceUnavailable, InvalidInput, Unsupported } from "./Reason.ts"

/**
 * The domain does not exist, or not any more.
 *
 * @category errors
 * @since 0.2.0
 */
export class NoSuchDomain extends Schema.TaggedError<NoSuchDomain>()("NoSuchDomain", {
  /** The domain that was named as the peer. */
  peer: DomainId
}) {
  override get message() {
    return `There is no domain ${this.peer}, or it is gone. Its id changes when it is started again: look it up in xenstore.`
  }
}

/**
 * The peer's port does not wait for us: it is closed, joined already, or kept for another domain.
 *
 * @category errors
 * @since 0.2.0
 */
export class PortRefused extends Schema.TaggedError<PortRefused>()("PortRefused", {
  /** The domain that was named as the peer. */
  peer: DomainId,
  /** The peer's own number of the port. */
  port: Port
}) {
  override get message() {
    return `Port ${this.port} of domain ${this.peer} can't be joined: it is closed, joined already, or kept for another ` +
      "domain, or Xen's policy (xsm=silo) keeps guests apart. Compare it with what the peer published."
  }
}

/**
 * The domain has no port left.
 *
 * @category errors
 * @since 0.2.0
 */
export class OutOfPorts extends Schema.TaggedError<OutOfPorts>()("OutOfPorts", {}) {
  override get message() {
    return "This domain has no event channel left. Close others, or give it more (max_event_channels in its configuration)."
  }
}

/**
 * The channel does not exist any more though its scope is open: this domain was destroyed. Of a restore Linux says nothing.
 *
 * @category errors
 * @since 0.2.0
 */
export class ChannelGone extends Schema.TaggedError<ChannelGone>()("ChannelGone", {
  /** The local port that the channel had. */
  port: Port,
  /** What ended it, in words. */
  detail: Schema.String
}) {
  override get message() {
    return `The event channel at port ${this.port} is gone: ${this.detail}. Close its scope, and connect anew.`
  }
}

/**
 * All reasons of an {@link EventChannelError}.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Reason = Schema.Union([
  InvalidInput,
  NoSuchDomain,
  PortRefused,
  OutOfPorts,
  ChannelGone,
  DeviceUnavailable,
  DeviceFailed,
  Unsupported
])

/**
 * Why an event channel was refused.
 *
 * @category models
 * @since 0.2.0
 */
export type Reason = typeof Reason.Type

/**
 * An operation on event channels failed; nothing of it is held. `reason` says why, and what to do.
 *
 * @category errors
 * @since 0.2.0
 */
export class EventChannelError extends Schema.TaggedError<EventChannelError>()("EventChannelError", {
  /** The function that was called. */
  operation: Schema.Literals(["listen", "join", "notify", "wait"]),
  /** Why it failed. */
  reason: Reason
}) {
  override get message() {
    return this.reason.message
  }
}
