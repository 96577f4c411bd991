/**
 * `xen-shbuf map`: the backend's half, for a buffer that the frontend allocated.
 *
 * @since 0.1.0
 */

import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Flags from "../Flags.ts"
import * as Session from "../internal/Session.ts"
import { count, Output } from "../Output.ts"
import * as Png from "../Png.ts"

/**
 * Maps a peer's buffer, tells what it holds, and lets go of it.
 *
 * @category commands
 * @since 0.1.0
 */
export const map = Command.make("map", {
  peer: Flags.peer,
  directory: Flags.directory,
  ...Flags.sizeFlags,
  pattern: Flags.patternFlag("the peer's buffer, once it is read,"),
  png: Flags.png.pipe(Flag.optional),
  readOnly: Flags.readOnly("Map for reading only, as a buffer that was shared so must be"),
  hold: Flag.Boolean("hold").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Keep it mapped until Enter or a signal")
  )
}, Effect.fnUntraced(function*({ directory, hold, peer, png, readOnly, ...flags }) {
  const size = yield* Flags.size(flags)
  const pattern = yield* Flags.pattern(flags.pattern, size)
  if (readOnly && pattern !== undefined) {
    return yield* new CliError.ValidationError({ message: "--pattern writes, which --read-only rules out." })
  }
  const file = Option.getOrUndefined(png)
  const { picture } = size
  if (file !== undefined && picture === undefined) {
    return yield* new CliError.ValidationError({
      message: "--png takes the size of the picture: give --width and --height, with 4 bytes a pixel."
    })
  }
  if (file !== undefined) yield* Png.check(file)
  yield* Session.run(
    PeerBuffer.map({
      peer,
      directory,
      byteLength: size.byteLength,
      maxByteLength: size.byteLength,
      access: readOnly ? "read-only" : "read-write"
    }),
    Effect.fnUntraced(function*({ bytes, pages }, enter) {
      const { event, hint } = yield* Output
      const mapped = { event: "mapped", ...Session.summary(pages, bytes) }
      yield* event(
        mapped,
        `Mapped ${count(pages, "page")} (${count(bytes.length, "byte")}) of domain ${peer}.\nsha256 ${mapped.sha256}`
      )
      if (file !== undefined && picture !== undefined) {
        yield* Png.write(file, { ...picture, bytes })
        yield* event({ event: "png", file }, `Wrote the picture to ${file}`)
      }
      // The flags leave no pattern for a read-only mapping.
      yield* Session.write(bytes as SharedMemory.Writable, pattern)
      if (!hold) return
      yield* hint("Enter releases it.")
      yield* enter
    })
  )
})).pipe(
  Command.withDescription(
    "Map the buffer behind another domain's directory, print what it holds, and release it. Nothing is mapped unless " +
      "the whole directory is sound, and nothing is written into it without --pattern."
  ),
  Command.withShortDescription("Map a buffer that another domain shares")
)
