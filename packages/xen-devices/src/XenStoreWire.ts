/**
 * Codes what goes between a domain and xenstore: `xen/include/public/io/xs_wire.h`.
 *
 * Pure: no transport, no state but a decoder's unfinished message. What comes in is bounded before anything is kept of
 * it, copied once, and checked.
 *
 * @since 0.2.0
 */

import * as DomainId from "@xen-shbuf/core/DomainId"
import type { NodeAccess, Permissions } from "@xen-shbuf/core/NodePermissions"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

/**
 * Bytes of a message's header.
 *
 * @category constants
 * @since 0.2.0
 */
export const headerSize = 16

/**
 * Bytes that a message's payload can have: `XENSTORE_PAYLOAD_MAX`.
 *
 * @category constants
 * @since 0.2.0
 */
export const payloadLimit = 4096

/**
 * The kinds of messages that are used here, by the protocol's numbers (`enum xsd_sockmsg_type`).
 *
 * @category constants
 * @since 0.2.0
 */
export const types = {
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  DIRECTORY_PART: 22
} as const

/**
 * The name of a kind of request.
 *
 * @category models
 * @since 0.2.0
 */
export type Request = Exclude<keyof typeof types, "WATCH_EVENT" | "ERROR">

/**
 * A message, in either direction. `payload` is its own copy.
 *
 * @category models
 * @since 0.2.0
 */
export interface Message {
  /** A number of {@link types}, or another one that a peer made up. */
  readonly type: number
  /** Chosen by who asks, repeated in the answer. Means nothing in a watch's event. */
  readonly request: number
  /** A transaction, or 0. */
  readonly transaction: number
  /** What it says. */
  readonly payload: Uint8Array
}

/**
 * The bytes of a message.
 *
 * @category encoding
 * @since 0.2.0
 */
export const encode = ({ payload, request, transaction, type }: Message): Uint8Array => {
  const bytes = new Uint8Array(headerSize + payload.length)
  putWord(bytes, 0, type)
  putWord(bytes, 4, request)
  putWord(bytes, 8, transaction)
  putWord(bytes, 12, payload.length)
  bytes.set(payload, headerSize)
  return bytes
}

const putWord = (bytes: Uint8Array, at: number, word: number) => {
  bytes[at] = word
  bytes[at + 1] = word >>> 8
  bytes[at + 2] = word >>> 16
  bytes[at + 3] = word >>> 24
}

const wordAt = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24) >>> 0

/**
 * Makes messages of bytes that come in pieces of any size.
 *
 * @category decoding
 * @since 0.2.0
 */
export interface Decoder {
  /**
   * Takes some more bytes, and hands over each message that is complete with them. Fails where a message is longer than
   * can be, in words: nothing that follows means anything then.
   */
  readonly feed: (bytes: Uint8Array, each: (message: Message) => void) => Result.Result<void, string>
}

const done: Result.Result<void, never> = Result.succeed(undefined)

/**
 * A decoder at the beginning of a message.
 *
 * @category decoding
 * @since 0.2.0
 */
export const decoder = (): Decoder => {
  const header = new Uint8Array(headerSize)
  let headed = 0
  /** Of the message whose header is complete. */
  let payload = new Uint8Array(0)
  let filled = 0
  return {
    feed: (bytes, each) => {
      let at = 0
      while (at < bytes.length) {
        if (headed < headerSize) {
          const piece = bytes.subarray(at, at + headerSize - headed)
          header.set(piece, headed)
          headed += piece.length
          at += piece.length
          if (headed < headerSize) break
          const length = wordAt(header, 12)
          if (length > payloadLimit) return Result.fail(`a message of ${length} bytes, and ${payloadLimit} can be`)
          payload = new Uint8Array(length)
          filled = 0
        }
        const piece = bytes.subarray(at, at + payload.length - filled)
        payload.set(piece, filled)
        filled += piece.length
        at += piece.length
        if (filled < payload.length) break
        headed = 0
        each({ type: wordAt(header, 0), request: wordAt(header, 4), transaction: wordAt(header, 8), payload })
      }
      return done
    }
  }
}

/**
 * A payload of strings, each with a NUL at its end. They are paths and the like: one byte a character.
 *
 * @category encoding
 * @since 0.2.0
 */
export const strings = (...all: ReadonlyArray<string>): Uint8Array => {
  let length = 0
  for (const one of all) length += one.length + 1
  const bytes = new Uint8Array(length)
  let at = 0
  for (const one of all) {
    for (let i = 0; i < one.length; i++) bytes[at + i] = one.charCodeAt(i)
    at += one.length + 1
  }
  return bytes
}

/**
 * The payload of a WRITE: the value has no NUL at its end.
 *
 * @category encoding
 * @since 0.2.0
 */
export const pathAndValue = (path: string, value: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(path.length + 1 + value.length)
  bytes.set(strings(path))
  bytes.set(value, path.length + 1)
  return bytes
}

/** The characters of bytes as they are, one each: what is not a name is refused later. */
const charactersOf = (bytes: Uint8Array): string => {
  let text = ""
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}

