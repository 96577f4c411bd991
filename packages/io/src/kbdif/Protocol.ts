/**
 * The messages of a keyboard and pointer, as `xen/include/public/io/kbdif.h` has them: events of a backend, 40 bytes each,
 * in one page with a ring for each direction (nobody has defined anything that a frontend would say), and what both write
 * in xenstore.
 *
 * Each event has a schema from its bytes and back, for people and for tests, and a plain function for a driver that has
 * copied it: it never fails, what it does not know is an event of its own.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

/**
 * The device's type: the name of its folder in xenstore, and that of a backend of QEMU's.
 *
 * @category constants
 * @since 0.2.0
 */
export const type = "vkbd"

/**
 * What `xl` calls the backend of a device that is not QEMU's (`backend-type=linux`): the name of its folder in xenstore.
 *
 * @category constants
 * @since 0.2.0
 */
export const backendType = "vinput"

/**
 * Bytes of an event.
 *
 * @category constants
 * @since 0.2.0
 */
export const eventSize = 40

/**
 * Where the events of the backend stand in the page, and how many bytes they may take: 51 events. What was consumed and
 * produced are the first two words of the page.
 *
 * @category constants
 * @since 0.2.0
 */
export const inRing = { offset: 1024, length: 2048 } as const

/**
 * Where events of the frontend would stand: 25. What was consumed and produced would be the third and fourth word.
 *
 * @category constants
 * @since 0.2.0
 */
export const outRing = { offset: 3072, length: 1024 } as const

/**
 * The largest coordinate of a pointer that is reported raw.
 *
 * @category constants
 * @since 0.2.0
 */
export const rawMaximum = 0x7fff

/** The first byte of an event. */
const eventType = { Motion: 1, Key: 3, Position: 4, Touch: 5 } as const

/** The second byte of a touch. */
const touch = { Down: 0, Up: 1, Motion: 2, Sync: 3, Shape: 4, Orientation: 5 } as const

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const Uint8 = between(0, 0xff)
const Uint32 = between(0, 0xffff_ffff)
const Int32 = between(-(2 ** 31), 2 ** 31 - 1)

/**
 * What happened to one contact of a touch area; `contact` is its number, from 0.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Touch = Schema.TaggedUnion({
  /** Pixels. */
  Down: { contact: Uint8, x: Int32, y: Int32 },
  Up: { contact: Uint8 },
  /** Pixels. */
  Motion: { contact: Uint8, x: Int32, y: Int32 },
  /** All before it belongs together. */
  Sync: { contact: Uint8 },
  /** The diameters of the ellipse that is touched, in pixels. */
  Shape: { contact: Uint8, major: Uint32, minor: Uint32 },
  /** The clockwise angle of the longer diameter from the positive y axis, in degrees. */
  Orientation: { contact: Uint8, degrees: between(-(2 ** 15), 2 ** 15 - 1) }
})

/**
 * What happened to one contact of a touch area.
 *
 * @category models
 * @since 0.2.0
 */
export type Touch = typeof Touch.Type

/**
 * What a backend says.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Event = Schema.TaggedUnion({
  /** The pointer has moved by `x` and `y`, the wheel by `wheel`. */
  Motion: { x: Int32, y: Int32, wheel: Int32 },
  /** A key or a button of the pointer, by Linux's `KEY_*` and `BTN_*` in `input-event-codes.h`. */
  Key: { pressed: Schema.Boolean, code: Uint32 },
  /** The pointer is here, in pixels or from 0 to {@link rawMaximum}; the wheel has moved by `wheel`. */
  Position: { x: Int32, y: Int32, wheel: Int32 },
  Touch: { touch: Touch },
  /** To be ignored. `kind` is the second byte, which tells touches apart. */
  Unknown: { type: Uint8, kind: Uint8 }
})

/**
 * What a backend says.
 *
 * @category models
 * @since 0.2.0
 */
export type Event = typeof Event.Type

const viewOf = ({ buffer, byteLength, byteOffset }: Uint8Array) => new DataView(buffer, byteOffset, byteLength)

const decodeTouch = (view: DataView): Touch | undefined => {
  const contact = view.getUint8(2)
  switch (view.getUint8(1)) {
    case touch.Down:
      return { _tag: "Down", contact, x: view.getInt32(8, true), y: view.getInt32(12, true) }
    case touch.Up:
      return { _tag: "Up", contact }
    case touch.Motion:
      return { _tag: "Motion", contact, x: view.getInt32(8, true), y: view.getInt32(12, true) }
    case touch.Sync:
      return { _tag: "Sync", contact }
    case touch.Shape:
      return { _tag: "Shape", contact, major: view.getUint32(8, true), minor: view.getUint32(12, true) }
    case touch.Orientation:
      return { _tag: "Orientation", contact, degrees: view.getInt16(8, true) }
  }
  return undefined
}

