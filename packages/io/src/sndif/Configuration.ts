/**
 * What the toolstack writes about a sound card: its PCM devices, their streams, and on each of the three levels what a
 * stream may be: channels, rates, formats, size of the buffer. What a level does not say it has from the one above; what it
 * says must be within that.
 *
 * The nodes are in the frontend's half of xenstore, so a guest may have changed them: everything gets in through a
 * schema, and there are bounds for how much is looked at.
 *
 * @since 0.2.0
 */

import * as XenStore from "@xen-shbuf/core/XenStore"
import type { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import type { Reader } from "@xen-shbuf/xenbus/Device"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as Sample from "./SampleFormat.ts"

/**
 * What a stream is for, seen by the guest: it plays, or it records.
 *
 * @category models
 * @since 0.2.0
 */
export type Direction = "playback" | "capture"

const positive = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 0xffff_ffff }))
const rate = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000_000 }))
const channelCount = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 255 }))

/** What each level may say. */
const overrides = {
  /** The fewest channels of a stream, 1 to 255; node `channels-min`. */
  channelsMin: Schema.optionalKey(channelCount),
  /** The most channels of a stream, 1 to 255; node `channels-max`. */
  channelsMax: Schema.optionalKey(channelCount),
  /** In Hz, up to 10 MHz; node `sample-rates`. */
  rates: Schema.optionalKey(Schema.NonEmptyArray(rate)),
  /** The formats of samples that there are; node `sample-formats`. */
  formats: Schema.optionalKey(Schema.NonEmptyArray(Sample.SampleFormat)),
  /** The most bytes that a stream's buffer may have; node `buffer-size`. */
  bufferSize: Schema.optionalKey(positive)
}

const Overrides = Schema.Struct(overrides)

type Overrides = typeof Overrides.Type

/** Text without what moves a terminal's cursor. */
const text = (maximum: number) => Schema.String.check(Schema.isPattern(/^[^\p{Cc}]*$/u), Schema.isMaxLength(maximum))

const StreamDescription = Schema.Struct({
  /** Whether the guest plays or records; node `type`, `p` or `c`. */
  type: Schema.Literals(["playback", "capture"]),
  /** The toolstack's name for the stream, of at most 64 characters; node `unique-id`. */
  uniqueId: text(64),
  ...overrides
})

const DeviceDescription = Schema.Struct({
  /** Of at most 80 characters; node `name`. */
  name: Schema.optionalKey(text(80)),
  ...overrides,
  /** Its streams, each in a folder of its number. */
  streams: Schema.Array(StreamDescription)
})

/**
 * A card as the toolstack describes it, level by level.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Description = Schema.Struct({
  /** The card's name for programs, of at most 32 characters; node `short-name`. */
  shortName: Schema.optionalKey(text(32)),
  /** The card's name for people, of at most 80 characters; node `long-name`. */
  longName: Schema.optionalKey(text(80)),
  ...overrides,
  /** Its PCM devices, each in a folder of its number. */
  devices: Schema.Array(DeviceDescription)
})

/**
 * A card as the toolstack describes it, level by level.
 *
 * @category models
 * @since 0.2.0
 */
export type Description = typeof Description.Type

/**
 * What a stream may be, all of it said.
 *
 * @category models
 * @since 0.2.0
 */
export interface Settings {
  /** Samples of a frame. */
  readonly channels: {
    /** The fewest, 1 to 255. */
    readonly min: number
    /** The most, 1 to 255. */
    readonly max: number
  }
  /** The rates in Hz. */
  readonly rates: {
    /** The lowest. */
    readonly min: number
    /** The highest. */
    readonly max: number
    /** All of them, rising; undefined where nobody has said which: then it is any from the lowest to the highest. */
    readonly only: ReadonlyArray<number> | undefined
  }
  /** The formats of samples. */
  readonly formats: ReadonlyArray<Sample.SampleFormat>
  /** The most bytes of a stream's buffer. */
  readonly bufferSize: number
}

