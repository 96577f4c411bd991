import { assert, describe, it } from "@effect/vitest"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import * as Schema from "effect/Schema"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

describe("PixelFormat", () => {
  it("codes are those of four letters, as drm_fourcc.h has them", () => {
    assert.strictEqual(PixelFormat.XR24.code, 0x3432_5258)
    assert.strictEqual(PixelFormat.codeOf("RG16"), 0x3631_4752)
    for (const format of PixelFormat.all) assert.strictEqual(PixelFormat.fromCode(format.code), format)
    assert.strictEqual(PixelFormat.fromCode(0), undefined)
    assert.strictEqual(PixelFormat.fromCode(PixelFormat.codeOf("YUYV")), undefined)
  })

  it("channels do not overlap, and lie in the pixel", () => {
    for (const { alpha, blue, bytesPerPixel, green, name, red } of PixelFormat.all) {
      const masks = [red, green, blue, ...alpha === undefined ? [] : [alpha]].map(({ bits, shift }) =>
        (2n ** BigInt(bits) - 1n) << BigInt(shift)
      )
      const sum = masks.reduce((a, b) => a + b, 0n)
      assert.strictEqual(masks.reduce((a, b) => a | b, 0n), sum, name)
      assert.isTrue(sum < 2n ** BigInt(8 * bytesPerPixel), name)
    }
  })

  const white = (format: PixelFormat.PixelFormat) => new Uint8Array(format.bytesPerPixel).fill(0xff)

  it("white is white and black is black in every format", () => {
    for (const format of PixelFormat.all) {
      const into = new Uint8Array(4)
      const one = { width: 1, height: 1, pitch: format.bytesPerPixel, format }
      PixelFormat.toRgba({ ...one, bytes: white(format) }, into)
      assert.deepStrictEqual(Array.from(into), [255, 255, 255, 255], format.name)
      PixelFormat.toRgba({ ...one, bytes: new Uint8Array(format.bytesPerPixel) }, into)
      assert.deepStrictEqual(Array.from(into), [0, 0, 0, format.alpha === undefined ? 255 : 0], format.name)
    }
  })

  it("colours are where the formats say", () => {
    const colour = (name: string, bytes: ReadonlyArray<number>) => {
      const format = PixelFormat.fromCode(PixelFormat.codeOf(name))!
      const into = new Uint8Array(4)
      PixelFormat.toRgba({ width: 1, height: 1, pitch: 4, format, bytes: Uint8Array.from(bytes) }, into)
      return Array.from(into)
    }
    assert.deepStrictEqual(colour("XR24", [1, 2, 3, 4]), [3, 2, 1, 255])
    assert.deepStrictEqual(colour("AR24", [1, 2, 3, 4]), [3, 2, 1, 4])
    assert.deepStrictEqual(colour("XB24", [1, 2, 3, 4]), [1, 2, 3, 255])
    assert.deepStrictEqual(colour("RG24", [1, 2, 3]), [3, 2, 1, 255])
    assert.deepStrictEqual(colour("RG16", [0x00, 0xf8]), [255, 0, 0, 255])
    assert.deepStrictEqual(colour("RG16", [0xe0, 0x07]), [0, 255, 0, 255])
    assert.deepStrictEqual(colour("RG16", [0x1f, 0x00]), [0, 0, 255, 255])
    assert.deepStrictEqual(colour("AR15", [0x00, 0xfc]), [255, 0, 0, 255])
    assert.deepStrictEqual(colour("XR12", [0x00, 0x0f]), [255, 0, 0, 255])
    assert.deepStrictEqual(colour("XR30", [0x00, 0x00, 0xf0, 0x3f]), [255, 0, 0, 255])
  })

  it.prop("whole pixels and single bytes say the same, whatever the pitch", {
    width: between(0, 5),
    height: between(0, 4),
    padding: between(0, 5),
    skew: between(0, 3),
    seed: between(1, 0xffff)
  }, ({ height, padding, seed, skew, width }) => {
    const pitch = width * 4 + padding
    const memory = Uint8Array.from({ length: skew + pitch * height }, (_, i) => i * seed >>> 3)
    for (const format of PixelFormat.all.slice(0, 2)) {
      const into = new Uint8Array(width * height * 4 + 1)
      PixelFormat.toRgba({ width, height, pitch, format, bytes: memory.subarray(skew) }, into)
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const [b, g, r, a] = memory.subarray(skew + y * pitch + x * 4)
          const at = (y * width + x) * 4
          assert.deepStrictEqual(Array.from(into.subarray(at, at + 4)), [r!, g!, b!, format.alpha ? a! : 255])
        }
      }
      assert.strictEqual(into.at(-1), 0)
    }
  })

  it("refuses to write beyond the end", () => {
    const pixels = { width: 2, height: 2, pitch: 8, format: PixelFormat.XR24, bytes: new Uint8Array(16) }
    assert.throws(() => PixelFormat.toRgba(pixels, new Uint8Array(15)), RangeError)
  })
})
