import { assert, describe, it } from "@effect/vitest"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import type * as Protocol from "@xen-shbuf/io/sndif/Protocol"
import * as SampleFormat from "@xen-shbuf/io/sndif/SampleFormat"
import { ConnectionError, InvalidNode } from "@xen-shbuf/xenbus/ConnectionError"
import type { Reader } from "@xen-shbuf/xenbus/Device"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { refine } from "../../src/sndif/internal/refine.ts"

/** Reads from a record as a device reads from xenstore. */
const readerOf = (nodes: Readonly<Record<string, string>>): Reader & { readonly reads: Array<string> } => {
  const reads: Array<string> = []
  const invalid = (path: string, detail: string) =>
    new ConnectionError({ device: "card", reason: new InvalidNode({ path, detail }) })
  const readOptional: Reader["readOptional"] = (node, schema) =>
    Effect.suspend(() => {
      reads.push(node)
      const value = nodes[node]
      return value === undefined
        ? Effect.succeedNone
        : Effect.mapError(Effect.asSome(Schema.decodeEffect(schema)(value)), ({ message }) => invalid(node, message))
    })
  return {
    reads,
    readOptional,
    read: (node, schema) =>
      Effect.flatMap(readOptional(node, schema), Option.match({
        onNone: () => Effect.fail(invalid(node, "it is missing")),
        onSome: (value) => Effect.succeed(value)
      })),
    directory: (node) => {
      const prefix = node === undefined ? "" : `${node}/`
      const below = Object.keys(nodes).filter((key) => key.startsWith(prefix))
      return Effect.succeed([...new Set(below.map((key) => key.slice(prefix.length).split("/")[0]!))])
    }
  }
}

const stream = (more: object = {}) => ({ type: "playback", uniqueId: "0", ...more } as const)

const failure = (description: Configuration.Description, limits?: Configuration.Limits) => {
  const result = Configuration.resolve(description, limits)
  assert(Result.isFailure(result))
  return result.failure.reason
}

