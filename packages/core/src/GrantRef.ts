/**
 * Names one granted page: an index into the granting domain's grant table.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { DomainId } from "./DomainId.ts"

/**
 * The smallest reference that a domain hands out: Xen reserves 0 to 7 for the toolstack
 * (`GNTTAB_NR_RESERVED_ENTRIES` in `xen/include/public/grant_table.h`).
 *
 * @category constants
 * @since 0.1.0
 */
export const minimum = 8

/**
 * The largest reference: 0xFFFFFFFF means "no reference" in Linux.
 *
 * @category constants
 * @since 0.1.0
 */
export const maximum = 0xffff_fffe

/**
 * The bounds in words, as error messages say them.
 *
 * @category constants
 * @since 0.1.0
 */
export const expected = "a grant reference: a whole number from 8 to 4294967294 (0 to 7 are reserved by Xen)"

/**
 * A grant reference: a whole number from 8 to 0xFFFFFFFE. It is no proof that anything is granted.
 *
 * @category schemas
 * @since 0.1.0
 */
export const GrantRef = Schema.Int.check(
  Schema.isBetween({ minimum, maximum }, { expected })
).pipe(Schema.brand("GrantRef"))

/**
 * A grant reference.
 *
 * @category models
 * @since 0.1.0
 */
export type GrantRef = typeof GrantRef.Type

/**
 * Tells whether a 32-bit word can be a grant reference. One comparison: it runs for every page of a buffer.
 *
 * @category guards
 * @since 0.1.0
 */
export const isGrantRef = (word: number): word is GrantRef => word >= minimum && word <= maximum

/**
 * A grant of a peer's: the domain that granted, and the reference in that domain's table.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Grant = Schema.Struct({
  /** The domain that granted. */
  peer: DomainId,
  /** The reference in its table. */
  ref: GrantRef
})

/**
 * A grant of a peer's.
 *
 * @category models
 * @since 0.1.0
 */
export type Grant = typeof Grant.Type
