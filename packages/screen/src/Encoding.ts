/**
 * Packs the pixels of tiles for their way to a page.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import { constants, deflateRaw, zstdCompress } from "node:zlib"
import { type Picture, tileSize } from "./Picture.ts"
import type * as Wire from "./Wire.ts"

/**
 * Takes the pixels of some tiles out of a picture, one tile after the other.
 *
 * @category conversions
 * @since 0.2.0
 */
export const pixelsOf = ({ columns, height, width, words }: Picture, tiles: ReadonlyArray<number>): Uint8Array<ArrayBuffer> => {
  const parts = tiles.map((tile) => {
    const left = tile % columns * tileSize
    const top = Math.floor(tile / columns) * tileSize
    return { left, top, right: Math.min(left + tileSize, width), bottom: Math.min(top + tileSize, height) }
  })
  const pixels = new Uint32Array(
    parts.reduce((sum, { bottom, left, right, top }) => sum + (right - left) * (bottom - top), 0)
  )
  let at = 0
  for (const { bottom, left, right, top } of parts) {
    for (let y = top; y < bottom; y++) {
      pixels.set(words.subarray(y * width + left, y * width + right), at)
      at += right - left
    }
  }
  return new Uint8Array(pixels.buffer)
}

/** Packs with one of Node's own packers, on a thread of libuv's. Memory is all that it can lack, so failures are defects. */
const packed = (pack: (done: (error: Error | null, result: Buffer<ArrayBuffer>) => void) => void) =>
  new Promise<Uint8Array<ArrayBuffer>>((resolve, reject) =>
    pack((error, result) => error === null ? resolve(result) : reject(error))
  )

/** Packs pixels at the quickest level. */
const pack = (encoding: Wire.Encoding, pixels: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> => {
  switch (encoding) {
    case "raw":
      return Promise.resolve(pixels)
    case "deflate-raw":
      return packed((done) => deflateRaw(pixels, { level: 1 }, done as never))
    case "zstd":
      return packed((done) => zstdCompress(pixels, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }, done as never))
  }
}

/**
 * Tiles, packed.
 *
 * @category models
 * @since 0.2.0
 */
export interface Packed {
  /** Their numbers, row by row from the upper left corner. */
  readonly tiles: ReadonlyArray<number>
  /** Bytes of their pixels before. */
  readonly byteLength: number
  /** Their pixels, encoded. */
  readonly pixels: Uint8Array<ArrayBuffer>
}

/** What was packed of a picture for the last time. */
interface Last {
  readonly since: number
  readonly version: number
  readonly encoding: Wire.Encoding
  readonly packed: Promise<Packed>
}

const lasts = new WeakMap<Picture, Last>()

const packAnew = async (picture: Picture, since: number, encoding: Wire.Encoding): Promise<Packed> => {
  const tiles = picture.changedSince(since)
  const pixels = pixelsOf(picture, tiles)
  return { tiles, byteLength: pixels.length, pixels: await pack(encoding, pixels) }
}

/**
 * Packs the tiles that have changed after a version, as they are now: pictures of a desktop become a tenth with deflate,
 * and less, in less time, with zstd. Viewers that are equally far share the work, and the memory.
 *
 * @category conversions
 * @since 0.2.0
 */
export const packChanges = (picture: Picture, since: number, encoding: Wire.Encoding): Effect.Effect<Packed> =>
  Effect.promise(() => {
    const { version } = picture
    const last = lasts.get(picture)
    if (last?.since === since && last.version === version && last.encoding === encoding) return last.packed
    const packed = packAnew(picture, since, encoding)
    lasts.set(picture, { since, version, encoding, packed })
    return packed
  })
