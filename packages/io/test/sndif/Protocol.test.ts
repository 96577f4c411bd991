import { assert, describe, it } from "@effect/vitest"
import * as Protocol from "@xen-shbuf/io/sndif/Protocol"
import * as SampleFormat from "@xen-shbuf/io/sndif/SampleFormat"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import * as TestSchema from "effect/testing/TestSchema"
import * as Oracle from "../Oracle.ts"

const slot = Arbitrary.map(
  Arbitrary.array(Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))), {
    minLength: 64,
    maxLength: 64
  }),
  (bytes) => Uint8Array.from(bytes)
)

/** Operations that are known come as often as others. */
const requestSlot = Arbitrary.map(
  Arbitrary.all({ slot, code: Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 15 }))) }),
  ({ code, slot }) => {
    slot[2] = code
    return slot
  }
)

/** The fields of C's struct that stand for those of a message. */
const fields: { readonly [tag: string]: { readonly [field: string]: readonly [name: string, bits: number] } } = {
  Open: {
    rate: ["op.open.pcm_rate", 32],
    format: ["op.open.pcm_format", 8],
    channels: ["op.open.pcm_channels", 8],
    bufferSize: ["op.open.buffer_sz", 32],
    directory: ["op.open.gref_directory", 32],
    periodSize: ["op.open.period_sz", 32]
  },
  Close: {},
  Trigger: { type: ["op.trigger.type", 8] },
  ...Object.fromEntries(["Read", "Write", "SetVolume", "GetVolume", "Mute", "Unmute"].map((tag) => [
    tag,
    { offset: ["op.rw.offset", 32], length: ["op.rw.length", 32] }
  ]))
}

const operations: { readonly [tag: string]: string } = {
  Open: "OPEN",
  Close: "CLOSE",
  Read: "READ",
  Write: "WRITE",
  SetVolume: "SET_VOLUME",
  GetVolume: "GET_VOLUME",
  Mute: "MUTE",
  Unmute: "UNMUTE",
  Trigger: "TRIGGER",
  HwParamQuery: "HW_PARAM_QUERY"
}

const writeParams = (view: DataView, struct: string, union: string, params: Protocol.HwParams) => {
  const at = (field: string) => Oracle.offset(struct, `${union}.hw_param.${field}`)
  view.setBigUint64(at("formats"), params.formats, true)
  for (const name of ["rates", "channels", "buffer", "period"] as const) {
    for (const end of ["min", "max"] as const) view.setUint32(at(`${name}.${end}`), params[name][end], true)
  }
}

/** The bytes of a request by the offsets of the C compiler. */
const inC = (request: Exclude<Protocol.Request, { readonly _tag: "Unknown" }>): Uint8Array => {
  const view = new DataView(new ArrayBuffer(Oracle.size("struct xensnd_req")))
  view.setUint16(Oracle.offset("xensnd_req", "id"), request.id, true)
  view.setUint8(Oracle.offset("xensnd_req", "operation"), Oracle.of(`XENSND_OP_${operations[request._tag]}`))
  if (request._tag === "HwParamQuery") writeParams(view, "xensnd_req", "op", request.params)
  for (const [field, [name, bits]] of Object.entries(fields[request._tag] ?? {})) {
    const value = request[field as keyof typeof request] as number
    const at = Oracle.offset("xensnd_req", name)
    if (bits === 8) view.setUint8(at, value)
    else view.setUint32(at, value, true)
  }
  return new Uint8Array(view.buffer)
}

const encoded = <A>(encode: (slot: Uint8Array, message: A) => void, message: A): Uint8Array => {
  // What was there before must not get through.
  const slot = new Uint8Array(64).fill(0xee)
  encode(slot, message)
  return slot
}

