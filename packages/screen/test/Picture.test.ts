import { assert, describe, it } from "@effect/vitest"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import * as Encoding from "@xen-shbuf/screen/Encoding"
import * as Picture from "@xen-shbuf/screen/Picture"
import * as Wire from "@xen-shbuf/screen/Wire"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { inflateRawSync, zstdDecompressSync } from "node:zlib"

const frame = (width: number, height: number, bytes: Uint8Array<ArrayBuffer>, format = PixelFormat.XR24) => ({
  width,
  height,
  format,
  pitch: width * format.bytesPerPixel,
  bytes
})

const below = (limit: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: limit - 1 }))

/** Rectangles to draw, one frame each. */
const Drawing = Schema.Struct({
  width: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 200 })),
  height: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 140 })),
  rectangles: Schema.Array(Schema.Struct({ x: below(200), y: below(140), size: below(80), colour: below(4) })).check(
    Schema.isMaxLength(6)
  )
})

/** The tiles that differ, found by looking at every pixel. */
const differing = (width: number, before: Uint32Array, after: Uint32Array): Array<number> => {
  const columns = Math.ceil(width / 64)
  const tiles = new Set<number>()
  after.forEach((word, i) => {
    if (word !== before[i]) tiles.add(Math.floor(Math.floor(i / width) / 64) * columns + Math.floor(i % width / 64))
  })
  return [...tiles].toSorted((a, b) => a - b)
}

describe("Picture", () => {
  it.effect.prop("names just the tiles that differ, and keeps what the guest drew", [Drawing], ([{ height, rectangles, width }]) =>
    Effect.sync(() => {
      const picture = new Picture.Picture(width, height)
      const words = new Uint32Array(width * height)
      for (const { colour, size, x, y } of rectangles) {
        const before = words.slice()
        for (let row = y; row < Math.min(y + size, height); row++) {
          words.fill(colour, row * width + Math.min(x, width), row * width + Math.min(x + size, width))
        }
        const { version } = picture
        const changed = picture.show(frame(width, height, new Uint8Array(words.buffer)))
        const tiles = picture.changedSince(version)
        assert.deepStrictEqual(tiles, differing(width, before, words))
        assert.strictEqual(changed, tiles.length)
        assert.deepStrictEqual(picture.words, words)
      }
      assert.strictEqual(picture.changedSince(-1).length, picture.columns * picture.rows)
    }))

  it("refuses a frame of another size, or beyond its memory", () => {
    const picture = new Picture.Picture(10, 10)
    assert.throws(() => picture.show(frame(9, 10, new Uint8Array(400))), RangeError)
    assert.throws(() => picture.show(frame(10, 10, new Uint8Array(399))), RangeError)
    assert.throws(() => picture.show({ ...frame(10, 10, new Uint8Array(400)), pitch: 41 }), RangeError)
  })

  it("takes rows that are further apart than they are long", () => {
    const bytes = new Uint8Array(3 * 12)
    new Uint32Array(bytes.buffer).set([1, 2, 9, 3, 4, 9, 5, 6])
    const picture = new Picture.Picture(2, 3)
    picture.show({ ...frame(2, 3, bytes), pitch: 12 })
    assert.deepStrictEqual([...picture.words], [1, 2, 3, 4, 5, 6])
  })
})

describe("Formats", () => {
  const red = { AR24: [0, 0, 255, 7], XB24: [255, 0, 0, 0], RG24: [0, 0, 255], RG16: [0, 0xf8], XR15: [0, 0x7c], AR12: [0, 0xff] }

  it("are all shown as they are", () => {
    for (const [name, pixel] of Object.entries(red)) {
      const format = PixelFormat.fromCode(PixelFormat.codeOf(name))!
      const picture = new Picture.Picture(2, 1)
      picture.show(frame(2, 1, Uint8Array.from([...pixel, ...pixel]), format))
      assert.deepStrictEqual(Array.from(picture.words, (word) => word & 0xff_ffff), [0xff_0000, 0xff_0000], name)
    }
  })
})

describe("Encoding", () => {
  it.effect("packs the pixels of tiles one after the other, those at the edges smaller", () =>
    Effect.gen(function*() {
      const picture = new Picture.Picture(70, 66)
      const words = Uint32Array.from({ length: 70 * 66 }, (_, i) => i)
      picture.show(frame(70, 66, new Uint8Array(words.buffer)))
      const pixels = Encoding.pixelsOf(picture, [1, 3])
      const expected = [...Array(64).keys()].flatMap((y) => [...Array(6).keys()].map((x) => y * 70 + 64 + x)).concat(
        [64, 65].flatMap((y) => [...Array(6).keys()].map((x) => y * 70 + 64 + x))
      )
      assert.deepStrictEqual([...new Uint32Array(pixels.buffer)], expected)
      const unpack = { raw: (bytes: Uint8Array) => bytes, "deflate-raw": inflateRawSync, zstd: zstdDecompressSync }
      for (const encoding of Wire.encodings) {
        const packed = yield* Encoding.packChanges(picture, -1, encoding)
        assert.deepStrictEqual(packed.tiles, [0, 1, 2, 3])
        const all = Encoding.pixelsOf(picture, packed.tiles)
        assert.strictEqual(packed.byteLength, all.length)
        assert.deepStrictEqual(new Uint8Array(unpack[encoding](packed.pixels)), all)
      }
    }))

  it.effect("packs once for all viewers that are equally far", () =>
    Effect.gen(function*() {
      const picture = new Picture.Picture(64, 64)
      const words = new Uint32Array(64 * 64).fill(1)
      picture.show(frame(64, 64, new Uint8Array(words.buffer)))
      const first = yield* Encoding.packChanges(picture, 0, "deflate-raw")
      assert.strictEqual(yield* Encoding.packChanges(picture, 0, "deflate-raw"), first)
      assert.notStrictEqual(yield* Encoding.packChanges(picture, -1, "deflate-raw"), first)
      words.fill(2)
      picture.show(frame(64, 64, new Uint8Array(words.buffer)))
      const next = yield* Encoding.packChanges(picture, -1, "deflate-raw")
      assert.deepStrictEqual(new Uint32Array(new Uint8Array(inflateRawSync(next.pixels)).buffer), words)
    }))
})
