/** Unpacks tiles and draws them. */
import type * as Wire from "../src/Wire.ts"

const tileSize = 64

const knows = (format: string): boolean => {
  try {
    void new DecompressionStream(format as CompressionFormat)
    return true
  } catch {
    return false
  }
}

/** What this browser can unpack. */
export const encodings: ReadonlyArray<Wire.Encoding> = [
  "raw",
  ...(["deflate-raw", "zstd"] as const).filter(knows)
]

const unpack = async ({ byteLength, encoding, pixels }: Wire.Tiles): Promise<Uint32Array> => {
  if (encoding === "raw") return new Uint32Array(pixels.slice().buffer)
  const stream = new Blob([pixels]).stream().pipeThrough(new DecompressionStream(encoding as CompressionFormat))
  const unpacked = await new Response(stream).arrayBuffer()
  if (unpacked.byteLength !== byteLength) throw new Error("tiles of another size than they should have")
  return new Uint32Array(unpacked)
}

/** Red and blue change places, and the picture is opaque. */
const opaque = (from: Uint32Array, into: Uint32Array) => {
  for (let i = 0; i < into.length; i++) {
    const word = from[i]!
    into[i] = (word & 0xff) << 16 | word & 0xff00 | word >>> 16 & 0xff | 0xff00_0000
  }
}

const contextOf = (canvas: HTMLCanvasElement) => canvas.getContext("2d", { alpha: false, willReadFrequently: true })!

/** Draws the tiles of a message; a picture of another size begins anew. */
export const paint = async (canvas: HTMLCanvasElement, message: Wire.Tiles): Promise<void> => {
  const { height, tiles, width } = message
  const pixels = await unpack(message)
  // A canvas that gets a size loses its picture, even where it is the same size.
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width
    canvas.height = height
  }
  const context = contextOf(canvas)
  const columns = Math.ceil(width / tileSize)
  let at = 0
  for (const tile of tiles) {
    const left = tile % columns * tileSize
    const top = Math.floor(tile / columns) * tileSize
    const image = new ImageData(Math.min(tileSize, width - left), Math.min(tileSize, height - top))
    const words = new Uint32Array(image.data.buffer)
    opaque(pixels.subarray(at, at + words.length), words)
    at += words.length
    context.putImageData(image, left, top)
  }
}

/** Forgets the picture, and keeps its size. */
export const clear = (canvas: HTMLCanvasElement) => {
  contextOf(canvas).clearRect(0, 0, canvas.width, canvas.height)
}
