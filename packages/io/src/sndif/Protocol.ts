/**
 * The messages of a sound card, as `xen/include/public/io/sndif.h` has them, versions 1 and 2 (which adds the query of
 * hardware parameters).
 *
 * Each message is a slot of 64 bytes. The schemas are for people and complete; the plain functions beside them do the same
 * for a driver, with nothing allocated but the message: give them a slot that was copied out of shared memory already.
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
export const type = "vsnd"

/**
 * The versions of the protocol that are spoken here, as a backend announces them.
 *
 * @category constants
 * @since 0.2.0
 */
export const versions: ReadonlyArray<number> = [1, 2]

/**
 * Bytes of a request, a response and an event.
 *
 * @category constants
 * @since 0.2.0
 */
export const messageSize = 64

/**
 * What a request asks for. HW_PARAM_QUERY is there from version 2 on.
 *
 * @category constants
 * @since 0.2.0
 */
export const operation = {
  OPEN: 0,
  CLOSE: 1,
  READ: 2,
  WRITE: 3,
  SET_VOLUME: 4,
  GET_VOLUME: 5,
  MUTE: 6,
  UNMUTE: 7,
  TRIGGER: 8,
  HW_PARAM_QUERY: 9
} as const

/**
 * What a trigger does to a stream.
 *
 * @category constants
 * @since 0.2.0
 */
export const trigger = { START: 0, PAUSE: 1, STOP: 2, RESUME: 3 } as const

/**
 * What an event tells: CUR_POS, how much was played or captured.
 *
 * @category constants
 * @since 0.2.0
 */
export const event = { CUR_POS: 0 } as const

const whole = (bits: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** bits - 1 }))
const u8 = whole(8)
const u16 = whole(16)
const u32 = whole(32)
const u64 = Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: 0n, maximum: 2n ** 64n - 1n }))
const s32 = Schema.Int.check(Schema.isBetween({ minimum: -(2 ** 31), maximum: 2 ** 31 - 1 }))

/**
 * A range of numbers, both ends in it.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Interval = Schema.Struct({
  /** The least, 32 bits. */
  min: u32,
  /** The most, 32 bits. */
  max: u32
})

/**
 * A range of numbers, both ends in it; none where `min` is bigger than `max`.
 *
 * @category models
 * @since 0.2.0
 */
export type Interval = typeof Interval.Type

/**
 * The parameters of hardware that a query leaves open: formats as bits (1 for format 0), the rest as ranges. A frame is
 * one sample of each channel.
 *
 * @category schemas
 * @since 0.2.0
 */
export const HwParams = Schema.Struct({
  /** 64 bits, of which `@xen-shbuf/io/sndif/SampleFormat` makes names. */
  formats: u64,
  /** In Hz. */
  rates: Interval,
  /** Samples of a frame. */
  channels: Interval,
  /** Frames of the buffer. */
  buffer: Interval,
  /** Frames of a period. */
  period: Interval
})

/**
 * The parameters of hardware that a query leaves open.
 *
 * @category models
 * @since 0.2.0
 */
export type HwParams = typeof HwParams.Type

/** What all requests have, and all responses. */
const numbered = {
  /** The frontend's own number for it, 16 bits; a request's is its response's, too. */
  id: u16
}

/** What all requests about a part of the buffer have. */
const part = {
  ...numbered,
  /** Bytes of the buffer before the part, 32 bits. */
  offset: u32,
  /** Bytes of the part, 32 bits. */
  length: u32
}

/** What an answer says first. */
const answered = {
  /** 0, or a number of `@xen-shbuf/io/XenErrno`, negated: 32 bits with a sign. */
  status: s32
}