describe("sndif/Protocol", () => {
  it("has the numbers of Xen's header", () => {
    for (const struct of ["xensnd_req", "xensnd_resp", "xensnd_evt"]) {
      assert.strictEqual(Protocol.messageSize, Oracle.size(`struct ${struct}`))
    }
    assert.strictEqual(Protocol.versions.at(-1), Oracle.of("XENSND_PROTOCOL_VERSION"))
    for (const [name, code] of Object.entries(Protocol.operation)) {
      assert.strictEqual(code, Oracle.of(`XENSND_OP_${name}`))
    }
    for (const [name, code] of Object.entries(Protocol.trigger)) {
      assert.strictEqual(code, Oracle.of(`XENSND_OP_TRIGGER_${name}`))
    }
    assert.strictEqual(Protocol.event.CUR_POS, Oracle.of("XENSND_EVT_CUR_POS"))
  })

  it("has all formats of Xen's header", () => {
    const inHeader = [...Oracle.names.keys()].filter((name) => name.startsWith("XENSND_PCM_FORMAT_"))
    assert.strictEqual(inHeader.length, SampleFormat.names.length)
    for (const name of SampleFormat.names) {
      const c = name.toUpperCase().replace("FLOAT64", "F64").replace("FLOAT", "F32")
      assert.strictEqual(SampleFormat.details[name].code, Oracle.of(`XENSND_PCM_FORMAT_${c}`), name)
      assert.strictEqual(SampleFormat.fromCode(SampleFormat.details[name].code), name)
    }
    assert.strictEqual(SampleFormat.fromCode(25), undefined)
    assert.strictEqual(SampleFormat.fromCode(255), undefined)
  })

  it.prop("a request's bytes are those of C, and become the request again", [Protocol.Request], ([request]) => {
    const bytes = encoded(Protocol.encodeRequest, request)
    if (request._tag !== "Unknown") assert.deepStrictEqual(bytes, inC(request))
    assert.deepStrictEqual(Protocol.decodeRequest(bytes), request)
    assert.strictEqual(Protocol.operationOf(request), bytes[2])
  })

  it.prop("any bytes are a request, which has one form", { slot: requestSlot }, ({ slot }) => {
    const request = Protocol.decodeRequest(slot)
    assert.deepStrictEqual(Protocol.decodeRequest(encoded(Protocol.encodeRequest, request)), request)
    assert.strictEqual(request._tag === "Unknown", slot[2]! > 9)
    assert.deepStrictEqual(Schema.decodeSync(Protocol.RequestFromBytes)(slot), request)
    assert.isTrue(Schema.is(Protocol.Request)(request))
  })

  it.prop("a response's bytes are those of C, and become the response again", [Protocol.Response], ([response]) => {
    const view = new DataView(new ArrayBuffer(64))
    const operation = response._tag === "Done" ? response.operation : Oracle.of("XENSND_OP_HW_PARAM_QUERY")
    view.setUint16(Oracle.offset("xensnd_resp", "id"), response.id, true)
    view.setUint8(Oracle.offset("xensnd_resp", "operation"), operation)
    view.setInt32(Oracle.offset("xensnd_resp", "status"), response.status, true)
    if (response._tag === "HwParams") writeParams(view, "xensnd_resp", "resp", response.params)
    const bytes = encoded(Protocol.encodeResponse, response)
    assert.deepStrictEqual(bytes, new Uint8Array(view.buffer))
    assert.deepStrictEqual(Protocol.decodeResponse(bytes), response)
  })

  it.prop("an event's bytes are those of C, and become the event again", [Protocol.Event], ([event]) => {
    const view = new DataView(new ArrayBuffer(64))
    view.setUint16(Oracle.offset("xensnd_evt", "id"), event.id, true)
    view.setUint8(Oracle.offset("xensnd_evt", "type"), event._tag === "Unknown" ? event.type : 0)
    if (event._tag === "CurrentPosition") {
      view.setBigUint64(Oracle.offset("xensnd_evt", "op.cur_pos.position"), event.position, true)
    }
    const bytes = encoded(Protocol.encodeEvent, event)
    assert.deepStrictEqual(bytes, new Uint8Array(view.buffer))
    assert.deepStrictEqual(Protocol.decodeEvent(bytes), event)
  })

  it.prop("any bytes are a response and an event", { slot }, ({ slot }) => {
    assert.deepStrictEqual(Schema.decodeSync(Protocol.ResponseFromBytes)(slot), Protocol.decodeResponse(slot))
    assert.deepStrictEqual(Schema.decodeSync(Protocol.EventFromBytes)(slot), Protocol.decodeEvent(slot))
  })

  it("takes what Linux's driver writes, old bytes in reserved places included", () => {
    // OPEN of 48 kHz, S16_LE, two channels, a buffer of 32 KiB and a period of 8 KiB.
    const bytes = Uint8Array.from([
      ...[0, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0xbb, 0, 0, 2, 2, 0xaa, 0xaa],
      ...[0, 0x80, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0],
      ...Array.from({ length: 36 }, () => 0xaa)
    ])
    assert.deepStrictEqual(Protocol.decodeRequest(bytes), {
      _tag: "Open",
      id: 0,
      rate: 48_000,
      format: SampleFormat.details.s16_le.code,
      channels: 2,
      bufferSize: 32_768,
      directory: 10,
      periodSize: 8192
    })
  })

  it("refuses what is too short", () => {
    for (const decode of [Protocol.decodeRequest, Protocol.decodeResponse, Protocol.decodeEvent]) {
      assert.throws(() => decode(new Uint8Array(63)), RangeError)
    }
    assert.throws(() => Schema.decodeSync(Protocol.RequestFromBytes)(new Uint8Array(65)), /64 bytes/)
  })

  for (const [name, codec] of Object.entries({
    RequestFromBytes: Protocol.RequestFromBytes,
    ResponseFromBytes: Protocol.ResponseFromBytes,
    EventFromBytes: Protocol.EventFromBytes
  })) {
    it.effect(`${name} gives what it was given`, () => new TestSchema.Asserts(codec as Schema.Codec<unknown, Uint8Array>).verifyRoundTripEffect({ runs: 200 }))
  }
})

