import { assert, describe, it } from "@effect/vitest"
import * as SampleFormat from "@xen-shbuf/io/sndif/SampleFormat"
import * as Samples from "@xen-shbuf/io/sndif/Samples"
import * as Listener from "@xen-shbuf/screen/Listener"
import { PageMessage } from "@xen-shbuf/screen/PageMessage"
import * as Sounds from "@xen-shbuf/screen/Sounds"
import * as SoundWire from "@xen-shbuf/screen/SoundWire"
import * as Viewer from "@xen-shbuf/screen/Viewer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as World from "./World.ts"

const served = (name: string, test: () => Effect.Effect<void, unknown, World.Shown | Scope.Scope>) =>
  it.live(name, () => Effect.provide(Effect.scoped(test()), World.shown))

const inSounds = <A, E>(test: Effect.Effect<A, E, Sounds.Sounds | Scope.Scope>, limits?: { readonly most: number }) =>
  Effect.provide(Effect.scoped(test), Sounds.layer(limits))

const now = () => 1000.5

const playback = { guest: 1, card: "Card", stream: "0/0", direction: "playback" } as const
const capture = { guest: 1, card: "Card", stream: "0/1", direction: "capture" } as const
const params = { rate: 48_000, channels: 2, format: "s16_le" } as const

/** Frames that are never the same twice. */
const noise = (frames: number, frameSize = 4) =>
  Uint8Array.from({ length: frames * frameSize }, (_, i) => Math.imul(i + 1, 0x9e37_79b1) >>> 13)

/** All samples of some chunks, one after the other. */
const samplesOf = (chunks: ReadonlyArray<SoundWire.Chunk>) => chunks.flatMap((chunk) => [...SoundWire.samplesOf(chunk)])