/**
 * A request: any bytes are one. `id` is the frontend's own number, which the response repeats. Numbers are as they were
 * sent: a format may not exist, a part may lie outside of the buffer.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Request = Schema.TaggedUnion({
  /** Opens the stream with a buffer. */
  Open: {
    ...numbered,
    /** Frames a second, 32 bits. */
    rate: u32,
    /** The number of a format of samples, 8 bits. */
    format: u8,
    /** Samples of a frame, 8 bits. */
    channels: u8,
    /** Bytes of the buffer, 32 bits. */
    bufferSize: u32,
    /** Reference of the first page of the buffer's directory. */
    directory: u32,
    /** Bytes from one event of the position to the next, 32 bits; 0 asks for no events. */
    periodSize: u32
  },
  /** Closes the stream; the frontend waits for the answer before it frees the buffer. */
  Close: { ...numbered },
  /** Asks for what was recorded: the backend writes it in the part. */
  Read: part,
  /** Tells of samples to play: they lie in the part. */
  Write: part,
  /** Sets how loud each channel is: in the part are thousandths of dB, 32 bits with a sign each. */
  SetVolume: part,
  /** Asks how loud each channel is: the backend writes the same in the part. */
  GetVolume: part,
  /** Silences channels: in the part is a flag of 1 byte or 4 for each channel, not 0 where that is meant. */
  Mute: part,
  /** Lets channels be heard again: in the part are the same flags. */
  Unmute: part,
  /** Starts, pauses, stops or resumes the stream. */
  Trigger: {
    ...numbered,
    /** One of {@link trigger}, or what does not exist; 8 bits. */
    type: u8
  },
  /** Asks what the backend leaves of a choice of parameters. */
  HwParamQuery: {
    ...numbered,
    /** The choice. */
    params: HwParams
  },
  /** An operation that the protocol does not have. */
  Unknown: {
    ...numbered,
    /** The byte in the place of one of {@link operation}. */
    operation: Schema.Int.check(Schema.isBetween({ minimum: 10, maximum: 255 }))
  }
})

/**
 * A request.
 *
 * @category models
 * @since 0.2.0
 */
export type Request = typeof Request.Type

/** The tag of a request by its operation, for those that are about a part of the buffer. */
const parts = {
  [operation.READ]: "Read",
  [operation.WRITE]: "Write",
  [operation.SET_VOLUME]: "SetVolume",
  [operation.GET_VOLUME]: "GetVolume",
  [operation.MUTE]: "Mute",
  [operation.UNMUTE]: "Unmute"
} as const

/** Where the fields stand in a slot. */
const at = {
  id: 0,
  operation: 2,
  status: 4,
  open: { rate: 8, format: 12, channels: 13, bufferSize: 16, directory: 20, periodSize: 24 },
  part: { offset: 8, length: 12 },
  trigger: 8,
  hwParams: { formats: 8, rates: 16, channels: 24, buffer: 32, period: 40 },
  position: 8
} as const

const get16 = (slot: Uint8Array, offset: number) => slot[offset]! | slot[offset + 1]! << 8

const get32 = (slot: Uint8Array, offset: number) =>
  (slot[offset]! | slot[offset + 1]! << 8 | slot[offset + 2]! << 16 | slot[offset + 3]! << 24) >>> 0

const set16 = (slot: Uint8Array, offset: number, value: number) => {
  slot[offset] = value
  slot[offset + 1] = value >>> 8
}

const set32 = (slot: Uint8Array, offset: number, value: number) => {
  set16(slot, offset, value)
  set16(slot, offset + 2, value >>> 16)
}

const getInterval = (slot: Uint8Array, offset: number): Interval => ({
  min: get32(slot, offset),
  max: get32(slot, offset + 4)
})

const setInterval = (slot: Uint8Array, offset: number, { max, min }: Interval) => {
  set32(slot, offset, min)
  set32(slot, offset + 4, max)
}

const get64 = (slot: Uint8Array, offset: number): bigint =>
  BigInt(get32(slot, offset)) | BigInt(get32(slot, offset + 4)) << 32n

const set64 = (slot: Uint8Array, offset: number, value: bigint) => {
  set32(slot, offset, Number(value & 0xffff_ffffn))
  set32(slot, offset + 4, Number(value >> 32n))
}

const getHwParams = (slot: Uint8Array): HwParams => ({
  formats: get64(slot, at.hwParams.formats),
  rates: getInterval(slot, at.hwParams.rates),
  channels: getInterval(slot, at.hwParams.channels),
  buffer: getInterval(slot, at.hwParams.buffer),
  period: getInterval(slot, at.hwParams.period)
})

const setHwParams = (slot: Uint8Array, params: HwParams) => {
  set64(slot, at.hwParams.formats, params.formats)
  setInterval(slot, at.hwParams.rates, params.rates)
  setInterval(slot, at.hwParams.channels, params.channels)
  setInterval(slot, at.hwParams.buffer, params.buffer)
  setInterval(slot, at.hwParams.period, params.period)
}