describe("sndif/Configuration", () => {
  it.effect("reads the example of Xen's header", () =>
    Effect.gen(function*() {
      const card = yield* Configuration.read(readerOf({
        "backend-id": "0",
        state: "1",
        version: "1",
        "short-name": "Card short name",
        "long-name": "Card long name",
        "sample-rates": "8000,32000,44100,48000,96000",
        "sample-formats": "s8,u8,s16_le,s16_be",
        "buffer-size": "262144",
        "0/name": "General analog",
        "0/channels-max": "5",
        "0/0/type": "p",
        "0/0/sample-formats": "s8,u8",
        "0/0/unique-id": "0",
        "0/1/type": "c",
        "0/1/channels-max": "2",
        "0/1/unique-id": "1",
        "1/name": "HDMI-0",
        "1/sample-rates": "8000,32000,44100",
        "1/0/type": "c",
        "1/0/unique-id": "2",
        "2/name": "SPDIF",
        "2/0/type": "p",
        "2/0/unique-id": "3"
      }))
      assert.deepStrictEqual([card.shortName, card.longName], ["Card short name", "Card long name"])
      assert.deepStrictEqual(card.devices.map(({ name }) => name), ["General analog", "HDMI-0", "SPDIF"])
      const streams = Configuration.streamsOf(card)
      assert.deepStrictEqual(streams.map(({ device, direction, index, uniqueId }) => [device, index, direction, uniqueId]), [
        [0, 0, "playback", "0"],
        [0, 1, "capture", "1"],
        [1, 0, "capture", "2"],
        [2, 0, "playback", "3"]
      ])
      const all = [8000, 32_000, 44_100, 48_000, 96_000]
      assert.deepStrictEqual(streams[0]!.settings, {
        channels: { min: 1, max: 5 },
        rates: { min: 8000, max: 96_000, only: all },
        formats: ["s8", "u8"],
        bufferSize: 262_144
      })
      assert.deepStrictEqual(streams[1]!.settings.channels, { min: 1, max: 2 })
      assert.deepStrictEqual(streams[2]!.settings.rates, { min: 8000, max: 44_100, only: all.slice(0, 3) })
      assert.deepStrictEqual(streams[3]!.settings.formats, ["s8", "u8", "s16_le", "s16_be"])
    }))

  it.effect.prop("what a toolstack writes is read again", { description: Configuration.Description }, ({ description }) =>
    Effect.gen(function*() {
      const limits = { devices: 100, streams: 10_000, bufferSize: 2 ** 32 }
      const expected = Configuration.resolve(description, limits)
      const read = yield* Effect.result(Configuration.read(readerOf(Configuration.toNodes(description)), limits))
      // A device without nodes is none, nor is any after it.
      if (description.devices.some((device) => Object.keys(Configuration.toNodes({ devices: [device] })).length === 0)) return
      assert.deepStrictEqual(read, expected)
    }), { arbitrary: { runs: 200, size: 6 } })

  it("what no level says is what Linux takes for granted", () => {
    const card = Result.getOrThrow(Configuration.resolve({ devices: [{ streams: [stream()] }] }))
    assert.deepStrictEqual(card.devices[0]!.streams[0]!.settings, Configuration.defaults)
    const six = Result.getOrThrow(Configuration.resolve({ devices: [{ streams: [stream({ channelsMin: 6 })] }] }))
    assert.deepStrictEqual(six.devices[0]!.streams[0]!.settings.channels, { min: 6, max: 6 })
  })

  it("a level can't offer what the one above rules out", () => {
    const above = { channelsMin: 2, channelsMax: 4, rates: [8000, 48_000], formats: ["s16_le"], bufferSize: 4096 } as const
    const wrong = [
      [{ channelsMin: 1 }, "channels-min"],
      [{ channelsMin: 5 }, "channels-min"],
      [{ channelsMax: 5 }, "channels-max"],
      [{ channelsMax: 1 }, "channels-max"],
      [{ rates: [8000, 44_100] }, "sample-rates"],
      [{ formats: ["s16_le", "u8"] }, "sample-formats"],
      [{ bufferSize: 4097 }, "buffer-size"]
    ] as const
    for (const [own, node] of wrong) {
      for (const description of [
        { ...above, devices: [{ ...own, streams: [stream()] }] },
        { ...above, devices: [{ streams: [stream(own)] }] },
        { devices: [{ ...above, streams: [stream(own)] }] }
      ] as ReadonlyArray<Configuration.Description>) {
        assert.deepInclude(failure(description), { _tag: "NotWithin", node })
      }
    }
  })

  it.effect("looks at no more than it may", () =>
    Effect.gen(function*() {
      const nodes: Record<string, string> = { "0/name": "many" }
      for (let i = 0; i < 1000; i++) nodes[`0/${i}/type`] = "p"
      const reader = readerOf(nodes)
      const { reason } = yield* Effect.flip(Configuration.read(reader))
      assert.deepInclude(reason, { _tag: "TooMany", what: "streams", count: 1000, maximum: 64 })
      assert.deepStrictEqual(reader.reads, [])
      const devices: Record<string, string> = {}
      for (let i = 0; i < 33; i++) devices[`${i}/0/type`] = "p"
      assert.deepInclude((yield* Effect.flip(Configuration.read(readerOf(devices)))).reason, { _tag: "TooMany", what: "devices" })
    }))

  it.effect("passes over what it does not know, and refuses what can't be with the path", () =>
    Effect.gen(function*() {
      const base = { "0/0/type": "P", "0/0/unique-id": "x\u001b[2J\u0007", "short-name": "n".repeat(100) }
      const card = yield* Configuration.read(readerOf({
        ...base,
        "sample-formats": "S16_LE,s20_3le,U8,f32_be,f64_le",
        "sample-rates": "48000, 8000,fast",
        "0/5/type": "p",
        "0/x": "1",
        "00/0/type": "p"
      }))
      const [only] = Configuration.streamsOf(card)
      assert.lengthOf(Configuration.streamsOf(card), 1)
      assert.deepStrictEqual(only!.settings.formats, ["s16_le", "u8", "float_be", "float64_le"])
      assert.deepStrictEqual(only!.settings.rates.only, [8000, 48_000])
      assert.notMatch(only!.uniqueId, /\p{Cc}/u)
      assert.lengthOf(card.shortName, 32)
      for (const [node, value] of [
        ["0/0/type", "x"],
        ["0/0/type", ""],
        ["channels-min", "0"],
        ["0/channels-max", "256"],
        ["0/channels-max", "-1"],
        ["0/0/buffer-size", "0"],
        ["0/0/buffer-size", "4294967296"],
        ["0/0/buffer-size", "0x1000"],
        ["sample-formats", "mp3"],
        ["sample-formats", ""],
        ["sample-rates", "0"],
        ["sample-rates", "fast"]
      ] as const) {
        const { reason } = yield* Effect.flip(Configuration.read(readerOf({ ...base, [node]: value })))
        assert.deepInclude(reason, { _tag: "InvalidNode", path: node }, `${node}=${value}`)
      }
      const { "0/0/type": _, ...missing } = base
      assert.deepInclude((yield* Effect.flip(Configuration.read(readerOf(missing)))).reason, {
        _tag: "InvalidNode",
        path: "0/0/type"
      })
    }))

  it("offers no bigger buffer than the application takes", () => {
    const limits = { ...Configuration.defaultLimits, bufferSize: 8192 }
    const card = Result.getOrThrow(Configuration.resolve({ bufferSize: 2 ** 31, devices: [{ streams: [stream()] }] }, limits))
    assert.strictEqual(card.devices[0]!.streams[0]!.settings.bufferSize, 8192)
  })
})

