import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { GrantTableError, InvalidInput } from "../GrantTableError.ts"

type Operation = GrantTableError["operation"]

const text = (value: unknown): string => typeof value === "string" ? JSON.stringify(value) : String(value)

/** The error for an argument that is out of bounds. */
export const invalid = (operation: Operation, argument: string, value: unknown, expected: string): GrantTableError =>
  new GrantTableError({ operation, reason: new InvalidInput({ argument, value: text(value), expected }) })

/** The one way from a caller's number to a word of the field: through its schema. */
export const word = <A>(
  operation: Operation,
  argument: string,
  schema: Schema.Codec<A, number>,
  expected: string,
  value: unknown
): Effect.Effect<A, GrantTableError> => {
  const decoded = Schema.decodeUnknownResult(schema)(value)
  return Result.isSuccess(decoded) ? Effect.succeed(decoded.success) : Effect.fail(invalid(operation, argument, value, expected))
}

/** Checks an offset in so many bytes. */
export const byteOffset = (offset: number, byteLength: number): Effect.Effect<void, GrantTableError> =>
  Number.isInteger(offset) && offset >= 0 && offset < byteLength
    ? Effect.void
    : Effect.fail(
      invalid("unmapNotify", "clearByte", offset, `an offset in these bytes: a whole number from 0 to ${byteLength - 1}`)
    )