/** A slot that is too short is a mistake of our own. */
const checked = (slot: Uint8Array) => {
  if (slot.length < messageSize) throw new RangeError(`A message has ${messageSize} bytes, not ${slot.length}`)
}

/**
 * The request in a slot of our own. Total: what is no operation is `Unknown`. Bytes that are reserved are passed over, as
 * Linux leaves old ones there.
 *
 * @category decoding
 * @since 0.2.0
 */
export const decodeRequest = (slot: Uint8Array): Request => {
  checked(slot)
  const id = get16(slot, at.id)
  const code = slot[at.operation]!
  switch (code) {
    case operation.OPEN:
      return {
        _tag: "Open",
        id,
        rate: get32(slot, at.open.rate),
        format: slot[at.open.format]!,
        channels: slot[at.open.channels]!,
        bufferSize: get32(slot, at.open.bufferSize),
        directory: get32(slot, at.open.directory),
        periodSize: get32(slot, at.open.periodSize)
      }
    case operation.CLOSE:
      return { _tag: "Close", id }
    case operation.READ:
    case operation.WRITE:
    case operation.SET_VOLUME:
    case operation.GET_VOLUME:
    case operation.MUTE:
    case operation.UNMUTE:
      return { _tag: parts[code], id, offset: get32(slot, at.part.offset), length: get32(slot, at.part.length) }
    case operation.TRIGGER:
      return { _tag: "Trigger", id, type: slot[at.trigger]! }
    case operation.HW_PARAM_QUERY:
      return { _tag: "HwParamQuery", id, params: getHwParams(slot) }
    default:
      return { _tag: "Unknown", id, operation: code }
  }
}

/** The operation of a request by its tag. */
const codes = {
  Open: operation.OPEN,
  Close: operation.CLOSE,
  Read: operation.READ,
  Write: operation.WRITE,
  SetVolume: operation.SET_VOLUME,
  GetVolume: operation.GET_VOLUME,
  Mute: operation.MUTE,
  Unmute: operation.UNMUTE,
  Trigger: operation.TRIGGER,
  HwParamQuery: operation.HW_PARAM_QUERY
} as const

/**
 * The number of a request's operation.
 *
 * @category conversions
 * @since 0.2.0
 */
export const operationOf = (request: Request): number =>
  request._tag === "Unknown" ? request.operation : codes[request._tag]

/**
 * Writes a request into a slot of our own, all of it: bytes that are reserved become 0.
 *
 * @category encoding
 * @since 0.2.0
 */
export const encodeRequest = (slot: Uint8Array, request: Request): void => {
  checked(slot)
  slot.fill(0, 0, messageSize)
  set16(slot, at.id, request.id)
  slot[at.operation] = operationOf(request)
  switch (request._tag) {
    case "Open":
      set32(slot, at.open.rate, request.rate)
      slot[at.open.format] = request.format
      slot[at.open.channels] = request.channels
      set32(slot, at.open.bufferSize, request.bufferSize)
      set32(slot, at.open.directory, request.directory)
      set32(slot, at.open.periodSize, request.periodSize)
      break
    case "Close":
    case "Unknown":
      break
    case "Trigger":
      slot[at.trigger] = request.type
      break
    case "HwParamQuery":
      setHwParams(slot, request.params)
      break
    default:
      set32(slot, at.part.offset, request.offset)
      set32(slot, at.part.length, request.length)
  }
}

/**
 * A response: `operation` and `id` are those of the request, `status` is 0 or an error, negated
 * (`@xen-shbuf/io/XenErrno`). `params` belong to HW_PARAM_QUERY.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Response = Schema.TaggedUnion({
  /** To all requests but queries. */
  Done: {
    ...numbered,
    /** The request's, one of {@link operation} as a rule; 8 bits. */
    operation: u8.check(Schema.makeFilter((code: number) => code !== operation.HW_PARAM_QUERY, {
      expected: "an operation that is no query"
    })),
    ...answered
  },
  /** To a query. */
  HwParams: {
    ...numbered,
    ...answered,
    /** What the backend leaves of the choice. */
    params: HwParams
  }
})

