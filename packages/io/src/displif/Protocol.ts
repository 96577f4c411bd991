/**
 * The messages of a display, as `xen/include/public/io/displif.h` has them, versions 1 and 2: requests of a frontend,
 * responses and events of a backend, 64 bytes each, and what both write in xenstore.
 *
 * Each message has a schema from its bytes and back, for people and for tests, and a plain function for a driver that has
 * copied a slot out of the ring: it never fails, what it does not know is a message of its own. Reserved bytes are not
 * looked at, as Linux leaves old bytes in them, and written as zeros.
 *
 * Cookies are numbers that the frontend chooses. Linux takes addresses of its kernel's for them: don't log them.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

/**
 * The device's type: the name of its folders in xenstore.
 *
 * @category constants
 * @since 0.2.0
 */
export const type = "vdispl"

/**
 * Bytes of a request, a response and an event.
 *
 * @category constants
 * @since 0.2.0
 */
export const messageSize = 64

/**
 * A version of the protocol. The second one has `dataOffset` and `GetEdid`.
 *
 * @category models
 * @since 0.2.0
 */
export type Version = 1 | 2

/**
 * What a backend writes in its node `versions`.
 *
 * @category constants
 * @since 0.2.0
 */
export const versions = "1,2"

/**
 * What a request asks for, as its byte `operation`. 0 to 15 are reserved.
 *
 * @category constants
 * @since 0.2.0
 */
export const operation = {
  DbufCreate: 0x10,
  DbufDestroy: 0x11,
  FbAttach: 0x12,
  FbDetach: 0x13,
  SetConfig: 0x14,
  PgFlip: 0x15,
  GetEdid: 0x16
} as const

/**
 * The flag of a `DbufCreate` that asks the backend to allocate the buffer. There is no other.
 *
 * @category constants
 * @since 0.2.0
 */
export const requestAlloc = 1

/**
 * The most bytes of an EDID, and the fewest that a frontend's buffer for one has.
 *
 * @category constants
 * @since 0.2.0
 */
export const edidMaxSize = 128 * 256

const whole = (bits: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** bits - 1 }))
const Uint8 = whole(8)
const Uint16 = whole(16)
const Uint32 = whole(32)
const Int32 = Schema.Int.check(Schema.isBetween({ minimum: -(2 ** 31), maximum: 2 ** 31 - 1 }))

/**
 * A frontend's name for a dumb buffer or a framebuffer of its own, 64 bits. 0 is none.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Cookie = Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: 0n, maximum: 2n ** 64n - 1n }))

const known: ReadonlySet<number> = new Set(Object.values(operation))

/** What all requests have. */
const numbered = {
  /** The frontend's own number for it, 16 bits, which the response repeats. */
  id: Uint16
}

/**
 * What a frontend asks for. All but `SetConfig`, `PgFlip` and `GetEdid` come through the ring of connector 0.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Request = Schema.TaggedUnion({
  /** A dumb buffer, of pages of the frontend's or, with `requestAlloc` among `flags`, of the backend's. */
  DbufCreate: {
    ...numbered,
    /** The name of the new buffer: not 0, and that of no other buffer of the frontend's. */
    dbufCookie: Cookie,
    /** Pixels; `width`, `height` and `bpp` are 0 for a buffer that comes from another driver (PRIME). */
    width: Uint32,
    /** Lines. */
    height: Uint32,
    /** Bits of a pixel. */
    bpp: Uint32,
    /** Bytes, not always whole pages. */
    bufferSize: Uint32,
    /** Bits: {@link requestAlloc}, or none. Linux may leave others of an older request in them. */
    flags: Uint32,
    /** Reference of the first page of the directory. */
    directory: Uint32,
    /** Bytes in the buffer before the first pixel. Always 0 in version 1. */
    dataOffset: Uint32
  },
  /** The frontend has done with a buffer, and waits for the answer before it frees the pages. */
  DbufDestroy: {
    ...numbered,
    /** The buffer. */
    dbufCookie: Cookie
  },
  /** A framebuffer: how to look at a dumb buffer. */
  FbAttach: {
    ...numbered,
    /** The buffer that its pixels are in. */
    dbufCookie: Cookie,
    /** The name of the new framebuffer: not 0, and that of no other framebuffer of the frontend's. */
    fbCookie: Cookie,
    /** Pixels of a line. */
    width: Uint32,
    /** Lines. */
    height: Uint32,
    /** A FOURCC code, as `@xen-shbuf/io/displif/PixelFormat` knows them. */
    pixelFormat: Uint32
  },
  /** The frontend has done with a framebuffer; the buffer stays. */
  FbDetach: {
    ...numbered,
    /** The framebuffer. */
    fbCookie: Cookie
  },
  /** What the connector is to show, and where. All zero turns it off. */
  SetConfig: {
    ...numbered,
    /** The framebuffer to show. */
    fbCookie: Cookie,
    /** Pixels between the left edges of the connector and of what it shows; Linux counts from the framebuffer's. */
    x: Uint32,
    /** Lines between the upper edges of the same. */
    y: Uint32,
    /** Pixels of a line that are shown. */
    width: Uint32,
    /** Lines that are shown. */
    height: Uint32,
    /** Bits of a pixel. */
    bpp: Uint32
  },
  /** Show this framebuffer, then send the event. */
  PgFlip: {
    ...numbered,
    /** The framebuffer to show in place of the one before. */
    fbCookie: Cookie
  },
  /** Write the connector's EDID in this buffer of at least {@link edidMaxSize} bytes. Version 2. */
  GetEdid: {
    ...numbered,
    /** Bytes of the buffer. */
    bufferSize: Uint32,
    /** Reference of the first page of the buffer's directory. */
    directory: Uint32
  },
  /** An operation that the version does not have; for the answer. */
  Unknown: {
    ...numbered,
    /** The byte in the place of one of {@link operation}. */
    operation: Uint8
  }
})

