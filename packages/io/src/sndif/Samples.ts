/**
 * Makes numbers of samples, whatever their format, and samples of numbers: for who mixes, draws or measures sound, or plays
 * and records it in a browser.
 *
 * @since 0.2.0
 */
import { bytesOf, type SampleFormat } from "./SampleFormat.ts"

/** One sample as a number from -1 to 1. */
type Read = (view: DataView, offset: number) => number

/** ITU-T G.711: a sign, three bits of exponent, four of mantissa, all inverted. */
const muLaw = (byte: number): number => {
  const code = ~byte & 0xff
  const magnitude = ((code & 0x0f) << 3 | 0x84) << (code >> 4 & 7)
  return ((code & 0x80) === 0 ? magnitude - 0x84 : 0x84 - magnitude) / 32_768
}

/** ITU-T G.711: the same with every other bit inverted, and no bias below the first step. */
const aLaw = (byte: number): number => {
  const code = byte ^ 0x55
  const exponent = code >> 4 & 7
  const mantissa = (code & 0x0f) << 4 | 8
  const magnitude = exponent === 0 ? mantissa : (mantissa | 0x100) << exponent - 1
  return ((code & 0x80) === 0 ? -magnitude : magnitude) / 32_768
}

const whole = (bits: number, isLittle: boolean, isUnsigned: boolean): Read => {
  const scale = 2 ** (bits - 1)
  const bias = isUnsigned ? scale : 0
  switch (bits) {
    case 16:
      return (view, offset) => {
        const value = view.getUint16(offset, isLittle)
        return (isUnsigned ? value - bias : value << 16 >> 16) / scale
      }
    case 24:
      // In the lower 24 bits of 32: what the upper 8 are is nobody's business.
      return (view, offset) => {
        const value = view.getUint32(offset, isLittle) & 0xff_ffff
        return (isUnsigned ? value - bias : value << 8 >> 8) / scale
      }
    default:
      return (view, offset) =>
        (isUnsigned ? view.getUint32(offset, isLittle) - bias : view.getInt32(offset, isLittle)) / scale
  }
}

const readers: { readonly [format in SampleFormat]?: Read } = {
  s8: (view, offset) => view.getInt8(offset) / 128,
  u8: (view, offset) => (view.getUint8(offset) - 128) / 128,
  s16_le: whole(16, true, false),
  s16_be: whole(16, false, false),
  u16_le: whole(16, true, true),
  u16_be: whole(16, false, true),
  s24_le: whole(24, true, false),
  s24_be: whole(24, false, false),
  u24_le: whole(24, true, true),
  u24_be: whole(24, false, true),
  s32_le: whole(32, true, false),
  s32_be: whole(32, false, false),
  u32_le: whole(32, true, true),
  u32_be: whole(32, false, true),
  float_le: (view, offset) => view.getFloat32(offset, true),
  float_be: (view, offset) => view.getFloat32(offset, false),
  float64_le: (view, offset) => view.getFloat64(offset, true),
  float64_be: (view, offset) => view.getFloat64(offset, false),
  mu_law: (view, offset) => muLaw(view.getUint8(offset)),
  a_law: (view, offset) => aLaw(view.getUint8(offset))
}

/**
 * Whether the samples of a format can be made numbers: those of `iec958_subframe_*`, and those without whole bytes, can't.
 *
 * @category guards
 * @since 0.2.0
 */
export const isNumeric = (format: SampleFormat): boolean => readers[format] !== undefined

/**
 * The samples as numbers from -1 to 1, in their order; bytes of the peer's choice, so a floating-point format may hold
 * anything else, too: what is no number is 0. Copy from shared memory first. Empty for a format that is not numeric.
 *
 * @category conversions
 * @since 0.2.0
 */
export const toFloat32 = (format: SampleFormat, bytes: Uint8Array): Float32Array<ArrayBuffer> => {
  const read = readers[format]
  const size = bytesOf(format)
  if (read === undefined || size === undefined) return new Float32Array(0)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const samples = new Float32Array(Math.floor(bytes.length / size))
  for (let i = 0; i < samples.length; i++) {
    const value = read(view, i * size)
    samples[i] = Number.isNaN(value) ? 0 : value
  }
  return samples
}

