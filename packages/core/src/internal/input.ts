import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Access } from "../Access.ts"
import * as DomainId from "../DomainId.ts"
import * as GrantRef from "../GrantRef.ts"
import { NodeAccess } from "../NodePermissions.ts"
import * as Page from "../Page.ts"
import * as Port from "../Port.ts"
import { type InvalidInput, invalidInput } from "../Reason.ts"
import * as StorePath from "../StorePath.ts"

/** The failure for an argument that is out of bounds. */
export const invalid = (argument: string, value: unknown, expected: string): Result.Result<never, InvalidInput> =>
  Result.fail(invalidInput(argument, value, expected))

/** The one way from a caller's value to a word of the field: its schema, and its bounds in words. */
const word = <A>(schema: Schema.Schema<A>, expected: string) => {
  const isWord = Schema.is(schema)
  return (argument: string, value: unknown): Result.Result<A, InvalidInput> =>
    isWord(value) ? Result.succeed(value) : invalid(argument, value, expected)
}

export const domainId = word(DomainId.DomainId, DomainId.expected)
export const grantRef = word(GrantRef.GrantRef, GrantRef.expected)
export const pageCount = word(Page.PageCount, Page.countExpected)
export const shareCount = word(Page.ShareCount, Page.shareExpected)
export const byteLength = word(Page.ByteLength, Page.lengthExpected)
export const port = word(Port.Port, Port.expected)
export const access = word(Access, `"read-write" or "read-only"`)

export const storePath = word(StorePath.StorePath, StorePath.expected)

/** What begins with @ is no node, but something to be watched. */
export const nodePath = (argument: string, value: string): Result.Result<StorePath.StorePath, InvalidInput> =>
  Result.flatMap(storePath(argument, value), (path) =>
    path.startsWith("@") ? invalid(argument, value, `${StorePath.expected}; what begins with @ can only be watched`)
      : Result.succeed(path))

export const nodeAccess = word(NodeAccess, `"none", "read", "write" or "both"`)
export const atLeastOne = word(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1)), "a whole number from 1 on")

/** Checks the offset of a byte to clear, in so many bytes. */
export const clearByte = (offset: number, length: number): Result.Result<number, InvalidInput> =>
  Number.isInteger(offset) && offset >= 0 && offset < length
    ? Result.succeed(offset)
    : invalid("clearByte", offset, `an offset in these bytes: a whole number from 0 to ${length - 1}`)