/**
 * What a frontend asks for.
 *
 * @category models
 * @since 0.2.0
 */
export type Request = typeof Request.Type

/**
 * A backend's answer to one request.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Response = Schema.Struct({
  /** The request's. */
  id: Uint16,
  /** The request's, one of {@link operation} as a rule. */
  operation: Uint8,
  /** 0, or a number of `@xen-shbuf/io/XenErrno`, negated. */
  status: Int32,
  /** Bytes of the EDID that was written; 0 in the answer to anything but `GetEdid`. */
  edidSize: Uint32
})

/**
 * A backend's answer to one request.
 *
 * @category models
 * @since 0.2.0
 */
export type Response = typeof Response.Type

/**
 * What a backend says unasked, through the connector's event page.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Event = Schema.TaggedUnion({
  /** A page flip is complete: the framebuffer that was shown before is the frontend's to draw in. */
  PgFlip: {
    /** How many events the page had before, in 16 bits: Linux ignores an event with any other. */
    id: Uint16,
    /** The framebuffer that is shown now: the one of the request. */
    fbCookie: Cookie
  },
  /** A type of event that the protocol does not have. */
  Unknown: {
    /** How many events the page had before, in 16 bits. */
    id: Uint16,
    /** The byte that tells types apart; 0 is that of page flips. */
    type: Uint8
  }
})

/**
 * What a backend says unasked.
 *
 * @category models
 * @since 0.2.0
 */
export type Event = typeof Event.Type

const viewOf = ({ buffer, byteLength, byteOffset }: Uint8Array) => new DataView(buffer, byteOffset, byteLength)

/** A 32-bit word at a multiple of four. */
const wordOf = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24) >>> 0

const cookieOf = (bytes: Uint8Array, at: number): bigint =>
  BigInt(wordOf(bytes, at)) | BigInt(wordOf(bytes, at + 4)) << 32n

const checkSize = (bytes: Uint8Array) => {
  if (bytes.length < messageSize) throw new RangeError(`A message has ${messageSize} bytes, not ${bytes.length}`)
}

/**
 * The request in a slot that was copied, in the form of a version. Throws a RangeError for an array of less than 64 bytes.
 *
 * @category conversions
 * @since 0.2.0
 */