/** Writes a number from -1 to 1 as one sample. */
type Write = (view: DataView, offset: number, value: number) => void

const toWhole = (bits: number, isLittle: boolean, isUnsigned: boolean): Write => {
  const scale = 2 ** (bits - 1)
  const bias = isUnsigned ? scale : 0
  const round = (value: number) => Math.max(-scale, Math.min(scale - 1, Math.round(value * scale))) + bias
  switch (bits) {
    case 8:
      return (view, offset, value) => view.setUint8(offset, round(value))
    case 16:
      return (view, offset, value) => view.setUint16(offset, round(value), isLittle)
    default:
      return (view, offset, value) => view.setUint32(offset, round(value), isLittle)
  }
}

/** The byte of the value that is nearest to a number: for formats whose steps are not equal. */
const nearest = (valueOf: (byte: number) => number): Write => {
  const all = Array.from({ length: 256 }, (_, byte) => ({ byte, value: valueOf(byte) })).sort((a, b) => a.value - b.value)
  return (view, offset, value) => {
    let low = 0
    let high = all.length - 1
    while (low < high) {
      const middle = low + high >> 1
      if ((all[middle]!.value + all[middle + 1]!.value) / 2 < value) low = middle + 1
      else high = middle
    }
    view.setUint8(offset, all[low]!.byte)
  }
}

const writers: { readonly [format in SampleFormat]?: Write } = {
  s8: toWhole(8, true, false),
  u8: toWhole(8, true, true),
  s16_le: toWhole(16, true, false),
  s16_be: toWhole(16, false, false),
  u16_le: toWhole(16, true, true),
  u16_be: toWhole(16, false, true),
  s24_le: toWhole(24, true, false),
  s24_be: toWhole(24, false, false),
  u24_le: toWhole(24, true, true),
  u24_be: toWhole(24, false, true),
  s32_le: toWhole(32, true, false),
  s32_be: toWhole(32, false, false),
  u32_le: toWhole(32, true, true),
  u32_be: toWhole(32, false, true),
  float_le: (view, offset, value) => view.setFloat32(offset, value, true),
  float_be: (view, offset, value) => view.setFloat32(offset, value, false),
  float64_le: (view, offset, value) => view.setFloat64(offset, value, true),
  float64_be: (view, offset, value) => view.setFloat64(offset, value, false),
  mu_law: nearest(muLaw),
  a_law: nearest(aLaw)
}

/**
 * Samples of numbers from -1 to 1, in their order: the nearest ones that the format has, and silence for what is no number.
 * Empty for a format that is not numeric.
 *
 * @category conversions
 * @since 0.2.0
 */
export const fromFloat32 = (format: SampleFormat, samples: Float32Array): Uint8Array<ArrayBuffer> => {
  const write = writers[format]
  const size = bytesOf(format)
  if (write === undefined || size === undefined) return new Uint8Array(0)
  const bytes = new Uint8Array(samples.length * size)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < samples.length; i++) {
    const value = samples[i]!
    write(view, i * size, Number.isNaN(value) ? 0 : value)
  }
  return bytes
}

/**
 * The loudest sample of each channel, 0 to 1 (more, where a guest's floating-point samples are).
 *
 * @category measures
 * @since 0.2.0
 */
export const peaks = (format: SampleFormat, channels: number, bytes: Uint8Array): ReadonlyArray<number> => {
  const loudest = Array.from({ length: channels }, () => 0)
  const samples = toFloat32(format, bytes)
  for (let i = 0; i < samples.length; i++) {
    const channel = i % channels
    loudest[channel] = Math.max(loudest[channel]!, Math.abs(samples[i]!))
  }
  return loudest
}

/**
 * A level from 0 to 1 in dB of full scale; minus infinity for silence.
 *
 * @category conversions
 * @since 0.2.0
 */
export const toDecibels = (level: number): number => 20 * Math.log10(level)