/**
 * What holds where no level says anything: what Linux's driver takes for granted then.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaults: Settings = {
  channels: { min: 1, max: 2 },
  rates: { min: 5512, max: 48_000, only: undefined },
  formats: ["u8", "s16_le"],
  bufferSize: 65_536
}

/**
 * One stream of a card.
 *
 * @category models
 * @since 0.2.0
 */
export interface Stream {
  /** The number of its PCM device on the card, from 0. */
  readonly device: number
  /** Its own number on the device, from 0. */
  readonly index: number
  /** Whether the guest plays or records. */
  readonly direction: Direction
  /** The toolstack's name for it, unique in the guest if it has taken care. */
  readonly uniqueId: string
  /** What holds for it, from all levels. */
  readonly settings: Settings
}

/**
 * A PCM device of a card.
 *
 * @category models
 * @since 0.2.0
 */
export interface Device {
  /** Its number on the card, from 0. */
  readonly index: number
  /** Empty where it has none. */
  readonly name: string
  /** Its streams, by their numbers. */
  readonly streams: ReadonlyArray<Stream>
}

/**
 * A card with all that holds for its streams.
 *
 * @category models
 * @since 0.2.0
 */
export interface Card {
  /** Empty where it has none. */
  readonly shortName: string
  /** Empty where it has none. */
  readonly longName: string
  /** Its PCM devices, by their numbers. */
  readonly devices: ReadonlyArray<Device>
}

/**
 * How much of a card is looked at.
 *
 * @category models
 * @since 0.2.0
 */
export interface Limits {
  /** PCM devices of a card. */
  readonly devices: number
  /** Streams of a card, each of which costs two mapped pages and two event channels. */
  readonly streams: number
  /** Bytes of a stream's buffer: what is described bigger is offered with so many. */
  readonly bufferSize: number
}

/**
 * The limits unless said otherwise: 32 PCM devices as in Linux, 64 streams, and 1 MiB a buffer.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaultLimits: Limits = { devices: 32, streams: 64, bufferSize: 2 ** 20 }

/**
 * A card has more of something than the application takes.
 *
 * @category errors
 * @since 0.2.0
 */
export class TooMany extends Schema.TaggedError<TooMany>()("TooMany", {
  /** Of what: PCM devices or streams. */
  what: Schema.Literals(["devices", "streams"]),
  /** How many the card has: of streams those that were counted until it was too much, where nodes are read. */
  count: Schema.Int,
  /** How many are taken, by the limits. */
  maximum: Schema.Int
}) {
  override get message() {
    return `The card has ${this.count} ${this.what}, but at most ${this.maximum} are taken.`
  }
}

/**
 * A device or stream offers what the level above does not.
 *
 * @category errors
 * @since 0.2.0
 */
export class NotWithin extends Schema.TaggedError<NotWithin>()("NotWithin", {
  /** The level's path below the card, such as 0/1. */
  level: Schema.String,
  /** The node's name, such as `channels-max`. */
  node: Schema.String,
  /** What of it is ruled out: the number, or the one format or rate. */
  value: Schema.String
}) {
  override get message() {
    return `${this.node} of ${this.level === "" ? "the card" : this.level} is ${this.value}, which the level above it rules out.`
  }
}

/**
 * What a card's nodes describe can't be.
 *
 * @category errors
 * @since 0.2.0
 */
export class ConfigurationError extends Schema.TaggedError<ConfigurationError>()("ConfigurationError", {
  /** What is wrong. */
  reason: Schema.Union([TooMany, NotWithin])
}) {
  override get message() {
    return this.reason.message
  }
}

