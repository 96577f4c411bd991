/**
 * Says why a grant table refused: what, where, and which knob helps.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Access } from "./Access.ts"
import { DomainId } from "./DomainId.ts"
import { Grant } from "./GrantRef.ts"
import { DeviceFailed, DeviceUnavailable, InvalidInput, Unsupported } from "./Reason.ts"

/**
 * What an administrator or a programmer turns to raise a limit.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Knob = Schema.Union([
  /** A file that takes the new number. */
  Schema.TaggedStruct("File", {
    /** Where it is. */
    path: Schema.String
  }),
  /** An option of the program's own, where it makes the grant table. */
  Schema.TaggedStruct("Option", {
    /** What it is called. */
    name: Schema.String
  })
])

/**
 * What raises a limit.
 *
 * @category models
 * @since 0.2.0
 */
export type Knob = typeof Knob.Type

const raise = (knob: Knob | undefined, pages: number): string => {
  switch (knob?._tag) {
    case undefined:
      return "give the domain more grant frames (max_grant_frames in its configuration)."
    case "File":
      return `raise the limit: echo ${pages} > ${knob.path}`
    case "Option":
      return `raise the option ${knob.name} to ${pages}, if the domain's grant table is that large ` +
        "(512 references for each of max_grant_frames)."
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
  /** What raises the limit. */
  knob: Schema.optionalKey(Knob),
  /** A value of the knob that is enough: what is in use, as far as it is known, and what was asked for. */
  needed: Schema.optionalKey(Schema.Int)
}) {
  override get message() {
    const { knob, limit, needed, requested } = this
    const have = limit === undefined
      ? "the domain's grant table is full"
      : `the limit is ${limit} pages in all${requested > limit ? "" : ", used up by this and other programs, or the domain's grant table is full"}`
    return `${requested} pages can't be shared: ${have}. Release other buffers, or ${raise(knob, needed ?? requested)}`
  }
}

/**
 * Xen refused one grant. The real device does not say why; the in-memory one gives Xen's status.
 *
 * @category errors
 * @since 0.1.0
 */
export class GrantRefused extends Schema.TaggedError<GrantRefused>()("GrantRefused", {
  /** The grant that was refused. */
  grant: Grant,
  /** Position of the grant in the request, from 0. */
  index: Schema.Int,
  /** What was to be done with the page. */
  access: Access,
  /** Xen's name for the status (`GNTST_*` in `xen/include/public/grant_table.h`), where it is known. */
  status: Schema.optionalKey(Schema.String),
  /** What the in-memory Xen sees from outside, and no domain could. */
  hint: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const { access, grant, hint, index, status } = this
    const why = status === undefined ? "" : ` (${status})`
    const readOnly = access === "read-write" ? ", or granted read-only" : ""
    // The real device does not say why, and we do not know which domain we are.
    const policy = status === undefined && grant.peer !== 0
      ? ", or neither of the two domains is dom0 and Xen's policy SILO forbids it (Debian's default on arm64; " +
        "xsm=dummy on Xen's command line lifts it)"
      : ""
    return `Xen refused grant ${grant.ref} of domain ${grant.peer}, number ${index} of the request${why}: ` +
      `it is not granted to this domain${readOnly}, or its owner is gone${policy}. ` +
      (hint ?? "Compare the reference with what the peer published.")
  }
}

/**
 * Xen refused a mapping as a whole though none of its grants is refused by itself: the mapper's own table is full.
 *
 * @category errors
 * @since 0.1.0
 */
export class OutOfMappings extends Schema.TaggedError<OutOfMappings>()("OutOfMappings", {
  /** Whose pages were to be mapped. */
  peer: DomainId,
  /** Pages asked for. */
  requested: Schema.Int,
  /** What is used up, in words. */
  detail: Schema.String
}) {
  override get message() {
    return `${this.requested} pages of domain ${this.peer} can't be mapped: ${this.detail}. ` +
      "Unmap other buffers, or give this domain more maptrack frames (max_maptrack_frames)."
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
  /** The function that was called. */
  operation: Schema.Literals([
    "share",
    "map",
    "read",
    "unmapNotify",
    "copy",
    "limits",
    "alloc",
    "allocByBackend",
    "allocForFrontend",
    "walk"
  ]),
  /** Why it refused, and what helps. */
  reason: Reason
}) {
  override get message() {
    return this.reason.message
  }
}
