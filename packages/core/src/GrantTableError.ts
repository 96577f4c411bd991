/**
 * Says why a grant table refused: what, where, and which knob helps.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { DomainId } from "./DomainId.ts"
import { Grant } from "./GrantRef.ts"

/**
 * Whether the peer (of a share) or we (in a mapping) may write to the pages.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Access = Schema.Literals(["read-write", "read-only"])

/**
 * Whether pages may be written to.
 *
 * @category models
 * @since 0.1.0
 */
export type Access = typeof Access.Type

/**
 * An argument is outside of the field's real bounds. Nothing was asked of Xen.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidInput extends Schema.TaggedError<InvalidInput>()("InvalidInput", {
  argument: Schema.String,
  value: Schema.String,
  expected: Schema.String
}) {
  override get message() {
    return `${this.argument} is ${this.value}, but must be ${this.expected}.`
  }
}

/**
 * No grant was left for the pages: a driver's own limit, or the domain's grant table.
 *
 * @category errors
 * @since 0.1.0
 */
export class OutOfGrants extends Schema.TaggedError<OutOfGrants>()("OutOfGrants", {
  /** Pages asked for. */
  requested: Schema.Int,
  /** Pages the limit allows in all, where it is known. */
  limit: Schema.optionalKey(Schema.Int),
  /** The file or setting that raises the limit. */
  knob: Schema.optionalKey(Schema.String),
  /** A value of the knob that is enough: what is in use, as far as it is known, and what was asked for. */
  needed: Schema.optionalKey(Schema.Int)
}) {
  override get message() {
    const { knob, limit, needed, requested } = this
    const have = limit === undefined
      ? "the domain's grant table is full"
      : `the limit is ${limit} pages in all${requested > limit ? "" : ", used up by this and other programs, or the domain's grant table is full"}`
    const remedy = knob === undefined
      ? "Release other buffers, or give the domain more grant frames (max_grant_frames in its configuration)."
      : knob.startsWith("/")
      ? `Release other buffers, or raise the limit: echo ${needed ?? requested} > ${knob}`
      : `Release other buffers, or raise ${knob} to ${needed ?? requested}, if the domain's grant table is that large ` +
        "(512 references for each of max_grant_frames)."
    return `${requested} pages can't be shared: ${have}. ${remedy}`
  }
}

/**
 * Xen refused one grant. The real device does not say why; the in-memory one gives Xen's status.
 *
 * @category errors
 * @since 0.1.0
 */
export class GrantRefused extends Schema.TaggedError<GrantRefused>()("GrantRefused", {
  grant: Grant,
  /** Position of the grant in the request, from 0. */
  index: Schema.Int,
  access: Access,
  /** Xen's name for the status (`GNTST_*` in `xen/include/public/grant_table.h`), where it is known. */
  status: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const { access, grant, index, status } = this
    const why = status === undefined ? "" : ` (${status})`
    const readOnly = access === "read-write" ? ", or granted read-only" : ""
    return `Xen refused grant ${grant.ref} of domain ${grant.domain}, number ${index} of the request${why}: ` +
      `it is not granted to this domain${readOnly}, or its owner is gone. Compare the reference with what the peer published.`
  }
}

/**
 * Xen refused a mapping as a whole though none of its grants is refused by itself: the mapper's own table is full.
 *
 * @category errors
 * @since 0.1.0
 */
export class OutOfMappings extends Schema.TaggedError<OutOfMappings>()("OutOfMappings", {
  domain: DomainId,
  requested: Schema.Int,
  detail: Schema.String
}) {
  override get message() {
    return `${this.requested} pages of domain ${this.domain} can't be mapped: ${this.detail}. ` +
      "Unmap other buffers, or give this domain more maptrack frames (max_maptrack_frames)."
  }
}

/**
 * A device can't be opened: no Xen, no module, or no permission.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeviceUnavailable extends Schema.TaggedError<DeviceUnavailable>()("DeviceUnavailable", {
  device: Schema.String,
  /** The operating system's word for it, such as ENOENT. */
  errno: Schema.String,
  remedy: Schema.String
}) {
  override get message() {
    return `${this.device} can't be used (${this.errno}). ${this.remedy}`
  }
}

/**
 * A device answered in a way that is not part of its contract with us, such as ENOMEM.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeviceFailed extends Schema.TaggedError<DeviceFailed>()("DeviceFailed", {
  device: Schema.String,
  call: Schema.String,
  errno: Schema.String
}) {
  override get message() {
    return `${this.call} on ${this.device} failed with ${this.errno}. The kernel's log may say more.`
  }
}

/**
 * This grant table has no such operation.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unsupported extends Schema.TaggedError<Unsupported>()("Unsupported", {
  feature: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `${this.feature} is not supported here: ${this.detail}.`
  }
}

/**
 * All reasons of a {@link GrantTableError}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Union([
  InvalidInput,
  OutOfGrants,
  GrantRefused,
  OutOfMappings,
  DeviceUnavailable,
  DeviceFailed,
  Unsupported
])

/**
 * Why a grant table refused.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * An operation on the grant table failed; nothing of it is held. `reason` says why, what and where:
 * `Effect.catchReason("GrantTableError", "OutOfGrants", …)` handles one of them.
 *
 * @category errors
 * @since 0.1.0
 */
export class GrantTableError extends Schema.TaggedError<GrantTableError>()("GrantTableError", {
  operation: Schema.Literals(["share", "map", "read", "unmapNotify", "copy", "limits", "open"]),
  reason: Reason
}) {
  override get message() {
    return this.reason.message
  }
}
