import * as Schema from "effect/Schema"
import * as DomainId from "../DomainId.ts"
import * as GrantRef from "../GrantRef.ts"
import { type Access, GrantTableError, InvalidInput } from "../GrantTableError.ts"
import * as Page from "../Page.ts"

type Operation = GrantTableError["operation"]

const text = (value: unknown): string => typeof value === "string" ? JSON.stringify(value) : String(value)

/** The error for an argument that is out of bounds. */
export const invalid = (operation: Operation, argument: string, value: unknown, expected: string): GrantTableError =>
  new GrantTableError({ operation, reason: new InvalidInput({ argument, value: text(value), expected }) })

/** What is wrong with an argument, if anything: join the checks of several by `??`. */
type Check<A> = (operation: Operation, argument: string, value: A) => GrantTableError | undefined

/** The one way from a caller's number to a word of the field: its schema, and its bounds in words. */
const word = (schema: Schema.Codec<number>, expected: string): Check<number> => {
  const isWord = Schema.is(schema)
  return (operation, argument, value) => isWord(value) ? undefined : invalid(operation, argument, value, expected)
}

export const domainId = word(DomainId.DomainId, DomainId.expected)
export const grantRef = word(GrantRef.GrantRef, GrantRef.expected)
export const pageCount = word(Page.PageCount, Page.countExpected)
export const shareCount = word(Page.ShareCount, Page.shareExpected)
export const byteLength = word(Page.ByteLength, Page.lengthExpected)

export const access: Check<Access> = (operation, argument, value) =>
  value === "read-write" || value === "read-only"
    ? undefined
    : invalid(operation, argument, value, `"read-write" or "read-only"`)

/** Checks an offset in so many bytes. */
export const byteOffset = (offset: number, length: number): GrantTableError | undefined =>
  Number.isInteger(offset) && offset >= 0 && offset < length
    ? undefined
    : invalid("unmapNotify", "clearByte", offset, `an offset in these bytes: a whole number from 0 to ${length - 1}`)
