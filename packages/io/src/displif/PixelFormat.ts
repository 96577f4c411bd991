/**
 * How the pixels of a framebuffer stand in memory: the formats that Linux's `drm_xen_front` offers, but for YUYV, and the
 * others of their kind, by their FOURCC codes.
 *
 * @since 0.2.0
 */
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"

/**
 * Where a colour stands in a pixel, taken as a number whose least significant byte comes first.
 *
 * @category models
 * @since 0.2.0
 */
export interface Channel {
  /** Bits below it. */
  readonly shift: number
  /** Bits of it: the highest value is 2 to their power, less 1. */
  readonly bits: number
}

/**
 * A format of pixels.
 *
 * @category models
 * @since 0.2.0
 */
export interface PixelFormat {
  /** The four letters of its code, such as `XR24`. */
  readonly name: string
  /** The same as a number, as `FB_ATTACH` has it. */
  readonly code: number
  /** 2, 3 or 4; bits of no channel are among them. */
  readonly bytesPerPixel: number
  /** Where red stands in a pixel. */
  readonly red: Channel
  /** Where green stands in a pixel. */
  readonly green: Channel
  /** Where blue stands in a pixel. */
  readonly blue: Channel
  /** Missing where pixels are opaque. */
  readonly alpha: Channel | undefined
}

/**
 * The number of four letters.
 *
 * @category conversions
 * @since 0.2.0
 */
export const codeOf = (name: string): number =>
  Array.from(name).reduce((code, letter, i) => code + letter.charCodeAt(0) * 2 ** (8 * i), 0)

/** Channels of so many bits, from the least significant on. */
const format = (
  name: string,
  bytesPerPixel: number,
  order: string,
  bits: readonly [number, number, number, number?]
): PixelFormat => {
  const channels: Record<string, Channel> = {}
  let shift = 0
  for (const [i, channel] of Array.from(order).entries()) {
    channels[channel] = { shift, bits: bits[i]! }
    shift += bits[i]!
  }
  const { A: alpha, B, G, R } = channels
  return { name, code: codeOf(name), bytesPerPixel, red: R!, green: G!, blue: B!, alpha }
}

/**
 * 8 bits of red, green and blue in 32, blue first: what almost everybody uses.
 *
 * @category constants
 * @since 0.2.0
 */
export const XR24: PixelFormat = format("XR24", 4, "BGRX", [8, 8, 8, 8])

/**
 * All formats that are known.
 *
 * @category constants
 * @since 0.2.0
 */
export const all: ReadonlyArray<PixelFormat> = [
  XR24,
  format("AR24", 4, "BGRA", [8, 8, 8, 8]),
  format("XB24", 4, "RGBX", [8, 8, 8, 8]),
  format("AB24", 4, "RGBA", [8, 8, 8, 8]),
  format("XR30", 4, "BGRX", [10, 10, 10, 2]),
  format("AR30", 4, "BGRA", [10, 10, 10, 2]),
  format("RG24", 3, "BGR", [8, 8, 8]),
  format("BG24", 3, "RGB", [8, 8, 8]),
  format("RG16", 2, "BGR", [5, 6, 5]),
  format("BG16", 2, "RGB", [5, 6, 5]),
  format("XR15", 2, "BGRX", [5, 5, 5, 1]),
  format("AR15", 2, "BGRA", [5, 5, 5, 1]),
  format("XR12", 2, "BGRX", [4, 4, 4, 4]),
  format("AR12", 2, "BGRA", [4, 4, 4, 4])
]

const byCode: ReadonlyMap<number, PixelFormat> = new Map(all.map((format) => [format.code, format]))

/**
 * The format with this code; undefined for one that nobody knows.
 *
 * @category conversions
 * @since 0.2.0
 */
export const fromCode = (code: number): PixelFormat | undefined => byCode.get(code)

/**
 * Pixels, line by line.
 *
 * @category models
 * @since 0.2.0
 */
export interface Pixels {
  /** Pixels of a line. */
  readonly width: number
  /** Lines. */
  readonly height: number
  /** Bytes from the beginning of a line to that of the next. */
  readonly pitch: number
  /** How a pixel stands in its bytes. */
  readonly format: PixelFormat
  /** `pitch` times `height` bytes, or a little less where the last line is shorter. May be shared memory. */
  readonly bytes: SharedMemory.Readable
}

/** A channel's value in all 256 steps. */
const stretched = ({ bits, shift }: Channel) => {
  const most = 2 ** bits - 1
  const table = Uint8Array.from({ length: most + 1 }, (_, value) => Math.round(value * 255 / most))
  return (pixel: number) => table[pixel >>> shift & most]!
}

const opaque = () => 255

/** Any format, byte by byte. */
const convertAny = ({ bytes, format, height, pitch, width }: Pixels, into: Uint8Array) => {
  const { alpha, blue, bytesPerPixel, green, red } = format
  const channels = [stretched(red), stretched(green), stretched(blue), alpha === undefined ? opaque : stretched(alpha)]
  let to = 0
  for (let y = 0; y < height; y++) {
    let from = y * pitch
    for (let x = 0; x < width; x++) {
      let pixel = 0
      for (let i = 0; i < bytesPerPixel; i++) pixel |= bytes[from++]! << 8 * i
      for (const channel of channels) into[to++] = channel(pixel)
    }
  }
}

/** Blue first, in 32 bits: by whole pixels. */
const convertBlueFirst = ({ bytes, format, height, pitch, width }: Pixels, into: Uint8Array) => {
  const from = SharedMemory.viewAs(bytes, Uint32Array)
  const to = new Uint32Array(into.buffer, into.byteOffset, width * height)
  const fill = format.alpha === undefined ? 0xff00_0000 : 0
  for (let y = 0; y < height; y++) {
    const line = y * pitch / 4
    const target = y * width
    for (let x = 0; x < width; x++) {
      const pixel = from[line + x]!
      to[target + x] = pixel & 0xff00_ff00 | pixel << 16 & 0xff_0000 | pixel >>> 16 & 0xff | fill
    }
  }
}

/**
 * Writes pixels as red, green, blue and alpha, a byte each, line after line without a gap: what a canvas takes. `into` is
 * memory of our own, of at least four bytes a pixel; it throws a RangeError where it is shorter. Colours of fewer bits are
 * stretched to all 256 steps.
 *
 * @category conversions
 * @since 0.2.0
 */
export const toRgba = (pixels: Pixels, into: Uint8Array | Uint8ClampedArray): void => {
  const needed = pixels.width * pixels.height * 4
  if (into.length < needed) throw new RangeError(`${needed} bytes of RGBA do not fit in ${into.length}`)
  const target = new Uint8Array(into.buffer, into.byteOffset, into.byteLength)
  const isBlueFirst = pixels.format.name === "XR24" || pixels.format.name === "AR24"
  const { byteOffset } = SharedMemory.unsafeBytes(pixels.bytes)
  const isAligned = (byteOffset | pixels.pitch | target.byteOffset) % 4 === 0
  if (isBlueFirst && isAligned) convertBlueFirst(pixels, target)
  else convertAny(pixels, target)
}
