/**
 * Turns a shared frame into a PNG.
 *
 * @since 0.1.0
 */
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"

/**
 * A frame in XR24, as it lies in a buffer.
 *
 * @category models
 * @since 0.1.0
 */
export interface Frame {
  /** Pixels in a row. */
  readonly width: number
  /** Rows. */
  readonly height: number
  /** At least `width * height * 4` bytes: blue, green, red, unused. They may be shared: each is read once. */
  readonly bytes: SharedMemory.Readable
}

/** Private pixels in the order that PNG has: red, green, blue. */
const toRgb = ({ bytes, height, width }: Frame): Uint8Array => {
  const rgb = new Uint8Array(width * height * 3)
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = bytes[from + 2]!
    rgb[to + 1] = bytes[from + 1]!
    rgb[to + 2] = bytes[from]!
  }
  return rgb
}

/**
 * Encodes a frame; what is returned is private memory.
 *
 * @category conversions
 * @since 0.1.0
 */
export const encode = (frame: Frame): Effect.Effect<Uint8Array> =>
  Effect.map(
    // Loaded only when a picture is written.
    Effect.promise(() => import("fast-png")),
    (png) => png.encode({ width: frame.width, height: frame.height, data: toRgb(frame), channels: 3, depth: 8 })
  )

/**
 * A picture could not be written to a file.
 *
 * @category errors
 * @since 0.1.0
 */
export class PngNotWritten extends Data.TaggedError("PngNotWritten")<{
  /** Where it was to be written. */
  readonly file: string
  /** What the file system says. */
  readonly reason: PlatformError["reason"]
}> {
  override get message() {
    return `The picture can't be written to ${this.file} (${this.reason._tag}): it must be a file, or none yet, in a ` +
      "directory that is there, and both must be writable."
  }
}

/**
 * Fails where a picture can't be written to a file, before the work for it is done. The file stays as it is.
 *
 * @category combinators
 * @since 0.2.0
 */
export const check = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const open = (flag: "ax" | "a") => Effect.scoped(fs.open(file, { flag }))
  // What was not there goes again. What was there stays, a link to what is not there as well.
  const isNew = yield* Effect.match(open("ax"), { onSuccess: () => true, onFailure: () => false })
  if (isNew) return yield* Effect.ignore(fs.remove(file))
  yield* Effect.mapError(open("a"), ({ reason }) => new PngNotWritten({ file, reason }))
})

/**
 * Writes a frame to a file, in place of what was there.
 *
 * @category combinators
 * @since 0.1.0
 */
export const write = Effect.fnUntraced(function*(file: string, frame: Frame) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.writeFile(file, yield* encode(frame)).pipe(
    Effect.mapError(({ reason }) => new PngNotWritten({ file, reason }))
  )
})
