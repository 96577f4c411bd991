/**
 * Writes what a screen shows as a film that browsers play: WebM, in which each picture stands alone (VP8 key frames).
 *
 * The pictures are compressed by sharp as WebP, whose lossy form is a key frame of VP8, and put together by mediabunny.
 * sharp is loaded only for a film, and need not be installed for anything else.
 *
 * @since 0.2.0
 */

import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { writeFile } from "node:fs/promises"
import type Sharp from "sharp"

/**
 * A film can't be made.
 *
 * @category errors
 * @since 0.2.0
 */
export class FilmError extends Data.TaggedError("FilmError")<{
  /** The file that it was to be. */
  readonly file: string
  /** Why not. */
  readonly reason: {
    /** `NoEncoder`: sharp is not installed here. */
    readonly _tag: "NoEncoder" | "NotWritten"
  }
  /** What the encoder, or the system, said. */
  readonly detail: string
}> {
  override get message() {
    return this.reason._tag === "NoEncoder"
      ? `A film takes the package sharp, which is not installed here (npm install sharp): ${this.detail}`
      : `The film ${this.file} can't be written: ${this.detail}`
  }
}

/**
 * A picture of a film: red, green and blue, a byte each, without a gap.
 *
 * @category models
 * @since 0.2.0
 */
export interface Picture {
  /** In pixels. */
  readonly width: number
  /** In pixels. */
  readonly height: number
  /** Row by row. */
  readonly rgb: Uint8Array<ArrayBuffer>
}

const failed = (file: string, tag: "NoEncoder" | "NotWritten") => (cause: unknown) =>
  new FilmError({ file, reason: { _tag: tag }, detail: cause instanceof Error ? cause.message.split("\n")[0]! : String(cause) })

const encoder = (file: string) =>
  Effect.map(Effect.tryPromise({ try: () => import("sharp"), catch: failed(file, "NoEncoder") }), (sharp) => sharp.default)

const library = Effect.promise(() => import("mediabunny"))

/**
 * Loads what makes films, or says of a file that it can't be one: a server loads before it serves, for a film that can't be made
 * ends it.
 *
 * @category constructors
 * @since 0.2.0
 */
export const load = (file: string): Effect.Effect<void, FilmError> => Effect.asVoid(Effect.andThen(encoder(file), library))

/** The payload of a lossy WebP: its first chunk. */
const keyFrameOf = (webp: Uint8Array): Uint8Array => {
  const view = new DataView(webp.buffer, webp.byteOffset, webp.byteLength)
  return webp.subarray(20, 20 + view.getUint32(16, true))
}

/** VP8 has 14 bits for each side. */
const longest = 0x3fff

/** WebP's: the matrix of BT.601, in the range of television. */
const colorSpace = { primaries: "bt709", transfer: "iec61966-2-1", matrix: "smpte170m", fullRange: false } as const

const encode = (sharp: typeof Sharp, { height, rgb, width }: Picture, size: { readonly width: number; readonly height: number }) =>
  sharp(rgb, { raw: { width, height, channels: 3 } })
    .resize(size.width, size.height, { fit: "contain" })
    .webp({ quality: 80, effort: 0 })
    .toBuffer()

/**
 * Begins a film, in place of a file that was there; it is complete when the scope ends. What is returned adds a picture
 * that is shown from a time on, in seconds from the beginning, each later than the one before. The first picture says how
 * big the film is, up to 16383 pixels on a side; others are fitted into that.
 *
 * @category constructors
 * @since 0.2.0
 */
export const open = Effect.fnUntraced(function*(file: string) {
  const attempt = <A>(work: () => Promise<A>) => Effect.tryPromise({ try: work, catch: failed(file, "NotWritten") })
  const sharp = yield* encoder(file)
  const { EncodedPacket, EncodedVideoPacketSource, FilePathTarget, Output, WebMOutputFormat } = yield* library
  // mediabunny tells only at the end.
  yield* attempt(() => writeFile(file, ""))
  const source = new EncodedVideoPacketSource("vp8")
  const output = new Output({ format: new WebMOutputFormat(), target: new FilePathTarget(file) })
  output.addVideoTrack(source)
  yield* Effect.acquireRelease(attempt(() => output.start()), () =>
    Effect.catch(attempt(() => output.finalize()), ({ message }) => Effect.logError(message)))
  let size: { readonly width: number; readonly height: number } | undefined
  const add = (picture: Picture, time: number, duration: number): Effect.Effect<void, FilmError> =>
    Effect.uninterruptible(attempt(async () => {
      const isFirst = size === undefined
      size ??= { width: Math.min(longest, picture.width), height: Math.min(longest, picture.height) }
      const data = keyFrameOf(await encode(sharp, picture, size))
      const config = { codec: "vp8", codedWidth: size.width, codedHeight: size.height, colorSpace }
      await source.add(new EncodedPacket(data, "key", time, duration), isFirst ? { decoderConfig: config } : undefined)
    }))
  return { add }
})