/**
 * A response.
 *
 * @category models
 * @since 0.2.0
 */
export type Response = typeof Response.Type

/**
 * The response in a slot of our own; total.
 *
 * @category decoding
 * @since 0.2.0
 */
export const decodeResponse = (slot: Uint8Array): Response => {
  checked(slot)
  const id = get16(slot, at.id)
  const code = slot[at.operation]!
  const status = get32(slot, at.status) | 0
  return code === operation.HW_PARAM_QUERY
    ? { _tag: "HwParams", id, status, params: getHwParams(slot) }
    : { _tag: "Done", id, operation: code, status }
}

/**
 * Writes a response into a slot of our own, all of it: bytes that are reserved become 0.
 *
 * @category encoding
 * @since 0.2.0
 */
export const encodeResponse = (slot: Uint8Array, response: Response): void => {
  checked(slot)
  slot.fill(0, 0, messageSize)
  set16(slot, at.id, response.id)
  slot[at.operation] = response._tag === "Done" ? response.operation : operation.HW_PARAM_QUERY
  set32(slot, at.status, response.status)
  if (response._tag === "HwParams") setHwParams(slot, response.params)
}

/** What all events have. */
const counted = {
  /** How many events the page had before, in 16 bits. */
  id: u16
}

/**
 * An event: how much was played or captured, in bytes. `id` counts the events of the page: Linux drops those that it does
 * not expect.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Event = Schema.TaggedUnion({
  /** How far the stream is. */
  CurrentPosition: {
    ...counted,
    /** Bytes played or captured so far, 64 bits. */
    position: u64
  },
  /** A type of event that the protocol does not have. */
  Unknown: {
    ...counted,
    /** The byte in the place of one of {@link event}. */
    type: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 255 }))
  }
})

/**
 * An event.
 *
 * @category models
 * @since 0.2.0
 */
export type Event = typeof Event.Type

/**
 * The event in a slot of our own; total.
 *
 * @category decoding
 * @since 0.2.0
 */
export const decodeEvent = (slot: Uint8Array): Event => {
  checked(slot)
  const id = get16(slot, at.id)
  const type = slot[at.operation]!
  return type === event.CUR_POS
    ? { _tag: "CurrentPosition", id, position: get64(slot, at.position) }
    : { _tag: "Unknown", id, type }
}

/**
 * Writes an event into a slot of our own, all of it: bytes that are reserved become 0.
 *
 * @category encoding
 * @since 0.2.0
 */
export const encodeEvent = (slot: Uint8Array, self: Event): void => {
  checked(slot)
  slot.fill(0, 0, messageSize)
  set16(slot, at.id, self.id)
  slot[at.operation] = self._tag === "Unknown" ? self.type : event.CUR_POS
  if (self._tag === "CurrentPosition") set64(slot, at.position, self.position)
}

/** A codec of whole slots from the plain functions. */
const fromBytes = <A>(
  schema: Schema.Codec<A>,
  decode: (slot: Uint8Array) => A,
  encode: (slot: Uint8Array, message: A) => void
): Schema.Codec<A, Uint8Array> =>
  Schema.Uint8Array.check(
    Schema.makeFilter((bytes: Uint8Array) => bytes.length === messageSize, { expected: `${messageSize} bytes` })
  ).pipe(Schema.decodeTo(
    schema,
    SchemaTransformation.transform<A, Uint8Array>({
      decode,
      encode: (message) => {
        const slot = new Uint8Array(messageSize)
        encode(slot, message)
        return slot
      }
    })
  ))

/**
 * The 64 bytes of a slot to its request and back.
 *
 * @category schemas
 * @since 0.2.0
 */
export const RequestFromBytes: Schema.Codec<Request, Uint8Array> = fromBytes(Request, decodeRequest, encodeRequest)

/**
 * The 64 bytes of a slot to its response and back.
 *
 * @category schemas
 * @since 0.2.0
 */
export const ResponseFromBytes: Schema.Codec<Response, Uint8Array> = fromBytes(Response, decodeResponse, encodeResponse)

/**
 * The 64 bytes of a slot to its event and back.
 *
 * @category schemas
 * @since 0.2.0
 */
export const EventFromBytes: Schema.Codec<Event, Uint8Array> = fromBytes(Event, decodeEvent, encodeEvent)
