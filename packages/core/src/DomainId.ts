/**
 * Names a Xen domain.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The largest ordinary domain id, 0x7FEF: 0x7FF0 (`DOMID_SELF`) and above have special meanings
 * (`xen/include/public/xen.h`) and never name a peer.
 *
 * @category constants
 * @since 0.1.0
 */
export const maximum = 0x7fef

/**
 * The bounds in words, as error messages say them.
 *
 * @category constants
 * @since 0.1.0
 */
export const expected = "a domain id: a whole number from 0 to 32751 (0x7FEF)"

/**
 * The id of an ordinary domain: a whole number from 0 (dom0) to 0x7FEF.
 *
 * @category schemas
 * @since 0.1.0
 */
export const DomainId = Schema.Int.check(
  Schema.isBetween({ minimum: 0, maximum }, { expected })
).pipe(Schema.brand("DomainId"))

/**
 * The id of an ordinary domain.
 *
 * @category models
 * @since 0.1.0
 */
export type DomainId = typeof DomainId.Type
