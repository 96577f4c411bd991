/**
 * What a connector shows: a frame, whose pixels lie in the guest's memory, or nothing.
 *
 * @since 0.2.0
 */
import type { Pixels } from "./PixelFormat.ts"

/**
 * A part of a frame, in pixels from its upper left corner.
 *
 * @category models
 * @since 0.2.0
 */
export interface Area {
  /** Pixels to the left of it. */
  readonly x: number
  /** Lines above it. */
  readonly y: number
  /** Pixels of a line. */
  readonly width: number
  /** Lines. */
  readonly height: number
}

/**
 * What a guest shows, in place: `bytes` is the guest's own memory (or ours, where the guest had us allocate), without a
 * copy.
 *
 * A frame is yours from the moment that the stream hands it over until you ask the stream for the next element, or stop:
 * so long its flip is not acknowledged, and the guest does not draw in it, unless it breaks the rules: pixels may change
 * while you look at any time, nothing worse. Then it has {@link ended}. A guest that dies, or closes the device, ends it
 * earlier; its `bytes` are empty then.
 *
 * @category models
 * @since 0.2.0
 */
export interface Frame extends Pixels {
  readonly _tag: "Frame"
  /** How many pictures the connector showed before it. One that is missing was replaced before it was taken. */
  readonly sequence: number
  /** Pixels of the connector to the left of the frame. */
  readonly left: number
  /** Lines of the connector above the frame. */
  readonly top: number
  /** Whether the frame is not yours any more. */
  readonly ended: boolean
  /**
   * Copies the frame, or a part of it, line after line without a gap, into memory of your own. False, and nothing is
   * copied, where the frame has ended. Throws a RangeError for a part that is not in the frame, or too short a target.
   */
  copyInto(target: Uint8Array, area?: Area): boolean
}

/**
 * The connector is off.
 *
 * @category models
 * @since 0.2.0
 */
export interface Dark {
  readonly _tag: "Dark"
  /** How many pictures the connector showed before it. */
  readonly sequence: number
}

/**
 * What a connector shows.
 *
 * @category models
 * @since 0.2.0
 */
export type Picture = Frame | Dark
