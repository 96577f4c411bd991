/**
 * Turns a row of a guest's pixels into words that all pictures here are made of.
 *
 * Formats have the names of DRM's FOURCC codes (`drm_fourcc.h` in Linux), which displif takes over: little-endian, so
 * that the bytes of XR24 are blue, green, red and one that counts for nothing.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"

/**
 * The formats that Linux's `drm_xen_front` offers its programs, without YUYV.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Format = Schema.Literals(["XR24", "AR24", "RG24", "RG16", "XR15", "AR15", "XR12", "AR12"])

/**
 * A format of pixels.
 *
 * @category models
 * @since 0.2.0
 */
export type Format = typeof Format.Type

/**
 * Bytes of a pixel.
 *
 * @category constants
 * @since 0.2.0
 */
export const bytesPerPixel: { readonly [F in Format]: number } = {
  XR24: 4,
  AR24: 4,
  RG24: 3,
  RG16: 2,
  XR15: 2,
  AR15: 2,
  XR12: 2,
  AR12: 2
}

/** Spreads the low `bits` bits of a number over a whole byte, so that all ones become 255. */
const spread = (value: number, bits: number): number => {
  const ones = value & ((1 << bits) - 1)
  return bits === 4 ? ones * 17 : bits === 5 ? (ones << 3) | (ones >> 2) : (ones << 2) | (ones >> 4)
}

/** A table from every pixel of 16 bits to its word. */
const table = (red: number, green: number, blue: number): Uint32Array =>
  Uint32Array.from({ length: 65_536 }, (_, pixel) =>
    spread(pixel >> (green + blue), red) << 16 | spread(pixel >> blue, green) << 8 | spread(pixel, blue))

const tables = new Map<Format, Uint32Array>()

const tableOf = (format: Format): Uint32Array => {
  const known = tables.get(format)
  if (known !== undefined) return known
  const made = format === "RG16" ? table(5, 6, 5) : format === "XR15" || format === "AR15" ? table(5, 5, 5) : table(4, 4, 4)
  tables.set(format, made)
  return made
}

/**
 * Writes a row of pixels as words, 0x..RRGGBB each, where the highest byte counts for nothing. `row` is a copy of our own, of so many pixels at least.
 *
 * @category conversions
 * @since 0.2.0
 */
export const toWords = (format: Format, row: Uint8Array<ArrayBuffer>, into: Uint32Array): void => {
  const { length } = into
  switch (bytesPerPixel[format]) {
    case 4:
      into.set(new Uint32Array(row.buffer, row.byteOffset, length))
      return
    case 3:
      for (let x = 0, at = 0; x < length; x++, at += 3) into[x] = row[at + 2]! << 16 | row[at + 1]! << 8 | row[at]!
      return
    default: {
      const words = new Uint16Array(row.buffer, row.byteOffset, length)
      const words32 = tableOf(format)
      for (let x = 0; x < length; x++) into[x] = words32[words[x]!]!
    }
  }
}
