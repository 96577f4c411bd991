/**
 * Keeps a copy of what a screen shows, and knows which tiles of it have changed since when.
 *
 * A guest draws while we look, so each row is copied once and compared with what was there. Rows that are equal cost one
 * read of the guest's memory and one comparison, both in native code; only those that differ are looked at tile by tile.
 *
 * @since 0.2.0
 */
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import { Buffer } from "node:buffer"

/**
 * Pixels on each side of a tile; those at the right and the lower edge may be smaller.
 *
 * @category constants
 * @since 0.2.0
 */
export const tileSize = 64

/** Bytes of a pixel of ours. */
const wordSize = 4

/** Red and blue of a row change places. */
const blueFirst = (words: Uint32Array) => {
  for (let x = 0; x < words.length; x++) {
    const word = words[x]!
    words[x] = word & 0xff00_ff00 | word << 16 & 0xff_0000 | word >>> 16 & 0xff
  }
}

/**
 * The copy: one word a pixel, 0x..RRGGBB; the highest byte counts for nothing.
 *
 * @category models
 * @since 0.2.0
 */
export class Picture {
  /** In pixels. */
  readonly width: number
  /** In pixels. */
  readonly height: number
  /** Tiles side by side. */
  readonly columns: number
  /** Tiles one above the other. */
  readonly rows: number
  /** Row by row. */
  readonly words: Uint32Array<ArrayBuffer>
  /** The version in which each tile has changed for the last time, row by row; 0 for one that was always black. */
  readonly versions: Float64Array<ArrayBuffer>
  /** Counts the frames in which something has changed. */
  version = 0
  readonly #stored: Buffer
  readonly #row: Buffer<ArrayBuffer>
  readonly #rowWords: Uint32Array<ArrayBuffer>

  constructor(width: number, height: number) {
    this.width = width
    this.height = height
    this.columns = Math.ceil(width / tileSize)
    this.rows = Math.ceil(height / tileSize)
    this.words = new Uint32Array(width * height)
    this.versions = new Float64Array(this.columns * this.rows)
    this.#stored = Buffer.from(this.words.buffer)
    this.#rowWords = new Uint32Array(width)
    this.#row = Buffer.from(this.#rowWords.buffer)
  }

  /**
   * Takes over a frame of the same size, and gives the number of tiles that have changed. A frame that does not lie in
   * its memory, or whose memory has ended, is a mistake of the caller's: it throws.
   */
  show({ bytes, format, height, pitch, width }: PixelFormat.Pixels): number {
    const length = width * format.bytesPerPixel
    if (width !== this.width || height !== this.height) throw new RangeError("The frame has another size than the picture")
    if ((height - 1) * pitch + length > bytes.length) throw new RangeError("The frame does not lie in its memory")
    const version = this.version + 1
    const isOurs = format.name === "XR24" || format.name === "AR24"
    let changed = 0
    for (let y = 0; y < height; y++) {
      const row = bytes.subarray(y * pitch, y * pitch + length)
      if (isOurs) this.#row.set(row)
      else this.#convert(format, row.slice())
      changed += this.#store(y, version)
    }
    if (changed > 0) this.version = version
    return changed
  }

  /** The tiles that have changed after a version. */
  changedSince(version: number): Array<number> {
    const tiles: Array<number> = []
    for (let tile = 0; tile < this.versions.length; tile++) {
      if (this.versions[tile]! > version) tiles.push(tile)
    }
    return tiles
  }

  #convert(format: PixelFormat.PixelFormat, bytes: Uint8Array<ArrayBuffer>) {
    PixelFormat.toRgba({ width: this.width, height: 1, pitch: bytes.length, format, bytes }, this.#row)
    blueFirst(this.#rowWords)
  }

  /** Keeps a row that differs from the one before, and gives how many tiles have changed by it alone. */
  #store(y: number, version: number): number {
    const row = this.#row
    const stored = this.#stored
    const start = y * row.length
    if (row.compare(stored, start, start + row.length) === 0) return 0
    const first = Math.floor(y / tileSize) * this.columns
    let changed = 0
    for (let column = 0; column < this.columns; column++) {
      if (this.versions[first + column] === version) continue
      const left = column * tileSize * wordSize
      const right = Math.min(left + tileSize * wordSize, row.length)
      if (row.compare(stored, start + left, start + right, left, right) !== 0) {
        this.versions[first + column] = version
        changed++
      }
    }
    stored.set(row, start)
    return changed
  }
}