/**
 * The event in a place that was copied. Throws a RangeError for an array of less than 40 bytes.
 *
 * @category conversions
 * @since 0.2.0
 */
export const decodeEvent = (slot: Uint8Array): Event => {
  if (slot.length < eventSize) throw new RangeError(`An event has ${eventSize} bytes, not ${slot.length}`)
  const view = viewOf(slot)
  const code = view.getUint8(0)
  switch (code) {
    case eventType.Motion:
    case eventType.Position: {
      const x = view.getInt32(4, true)
      const y = view.getInt32(8, true)
      const wheel = view.getInt32(12, true)
      return code === eventType.Motion ? { _tag: "Motion", x, y, wheel } : { _tag: "Position", x, y, wheel }
    }
    case eventType.Key:
      return { _tag: "Key", pressed: view.getUint8(1) !== 0, code: view.getUint32(4, true) }
    case eventType.Touch: {
      const touch = decodeTouch(view)
      if (touch !== undefined) return { _tag: "Touch", touch }
    }
  }
  return { _tag: "Unknown", type: code, kind: view.getUint8(1) }
}

const encodeTouch = (view: DataView, event: Touch) => {
  view.setUint8(1, touch[event._tag])
  view.setUint8(2, event.contact)
  switch (event._tag) {
    case "Down":
    case "Motion":
      view.setInt32(8, event.x, true)
      view.setInt32(12, event.y, true)
      break
    case "Shape":
      view.setUint32(8, event.major, true)
      view.setUint32(12, event.minor, true)
      break
    case "Orientation":
      view.setInt16(8, event.degrees, true)
  }
}

/**
 * The 40 bytes of an event, all that is reserved as zeros.
 *
 * @category conversions
 * @since 0.2.0
 */
export const encodeEvent = (event: Event): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(eventSize)
  const view = viewOf(bytes)
  view.setUint8(0, event._tag === "Unknown" ? event.type : eventType[event._tag])
  switch (event._tag) {
    case "Motion":
    case "Position":
      view.setInt32(4, event.x, true)
      view.setInt32(8, event.y, true)
      view.setInt32(12, event.wheel, true)
      break
    case "Key":
      view.setUint8(1, event.pressed ? 1 : 0)
      view.setUint32(4, event.code, true)
      break
    case "Touch":
      encodeTouch(view, event.touch)
      break
    case "Unknown":
      view.setUint8(1, event.kind)
  }
  return bytes
}

const hasOneName = (event: Event) => event._tag !== "Unknown" || decodeEvent(encodeEvent(event))._tag === "Unknown"

/**
 * The 40 bytes of an event as a value, and back.
 *
 * @category schemas
 * @since 0.2.0
 */
export const EventFromBytes: Schema.Codec<Event, Uint8Array> = Schema.Uint8Array.check(
  Schema.makeFilter((bytes: Uint8Array) => bytes.length === eventSize, { expected: `${eventSize} bytes` })
).pipe(Schema.decodeTo(
  // What is unknown has none of the codes that are known: each event has one form.
  Event.check(Schema.makeFilter(hasOneName, { expected: "an event by its own name" })),
  SchemaTransformation.transform<Event, Uint8Array>({ decode: decodeEvent, encode: encodeEvent })
))

/**
 * The names of nodes. A feature is there where its node is `1`.
 *
 * @category constants
 * @since 0.2.0
 */
export const node = {
  /** Of the backend. */
  disableKeyboard: "feature-disable-keyboard",
  disablePointer: "feature-disable-pointer",
  absolutePointer: "feature-abs-pointer",
  rawPointer: "feature-raw-pointer",
  multiTouch: "feature-multi-touch",
  /** Of the backend: the largest coordinates of the pointer and of touches, in pixels, and the number of contacts. */
  width: "width",
  height: "height",
  touchWidth: "multi-touch-width",
  touchHeight: "multi-touch-height",
  touchContacts: "multi-touch-num-contacts",
  /** Of the frontend. */
  requestAbsolutePointer: "request-abs-pointer",
  requestRawPointer: "request-raw-pointer",
  requestMultiTouch: "request-multi-touch",
  /** Of the frontend: the page's reference, and its port. Linux writes the page's frame number besides, for old backends. */
  page: "page-gref",
  pageFrame: "page-ref",
  port: "event-channel"
} as const
