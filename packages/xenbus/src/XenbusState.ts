/**
 * Names the states that the two halves of a device go through (`enum xenbus_state` in `xen/include/public/io/xenbus.h`).
 *
 * A frontend begins with Initialising, a backend answers InitWait; the frontend publishes what it shares and says
 * Initialised, the backend has joined and says Connected, and so does the frontend. Either one ends it by Closing, then
 * Closed; a frontend that begins anew goes back to Initialising.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

/**
 * The names of the states, each at the place of its number.
 *
 * @category constants
 * @since 0.2.0
 */
export const names = [
  "Unknown",
  "Initialising",
  "InitWait",
  "Initialised",
  "Connected",
  "Closing",
  "Closed",
  "Reconfiguring",
  "Reconfigured"
] as const

/**
 * A state.
 *
 * @category schemas
 * @since 0.2.0
 */
export const XenbusState = Schema.Literals(names)

/**
 * A state.
 *
 * @category models
 * @since 0.2.0
 */
export type XenbusState = typeof XenbusState.Type

/**
 * The number of a state: 0 for Unknown to 8 for Reconfigured.
 *
 * @category conversions
 * @since 0.2.0
 */
export const toNumber = (state: XenbusState): number => names.indexOf(state)

const digit = /^[0-8]$/

/**
 * A state as xenstore's nodes have it: its number, one digit, nothing before or after it.
 *
 * @category schemas
 * @since 0.2.0
 */
export const FromValue: Schema.Codec<XenbusState, string> = Schema.String.check(
  Schema.makeFilter((text: string) => digit.test(text), { expected: "the number of a state, from 0 to 8" })
).pipe(Schema.decodeTo(
  XenbusState,
  SchemaTransformation.transform<XenbusState, string>({
    decode: (text) => names[Number(text)]!,
    encode: (state) => String(toNumber(state))
  })
))