/** What the levels so far have said; nothing is ruled out by what nobody said. */
const within = (level: string, above: Overrides, own: Overrides): Result.Result<Overrides, ConfigurationError> => {
  const wrong = (node: string, value: string | number) =>
    Result.fail(new ConfigurationError({ reason: new NotWithin({ level, node, value: String(value) }) }))
  const { bufferSize, channelsMax, channelsMin, formats, rates } = { ...above, ...own }
  const most = channelsMax ?? 255
  if (own.channelsMin !== undefined && (own.channelsMin < (above.channelsMin ?? 1) || own.channelsMin > most)) {
    return wrong("channels-min", own.channelsMin)
  }
  if (own.channelsMax !== undefined && (most > (above.channelsMax ?? 255) || most < (channelsMin ?? 1))) {
    return wrong("channels-max", most)
  }
  const rate = rates?.find((rate) => !(above.rates ?? rates).includes(rate))
  if (rate !== undefined) return wrong("sample-rates", rate)
  const format = formats?.find((format) => !(above.formats ?? formats).includes(format))
  if (format !== undefined) return wrong("sample-formats", format)
  if ((bufferSize ?? 0) > (above.bufferSize ?? Infinity)) return wrong("buffer-size", bufferSize!)
  return Result.succeed({ ...above, ...own })
}

const settingsOf = (said: Overrides, limits: Limits): Settings => {
  const max = said.channelsMax ?? Math.max(defaults.channels.max, said.channelsMin ?? 1)
  const only = said.rates === undefined ? undefined : [...new Set(said.rates)].sort((a, b) => a - b)
  return {
    channels: { min: said.channelsMin ?? 1, max },
    rates: only === undefined ? defaults.rates : { min: only[0]!, max: only.at(-1)!, only },
    formats: said.formats ?? defaults.formats,
    bufferSize: Math.min(said.bufferSize ?? defaults.bufferSize, limits.bufferSize)
  }
}

const overridesOf = (level: { readonly [key in keyof Overrides]?: Overrides[key] | undefined }): Overrides => {
  const { bufferSize, channelsMax, channelsMin, formats, rates } = level
  return {
    ...(channelsMin === undefined ? {} : { channelsMin }),
    ...(channelsMax === undefined ? {} : { channelsMax }),
    ...(rates === undefined ? {} : { rates }),
    ...(formats === undefined ? {} : { formats }),
    ...(bufferSize === undefined ? {} : { bufferSize })
  }
}

const tooMany = (what: TooMany["what"], count: number, maximum: number) =>
  Result.fail(new ConfigurationError({ reason: new TooMany({ what, count, maximum }) }))

/**
 * What holds for each stream of a description. Fails where there is too much of it, and where a level offers what the one
 * above it does not.
 *
 * @category conversions
 * @since 0.2.0
 */
export const resolve = (
  description: Description,
  limits: Limits = defaultLimits
): Result.Result<Card, ConfigurationError> =>
  Result.gen(function*() {
    const { devices } = description
    if (devices.length > limits.devices) return yield* tooMany("devices", devices.length, limits.devices)
    const count = devices.reduce((sum, { streams }) => sum + streams.length, 0)
    if (count > limits.streams) return yield* tooMany("streams", count, limits.streams)
    const card = yield* within("", {}, overridesOf(description))
    const resolved: Array<Device> = []
    for (const [index, device] of devices.entries()) {
      const above = yield* within(`${index}`, card, overridesOf(device))
      const streams: Array<Stream> = []
      for (const [place, stream] of device.streams.entries()) {
        const said = yield* within(`${index}/${place}`, above, overridesOf(stream))
        streams.push({
          device: index,
          index: place,
          direction: stream.type,
          uniqueId: stream.uniqueId,
          settings: settingsOf(said, limits)
        })
      }
      resolved.push({ index, name: device.name ?? "", streams })
    }
    return { shortName: description.shortName ?? "", longName: description.longName ?? "", devices: resolved }
  })

/** A list of words, separated by commas as xenstore has them. */
const list = (value: string) => value.split(",").map((word) => word.trim())

const isRate = Schema.is(rate)

