/**
 * Writes sound to WAV files, and reads it from them: sample by sample the same.
 *
 * @since 0.2.0
 */
import type { SampleFormat } from "@xen-shbuf/io/sndif/SampleFormat"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { PCM_AUDIO_CODECS } from "mediabunny"
import { type FileHandle, open } from "node:fs/promises"

/**
 * What a file's samples are.
 *
 * @category models
 * @since 0.2.0
 */
export interface Sound {
  /** Frames a second. */
  readonly rate: number
  /** How a sample is stored. */
  readonly format: SampleFormat
  /** Samples in a frame. */
  readonly channels: number
}

/**
 * A file with sound could not be written or read, or does not hold what it should.
 *
 * @category errors
 * @since 0.2.0
 */
export class WavError extends Data.TaggedError("WavError")<{
  /** The file. */
  readonly file: string
  /** What went wrong with it. */
  readonly reason: { readonly _tag: "NotWritten" | "NotRead" | "OtherSound" | "NoSuchForm" }
  /** The same in words. */
  readonly detail: string
}> {
  override get message() {
    return `${this.file}: ${this.detail}`
  }
}

const failed = (file: string, tag: "NotWritten" | "NotRead") => (cause: unknown): WavError => {
  const verb = tag === "NotWritten" ? "written" : "read"
  const why = cause instanceof Error ? cause.message : String(cause)
  return new WavError({ file, reason: { _tag: tag }, detail: `the sound can't be ${verb} (${why})` })
}

/** Changes samples, in place, to what a codec of WAV has; gives the bytes that are left. */
type Convert = (bytes: Uint8Array) => Uint8Array

const asTheyAre: Convert = (bytes) => bytes

/** The other order of the bytes of each sample. */
const swapped = (size: number): Convert => (bytes) => {
  for (let at = 0; at + size <= bytes.length; at += size) bytes.subarray(at, at + size).reverse()
  return bytes
}

/** From unsigned to signed and back: the highest bit of each sample, which lies in its byte number `top`. */
const signed = (size: number, top: number): Convert => (bytes) => {
  for (let at = top; at < bytes.length; at += size) bytes[at]! ^= 0x80
  return bytes
}

/** The lower 24 bits of each 32. */
const packed: Convert = (bytes) => {
  let to = 0
  for (let at = 0; at + 4 <= bytes.length; at += 4) {
    bytes.copyWithin(to, at, at + 3)
    to += 3
  }
  return bytes.subarray(0, to)
}

const then = (...steps: ReadonlyArray<Convert>): Convert => (bytes) => steps.reduce((bytes, step) => step(bytes), bytes)

/** A codec of WAV, the bytes of its samples, and how to get there. */
type Form = readonly [codec: (typeof PCM_AUDIO_CODECS)[number], size: number, convert: Convert]

const forms: { readonly [format in SampleFormat]?: Form } = {
  u8: ["pcm-u8", 1, asTheyAre],
  s8: ["pcm-u8", 1, signed(1, 0)],
  s16_le: ["pcm-s16", 2, asTheyAre],
  s16_be: ["pcm-s16", 2, swapped(2)],
  u16_le: ["pcm-s16", 2, signed(2, 1)],
  u16_be: ["pcm-s16", 2, then(swapped(2), signed(2, 1))],
  s24_le: ["pcm-s24", 3, packed],
  s24_be: ["pcm-s24", 3, then(swapped(4), packed)],
  u24_le: ["pcm-s24", 3, then(signed(4, 2), packed)],
  u24_be: ["pcm-s24", 3, then(swapped(4), signed(4, 2), packed)],
  s32_le: ["pcm-s32", 4, asTheyAre],
  s32_be: ["pcm-s32", 4, swapped(4)],
  u32_le: ["pcm-s32", 4, signed(4, 3)],
  u32_be: ["pcm-s32", 4, then(swapped(4), signed(4, 3))],
  float_le: ["pcm-f32", 4, asTheyAre],
  float_be: ["pcm-f32", 4, swapped(4)],
  float64_le: ["pcm-f64", 8, asTheyAre],
  float64_be: ["pcm-f64", 8, swapped(8)],
  mu_law: ["ulaw", 1, asTheyAre],
  a_law: ["alaw", 1, asTheyAre]
}

/** Loaded only where a file is written or read. */
const library = Effect.promise(() => import("mediabunny"))

