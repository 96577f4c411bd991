/**
 * Tells what a keyboard device has: what a backend offers, and what a frontend takes of it.
 *
 * @since 0.2.0
 */

import * as XenStore from "@xen-shbuf/core/XenStore"
import type { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import type { Nodes, Reader } from "@xen-shbuf/xenbus/Device"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { node, rawMaximum } from "./Protocol.ts"

/**
 * The largest coordinates of a pointer or of touches.
 *
 * @category models
 * @since 0.2.0
 */
export interface Size {
  /** The largest `x`, in the units in which it is reported. */
  readonly width: number
  /** The largest `y`. */
  readonly height: number
}

/**
 * What a backend offers.
 *
 * @category models
 * @since 0.2.0
 */
export interface Offer {
  /** Whether there are keys. */
  readonly keyboard: boolean
  /**
   * Whether there is a pointer, and how it is reported: `relative` by its movements alone; else by its position as well,
   * where a frontend takes that.
   */
  readonly pointer: "none" | "relative" | Size
  /** Whether a frontend may ask for positions from 0 to {@link rawMaximum} instead. */
  readonly raw: boolean
  /** The touch area, if there is one. */
  readonly touch:
    | (Size & {
      /** How many fingers it tells apart at a time. */
      readonly contacts: number
    })
    | undefined
}

/**
 * What a frontend takes of it.
 *
 * @category models
 * @since 0.2.0
 */
export interface Taken {
  /** Whether there are keys: where they are offered they are taken. */
  readonly keyboard: boolean
  /** Whether the pointer is reported by `Motion`, or by `Position` up to this size. */
  readonly pointer: "none" | "relative" | Size
  /** The touch area that is offered, where the frontend asks for it. */
  readonly touch: Offer["touch"]
}

const flag = (value: boolean) => value ? "1" : "0"

/**
 * The nodes that a backend publishes.
 *
 * @category conversions
 * @since 0.2.0
 */
export const toNodes = ({ keyboard, pointer, raw, touch }: Offer): Nodes => ({
  [node.disableKeyboard]: flag(!keyboard),
  [node.disablePointer]: flag(pointer === "none"),
  [node.absolutePointer]: flag(typeof pointer === "object"),
  [node.rawPointer]: flag(typeof pointer === "object" && raw),
  [node.multiTouch]: flag(touch !== undefined),
  ...typeof pointer === "object" ? { [node.width]: String(pointer.width), [node.height]: String(pointer.height) } : {},
  ...touch === undefined ? {} : {
    [node.touchWidth]: String(touch.width),
    [node.touchHeight]: String(touch.height),
    [node.touchContacts]: String(touch.contacts)
  }
})

const isSet = (reader: Reader, name: string): Effect.Effect<boolean, ConnectionError> =>
  Effect.map(reader.readOptional(name, XenStore.Decimal), (value) => Option.getOrElse(value, () => 0) !== 0)

const size = Effect.fnUntraced(function*(reader: Reader, width: string, height: string) {
  // What Linux takes where nothing is said.
  const sizes = yield* Effect.all([reader.readOptional(width, XenStore.Decimal), reader.readOptional(height, XenStore.Decimal)])
  return { width: Option.getOrElse(sizes[0], () => 800), height: Option.getOrElse(sizes[1], () => 600) }
})

/**
 * What the nodes of a backend offer. `InvalidNode` where one does not hold a number.
 *
 * @category reading
 * @since 0.2.0
 */
export const offered: (backend: Reader) => Effect.Effect<Offer, ConnectionError> = Effect.fnUntraced(function*(backend) {
  const keyboard = !(yield* isSet(backend, node.disableKeyboard))
  const isAbsolute = yield* isSet(backend, node.absolutePointer)
  const raw = yield* isSet(backend, node.rawPointer)
  const pointer = (yield* isSet(backend, node.disablePointer))
    ? "none"
    : isAbsolute
    ? yield* size(backend, node.width, node.height)
    : "relative"
  const isTouched = yield* isSet(backend, node.multiTouch)
  const contacts = yield* backend.readOptional(node.touchContacts, XenStore.Decimal)
  const touch = isTouched
    ? { ...(yield* size(backend, node.touchWidth, node.touchHeight)), contacts: Option.getOrElse(contacts, () => 1) }
    : undefined
  return { keyboard, pointer, raw, touch }
})

/**
 * The nodes by which a frontend takes an offer, all of it but raw positions, unless said so.
 *
 * @category conversions
 * @since 0.2.0
 */
export const requestNodes = ({ pointer, raw, touch }: Offer, options: { readonly raw: boolean }): Nodes => ({
  [node.requestAbsolutePointer]: flag(typeof pointer === "object"),
  [node.requestRawPointer]: flag(typeof pointer === "object" && raw && options.raw),
  [node.requestMultiTouch]: flag(touch !== undefined)
})

/**
 * What a frontend's nodes take of an offer. `InvalidNode` where one does not hold a number.
 *
 * @category reading
 * @since 0.2.0
 */
export const taken: (offer: Offer, frontend: Reader) => Effect.Effect<Taken, ConnectionError> = Effect.fnUntraced(
  function*({ keyboard, pointer, raw, touch }, frontend) {
    const isAbsolute = yield* isSet(frontend, node.requestAbsolutePointer)
    const isRaw = raw && (yield* isSet(frontend, node.requestRawPointer))
    const isTouched = yield* isSet(frontend, node.requestMultiTouch)
    return {
      keyboard,
      pointer: typeof pointer === "string"
        ? pointer
        : !isAbsolute
        ? "relative"
        : isRaw
        ? { width: rawMaximum, height: rawMaximum }
        : pointer,
      touch: isTouched ? touch : undefined
    }
  }
)