describe("sounds", () => {
  it.effect("go to all who listen to their guest while they do, in pieces, every sample, in every format", () =>
    inSounds(Effect.gen(function*() {
      const { listen, open } = yield* Sounds.Sounds
      const sound = yield* open(playback)
      const other = yield* open({ ...playback, guest: 2 })
      const heard: Array<SoundWire.Chunk> = []
      const foreign: Array<SoundWire.Chunk> = []
      yield* listen(2, (chunk) => foreign.push(chunk))
      for (const format of SampleFormat.linear) {
        yield* Effect.scoped(Effect.gen(function*() {
          const opening = yield* sound.begin({ ...params, format })
          const frameSize = SampleFormat.bytesOf(format)! * 2
          const bytes = noise(3000, frameSize)
          heard.length = 0
          opening.play(bytes.subarray(0, 1000 * frameSize), () => assert.fail("the clock was read for nobody"))
          yield* Effect.scoped(Effect.gen(function*() {
            yield* listen(1, (chunk) => heard.push(chunk))
            opening.play(bytes.subarray(1000 * frameSize, 2500 * frameSize), now)
          }))
          opening.play(bytes.subarray(2500 * frameSize), now)
          if (!Samples.isNumeric(format)) return assert.lengthOf(heard, 0, format)
          assert.deepStrictEqual(heard.map(({ frame }) => frame), [1000, 1960], format)
          const clipped = Samples.toFloat32(format, bytes.slice(1000 * frameSize, 2500 * frameSize))
            .map((sample) => Math.max(-1, Math.min(1, sample)))
          assert.deepStrictEqual(samplesOf(heard), [...clipped], format)
          assert.isTrue(heard.every(({ encoding }) => encoding === (SampleFormat.bytesOf(format)! < 4 ? "s16" : "f32")), format)
          assert.strictEqual(heard[0]!.time, 1000.5)
        }))
      }
      assert.lengthOf(foreign, 0)
      yield* Effect.scoped(Effect.gen(function*() {
        const opening = yield* other.begin(params)
        opening.play(noise(1), now)
      }))
      assert.lengthOf(foreign, 1)
    })))

  it.effect("go in pieces that are not too big, up to what a sound card plays, and beyond that not at all", () =>
    inSounds(Effect.gen(function*() {
      const { listen, open, speaker } = yield* Sounds.Sounds
      const sound = yield* open(playback)
      const microphone = yield* open(capture)
      const { say } = yield* speaker
      const heard: Array<SoundWire.Chunk> = []
      yield* listen(1, (chunk) => heard.push(chunk))
      const { channels, rate } = Sounds.mostHeard
      for (const format of ["mu_law", "s16_le", "s32_le", "float64_le"] as const) {
        yield* Effect.scoped(Effect.gen(function*() {
          const opening = yield* sound.begin({ rate, channels, format })
          heard.length = 0
          const bytes = new Uint8Array(SampleFormat.bytesOf(format)! * channels * 20_000)
          opening.play(bytes, now)
          assert.isTrue(heard.every(({ bytes }) => bytes.length <= Sounds.chunkBytes), format)
          assert.strictEqual(samplesOf(heard).length, channels * 20_000, format)
          let frame = 0
          for (const chunk of heard) {
            assert.strictEqual(chunk.frame, frame, format)
            frame += SoundWire.samplesOf(chunk).length / channels
          }
        }))
      }
      heard.length = 0
      for (const beyond of [{ rate: rate + 1, channels }, { rate, channels: channels + 1 }, { rate: 10_000_000, channels: 255 }]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const opening = yield* sound.begin({ ...params, ...beyond })
          assert.isFalse(sound.info.open!.isNumeric)
          opening.play(new Uint8Array(2 * beyond.channels * 1000), now)
          const recording = yield* microphone.begin({ ...params, ...beyond })
          for (let i = 0; i < 100; i++) say(microphone.id, new Int16Array(48_000))
          assert.strictEqual(recording.record(new Uint8Array(2 * beyond.channels * 10)), 0)
        }))
      }
      assert.lengthOf(heard, 0)
    })))

  it.effect("say what they are: opened or not, running or not, how loud", () =>
    inSounds(Effect.gen(function*() {
      const { all, onChange, open } = yield* Sounds.Sounds
      let changes = 0
      yield* onChange(() => changes++)
      const open1 = { opening: 1, ...params, isNumeric: true, isRunning: false, gains: [1, 1] }
      yield* Effect.scoped(Effect.gen(function*() {
        const sound = yield* open(playback)
        assert.deepStrictEqual(sound.info, { id: 1, ...playback, open: null })
        yield* Effect.scoped(Effect.gen(function*() {
          const { setState } = yield* sound.begin(params)
          assert.deepStrictEqual(sound.info.open, open1)
          setState({ isRunning: false, gains: [1, 1] })
          assert.strictEqual(changes, 2)
          setState({ isRunning: true, gains: [0, 0.5] })
          assert.deepStrictEqual(sound.info.open, { ...open1, isRunning: true, gains: [0, 0.5] })
        }))
        assert.isNull(sound.info.open)
        yield* Effect.scoped(sound.begin({ ...params, format: "iec958_subframe_le" }))
      }))
      assert.deepStrictEqual(all(), [])
      assert.strictEqual(changes, 7)
    })))

  it.effect("are so many", () =>
    inSounds(Effect.gen(function*() {
      const { open } = yield* Sounds.Sounds
      yield* Effect.scoped(Effect.gen(function*() {
        yield* open(playback)
        const error = yield* Effect.flip(open(playback))
        assert.strictEqual(error.message, "There are 1 streams of sound cards already, which is as many as are heard here.")
      }))
      yield* open(playback)
    }), { most: 1 }))

  it.effect("record what people say, together, as it is said, and silence where nobody does", () =>
    inSounds(Effect.gen(function*() {
      const { open, speaker } = yield* Sounds.Sounds
      const sound = yield* open(capture)
      const first = yield* speaker
      const nothing = new Uint8Array(4000)
      first.say(sound.id, Int16Array.of(1, 2, 3))
      const opening = yield* sound.begin(params)
      const record = (frames: number) => {
        const into = new Uint8Array(frames * 4)
        const length = opening.record(into)
        return [...new Int16Array(into.slice(0, length).buffer)]
      }
      assert.strictEqual(opening.record(nothing), 0)
      const ramp = Int16Array.from({ length: 48_000 }, (_, i) => i % 1000)
      // Not before there is some more than is wanted.
      first.say(sound.id, ramp.slice(0, 3000))
      assert.deepStrictEqual(record(1000), [])
      first.say(sound.id, ramp.slice(3000, 4000))
      const inBoth = (from: number, to: number) => Array.from({ length: 2 * (to - from) }, (_, i) => (from + (i >> 1)) % 1000)
      assert.deepStrictEqual(record(1000), inBoth(0, 1000))
      assert.deepStrictEqual(record(2000), inBoth(1000, 3000))
      // It runs dry: what there is, and nothing until there is enough.
      assert.deepStrictEqual(record(2000), inBoth(3000, 4000))
      first.say(sound.id, ramp.slice(0, 2000))
      assert.deepStrictEqual(record(1000), [])
      yield* Effect.scoped(Effect.gen(function*() {
        const second = yield* speaker
        first.say(sound.id, ramp.slice(2000, 5000))
        second.say(sound.id, ramp.slice(0, 5000).map((sample) => 30 * sample))
        assert.deepStrictEqual(record(1000), inBoth(0, 1000).map((sample) => 31 * sample))
        second.say(sound.id, Int16Array.from({ length: 2000 }, () => 32_767))
        first.say(sound.id, ramp.slice(0, 1000))
        assert.isTrue(record(1000).every((sample) => sample >= 0))
      }))
      // Whoever has gone says nothing any more, and what is too old to be of use is lost.
      first.say(sound.id, ramp)
      first.say(sound.id, ramp)
      first.say(sound.id, ramp)
      const newest = record(1000)
      assert.lengthOf(newest, 2000)
      assert.strictEqual(newest[0], (48_000 - 3880) % 1000)
      // What was said before the guest opened the stream again is over.
      yield* Effect.scoped(Effect.gen(function*() {
        const again = yield* open(capture)
        yield* Effect.scoped(Effect.andThen(again.begin(params), Effect.sync(() => first.say(again.id, ramp))))
        assert.strictEqual((yield* again.begin(params)).record(nothing), 0)
      }))
      // As much is kept of what is said sample by sample.
      yield* Effect.scoped(Effect.gen(function*() {
        const again = yield* open(capture)
        const { record } = yield* again.begin({ ...params, channels: 1 })
        for (let i = 0; i < 200_000; i++) first.say(again.id, Int16Array.of(i % 1000))
        const into = new Int16Array(2000)
        assert.strictEqual(record(new Uint8Array(into.buffer)), 4000)
        assert.deepStrictEqual([...into], Array.from({ length: 2000 }, (_, i) => (200_000 - 4880 + i) % 1000))
      }))
      // A stream that plays, or is none, takes nothing.
      const player = yield* open(playback)
      const playing = yield* player.begin(params)
      first.say(player.id, ramp)
      first.say(99, ramp)
      assert.strictEqual(playing.record(nothing), 0)
    })))
})