describe("sndif/SampleFormat", () => {
  it.prop("masks and lists of formats are the same", [Schema.Array(SampleFormat.SampleFormat)], ([formats]) => {
    const listed = SampleFormat.names.filter((name) => formats.includes(name))
    assert.deepStrictEqual(SampleFormat.fromMask(SampleFormat.toMask(formats)), listed)
    assert.deepStrictEqual(Schema.decodeSync(SampleFormat.FromMask)(SampleFormat.toMask(formats) | 1n << 40n), listed)
  })

  it("silence is the middle of what a sample can be", () => {
    const value = (format: SampleFormat.SampleFormat) => {
      const view = new DataView(SampleFormat.silence(format, 8).buffer)
      const isLittle = format.endsWith("_le")
      switch (format.replace(/_[lb]e$/, "")) {
        case "u8":
          return view.getUint8(0) - 0x80
        case "u16":
          return view.getUint16(2, isLittle) - 0x8000
        case "u24":
          return (view.getUint32(4, isLittle) & 0xff_ffff) - 0x80_0000
        case "u32":
          return view.getUint32(4, isLittle) - 0x8000_0000
        case "float":
          return view.getFloat32(4, isLittle)
        case "float64":
          return view.getFloat64(0, isLittle)
        default:
          return view.getInt8(0)
      }
    }
    for (const format of SampleFormat.linear) {
      if (format !== "mu_law" && format !== "a_law") assert.strictEqual(value(format), 0, format)
    }
    assert.deepStrictEqual([...SampleFormat.silence("mu_law", 2), ...SampleFormat.silence("a_law", 2)], [255, 255, 213, 213])
  })

  it("knows which formats have whole bytes a sample", () => {
    assert.deepStrictEqual(SampleFormat.names.filter((name) => !SampleFormat.linear.includes(name)), ["ima_adpcm", "mpeg", "gsm"])
    assert.deepStrictEqual((["s8", "s16_be", "s24_le", "float_le", "float64_be", "a_law"] as const).map(SampleFormat.bytesOf), [1, 2, 4, 4, 8, 1])
  })
})
