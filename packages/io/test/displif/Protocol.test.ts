import { assert, describe, it } from "@effect/vitest"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import * as Protocol from "@xen-shbuf/io/displif/Protocol"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TestSchema from "effect/testing/TestSchema"
import { readFileSync } from "node:fs"
import * as Oracle from "../Oracle.ts"

/** What Linux's driver wrote on a real Xen. */
const kernel = readFileSync(new URL("../../../xenbus/test/fixtures/displif-requests.txt", import.meta.url), "utf8")
  .trim().split("\n").map((line) => {
    const [name, hex] = line.split(" ")
    return { name: name!, slot: new Uint8Array(Buffer.from(hex!, "hex")) }
  })

/** The C names of an operation and its fields. */
const structs: Record<string, { readonly member: string; readonly fields: Record<string, string> }> = {
  DbufCreate: {
    member: "dbuf_create",
    fields: {
      dbufCookie: "dbuf_cookie",
      width: "width",
      height: "height",
      bpp: "bpp",
      bufferSize: "buffer_sz",
      flags: "flags",
      directory: "gref_directory",
      dataOffset: "data_ofs"
    }
  },
  DbufDestroy: { member: "dbuf_destroy", fields: { dbufCookie: "dbuf_cookie" } },
  FbAttach: {
    member: "fb_attach",
    fields: {
      dbufCookie: "dbuf_cookie",
      fbCookie: "fb_cookie",
      width: "width",
      height: "height",
      pixelFormat: "pixel_format"
    }
  },
  FbDetach: { member: "fb_detach", fields: { fbCookie: "fb_cookie" } },
  SetConfig: {
    member: "set_config",
    fields: { fbCookie: "fb_cookie", x: "x", y: "y", width: "width", height: "height", bpp: "bpp" }
  },
  PgFlip: { member: "pg_flip", fields: { fbCookie: "fb_cookie" } },
  GetEdid: { member: "get_edid", fields: { bufferSize: "buffer_sz", directory: "gref_directory" } }
}

/** The bytes of a request by the offsets of the C compiler. */
const inC = (request: Protocol.Request): Uint8Array => {
  const view = new DataView(new ArrayBuffer(Oracle.size("struct xendispl_req")))
  view.setUint16(Oracle.offset("xendispl_req", "id"), request.id, true)
  const at = Oracle.offset("xendispl_req", "operation")
  if (request._tag === "Unknown") view.setUint8(at, request.operation)
  else {
    const { fields, member } = structs[request._tag]!
    view.setUint8(at, Oracle.of(`XENDISPL_OP_${member.toUpperCase()}`))
    for (const [field, name] of Object.entries(fields)) {
      const value = request[field as keyof typeof request] as number | bigint
      const offset = Oracle.offset("xendispl_req", `op.${member}.${name}`)
      if (typeof value === "bigint") view.setBigUint64(offset, value, true)
      else view.setUint32(offset, value, true)
    }
  }
  return new Uint8Array(view.buffer)
}

const slot = Arbitrary.map(
  Arbitrary.array(Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))), {
    minLength: 64,
    maxLength: 64
  }),
  (bytes) => Uint8Array.from(bytes)
)

/** Operations that are known come as often as others. */
const requestSlot = Arbitrary.map(
  Arbitrary.all({ slot, code: Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 31 }))) }),
  ({ code, slot }) => {
    slot[2] = code
    return slot
  }
)

