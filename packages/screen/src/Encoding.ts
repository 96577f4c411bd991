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
  Effect.callback<Uint8Array<ArrayBuffer>>((resume) =>
    pack((error, result) => resume(error === null ? Effect.succeed(result) : Effect.die(error)))
  )

/**
 * Packs pixels at the quickest level: pictures of a desktop become a tenth with deflate, and less, in less time, with zstd.
 *
 * @category conversions
 * @since 0.2.0
 */
export const encode = (
  encoding: Wire.Encoding,
  pixels: Uint8Array<ArrayBuffer>
): Effect.Effect<Uint8Array<ArrayBuffer>> => {
  switch (encoding) {
    case "raw":
      return Effect.succeed(pixels)
    case "deflate-raw":
      return packed((done) => deflateRaw(pixels, { level: 1 }, done as never))
    case "zstd":
      return packed((done) => zstdCompress(pixels, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }, done as never))
  }
}