export const decodeRequest = (slot: Uint8Array, version: Version = 2): Request => {
  checkSize(slot)
  const id = slot[0]! | slot[1]! << 8
  const code = slot[2]!
  switch (code) {
    case operation.PgFlip:
      return { _tag: "PgFlip", id, fbCookie: cookieOf(slot, 8) }
    case operation.DbufCreate:
      return {
        _tag: "DbufCreate",
        id,
        dbufCookie: cookieOf(slot, 8),
        width: wordOf(slot, 16),
        height: wordOf(slot, 20),
        bpp: wordOf(slot, 24),
        bufferSize: wordOf(slot, 28),
        flags: wordOf(slot, 32),
        directory: wordOf(slot, 36),
        dataOffset: version === 1 ? 0 : wordOf(slot, 40)
      }
    case operation.DbufDestroy:
      return { _tag: "DbufDestroy", id, dbufCookie: cookieOf(slot, 8) }
    case operation.FbAttach:
      return {
        _tag: "FbAttach",
        id,
        dbufCookie: cookieOf(slot, 8),
        fbCookie: cookieOf(slot, 16),
        width: wordOf(slot, 24),
        height: wordOf(slot, 28),
        pixelFormat: wordOf(slot, 32)
      }
    case operation.FbDetach:
      return { _tag: "FbDetach", id, fbCookie: cookieOf(slot, 8) }
    case operation.SetConfig:
      return {
        _tag: "SetConfig",
        id,
        fbCookie: cookieOf(slot, 8),
        x: wordOf(slot, 16),
        y: wordOf(slot, 20),
        width: wordOf(slot, 24),
        height: wordOf(slot, 28),
        bpp: wordOf(slot, 32)
      }
    case operation.GetEdid:
      if (version === 1) break
      return { _tag: "GetEdid", id, bufferSize: wordOf(slot, 8), directory: wordOf(slot, 12) }
  }
  return { _tag: "Unknown", id, operation: code }
}

/** The operation's code of a request. */
const codeOf = (request: Request): number =>
  request._tag === "Unknown" ? request.operation : operation[request._tag]

/**
 * The 64 bytes of a request, all that is reserved as zeros.
 *
 * @category conversions
 * @since 0.2.0
 */
export const encodeRequest = (request: Request): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(messageSize)
  const view = viewOf(bytes)
  view.setUint16(0, request.id, true)
  view.setUint8(2, codeOf(request))
  const words = (from: number, ...values: ReadonlyArray<number>) =>
    values.forEach((value, i) => view.setUint32(from + 4 * i, value, true))
  switch (request._tag) {
    case "DbufCreate": {
      const { bpp, bufferSize, dataOffset, directory, flags, height, width } = request
      view.setBigUint64(8, request.dbufCookie, true)
      words(16, width, height, bpp, bufferSize, flags, directory, dataOffset)
      break
    }
    case "DbufDestroy":
      view.setBigUint64(8, request.dbufCookie, true)
      break
    case "FbAttach":
      view.setBigUint64(8, request.dbufCookie, true)
      view.setBigUint64(16, request.fbCookie, true)
      words(24, request.width, request.height, request.pixelFormat)
      break
    case "FbDetach":
    case "PgFlip":
      view.setBigUint64(8, request.fbCookie, true)
      break
    case "SetConfig":
      view.setBigUint64(8, request.fbCookie, true)
      words(16, request.x, request.y, request.width, request.height, request.bpp)
      break
    case "GetEdid":
      words(8, request.bufferSize, request.directory)
      break
  }
  return bytes
}

/**
 * The response in a slot that was copied. Throws a RangeError for an array of less than 64 bytes.
 *
 * @category conversions
 * @since 0.2.0
 */
export const decodeResponse = (slot: Uint8Array): Response => {
  checkSize(slot)
  return {
    id: slot[0]! | slot[1]! << 8,
    operation: slot[2]!,
    status: wordOf(slot, 4) | 0,
    edidSize: wordOf(slot, 8)
  }
}

/**
 * The 64 bytes of a response, all that is reserved as zeros.
 *
 * @category conversions
 * @since 0.2.0
 */
export const encodeResponse = ({ edidSize, id, operation, status }: Response): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(messageSize)
  const view = viewOf(bytes)
  view.setUint16(0, id, true)
  view.setUint8(2, operation)
  view.setInt32(4, status, true)
  view.setUint32(8, edidSize, true)
  return bytes
}

/** The only type of event. */
const pgFlip = 0

/**
 * The event in a place that was copied. Throws a RangeError for an array of less than 64 bytes.
 *
 * @category conversions
 * @since 0.2.0
 */
export const decodeEvent = (slot: Uint8Array): Event => {
  checkSize(slot)
  const id = slot[0]! | slot[1]! << 8
  const type = slot[2]!
  return type === pgFlip ? { _tag: "PgFlip", id, fbCookie: cookieOf(slot, 8) } : { _tag: "Unknown", id, type }
}

/**
 * The 64 bytes of an event, all that is reserved as zeros.
 *
 * @category conversions
 * @since 0.2.0
 */
