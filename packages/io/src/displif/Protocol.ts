/**
 * The messages of a display, as `xen/include/public/io/displif.h` has them.
 *
 * @since 0.2.0
 */

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
 * What a request asks for. 0 to 15 are reserved; GET_EDID is there from version 2 on.
 *
 * @category constants
 * @since 0.2.0
 */
export const operation = {
  DBUF_CREATE: 0x10,
  DBUF_DESTROY: 0x11,
  FB_ATTACH: 0x12,
  FB_DETACH: 0x13,
  SET_CONFIG: 0x14,
  PG_FLIP: 0x15,
  GET_EDID: 0x16
} as const

/**
 * The most bytes of an EDID, and the fewest that a frontend's buffer for it may have.
 *
 * @category constants
 * @since 0.2.0
 */
export const edidMaxSize = 128 * 256
