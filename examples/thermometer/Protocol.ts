// What both halves of a thermometer agree on. A slot is 8 bytes, in the order of bytes that both processors have.

/** The name of the device in xenstore. */
export const type = "thermometer"

/** Where the frontend says what it shares. */
export const requests = { ref: "ring-ref", port: "event-channel", slotSize: 8 } as const
export const alarms = { ref: "alarm-ref", port: "alarm-channel", eventSize: 8 } as const
export const history = { ref: "history-ref", port: "history-channel" } as const

/** Places in the history: one page of 32-bit numbers, the oldest first. */
export const places = 1024

/** What a frontend can ask for; anything else is answered with an error. */
export type Request =
  | { readonly _tag: "Read"; readonly id: number }
  | { readonly _tag: "FillHistory"; readonly id: number; readonly count: number }
  | { readonly _tag: "Unknown"; readonly id: number }

/** From a copy of a slot: never from shared memory, which the peer may change while we look. */
export const request = (slot: Uint8Array): Request => {
  const view = new DataView(slot.buffer, slot.byteOffset, 8)
  const id = view.getUint16(0, true)
  const count = view.getUint32(4, true)
  switch (view.getUint8(2)) {
    case 1:
      return { _tag: "Read", id }
    case 2:
      return count <= places ? { _tag: "FillHistory", id, count } : { _tag: "Unknown", id }
    default:
      return { _tag: "Unknown", id }
  }
}

export const toSlot = (request: Request): Uint8Array => {
  const view = new DataView(new ArrayBuffer(8))
  view.setUint16(0, request.id, true)
  view.setUint8(2, { Read: 1, FillHistory: 2, Unknown: 0 }[request._tag])
  if (request._tag === "FillHistory") view.setUint32(4, request.count, true)
  return new Uint8Array(view.buffer)
}

/** An answer: thousandths of a degree, or how many places of the history were filled, or a number below 0 for an error. */
export interface Response {
  readonly id: number
  readonly value: number
}

export const invalid = -22 // XEN_EINVAL

export const response = (slot: Uint8Array): Response => {
  const view = new DataView(slot.buffer, slot.byteOffset, 8)
  return { id: view.getUint16(0, true), value: view.getInt32(4, true) }
}

export const responseSlot = ({ id, value }: Response): Uint8Array => {
  const view = new DataView(new ArrayBuffer(8))
  view.setUint16(0, id, true)
  view.setInt32(4, value, true)
  return new Uint8Array(view.buffer)
}
