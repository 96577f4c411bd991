/**
 * Tells why a command failed, in the same form for every error.
 *
 * @since 0.1.0
 */
import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import type { DisplayError } from "@xen-shbuf/io/displif/DisplayError"
import type { ConfigurationError } from "@xen-shbuf/io/sndif/Configuration"
import type { SoundError } from "@xen-shbuf/io/sndif/SoundError"
import type { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as CliError from "effect/cli/CliError"
import * as Data from "effect/Data"
import type { FilmError } from "./Film.ts"
import type { Failure } from "./Output.ts"
import type { PngNotWritten } from "./Png.ts"
import type { WavError } from "./Wav.ts"

/**
 * The command failed, and has printed why as its result.
 *
 * @category errors
 * @since 0.1.0
 */
export class Reported extends Data.TaggedError("Reported") {}

/**
 * This machine can't run a Xen in memory: a sentence says what it lacks.
 *
 * @category errors
 * @since 0.2.0
 */
export class NoTestXen extends Data.TaggedError("NoTestXen")<{
  /** Why: this is all that there is to tell. */
  readonly reason: { readonly _tag: "MachineLacks" }
  /** What is missing, for people. */
  readonly message: string
}> {}

/**
 * A server can't listen at an address: another one does, it is not this machine's, or it takes more rights.
 *
 * @category errors
 * @since 0.2.0
 */
export class NotListening extends Data.TaggedError("NotListening")<{
  /** Where it was to listen. */
  readonly address: string
  /** As Linux names it, such as EADDRINUSE. */
  readonly reason: { readonly _tag: string }
}> {
  /** The error for what Node says. */
  static from(address: string, cause: unknown) {
    const code = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "Unknown"
    return new NotListening({ address, reason: { _tag: code } })
  }

  override get message() {
    return `Nothing can listen at ${this.address} (${this.reason._tag}): it must be an address of this machine's whose port is free.`
  }
}

/**
 * What a command may fail with.
 *
 * @category errors
 * @since 0.1.0
 */
export type Error =
  | GrantTableError
  | DirectoryError
  | EventChannelError
  | XenStoreError
  | ConnectionError
  | RingError
  | DisplayError
  | ConfigurationError
  | SoundError
  | PngNotWritten
  | FilmError
  | WavError
  | NoTestXen
  | NotListening
  | CliError.CliError
  | Reported

/**
 * What there is to say about an error: nothing, a sentence, or one for each flag that is wrong.
 *
 * @category conversions
 * @since 0.1.0
 */
export const describe = (error: Error): ReadonlyArray<Failure> => {
  if (error._tag === "Reported") return []
  if (error._tag === "ShowHelp") return error.errors.flatMap(describe)
  return CliError.isCliError(error)
    ? [{ tag: "CliError", reason: error._tag, message: error.message }]
    : [{ tag: error._tag, reason: error.reason._tag, message: error.message }]
}
