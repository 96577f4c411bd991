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

/** What all events of touches have. */
const contact = {
  /** Which finger it is, 0 to 255: Linux's slot of multi-touch. */
  contact: Uint8
}

/** Where a contact is. */
const place = {
  /** Pixels from the left edge of the touch area; 32 bits with a sign. */
  x: Int32,
  /** Pixels from its upper edge. */
  y: Int32
}

/** How far the wheel has turned: the same with either report of a pointer. */
const wheel = {
  /** Steps of the wheel, `rel_z` in the header: 32 bits with a sign. Linux's driver takes those above 0 for downwards. */
  wheel: Int32
}

/**
 * What happened to one contact of a touch area; `contact` is its number, from 0.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Touch = Schema.TaggedUnion({
  /** It touches now. */
  Down: { ...contact, ...place },
  /** It touches no longer. */
  Up: { ...contact },
  /** It has moved, and is here now. */
  Motion: { ...contact, ...place },
  /** All before it belongs together. */
  Sync: { ...contact },
  /** The ellipse that is touched. */
  Shape: {
    ...contact,
    /** The longer diameter in pixels, 32 bits. */
    major: Uint32,
    /** The shorter one. */
    minor: Uint32
  },
  /** How the ellipse lies. */
  Orientation: {
    ...contact,
    /** The clockwise angle of the longer diameter from the positive y axis in degrees, 16 bits with a sign. */
    degrees: between(-(2 ** 15), 2 ** 15 - 1)
  }
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
  /** The pointer has moved, or the wheel has. */
  Motion: {
    /** Pixels to the right, to the left below 0; 32 bits with a sign. */
    x: Int32,
    /** Pixels downwards, upwards below 0. */
    y: Int32,
    ...wheel
  },
  /** A key or a button of the pointer, by Linux's `KEY_*` and `BTN_*` in `input-event-codes.h`. */
  Key: {
    /** Whether it is down now: a byte, false for 0 alone. */
    pressed: Schema.Boolean,
    /** Its number of Linux's, 32 bits. */
    code: Uint32
  },
  /** The pointer is here, in pixels or from 0 to {@link rawMaximum}; the wheel may have turned. */
  Position: {
    /** From the left edge; 32 bits with a sign. */
    x: Int32,
    /** From the upper edge. */
    y: Int32,
    ...wheel
  },
  /** Something has happened on the touch area. */
  Touch: {
    /** What it is, and to which contact. */
    touch: Touch
  },
  /** To be ignored. */
  Unknown: {
    /** The first byte, which tells events apart. */
    type: Uint8,
    /** The second one, which tells touches apart. */
    kind: Uint8
  }
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
  /** Of the backend: there are no keys. */
  disableKeyboard: "feature-disable-keyboard",
  /** Of the backend: there is no pointer. */
  disablePointer: "feature-disable-pointer",
  /** Of the backend: the pointer's position can be had. */
  absolutePointer: "feature-abs-pointer",
  /** Of the backend: it can be had from 0 to {@link rawMaximum}. */
  rawPointer: "feature-raw-pointer",
  /** Of the backend: there is a touch area. */
  multiTouch: "feature-multi-touch",
  /** Of the backend: the largest `x` of a pointer, in pixels. */
  width: "width",
  /** Of the backend: the largest `y` of a pointer, in pixels. */
  height: "height",
  /** Of the backend: the largest `x` of a touch, in pixels. */
  touchWidth: "multi-touch-width",
  /** Of the backend: the largest `y` of a touch, in pixels. */
  touchHeight: "multi-touch-height",
  /** Of the backend: how many contacts there are at a time. */
  touchContacts: "multi-touch-num-contacts",
  /** Of the frontend: it wants the pointer's position. */
  requestAbsolutePointer: "request-abs-pointer",
  /** Of the frontend: it wants it from 0 to {@link rawMaximum}. */
  requestRawPointer: "request-raw-pointer",
  /** Of the frontend: it wants touches. */
  requestMultiTouch: "request-multi-touch",
  /** Of the frontend: the page's reference. */
  page: "page-gref",
  /** Of Linux's frontend: the page's frame number besides, for old backends. */
  pageFrame: "page-ref",
  /** Of the frontend: the port that the backend joins. */
  port: "event-channel"
} as const
