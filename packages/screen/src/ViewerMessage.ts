/**
 * Reads what a page says, which may be anything.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import * as Wire from "./Wire.ts"

const place = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 }))
const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
const message = <const T extends string, F extends Schema.Struct.Fields>(type: T, fields: F) =>
  Schema.Struct({ type: Schema.Literal(type), ...fields })

/** Keyboards have keys that no guest knows: those are no mistake. */
const Code = Schema.String.check(Schema.isMaxLength(32))

const Input = Schema.Union([
  message("key", { code: Code, down: Schema.Boolean }),
  message("pointer", { x: place, y: place }),
  message("button", { button: upTo(2), down: Schema.Boolean }),
  message("wheel", { steps: Schema.Int.check(Schema.isBetween({ minimum: -100, maximum: 100 })) }),
  message("touch", { finger: upTo(9), phase: Schema.Literals(["down", "move", "up"]), x: place, y: place })
])

/**
 * A message of a page, from its JSON.
 *
 * @category schemas
 * @since 0.2.0
 */
export const ViewerMessage: Schema.Codec<Wire.ViewerMessage, string> = Schema.fromJsonString(Schema.Union([
  message("watch", {
    screen: upTo(Number.MAX_SAFE_INTEGER),
    encodings: Schema.Array(Schema.Literals(Wire.encodings)).check(Schema.isMaxLength(8))
  }),
  message("shown", { sequence: upTo(0xffff_ffff) }),
  ...Input.members
]))