describe("sndif, a query of hardware parameters", () => {
  const settings: Configuration.Settings = {
    channels: { min: 1, max: 6 },
    rates: { min: 8000, max: 96_000, only: [8000, 44_100, 48_000, 96_000] },
    formats: ["u8", "s16_le", "float64_le", "gsm"],
    bufferSize: 65_536
  }
  const any = { min: 0, max: 0xffff_ffff }
  const all: Protocol.HwParams = { formats: 2n ** 64n - 1n, rates: any, channels: any, buffer: any, period: any }

  it("gives what the stream can be, without what can't be played", () => {
    assert.deepStrictEqual(refine(settings, all), {
      formats: SampleFormat.toMask(["u8", "s16_le", "float64_le"]),
      rates: { min: 8000, max: 96_000 },
      channels: { min: 1, max: 6 },
      buffer: { min: 1, max: 65_536 },
      period: { min: 1, max: 65_536 }
    })
    const narrow = refine(settings, {
      ...all,
      formats: SampleFormat.toMask(["s16_le"]),
      channels: { min: 2, max: 2 },
      rates: { min: 9000, max: 50_000 }
    })
    assert.deepStrictEqual(narrow?.rates, { min: 44_100, max: 48_000 })
    assert.deepStrictEqual(narrow?.buffer, { min: 1, max: 16_384 })
  })

  it("gives nothing where nothing is left", () => {
    for (const asked of [
      { formats: SampleFormat.toMask(["s8", "gsm"]) },
      { rates: { min: 9000, max: 44_000 } },
      { rates: { min: 48_000, max: 8000 } },
      { channels: { min: 7, max: 9 } },
      { buffer: { min: 65_537, max: 70_000 } },
      { period: { min: 65_537, max: 70_000 } }
    ]) assert.strictEqual(refine(settings, { ...all, ...asked }), undefined)
  })

  const word = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff }))
  const interval = Schema.Struct({ min: Schema.Union([word, Schema.Literals([0, 1, 2, 8000])]), max: word })
  it.prop("the answer is within the question and the settings, and asking again changes nothing", {
    formats: Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: 0n, maximum: 2n ** 64n - 1n })),
    rates: interval,
    channels: interval,
    buffer: interval,
    period: interval
  }, (asked) => {
    const answer = refine(settings, asked)
    if (answer === undefined) return
    assert.strictEqual(answer.formats & ~asked.formats, 0n)
    for (const key of ["rates", "channels", "buffer", "period"] as const) {
      assert.isAtLeast(answer[key].min, asked[key].min)
      assert.isAtMost(answer[key].max, asked[key].max)
      assert.isAtMost(answer[key].min, answer[key].max)
    }
    assert.deepStrictEqual(refine(settings, answer), answer)
  })
})