/** The strings of a payload. Fails without a NUL at the end, which each of them has. */
const stringsOf = (payload: Uint8Array): Result.Result<Array<string>, string> => {
  if (payload.length === 0) return Result.succeed([])
  if (payload[payload.length - 1] !== 0) return Result.fail("a list without an end")
  return Result.succeed(charactersOf(payload.subarray(0, -1)).split("\0"))
}

const name = /^[A-Za-z0-9\-_@]+$/

const namesOf = (all: ReadonlyArray<string>): Result.Result<ReadonlyArray<string>, string> =>
  all.every((one) => name.test(one)) ? Result.succeed(all) : Result.fail("a name that can't be one")

/**
 * The answer to DIRECTORY: the names of the nodes below one.
 *
 * @category decoding
 * @since 0.2.0
 */
export const names = (payload: Uint8Array): Result.Result<ReadonlyArray<string>, string> =>
  Result.flatMap(stringsOf(payload), namesOf)

/**
 * A part of a list of names, too long for one message.
 *
 * @category models
 * @since 0.2.0
 */
export interface Part {
  /** Changes whenever the node does: parts of different ones don't belong together. */
  readonly generation: string
  /** Names of nodes. */
  readonly names: ReadonlyArray<string>
  /** Bytes by which the next part begins later than this one. */
  readonly byteLength: number
  /** Whether no part comes after it. */
  readonly isLast: boolean
}

/**
 * The answer to DIRECTORY_PART. An empty name is the end of the whole list.
 *
 * @category decoding
 * @since 0.2.0
 */
export const part = (payload: Uint8Array): Result.Result<Part, string> =>
  Result.flatMap(stringsOf(payload), ([generation = "", ...listed]) => {
    const isLast = listed.at(-1) === ""
    const rest = isLast ? listed.slice(0, -1) : listed
    if (!isLast && rest.length === 0) return Result.fail("a part of a list without a name")
    const byteLength = rest.reduce((sum, { length }) => sum + length + 1, 0)
    return Result.map(namesOf(rest), (names) => ({ generation, names, byteLength, isLast }))
  })

const number = /^(?:0|[1-9][0-9]{0,9})$/

/**
 * The answer to TRANSACTION_START: the transaction's number, which is not 0.
 *
 * @category decoding
 * @since 0.2.0
 */
export const transactionId = (payload: Uint8Array): Result.Result<number, string> =>
  Result.flatMap(stringsOf(payload), ([text = "", ...more]) => {
    const id = number.test(text) ? Number(text) : 0
    return id > 0 && id <= 0xffff_ffff && more.length === 0
      ? Result.succeed(id)
      : Result.fail("a transaction without a number")
  })

const letters: Readonly<Record<NodeAccess, string>> = { none: "n", read: "r", write: "w", both: "b" }
const accesses = new Map(Object.entries(letters).map(([access, letter]) => [letter, access as NodeAccess]))

/**
 * Permissions as strings: the owner's first, with what all others may do.
 *
 * @category encoding
 * @since 0.2.0
 */
export const permissionStrings = ({ domains, others, owner }: Permissions): ReadonlyArray<string> => [
  `${letters[others]}${owner}`,
  ...domains.map(({ access, domain }) => `${letters[access]}${domain}`)
]

const isDomainId = Schema.is(DomainId.DomainId)

/** `n0` and the like. */
const permission = (text: string): Result.Result<Permissions["domains"][number], string> => {
  const access = accesses.get(text.slice(0, 1))
  const domain = number.test(text.slice(1)) ? Number(text.slice(1)) : -1
  return access !== undefined && isDomainId(domain)
    ? Result.succeed({ access, domain })
    : Result.fail("permissions that can't be")
}

/**
 * The answer to GET_PERMS.
 *
 * @category decoding
 * @since 0.2.0
 */
export const permissions = (payload: Uint8Array): Result.Result<Permissions, string> =>
  Result.flatMap(stringsOf(payload), (texts) =>
    Result.flatMap(Result.all(texts.map(permission)), ([first, ...domains]) =>
      first === undefined
        ? Result.fail("permissions without an owner")
        : Result.succeed({ owner: first.domain, others: first.access, domains })))

/**
 * What a watch tells.
 *
 * @category models
 * @since 0.2.0
 */
export interface WatchEvent {
  /** What may have changed; as xenstore writes it, so it is to be compared with what is watched. */
  readonly path: string
  /** Who asked for it. */
  readonly token: string
}

/**
 * A watch's event.
 *
 * @category decoding
 * @since 0.2.0
 */
export const watchEvent = (payload: Uint8Array): Result.Result<WatchEvent, string> =>
  Result.flatMap(stringsOf(payload), ([path = "", token, ...more]) =>
    token === undefined || more.length > 0 ? Result.fail("an event that is none") : Result.succeed({ path, token }))

const errorName = /^[A-Z][A-Z0-9]{1,31}$/

/**
 * The errno's name in an ERROR; `EIO` for one that can't be.
 *
 * @category decoding
 * @since 0.2.0
 */
export const error = (payload: Uint8Array): string =>
  Result.match(stringsOf(payload), {
    onFailure: () => "EIO",
    onSuccess: ([text = ""]) => errorName.test(text) ? text : "EIO"
  })
