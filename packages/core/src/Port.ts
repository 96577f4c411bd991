/**
 * Names one end of an event channel: a port of the domain that has it open.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"

/**
 * The bounds in words, as error messages say them.
 *
 * @category constants
 * @since 0.2.0
 */
export const expected = "a port of an event channel: a whole number from 1 to 4294967295"

/**
 * A port, 1 to 2^32 - 1: port 0 is never given out (`evtchn_port_t` in `xen/include/public/event_channel.h`).
 *
 * @category schemas
 * @since 0.2.0
 */
export const Port = Schema.Int.check(
  Schema.isBetween({ minimum: 1, maximum: 0xffff_ffff }, { expected })
).pipe(Schema.brand("Port"))

/**
 * A port.
 *
 * @category models
 * @since 0.2.0
 */
export type Port = typeof Port.Type