/**
 * Loads what writes and reads. Linux takes a card for broken that has not answered after three seconds, and a slow machine
 * needs longer than that: so a server loads before it serves.
 *
 * @category writing
 * @since 0.2.0
 */
export const load: Effect.Effect<void> = Effect.asVoid(library)

const openFile = (file: string, flags: string, tag: "NotWritten" | "NotRead"): Effect.Effect<FileHandle, WavError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tryPromise({ try: () => open(file, flags), catch: failed(file, tag) }),
    (handle) => Effect.promise(() => handle.close())
  )

/**
 * A file that takes samples, in the guest's format; it is a whole WAV file when the scope has ended, whatever ends it.
 * Formats that WAV does not have are written as those that lose nothing; there is none for `iec958_subframe_*`.
 *
 * @category writing
 * @since 0.2.0
 */
export const writer: (
  file: string,
  sound: Sound
) => Effect.Effect<(bytes: Uint8Array) => Effect.Effect<void, WavError>, WavError, Scope.Scope> = Effect.fnUntraced(
  function*(file, { channels, format, rate }) {
    const form = forms[format]
    if (form === undefined) {
      return yield* new WavError({ file, reason: { _tag: "NoSuchForm" }, detail: `a WAV file can't hold ${format}` })
    }
    const [codec, size, convert] = form
    const wav = yield* library
    const attempt = (work: () => Promise<void>) => Effect.tryPromise({ try: work, catch: failed(file, "NotWritten") })
    const handle = yield* openFile(file, "w", "NotWritten")
    const target = new wav.StreamTarget(new WritableStream({
      write: async ({ data, position }) => {
        await handle.write(data, 0, data.length, position)
      }
    }))
    const output = new wav.Output({ format: new wav.WavOutputFormat(), target })
    const source = new wav.EncodedAudioPacketSource(codec)
    const about = { decoderConfig: { codec, numberOfChannels: channels, sampleRate: rate } }
    // Told now: what never gets a sample is a file all the same.
    output.addAudioTrack(source, about)
    yield* Effect.acquireRelease(attempt(() => output.start()), () =>
      Effect.catch(attempt(() => output.finalize()), ({ message }) => Effect.logError(message)))
    let seconds = 0
    return (bytes) =>
      attempt(() => {
        const data = convert(bytes)
        const duration = data.length / size / channels / rate
        const packet = new wav.EncodedPacket(data, "key", seconds, duration)
        seconds += duration
        return source.add(packet, about)
      })
  }
)

/** The format whose bytes a codec has as they are. */
const formatOf = (codec: string | null): SampleFormat | undefined =>
  (Object.keys(forms) as Array<SampleFormat>).find((format) =>
    forms[format]![0] === codec && forms[format]![2] === asTheyAre)

/**
 * The samples of a WAV file, in chunks. Fails where they are not what was asked for: nothing is converted.
 *
 * @category reading
 * @since 0.2.0
 */
export const reader = (file: string, asked: Sound): Effect.Effect<Stream.Stream<Uint8Array, WavError>, WavError, Scope.Scope> =>
  Effect.gen(function*() {
    const wav = yield* library
    // A missing file is told as what it is, before a library looks at it.
    yield* Effect.scoped(openFile(file, "r", "NotRead"))
    const input = yield* Effect.acquireRelease(
      Effect.sync(() => new wav.Input({ formats: [wav.WAVE], source: new wav.FilePathSource(file) })),
      (input) => Effect.sync(() => input.dispose())
    )
    const track = yield* Effect.tryPromise({ try: () => input.getPrimaryAudioTrack(), catch: failed(file, "NotRead") })
    if (track === null) return yield* Effect.fail(failed(file, "NotRead")("there is none in it"))
    const format = formatOf(track.codec)
    const { numberOfChannels: channels, sampleRate: rate } = track
    if (format !== asked.format || channels !== asked.channels || rate !== asked.rate) {
      const text = (sound: { readonly rate: number; readonly format: string | undefined; readonly channels: number }) =>
        `${sound.format ?? "another format"}, ${sound.rate} Hz, ${sound.channels} channels`
      return yield* new WavError({
        file,
        reason: { _tag: "OtherSound" },
        detail: `it holds ${text({ format, rate, channels })}, and the guest records ${text(asked)}`
      })
    }
    return Stream.fromAsyncIterable(new wav.EncodedPacketSink(track).packets(), failed(file, "NotRead")).pipe(
      Stream.map(({ data }) => data)
    )
  })