describe("one who listens", () => {
  const answerTo = Effect.fnUntraced(function*(line: Effect.Success<ReturnType<typeof World.connectSound>>, guest: number) {
    line.send({ type: "listen", guest })
    const message = yield* line.nextText
    assert.strictEqual(message.type, "sounds")
    return message as Extract<SoundWire.ServerMessage, { readonly type: "sounds" }>
  })

  served("hears of a guest's streams, and each sample that is played there", () =>
    Effect.gen(function*() {
      const { open } = yield* Sounds.Sounds
      const sound = yield* open(playback)
      yield* open(capture)
      yield* open({ ...playback, guest: 2 })
      const line = yield* World.connectSound(yield* World.serve())
      assert.deepStrictEqual((yield* answerTo(line, 1)).sounds, [sound.info])
      const bytes = noise(48_000)
      const opening = yield* sound.begin(params)
      assert.strictEqual((yield* line.nextText).type, "sounds")
      const heard: Array<SoundWire.Chunk> = []
      for (let at = 0; at < bytes.length; at += 960 * 4) {
        opening.play(bytes.subarray(at, at + 960 * 4), now)
        const chunk = yield* line.nextChunk
        line.send({ type: "heard", sequence: chunk.sequence })
        heard.push(chunk)
      }
      assert.deepStrictEqual(samplesOf(heard), [...Samples.toFloat32("s16_le", bytes)])
      assert.deepStrictEqual(heard.map(({ frame }) => frame), heard.map((_, i) => 960 * i))
      // Nothing more of a guest that is not listened to any more.
      yield* answerTo(line, 2)
      opening.play(bytes.subarray(0, 400), now)
      line.send({ type: "clock", asked: 12.5 })
      const time = yield* line.nextText
      assert.strictEqual(time.type === "clock" ? time.asked : undefined, 12.5)
    }))

  served("has so many messages on their way to it, loses the rest, and nobody else does", () =>
    Effect.gen(function*() {
      const { open } = yield* Sounds.Sounds
      const sound = yield* open(playback)
      const opening = yield* sound.begin(params)
      const url = yield* World.serve()
      const slow = yield* World.connectSound(url)
      const quick = yield* World.connectSound(url)
      for (const line of [slow, quick]) yield* answerTo(line, 1)
      const all = Listener.mostUnderway + 100
      for (let i = 0; i < all; i++) {
        opening.play(noise(10), now)
        const { frame, sequence } = yield* quick.nextChunk
        assert.strictEqual(frame, 10 * i)
        quick.send({ type: "heard", sequence })
      }
      // The list was one of them. What was never sent counts for nothing, nor does what was heard before.
      const read: Array<number> = []
      for (let i = 0; i < Listener.mostUnderway - 1; i++) {
        const { frame, sequence } = yield* slow.nextChunk
        assert.strictEqual(frame, 10 * i)
        read.push(sequence)
      }
      for (const sequence of [(read[0]! + 1) % 2 ** 32, read[8]!, read[4]!]) slow.send({ type: "heard", sequence })
      // As much as there is room for, whatever it asks: of a clock that it asks for too often, it hears as little.
      let more = 0
      for (let i = 0; more < 10; i++) {
        slow.send({ type: "clock", asked: i })
        while ((yield* slow.waiting) === 0) {
          opening.play(noise(10), now)
          quick.send({ type: "heard", sequence: (yield* quick.nextChunk).sequence })
        }
        while ((yield* slow.waiting) > 0) {
          yield* slow.next
          more++
        }
      }
      assert.strictEqual(more, 10)
      for (let i = 0; i < 10; i++) {
        slow.send({ type: "clock", asked: i })
        opening.play(noise(10), now)
        yield* quick.nextChunk
      }
      assert.strictEqual(yield* slow.waiting, 0)
    }))

  served("speaks where it may, and is cut off where it may not", () =>
    Effect.gen(function*() {
      const { open } = yield* Sounds.Sounds
      const sound = yield* open(capture)
      const opening = yield* sound.begin({ ...params, channels: 1 })
      const speech = SoundWire.encodeSpeech({ sound: sound.id, samples: new Int16Array(2000).fill(77) })
      for (const options of [{}, { microphone: true, viewOnly: true }]) {
        const line = yield* World.connectSound(yield* World.serve(options))
        assert.deepStrictEqual((yield* answerTo(line, 1)).sounds, [])
        line.say(speech)
        assert.strictEqual((yield* line.closed).code, 1008)
        assert.strictEqual(opening.record(new Uint8Array(200)), 0)
      }
      const line = yield* World.connectSound(yield* World.serve({ microphone: true }))
      assert.deepStrictEqual((yield* answerTo(line, 1)).sounds, [sound.info])
      line.say(speech)
      line.say(speech)
      // Nobody is there by that name.
      line.say(SoundWire.encodeSpeech({ sound: 99, samples: new Int16Array(10) }))
      line.send({ type: "clock", asked: 1 })
      yield* line.nextText
      const into = new Uint8Array(200)
      assert.strictEqual(opening.record(into), 200)
      assert.isTrue(new Int16Array(into.buffer).every((sample) => sample === 77))
    }))

  served("is cut off for what no page says, and nobody else", () =>
    Effect.gen(function*() {
      const { open } = yield* Sounds.Sounds
      const sound = yield* open(playback)
      const opening = yield* sound.begin(params)
      const url = yield* World.serve({ microphone: true })
      const good = yield* World.connectSound(url)
      yield* answerTo(good, 1)
      const rubbish = [
        "", "{", "null", "[]", `{"type":"listen"}`, `{"type":"listen","guest":-1}`, `{"type":"listen","guest":65536}`,
        `{"type":"heard","sequence":1.5}`, `{"type":"clock","asked":"now"}`, `{"type":"clock","asked":1e999}`,
        `{"type":"shown","sequence":1}`, "[".repeat(4000), Uint8Array.of(), Uint8Array.of(3), new Uint8Array(8),
        Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 1), Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0), SoundWire.encodeChunk({ ...chunk, bytes: new Uint8Array(8) }, 1)
      ]
      for (const said of rubbish) {
        const bad = yield* World.connectSound(url)
        bad.say(said)
        assert.strictEqual((yield* bad.closed).code, 1008, String(said))
      }
      const giant = yield* World.connectSound(url)
      giant.say(new Uint8Array(Viewer.maxMessageSize + 1).fill(3))
      assert.strictEqual((yield* giant.closed).code, 1009)
      opening.play(noise(10), now)
      assert.strictEqual((yield* good.nextChunk).frame, 0)
    }))

  it.effect("is sent no more when it says to have heard what it has not read, whatever it asks for", () =>
    inSounds(Effect.gen(function*() {
      const { open } = yield* Sounds.Sounds
      const opening = yield* (yield* open(playback)).begin(params)
      const page = yield* World.pageOf((socket) => Listener.serve(socket, { messagesPerSecond: Infinity }))
      for (let sequence = 0; sequence < 200; sequence++) {
        yield* page.say(JSON.stringify({ type: "listen", guest: 1 }))
        yield* page.say(JSON.stringify({ type: "clock", asked: 1 }))
        yield* page.say(JSON.stringify({ type: "heard", sequence }))
        yield* Effect.repeat(Effect.yieldNow, { times: 20 })
        opening.play(noise(10), now)
      }
      assert.strictEqual(yield* page.unread, 0)
      assert.strictEqual(yield* page.heard, Listener.mostUnderway)
    })))

  it.effect("has no more on their way when a list comes between", () =>
    inSounds(Effect.gen(function*() {
      const { open } = yield* Sounds.Sounds
      const sound = yield* open(playback)
      const opening = yield* sound.begin(params)
      const page = yield* World.pageOf((socket) => Listener.serve(socket))
      yield* page.say(JSON.stringify({ type: "listen", guest: 1 }))
      const { sequence } = JSON.parse((yield* page.next) as string)
      yield* page.say(JSON.stringify({ type: "heard", sequence }))
      yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      for (let i = 0; i < Listener.mostUnderway; i++) opening.play(noise(10), now)
      opening.setState({ isRunning: true, gains: [1, 1] })
      yield* Effect.repeat(Effect.yieldNow, { times: 500 })
      assert.strictEqual(yield* page.heard, Listener.mostUnderway)
      const frames: Array<number> = []
      for (let i = 0; i < Listener.mostUnderway + 1; i++) {
        const message = yield* page.next
        const chunk = message instanceof Uint8Array ? SoundWire.decodeChunk(Uint8Array.from(message).buffer) : undefined
        if (chunk !== undefined) frames.push(chunk.frame)
        if (chunk !== undefined) yield* page.say(JSON.stringify({ type: "heard", sequence: chunk.sequence }))
      }
      // None is lost.
      assert.deepStrictEqual(frames, Array.from({ length: Listener.mostUnderway }, (_, i) => 10 * i))
    })))

  it.effect("is read at a pace: what it says too much waits for the next second", () =>
    inSounds(Effect.gen(function*() {
      const line = yield* World.pageOf((socket) => Listener.serve(socket, { messagesPerSecond: 10 }))
      for (let asked = 0; asked < 25; asked++) yield* line.say(JSON.stringify({ type: "clock", asked }))
      for (const heard of [10, 20, 25]) {
        yield* Effect.repeat(Effect.yieldNow, { times: 500 })
        assert.strictEqual(yield* line.heard, heard)
        yield* TestClock.adjust(1000)
      }
    })))

  served("is let in as those who look are, and pages are told which guests have sound", () =>
    Effect.gen(function*() {
      const { open } = yield* Sounds.Sounds
      const url = yield* World.serve({ token: "secret" })
      const foreign = new URL("?token=wrong", url)
      assert.strictEqual((yield* (yield* World.connectSound(foreign)).closed).code, 1006)
      const viewer = yield* World.connect(url)
      const first = yield* viewer.nextList
      assert.deepStrictEqual(first.audible, [])
      viewer.send({ type: "shown", sequence: first.sequence })
      yield* open({ ...capture, guest: 7 })
      const sound = yield* open({ ...playback, guest: 3 })
      const second = yield* viewer.nextList
      assert.deepStrictEqual(second.audible, [3])
      viewer.send({ type: "shown", sequence: second.sequence })
      // Not whenever a guest plays something.
      yield* Effect.scoped(sound.begin(params))
      yield* open({ ...playback, guest: 2 })
      assert.deepStrictEqual((yield* viewer.nextList).audible, [2, 3])
    }))
})