/** Rates: Linux passes over what is no number of its own list, so an unknown word is no failure, no rate at all is one. */
const RateList: Schema.Codec<readonly [number, ...Array<number>], string> = Schema.String.pipe(Schema.decodeTo(
  Schema.NonEmptyArray(rate),
  SchemaTransformation.transform<readonly [number, ...Array<number>], string>({
    decode: (value) =>
      list(value).filter((word) => /^[0-9]+$/.test(word)).map(Number).filter(isRate) as [number, ...Array<number>],
    encode: (rates) => rates.join(",")
  })
))

const isFormat = Schema.is(Sample.SampleFormat)

/** `xl` calls floating-point samples otherwise than the header does, and so does what it writes: Linux does not know it. */
const inHeader = (word: string) => word.replace(/^f(32|64)_/, (_, bits) => bits === "32" ? "float_" : "float64_")

/** Formats, in capitals or not, as Linux reads them; names that are not known are passed over. */
const FormatList: Schema.Codec<readonly [Sample.SampleFormat, ...Array<Sample.SampleFormat>], string> = Schema.String.pipe(
  Schema.decodeTo(
    Schema.NonEmptyArray(Sample.SampleFormat),
    SchemaTransformation.transform<readonly [Sample.SampleFormat, ...Array<Sample.SampleFormat>], string>({
      decode: (value) =>
        list(value.toLowerCase()).map(inHeader).filter(isFormat) as [Sample.SampleFormat, ...Array<Sample.SampleFormat>],
      encode: (formats) => formats.join(",")
    })
  )
)

const directions: { readonly [letter: string]: Direction } = { p: "playback", c: "capture" }

const DirectionLetter: Schema.Codec<Direction, string> = Schema.String.check(
  Schema.isPattern(/^[pcPC]$/)
).pipe(Schema.decodeTo(
  Schema.Literals(["playback", "capture"]),
  SchemaTransformation.transform<Direction, string>({
    decode: (letter) => directions[letter.toLowerCase()]!,
    encode: (direction) => direction === "playback" ? "p" : "c"
  })
))

/** A name as it may be printed: what moves a cursor becomes a mark, what is too long is cut. */
const Name = (maximum: number): Schema.Codec<string, string> =>
  Schema.String.pipe(Schema.decodeTo(
    text(maximum),
    SchemaTransformation.transform<string, string>({
      decode: (value) => value.replace(/\p{Cc}/gu, "\ufffd").slice(0, maximum),
      encode: (value) => value
    })
  ))

/** A decimal number that a schema takes. */
const decimal = (schema: Schema.Codec<number>): Schema.Codec<number, string> =>
  XenStore.Decimal.pipe(Schema.decodeTo(schema, SchemaTransformation.passthrough()))

/** The nodes of each level, with the schemas of their values. */
const nodes = {
  channelsMin: ["channels-min", decimal(channelCount)],
  channelsMax: ["channels-max", decimal(channelCount)],
  rates: ["sample-rates", RateList],
  formats: ["sample-formats", FormatList],
  bufferSize: ["buffer-size", decimal(positive)]
} as const

const shortName = Name(32)
const longName = Name(80)
const uniqueId = Name(64)

/** Reads one of the nodes that a directory lists, and nothing else. */
const listed = (reader: Reader, path: string, names: ReadonlyArray<string>) =>
  <A>(node: string, schema: Schema.Codec<A, string>): Effect.Effect<A | undefined, ConnectionError> =>
    names.includes(node)
      ? Effect.map(reader.readOptional(`${path}${node}`, schema), Option.getOrUndefined)
      : Effect.succeed(undefined)

type Listed = ReturnType<typeof listed>

const readOverrides = Effect.fnUntraced(function*(read: Listed) {
  return overridesOf({
    channelsMin: yield* read(...nodes.channelsMin),
    channelsMax: yield* read(...nodes.channelsMax),
    rates: yield* read(...nodes.rates),
    formats: yield* read(...nodes.formats),
    bufferSize: yield* read(...nodes.bufferSize)
  })
})

/** How many of the names are 0, 1, 2 and so on without a gap, as Linux counts them. */
const countIn = (names: ReadonlyArray<string>): number => {
  const all = new Set(names)
  let count = 0
  while (all.has(`${count}`)) count++
  return count
}

