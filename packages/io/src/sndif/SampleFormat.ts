/**
 * How a sample is written down: the formats that `xen/include/public/io/sndif.h` numbers, and their names in xenstore.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

/**
 * What a format is: its number on the wire, and the bits that a sample takes in memory. Those of 24 bits take 32, the
 * upper 8 (for `_le` the last) being none of the sample's. What has no samples of one size has no bits.
 *
 * @category models
 * @since 0.2.0
 */
export interface Details {
  /** Its number in a request to open a stream, and its bit in a mask: 0 to 24. */
  readonly code: number
  /** Bits of a sample in memory; undefined where there are no samples of one size. */
  readonly bits: number | undefined
}

/**
 * All formats by their names in xenstore.
 *
 * @category constants
 * @since 0.2.0
 */
export const details = {
  /** 8 bits with a sign. */
  s8: { code: 0, bits: 8 },
  /** 8 bits without a sign: 128 is silence. */
  u8: { code: 1, bits: 8 },
  /** 16 bits with a sign, the lowest byte first. */
  s16_le: { code: 2, bits: 16 },
  /** 16 bits with a sign, the highest byte first. */
  s16_be: { code: 3, bits: 16 },
  /** 16 bits without a sign, the lowest byte first. */
  u16_le: { code: 4, bits: 16 },
  /** 16 bits without a sign, the highest byte first. */
  u16_be: { code: 5, bits: 16 },
  /** 24 bits with a sign in 32, the lowest byte first. */
  s24_le: { code: 6, bits: 32 },
  /** 24 bits with a sign in 32, the highest byte first. */
  s24_be: { code: 7, bits: 32 },
  /** 24 bits without a sign in 32, the lowest byte first. */
  u24_le: { code: 8, bits: 32 },
  /** 24 bits without a sign in 32, the highest byte first. */
  u24_be: { code: 9, bits: 32 },
  /** 32 bits with a sign, the lowest byte first. */
  s32_le: { code: 10, bits: 32 },
  /** 32 bits with a sign, the highest byte first. */
  s32_be: { code: 11, bits: 32 },
  /** 32 bits without a sign, the lowest byte first. */
  u32_le: { code: 12, bits: 32 },
  /** 32 bits without a sign, the highest byte first. */
  u32_be: { code: 13, bits: 32 },
  /** A floating-point number of 32 bits from -1 to 1, the lowest byte first. */
  float_le: { code: 14, bits: 32 },
  /** The same, the highest byte first. */
  float_be: { code: 15, bits: 32 },
  /** A floating-point number of 64 bits from -1 to 1, the lowest byte first. */
  float64_le: { code: 16, bits: 64 },
  /** The same, the highest byte first. */
  float64_be: { code: 17, bits: 64 },
  /** A part of a digital connection (S/PDIF): 24 bits at most, and what else it passes; the lowest byte first. */
  iec958_subframe_le: { code: 18, bits: 32 },
  /** The same, the highest byte first. */
  iec958_subframe_be: { code: 19, bits: 32 },
  /** 8 bits in steps that grow with the sample, by ITU-T G.711: what telephones have in America and Japan. */
  mu_law: { code: 20, bits: 8 },
  /** 8 bits in steps that grow with the sample, by ITU-T G.711: what telephones have elsewhere. */
  a_law: { code: 21, bits: 8 },
  /** 4 bits for the step from the sample before. */
  ima_adpcm: { code: 22, bits: 4 },
  /** MPEG audio: a stream that is compressed. */
  mpeg: { code: 23, bits: undefined },
  /** The speech of GSM: a stream that is compressed. */
  gsm: { code: 24, bits: undefined }
} as const satisfies { readonly [name: string]: Details }

/**
 * The name of a format in xenstore.
 *
 * @category models
 * @since 0.2.0
 */
export type SampleFormat = keyof typeof details

/**
 * The names of all formats, in the order of their numbers.
 *
 * @category constants
 * @since 0.2.0
 */
export const names = Object.keys(details) as ReadonlyArray<SampleFormat>

/**
 * The name of a format.
 *
 * @category schemas
 * @since 0.2.0
 */
export const SampleFormat = Schema.Literals(names)

/**
 * The format of a number on the wire; undefined for one that the header does not have.
 *
 * @category conversions
 * @since 0.2.0
 */
export const fromCode = (code: number): SampleFormat | undefined => names[code]

/**
 * Bytes of one sample; undefined for what is no whole number of bytes a sample, or has no samples at all: `ima_adpcm`,
 * `mpeg` and `gsm`, which nothing here plays.
 *
 * @category conversions
 * @since 0.2.0
 */
export const bytesOf = (format: SampleFormat): number | undefined => {
  const { bits } = details[format]
  return bits === undefined || bits < 8 ? undefined : bits / 8
}

/**
 * The formats with whole bytes a sample: those that can be played without knowing more of them.
 *
 * @category constants
 * @since 0.2.0
 */
export const linear: ReadonlyArray<SampleFormat> = names.filter((format) => bytesOf(format) !== undefined)

/** The bytes of a sample that is silent, where they are not all zero: half of what an unsigned one can be, and the laws'. */
const silent: { readonly [format in SampleFormat]?: ReadonlyArray<number> } = {
  u8: [0x80],
  u16_le: [0, 0x80],
  u16_be: [0x80, 0],
  u24_le: [0, 0, 0x80, 0],
  u24_be: [0, 0x80, 0, 0],
  u32_le: [0, 0, 0, 0x80],
  u32_be: [0x80, 0, 0, 0],
  mu_law: [0xff],
  a_law: [0xd5]
}

/**
 * So many bytes of silence, from the beginning of a sample on.
 *
 * @category constructors
 * @since 0.2.0
 */
export const silence = (format: SampleFormat, byteLength: number): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(byteLength)
  const sample = silent[format]
  if (sample !== undefined) for (let i = 0; i < byteLength; i++) bytes[i] = sample[i % sample.length]!
  return bytes
}

/**
 * Formats as the bits of a mask, bit n for the number n.
 *
 * @category conversions
 * @since 0.2.0
 */
export const toMask = (formats: Iterable<SampleFormat>): bigint => {
  let mask = 0n
  for (const format of formats) mask |= 1n << BigInt(details[format].code)
  return mask
}

/**
 * The formats that a mask has bits for, in the order of their numbers; bits of no format are passed over.
 *
 * @category conversions
 * @since 0.2.0
 */
export const fromMask = (mask: bigint): ReadonlyArray<SampleFormat> =>
  names.filter((format) => (mask >> BigInt(details[format].code) & 1n) === 1n)

/**
 * A mask as 64 bits and the formats in it; bits of no format get lost.
 *
 * @category schemas
 * @since 0.2.0
 */
export const FromMask: Schema.Codec<ReadonlyArray<SampleFormat>, bigint> = Schema.BigInt.pipe(Schema.decodeTo(
  Schema.Array(SampleFormat),
  SchemaTransformation.transform<ReadonlyArray<SampleFormat>, bigint>({ decode: fromMask, encode: toMask })
))