const decode = Schema.decodeUnknownExit(PageMessage)

const below = (limit: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: limit }))

const chunk = {
  sound: 1, opening: 1, encoding: "s16", rate: 48_000, channels: 2, frame: 0, time: 0, bytes: new Uint8Array(0)
} as const

describe("SoundWire", () => {
  it.effect.prop("a page's messages come back as they were", [Schema.toType(PageMessage)], ([message]) =>
    Effect.sync(() => {
      const text = JSON.stringify(message)
      assert.isAtMost(Buffer.byteLength(text), Viewer.maxMessageSize)
      assert.deepStrictEqual(decode(text), Exit.succeed(JSON.parse(text)))
    }))

  it.effect.prop("brings chunks to the page as they are, and nothing of what is none", [
    Schema.Struct({
      sound: below(2 ** 32 - 1),
      opening: below(2 ** 32 - 1),
      encoding: Schema.Literals(SoundWire.encodings),
      rate: below(2 ** 32 - 1),
      channels: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 0xffff })),
      frame: below(Number.MAX_SAFE_INTEGER),
      time: Schema.Finite
    }),
    below(2 ** 32 - 1),
    below(3)
  ], ([described, sequence, frames]) =>
    Effect.sync(() => {
      const size = described.encoding === "s16" ? 2 : 4
      const bytes = noise(frames * described.channels, size)
      const message = SoundWire.encodeChunk({ ...described, bytes }, sequence).buffer
      assert.deepStrictEqual(SoundWire.decodeChunk(message), { ...described, sequence, bytes })
      for (let end = 0; end < 40; end++) assert.isUndefined(SoundWire.decodeChunk(message.slice(0, end)))
      if (frames > 0) assert.isUndefined(SoundWire.decodeChunk(message.slice(0, -1)))
      for (const [at, value] of [[0, 1], [1, 9]] as const) {
        const wrong = new Uint8Array(message.slice())
        wrong[at] = value
        assert.isUndefined(SoundWire.decodeChunk(wrong.buffer))
      }
    }))

  it.effect.prop("brings speech to the server as it is, in messages that are not too long", [
    below(2 ** 32 - 1),
    Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: -32_768, maximum: 32_767 }))).check(Schema.isBetweenLength(1, SoundWire.mostSpeech))
  ], ([sound, samples]) =>
    Effect.sync(() => {
      const speech = { sound, samples: Int16Array.from(samples) }
      assert.deepStrictEqual(SoundWire.decodeSpeech(SoundWire.encodeSpeech(speech)), speech)
    }))

  it("has room for as much speech as a message may have", () => {
    const longest = SoundWire.encodeSpeech({ sound: 1, samples: new Int16Array(SoundWire.mostSpeech) })
    assert.strictEqual(longest.length, Viewer.maxMessageSize)
  })
})
