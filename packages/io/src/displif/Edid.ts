/**
 * Describes a display by the 128 bytes that a real one would send (EDID 1.4), for the answer to `GetEdid`.
 *
 * @since 0.2.0
 */
import type { Resolution } from "./Protocol.ts"

/**
 * What is told of a display.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options extends Resolution {
  /** At most 13 letters of ASCII. */
  readonly name?: string | undefined
  /** Frames a second: 60 unless given. */
  readonly frameRate?: number | undefined
  /** The maker, three capital letters: `XEN` unless given. */
  readonly maker?: string | undefined
}

/** Pixels that are not seen, around every line and every frame: what CVT's reduced blanking has, or close to it. */
const blank = { horizontal: 160, vertical: 30 } as const

/** The largest numbers that a detailed timing has room for. */
const most = { pixels: 4095, clock: 0xffff } as const

/** As many as it would have with 96 dots an inch. */
const millimetres = (pixels: number) => Math.round(pixels * 25.4 / 96)
const centimetres = (pixels: number) => Math.min(255, Math.round(millimetres(pixels) / 10))

/** The 18 bytes of a detailed timing; undefined where the numbers have no room in it. */
const timing = ({ frameRate = 60, height, width }: Options): ReadonlyArray<number> | undefined => {
  const clock = Math.round((width + blank.horizontal) * (height + blank.vertical) * frameRate / 10_000)
  if (width < 1 || height < 1 || width > most.pixels || height > most.pixels || clock > most.clock) return undefined
  const { horizontal, vertical } = blank
  const [wide, high] = [width, height].map(millimetres)
  return [
    clock & 0xff,
    clock >> 8,
    width & 0xff,
    horizontal,
    width >> 8 << 4,
    height & 0xff,
    vertical,
    height >> 8 << 4,
    // Sync after 48 pixels and 3 lines, for 32 pixels and 4 lines.
    48,
    32,
    3 << 4 | 4,
    0,
    wide! & 0xff,
    high! & 0xff,
    wide! >> 8 << 4 | high! >> 8,
    0,
    0,
    // Digital, separate, the horizontal one positive.
    0x1a
  ]
}

/** Three letters in 15 bits, the first one highest. */
const makerBytes = (maker: string) => {
  const word = Array.from(maker).reduce((word, letter) => word << 5 | letter.charCodeAt(0) - 64 & 31, 0)
  return [word >> 8, word & 0xff]
}

/** A descriptor with the display's name. */
const text = (name: string) => {
  const padded = `${name.slice(0, 13)}\n`.padEnd(13).slice(0, 13)
  return [0, 0, 0, 0xfc, 0, ...Array.from(padded, (letter) => letter.charCodeAt(0) & 0x7f)]
}

const repeat = (byte: number, count: number) => Array.from({ length: count }, () => byte)

/** A descriptor without a meaning. */
const dummy = [0, 0, 0, 0x10, ...repeat(0, 14)]

/**
 * The block of a display whose preferred mode is the resolution given; undefined for one that EDID has no numbers for, such
 * as more than 4095 pixels a line.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (options: Options): Uint8Array<ArrayBuffer> | undefined => {
  const preferred = timing(options)
  if (preferred === undefined) return undefined
  const bytes = Uint8Array.from([
    ...[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
    ...makerBytes(options.maker ?? "XEN"),
    // Product and serial number; made in 2026; version 1.4.
    ...[1, 0, 1, 0, 0, 0, 0, 36, 1, 4],
    // Digital, 8 bits a colour; its size; gamma 2.2; sRGB, the preferred timing is the native one.
    ...[0xa0, centimetres(options.width), centimetres(options.height), 120, 0x06],
    // The colours of sRGB.
    ...[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54],
    // No established and no standard timings.
    ...[0, 0, 0],
    ...repeat(1, 16),
    ...preferred,
    ...text(options.name ?? "xen-shbuf"),
    ...dummy,
    ...dummy,
    ...[0, 0]
  ])
  bytes[127] = 256 - bytes.reduce((sum, byte) => sum + byte, 0) % 256 & 0xff
  return bytes
}