export const encodeEvent = (event: Event): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(messageSize)
  const view = viewOf(bytes)
  view.setUint16(0, event.id, true)
  if (event._tag === "PgFlip") view.setBigUint64(8, event.fbCookie, true)
  else view.setUint8(2, event.type)
  return bytes
}

const MessageBytes = Schema.Uint8Array.check(
  Schema.makeFilter((bytes: Uint8Array) => bytes.length === messageSize, { expected: `${messageSize} bytes` })
)

/**
 * The 64 bytes of a request of version 2 as a value, and back.
 *
 * @category schemas
 * @since 0.2.0
 */
export const RequestFromBytes: Schema.Codec<Request, Uint8Array> = MessageBytes.pipe(Schema.decodeTo(
  // What is unknown has none of the codes that are known: each message has one form.
  Request.check(Schema.makeFilter((request: Request) => request._tag !== "Unknown" || !known.has(request.operation), {
    expected: "an operation by its own name"
  })),
  SchemaTransformation.transform<Request, Uint8Array>({ decode: (bytes) => decodeRequest(bytes), encode: encodeRequest })
))

/**
 * The 64 bytes of a response as a value, and back.
 *
 * @category schemas
 * @since 0.2.0
 */
export const ResponseFromBytes: Schema.Codec<Response, Uint8Array> = MessageBytes.pipe(Schema.decodeTo(
  Response,
  SchemaTransformation.transform<Response, Uint8Array>({ decode: decodeResponse, encode: encodeResponse })
))

/**
 * The 64 bytes of an event as a value, and back.
 *
 * @category schemas
 * @since 0.2.0
 */
export const EventFromBytes: Schema.Codec<Event, Uint8Array> = MessageBytes.pipe(Schema.decodeTo(
  Event.check(Schema.makeFilter((event: Event) => event._tag !== "Unknown" || event.type !== pgFlip, {
    expected: "an event by its own name"
  })),
  SchemaTransformation.transform<Event, Uint8Array>({ decode: decodeEvent, encode: encodeEvent })
))

/**
 * The pixels that a connector shows.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Resolution = Schema.Struct({
  /** Pixels of a line. */
  width: Uint32,
  /** Lines. */
  height: Uint32
})

/**
 * The pixels that a connector shows.
 *
 * @category models
 * @since 0.2.0
 */
export type Resolution = typeof Resolution.Type

const resolutionText = /^(?:0|[1-9][0-9]{0,9})x(?:0|[1-9][0-9]{0,9})$/

/**
 * The value of a connector's node `resolution`, such as `1920x1080`.
 *
 * @category schemas
 * @since 0.2.0
 */
export const ResolutionFromText: Schema.Codec<Resolution, string> = Schema.String.check(
  Schema.makeFilter((text: string) => resolutionText.test(text), { expected: "pixels, such as 1920x1080" })
).pipe(Schema.decodeTo(
  Resolution,
  SchemaTransformation.transform<Resolution, string>({
    decode: (text) => {
      const [width, height] = text.split("x").map(Number)
      return { width: width!, height: height! }
    },
    encode: ({ height, width }) => `${width}x${height}`
  })
))

/**
 * The value of a frontend's node `version`.
 *
 * @category schemas
 * @since 0.2.0
 */
export const VersionFromText: Schema.Codec<Version, string> = Schema.Literals(["1", "2"]).pipe(Schema.decodeTo(
  Schema.Literals([1, 2]),
  SchemaTransformation.transform<Version, "1" | "2">({
    decode: (text) => text === "1" ? 1 : 2,
    encode: (version) => version === 1 ? "1" : "2"
  })
))

/**
 * The names of nodes. The frontend's connectors are folders named `0`, `1` and so on, without a gap.
 *
 * @category constants
 * @since 0.2.0
 */
export const node = {
  /** Of the backend: {@link versions}. */
  versions: "versions",
  /** Of the frontend: the version that it has chosen. Linux writes none, and means 2. */
  version: "version",
  /** Of the frontend, by the toolstack: `1` where the backend may be asked to allocate. */
  beAlloc: "be-alloc",
  /** Of a connector, by the toolstack. */
  resolution: "resolution",
  uniqueId: "unique-id",
  /** Of a connector, by the frontend. */
  requestRing: "req-ring-ref",
  requestPort: "req-event-channel",
  eventPage: "evt-ring-ref",
  eventPort: "evt-event-channel"
} as const