const readStream = Effect.fnUntraced(function*(reader: Reader, path: string) {
  const read = listed(reader, `${path}/`, yield* reader.directory(path))
  return {
    type: yield* reader.read(`${path}/type`, DirectionLetter),
    uniqueId: (yield* read("unique-id", uniqueId)) ?? "",
    ...(yield* readOverrides(read))
  }
})

/**
 * Reads a card from the frontend's nodes, at most what the limits allow: a backend's connection reads them, a
 * frontend's `own`. Fails with the path of a value that can't be, or that is missing (the type of a stream).
 *
 * @category reading
 * @since 0.2.0
 */
export const read: (
  reader: Reader,
  limits?: Limits
) => Effect.Effect<Card, ConnectionError | ConfigurationError> = Effect.fnUntraced(
  function*(reader, limits = defaultLimits) {
    const names = yield* reader.directory()
    const count = countIn(names)
    if (count > limits.devices) return yield* Effect.fromResult(tooMany("devices", count, limits.devices))
    const devices: Array<Description["devices"][number]> = []
    let total = 0
    for (let index = 0; index < count; index++) {
      const below = yield* reader.directory(`${index}`)
      const own = countIn(below)
      total += own
      if (total > limits.streams) return yield* Effect.fromResult(tooMany("streams", total, limits.streams))
      const streams: Array<typeof StreamDescription.Type> = []
      for (let place = 0; place < own; place++) streams.push(yield* readStream(reader, `${index}/${place}`))
      const readNode = listed(reader, `${index}/`, below)
      const name = yield* readNode("name", longName)
      devices.push({ ...(name === undefined ? {} : { name }), ...(yield* readOverrides(readNode)), streams })
    }
    const readNode = listed(reader, "", names)
    const short = yield* readNode("short-name", shortName)
    const long = yield* readNode("long-name", longName)
    return yield* Effect.fromResult(resolve({
      ...(short === undefined ? {} : { shortName: short }),
      ...(long === undefined ? {} : { longName: long }),
      ...(yield* readOverrides(readNode)),
      devices
    }, limits))
  }
)

const overrideNodes = function*(prefix: string, level: Overrides): Generator<readonly [string, string]> {
  if (level.channelsMin !== undefined) yield [`${prefix}channels-min`, `${level.channelsMin}`]
  if (level.channelsMax !== undefined) yield [`${prefix}channels-max`, `${level.channelsMax}`]
  if (level.rates !== undefined) yield [`${prefix}sample-rates`, level.rates.join(",")]
  if (level.formats !== undefined) yield [`${prefix}sample-formats`, level.formats.join(",")]
  if (level.bufferSize !== undefined) yield [`${prefix}buffer-size`, `${level.bufferSize}`]
}

/**
 * The nodes that describe a card, relative to the frontend's path: what a toolstack writes.
 *
 * @category conversions
 * @since 0.2.0
 */
export const toNodes = (description: Description): Readonly<Record<string, string>> => {
  const all: Array<readonly [string, string]> = [...overrideNodes("", description)]
  if (description.shortName !== undefined) all.push(["short-name", description.shortName])
  if (description.longName !== undefined) all.push(["long-name", description.longName])
  for (const [index, device] of description.devices.entries()) {
    if (device.name !== undefined) all.push([`${index}/name`, device.name])
    all.push(...overrideNodes(`${index}/`, device))
    for (const [place, stream] of device.streams.entries()) {
      const prefix = `${index}/${place}/`
      all.push([`${prefix}type`, stream.type === "playback" ? "p" : "c"], [`${prefix}unique-id`, stream.uniqueId])
      all.push(...overrideNodes(prefix, stream))
    }
  }
  return Object.fromEntries(all)
}

/**
 * All streams of a card, in order.
 *
 * @category conversions
 * @since 0.2.0
 */
export const streamsOf = (card: Card): ReadonlyArray<Stream> => card.devices.flatMap(({ streams }) => streams)
