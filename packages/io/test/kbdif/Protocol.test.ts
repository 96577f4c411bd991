import { assert, describe, it } from "@effect/vitest"
import * as Protocol from "@xen-shbuf/io/kbdif/Protocol"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import * as Oracle from "../Oracle.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** Types that are known come as often as others. */
const slot = Arbitrary.map(
  Arbitrary.all({
    bytes: Arbitrary.array(Arbitrary.schema(between(0, 255)), { minLength: 40, maxLength: 40 }),
    type: Arbitrary.schema(between(0, 6)),
    kind: Arbitrary.schema(between(0, 7))
  }),
  ({ bytes, kind, type }) => Uint8Array.from([type, kind, ...bytes.slice(2)])
)

/** The bytes of an event by the offsets of the C compiler. */
const inC = (event: Protocol.Event): Uint8Array => {
  const view = new DataView(new ArrayBuffer(Oracle.size("union xenkbd_in_event")))
  const at = Oracle.offset
  switch (event._tag) {
    case "Motion":
      view.setUint8(at("xenkbd_motion", "type"), Oracle.of("XENKBD_TYPE_MOTION"))
      view.setInt32(at("xenkbd_motion", "rel_x"), event.x, true)
      view.setInt32(at("xenkbd_motion", "rel_y"), event.y, true)
      view.setInt32(at("xenkbd_motion", "rel_z"), event.wheel, true)
      break
    case "Position":
      view.setUint8(at("xenkbd_position", "type"), Oracle.of("XENKBD_TYPE_POS"))
      view.setInt32(at("xenkbd_position", "abs_x"), event.x, true)
      view.setInt32(at("xenkbd_position", "abs_y"), event.y, true)
      view.setInt32(at("xenkbd_position", "rel_z"), event.wheel, true)
      break
    case "Key":
      view.setUint8(at("xenkbd_key", "type"), Oracle.of("XENKBD_TYPE_KEY"))
      view.setUint8(at("xenkbd_key", "pressed"), event.pressed ? 1 : 0)
      view.setUint32(at("xenkbd_key", "keycode"), event.code, true)
      break
    case "Touch":
      touchInC(view, event.touch)
      break
    case "Unknown":
      view.setUint8(0, event.type)
      view.setUint8(1, event.kind)
  }
  return new Uint8Array(view.buffer)
}

const kinds = { Down: "DOWN", Up: "UP", Motion: "MOTION", Sync: "SYN", Shape: "SHAPE", Orientation: "ORIENT" }

const touchInC = (view: DataView, touch: Protocol.Touch) => {
  const at = (field: string) => Oracle.offset("xenkbd_mtouch", field)
  view.setUint8(at("type"), Oracle.of("XENKBD_TYPE_MTOUCH"))
  view.setUint8(at("event_type"), Oracle.of(`XENKBD_MT_EV_${kinds[touch._tag]}`))
  view.setUint8(at("contact_id"), touch.contact)
  if (touch._tag === "Down" || touch._tag === "Motion") {
    view.setInt32(at("u.pos.abs_x"), touch.x, true)
    view.setInt32(at("u.pos.abs_y"), touch.y, true)
  } else if (touch._tag === "Shape") {
    view.setUint32(at("u.shape.major"), touch.major, true)
    view.setUint32(at("u.shape.minor"), touch.minor, true)
  } else if (touch._tag === "Orientation") view.setInt16(at("u.orientation"), touch.degrees, true)
}

describe("kbdif/Protocol", () => {
  it("the page is that of Xen's header", () => {
    assert.strictEqual(Protocol.eventSize, Oracle.size("union xenkbd_in_event"))
    assert.strictEqual(Protocol.eventSize, Oracle.size("union xenkbd_out_event"))
    assert.deepStrictEqual(Protocol.inRing, {
      offset: Oracle.of("XENKBD_IN_RING_OFFS") as 1024,
      length: Oracle.of("XENKBD_IN_RING_SIZE") as 2048
    })
    assert.deepStrictEqual(Protocol.outRing, {
      offset: Oracle.of("XENKBD_OUT_RING_OFFS") as 3072,
      length: Oracle.of("XENKBD_OUT_RING_SIZE") as 1024
    })
    assert.strictEqual(Math.floor(Protocol.inRing.length / Protocol.eventSize), Oracle.of("XENKBD_IN_RING_LEN"))
    assert.strictEqual(Math.floor(Protocol.outRing.length / Protocol.eventSize), Oracle.of("XENKBD_OUT_RING_LEN"))
    assert.deepStrictEqual(["in_cons", "in_prod"].map((field) => Oracle.offset("xenkbd_page", field)), [0, 4])
  })

  it.prop("an event's bytes are those of C, and become the event again", [Protocol.Event], ([event]) => {
    if (event._tag === "Unknown") return
    const bytes = Protocol.encodeEvent(event)
    assert.deepStrictEqual(bytes, inC(event))
    assert.deepStrictEqual(Protocol.decodeEvent(bytes), event)
  })

  it.prop("any bytes are an event, which has one form", { slot }, ({ slot }) => {
    const event = Protocol.decodeEvent(slot)
    assert.deepStrictEqual(Protocol.decodeEvent(Protocol.encodeEvent(event)), event)
    assert.deepStrictEqual(Schema.decodeSync(Protocol.EventFromBytes)(slot), event)
    assert.strictEqual(event._tag === "Unknown", ![1, 3, 4, 5].includes(slot[0]!) || slot[0] === 5 && slot[1]! > 5)
  })

  it("an event has one name", () => {
    const event: Protocol.Event = { _tag: "Unknown", type: 3, kind: 1 }
    assert.throws(() => Schema.encodeSync(Protocol.EventFromBytes)(event), /by its own name/)
    assert.throws(() => Protocol.decodeEvent(new Uint8Array(39)), RangeError)
  })
})