describe("displif/Protocol", () => {
  it("has the numbers of Xen's header", () => {
    assert.strictEqual(Protocol.messageSize, Oracle.size("struct xendispl_req"))
    assert.strictEqual(Protocol.messageSize, Oracle.size("struct xendispl_resp"))
    assert.strictEqual(Protocol.messageSize, Oracle.size("struct xendispl_evt"))
    assert.strictEqual(Protocol.edidMaxSize, Oracle.of("XENDISPL_EDID_MAX_SIZE"))
    assert.strictEqual(Protocol.requestAlloc, Oracle.of("XENDISPL_DBUF_FLG_REQ_ALLOC"))
  })

  it.prop("a request's bytes are those of C, and become the request again", [Protocol.Request], ([request]) => {
    if (request._tag === "Unknown") return
    const bytes = Protocol.encodeRequest(request)
    assert.deepStrictEqual(bytes, inC(request))
    assert.deepStrictEqual(Protocol.decodeRequest(bytes), request)
  })

  it.prop("any bytes are a request, which has one form", { slot: requestSlot }, ({ slot }) => {
    const request = Protocol.decodeRequest(slot)
    assert.deepStrictEqual(Protocol.decodeRequest(Protocol.encodeRequest(request)), request)
    assert.strictEqual(request._tag === "Unknown", !Object.values<number>(Protocol.operation).includes(slot[2]!))
    assert.deepStrictEqual(Schema.decodeSync(Protocol.RequestFromBytes)(slot), request)
  })

  it.prop("version 1 has neither an offset nor EDIDs", { slot: requestSlot }, ({ slot }) => {
    const one = Protocol.decodeRequest(slot, 1)
    const two = Protocol.decodeRequest(slot, 2)
    if (two._tag === "GetEdid") {
      assert.deepStrictEqual(one, { _tag: "Unknown", id: two.id, operation: Protocol.operation.GetEdid })
    } else assert.deepStrictEqual(one, two._tag === "DbufCreate" ? { ...two, dataOffset: 0 } : two)
  })

  it.prop("a response's bytes are those of C, and become the response again", [Protocol.Response], ([response]) => {
    const bytes = Protocol.encodeResponse(response)
    const view = new DataView(bytes.buffer)
    const at = (field: string) => Oracle.offset("xendispl_resp", field)
    assert.strictEqual(view.getUint16(at("id"), true), response.id)
    assert.strictEqual(view.getUint8(at("operation")), response.operation)
    assert.strictEqual(view.getInt32(at("status"), true), response.status)
    assert.strictEqual(view.getUint32(at("op.get_edid.edid_sz"), true), response.edidSize)
    assert.deepStrictEqual(Protocol.decodeResponse(bytes), response)
    assert.deepStrictEqual(Schema.decodeSync(Protocol.ResponseFromBytes)(bytes), response)
  })

  it.prop("an event's bytes are those of C, and become the event again", { slot }, ({ slot }) => {
    for (const type of [slot[2]!, Oracle.of("XENDISPL_EVT_PG_FLIP")]) {
      slot[2] = type
      const event = Protocol.decodeEvent(slot)
      const view = new DataView(Protocol.encodeEvent(event).buffer)
      assert.strictEqual(view.getUint16(Oracle.offset("xendispl_evt", "id"), true), event.id)
      assert.strictEqual(view.getUint8(Oracle.offset("xendispl_evt", "type")), type)
      assert.strictEqual(event._tag === "PgFlip", type === 0)
      if (event._tag === "PgFlip") {
        const at = Oracle.offset("xendispl_evt", "op.pg_flip.fb_cookie")
        assert.strictEqual(view.getBigUint64(at, true), event.fbCookie)
      }
      assert.deepStrictEqual(Schema.decodeSync(Protocol.EventFromBytes)(new Uint8Array(view.buffer)), event)
    }
  })

  it("takes what Linux's driver wrote, and writes the same bytes", () => {
    assert.strictEqual(kernel.length, 30)
    for (const { name, slot } of kernel) {
      const request = Schema.decodeSync(Protocol.RequestFromBytes)(slot)
      const words = name.toLowerCase().split("_").map((word) => word[0]!.toUpperCase() + word.slice(1))
      assert.strictEqual(request._tag, words.join(""))
      assert.deepStrictEqual(Schema.encodeSync(Protocol.RequestFromBytes)(request), slot)
    }
    const created = Protocol.decodeRequest(kernel[0]!.slot)
    assert.deepInclude(created, { width: 800, height: 600, bpp: 32, bufferSize: 1_920_000, flags: 0, dataOffset: 0 })
    const attached = Protocol.decodeRequest(kernel[2]!.slot)
    assert(attached._tag === "FbAttach")
    assert.strictEqual(PixelFormat.fromCode(attached.pixelFormat)?.name, "XR24")
  })

  it("refuses too few bytes", () => {
    for (const decode of [Protocol.decodeRequest, Protocol.decodeResponse, Protocol.decodeEvent]) {
      assert.throws(() => decode(new Uint8Array(63)), RangeError)
    }
    assert.throws(() => Schema.decodeSync(Protocol.RequestFromBytes)(new Uint8Array(63)), /64 bytes/)
  })

  it.effect("takes resolutions and versions as xenstore has them, and nothing like them", () =>
    Effect.gen(function*() {
      const resolution = new TestSchema.Asserts(Protocol.ResolutionFromText)
      yield* Effect.promise(() => resolution.decoding().succeed("1920x1080", { width: 1920, height: 1080 }))
      yield* Effect.promise(() => resolution.encoding().succeed({ width: 800, height: 600 }, "800x600"))
      for (const text of ["", "x", "800x", "x600", "800X600", " 800x600", "800x600 ", "-1x1", "8e2x6", "800x600x1",
        "4294967296x1", "1x99999999999", "0800x600"]) {
        assert.isTrue(Schema.decodeUnknownResult(Protocol.ResolutionFromText)(text)._tag === "Failure", text)
      }
      const version = new TestSchema.Asserts(Protocol.VersionFromText)
      yield* Effect.promise(() => version.decoding().succeed("2", 2))
      for (const text of ["", "0", "3", "1,2", "02"]) {
        assert.isTrue(Schema.decodeUnknownResult(Protocol.VersionFromText)(text)._tag === "Failure", text)
      }
    }))
})
