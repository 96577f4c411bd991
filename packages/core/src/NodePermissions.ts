/**
 * Says who may do what with a node of xenstore.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import { DomainId } from "./DomainId.ts"

/**
 * What a domain may do with a node.
 *
 * @category schemas
 * @since 0.2.0
 */
export const NodeAccess = Schema.Literals(["none", "read", "write", "both"])

/**
 * What a domain may do with a node.
 *
 * @category models
 * @since 0.2.0
 */
export type NodeAccess = typeof NodeAccess.Type

/**
 * Who may do what with a node. Its owner, and dom0, may do all; new nodes have the permissions of the one above them.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Permissions = Schema.Struct({
  /** Whose quota the node counts towards. */
  owner: DomainId,
  /** What all may do who are not named. */
  others: NodeAccess,
  /** What some domains may do. */
  domains: Schema.Array(Schema.Struct({
    /** Who. */
    domain: DomainId,
    /** What this one may do. */
    access: NodeAccess
  }))
})

/**
 * Who may do what with a node.
 *
 * @category models
 * @since 0.2.0
 */
export interface Permissions extends Schema.Schema.Type<typeof Permissions> {}

/**
 * Permissions as a caller gives them: ids are checked, and nobody else is named unless said otherwise.
 *
 * @category models
 * @since 0.2.0
 */
export interface PermissionsInput {
  /** Whose quota the node counts towards. */
  readonly owner: number
  /** What all may do who are not named. */
  readonly others: NodeAccess
  /** What some domains may do; none are named unless set. */
  readonly domains?: ReadonlyArray<{
    /** Who. */
    readonly domain: number
    /** What this one may do. */
    readonly access: NodeAccess
  }> | undefined
}
