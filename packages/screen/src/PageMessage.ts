/**
 * Reads what a page says about sound, which may be anything.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import type * as SoundWire from "./SoundWire.ts"

const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

/**
 * A message of a page, from its JSON.
 *
 * @category schemas
 * @since 0.2.0
 */
export const PageMessage: Schema.Codec<SoundWire.PageMessage, string> = Schema.fromJsonString(Schema.Union([
  Schema.Struct({ type: Schema.Literal("listen"), guest: upTo(0xffff) }),
  Schema.Struct({ type: Schema.Literal("heard"), sequence: upTo(0xffff_ffff) }),
  Schema.Struct({ type: Schema.Literal("clock"), asked: Schema.Finite })
]))
