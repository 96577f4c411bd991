/**
 * Says whether pages may be written to.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"

/**
 * Whether the peer (of a share) or we (in a mapping) may write to the pages.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Access = Schema.Literals(["read-write", "read-only"])

/**
 * Whether pages may be written to.
 *
 * @category models
 * @since 0.2.0
 */
export type Access = typeof Access.Type
