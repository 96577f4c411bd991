import { assert, describe, it } from "@effect/vitest"
import * as SampleFormat from "@xen-shbuf/io/sndif/SampleFormat"
import * as Samples from "@xen-shbuf/io/sndif/Samples"
import * as Schema from "effect/Schema"
import * as World from "./World.ts"

/** A value from -1 to 1 as one sample of a format, written by other means than the library reads it. */
const sampleOf = (format: SampleFormat.SampleFormat, value: number): Uint8Array => {
  const [, kind, bits, order] = /^(s|u|float)(\d*)(?:_(le|be))?$/.exec(format)!
  const size = SampleFormat.bytesOf(format)!
  const buffer = Buffer.alloc(size)
  if (kind === "float") {
    const write = `write${bits === "64" ? "Double" : "Float"}${order === "le" ? "LE" : "BE"}` as const
    buffer[write](value)
    return buffer
  }
  const half = 2 ** (Number(bits) - 1)
  const whole = Math.max(-half, Math.min(half - 1, Math.round(value * half)))
  const word = kind === "u" ? whole + half : whole < 0 ? whole + 2 * half : whole
  const bytes = Array.from({ length: size }, (_, i) => Math.floor(word / 256 ** i) % 256)
  // Nobody says what is above 24 bits.
  if (bits === "24") bytes[3] = 0xa5
  return Uint8Array.from(order === "be" ? bytes.toReversed() : bytes)
}

const numeric = SampleFormat.names.filter((format) => /^(s|u|float)\d*(_[lb]e)?$/.test(format))

describe("sndif/Samples", () => {
  it.prop("a sample of any format is the number that it stands for", {
    format: Schema.Literals(numeric),
    values: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: -1000, maximum: 1000 })))
  }, ({ format, values }) => {
    const bytes = Buffer.concat(values.map((value) => sampleOf(format, value / 1000)))
    const found = Samples.toFloat32(format, bytes)
    assert.lengthOf(found, values.length)
    for (const [i, value] of values.entries()) {
      const exact = SampleFormat.bytesOf(format) === 1 ? 0.01 : 0.0001
      assert.isAtMost(Math.abs(found[i]! - value / 1000), exact, format)
    }
  })

  it("the laws are those of G.711", () => {
    const values = (format: "mu_law" | "a_law") =>
      [0x00, 0x80, 0xff, 0x7f, 0xd5, 0x55, 0xaa, 0x2a].map((code) =>
        Math.round(Samples.toFloat32(format, Uint8Array.of(code))[0]! * 32_768))
    assert.deepStrictEqual(values("mu_law"), [-32_124, 32_124, 0, 0, 716, -716, 5372, -5372])
    assert.deepStrictEqual(values("a_law"), [-5504, 5504, 848, -848, 8, -8, 32_256, -32_256])
  })

  it.prop("numbers become the samples that they were made of", {
    format: Schema.Literals(SampleFormat.names.filter(Samples.isNumeric)),
    values: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: -(2 ** 23), maximum: 2 ** 23 - 1 })))
  }, ({ format, values }) => {
    const first = Samples.toFloat32(format, Samples.fromFloat32(format, Float32Array.from(values, (value) => value / 2 ** 23)))
    assert.deepStrictEqual(Samples.toFloat32(format, Samples.fromFloat32(format, first)), first)
    // The widest step of the formats of a byte is that of the laws, when they are loud.
    const exact = SampleFormat.bytesOf(format) === 1 ? 1 / 32 : 2 ** -15
    for (const [i, value] of values.entries()) assert.isAtMost(Math.abs(first[i]! - value / 2 ** 23), exact, format)
  })

  it("numbers beyond 1 are as loud as the format has it, and what is no number is silent", () => {
    const numbers = Float32Array.of(9, -9, Number.NaN)
    const wave = (format: SampleFormat.SampleFormat) => [...Samples.toFloat32(format, Samples.fromFloat32(format, numbers))]
    assert.deepStrictEqual(wave("u8"), [127 / 128, -1, 0])
    assert.deepStrictEqual(wave("s16_be"), [32_767 / 32_768, -1, 0])
    assert.deepStrictEqual(wave("u24_le"), [(2 ** 23 - 1) / 2 ** 23, -1, 0])
    assert.deepStrictEqual(wave("mu_law"), [32_124 / 32_768, -32_124 / 32_768, 0])
    assert.lengthOf(Samples.fromFloat32("gsm", numbers), 0)
  })

  it("silence is 0 in every format", () => {
    for (const format of SampleFormat.names.filter(Samples.isNumeric)) {
      const found = Samples.toFloat32(format, SampleFormat.silence(format, 16))
      assert.isTrue(found.every((value) => Math.abs(value) < 0.001), format)
    }
  })

  it("what is no number is 0, and what is no sample is nothing", () => {
    const strange = Uint8Array.from([0, 0, 0xc0, 0x7f, 1, 2, 3])
    assert.deepStrictEqual([...Samples.toFloat32("float_le", strange)], [0])
    assert.lengthOf(Samples.toFloat32("iec958_subframe_le", World.noise(1, 16)), 0)
    assert.lengthOf(Samples.toFloat32("gsm", World.noise(1, 16)), 0)
  })

  it("the loudest sample of each channel counts", () => {
    const samples = Int16Array.of(100, -16_384, -8192, 5, 0, 32_767)
    assert.deepStrictEqual(Samples.peaks("s16_le", 2, new Uint8Array(samples.buffer)), [0.25, 32_767 / 32_768])
    assert.deepStrictEqual([Samples.toDecibels(1), Math.round(Samples.toDecibels(0.5)), Samples.toDecibels(0)], [0, -6, -Infinity])
  })
})
