/**
 * Reads the flags that several commands have.
 *
 * @since 0.1.0
 */

import * as DomainId from "@xen-shbuf/core/DomainId"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import * as Page from "@xen-shbuf/core/Page"
import * as StorePath from "@xen-shbuf/core/StorePath"
import * as Protocol from "@xen-shbuf/io/libxenvchan/Protocol"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import * as CliError from "effect/cli/CliError"
import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Pattern from "./Pattern.ts"
import { bytesPerPixel } from "./TestCard.ts"

const invalid = (option: string, value: string, expected: string) =>
  Effect.fail(new CliError.InvalidValue({ option, value, expected, kind: "flag" }))

const refuse = (message: string) => Effect.fail(new CliError.ValidationError({ message }))

const wholeNumber = /^(0x[0-9a-f]+|[0-9]+)$/i

/** A whole number, decimal or hexadecimal (0x…), within the bounds of a schema. */
const number = <A>(name: string, schema: Schema.Codec<A, number>, expected: string): Flag.Flag<A> =>
  Flag.String(name).pipe(
    Flag.withMetavar("number"),
    Flag.mapEffect((text) => {
      const value = wholeNumber.test(text) ? Schema.decodeOption(schema)(Number(text)) : Option.none()
      return Option.isSome(value) ? Effect.succeed(value.value) : invalid(name, text, expected)
    })
  )

const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 1, maximum }))

const pixels = (name: string) =>
  number(name, upTo(Page.maxCount * Page.size), "a number of pixels, 1 or more").pipe(Flag.optional)

/**
 * `--json`: accepted everywhere.
 *
 * @category flags
 * @since 0.1.0
 */
export const json = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Print one JSON object a line instead of text")
  )
})

/**
 * `--peer`: the domain on the other side.
 *
 * @category flags
 * @since 0.1.0
 */
export const peer = number("peer", DomainId.DomainId, DomainId.expected).pipe(
  Flag.withDescription("Id of the domain on the other side (xl list shows it); required")
)

/**
 * `--frontend`: the domain that a device is for.
 *
 * @category flags
 * @since 0.2.0
 */
export const frontend = number("frontend", DomainId.DomainId, DomainId.expected).pipe(
  Flag.withDescription("Id of the domain that the device is for (xl list shows it); required")
)

/**
 * `--backend`: the domain that serves a device, if it is another one.
 *
 * @category flags
 * @since 0.2.0
 */
export const backend = number("backend", DomainId.DomainId, DomainId.expected).pipe(
  Flag.optional,
  Flag.withDescription("Id of the domain that serves it; this one unless given")
)

/**
 * `--id`: which device of a domain.
 *
 * @category flags
 * @since 0.2.0
 */
export const device = number(
  "id",
  Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff })),
  "a whole number from 0 to 4294967295"
)

/**
 * A flag for a time in whole seconds, 0 to a day.
 *
 * @category flags
 * @since 0.2.0
 */
export const seconds = (name: string) =>
  number(name, Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 86_400 })), "a number of seconds from 0 to 86400")

/**
 * `--directory`: where a peer's directory begins.
 *
 * @category flags
 * @since 0.1.0
 */
export const directory = number("directory", GrantRef.GrantRef, GrantRef.expected).pipe(
  Flag.withDescription("Reference of the directory's first page, as the peer's xen-shbuf printed it; required")
)

/**
 * `--path`: a node of xenstore.
 *
 * @category flags
 * @since 0.2.0
 */
export const path = (description: string): Flag.Flag<StorePath.StorePath> =>
  Flag.String("path").pipe(
    Flag.withMetavar("path"),
    Flag.mapEffect((text) => {
      const path = Schema.decodeOption(StorePath.StorePath)(text)
      return Option.isSome(path) ? Effect.succeed(path.value) : invalid("path", text, StorePath.expected)
    }),
    Flag.withDescription(`${description}; required`)
  )

/**
 * The size of a vchan's ring in bytes.
 *
 * @category flags
 * @since 0.2.0
 */
export const ringSize = (name: string, description: string): Flag.Flag<number> =>
  number(name, upTo(Protocol.maxRingSize), `a number of bytes from 1 to ${Protocol.maxRingSize}`).pipe(
    Flag.withDefault(Server.defaultSize),
    Flag.withDescription(`${description}; the default is ${Server.defaultSize}`)
  )

/**
 * The flags that tell a buffer's size; `size` makes sense of them together.
 *
 * @category flags
 * @since 0.1.0
 */
export const sizeFlags = {
  /** `--bytes` */
  bytes: number("bytes", Page.ByteLength, Page.lengthExpected).pipe(
    Flag.optional,
    Flag.withDescription("Size of the buffer in bytes; this, or --width and --height")
  ),
  /** `--width` */
  width: pixels("width").pipe(
    Flag.withDescription("Size of the buffer as a picture, with --height, instead of --bytes")
  ),
  /** `--height` */
  height: pixels("height").pipe(Flag.withDescription("See --width")),
  /** `--bytes-per-pixel` */
  bytesPerPixel: number("bytes-per-pixel", upTo(16), "a number of bytes from 1 to 16").pipe(
    Flag.optional,
    Flag.withDescription("Bytes of a pixel; the default is 4, for XR24")
  )
} as const

type SizeFlags = Command.Command.Config.Infer<typeof sizeFlags>

/**
 * The size of a buffer, and of the picture in it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Size {
  /** Bytes of the buffer. */
  readonly byteLength: Page.ByteLength
  /** Pixels of four bytes (XR24), if the size was given so. */
  readonly picture: {
    /** Pixels in a row. */
    readonly width: number
    /** Rows. */
    readonly height: number
  } | undefined
}

/**
 * The size that the flags tell, if any.
 *
 * @category combinators
 * @since 0.1.0
 */
export const optionalSize = Effect.fnUntraced(function*(flags: SizeFlags) {
  const bytes = Option.getOrUndefined(flags.bytes)
  const width = Option.getOrUndefined(flags.width)
  const height = Option.getOrUndefined(flags.height)
  const depth = Option.getOrUndefined(flags.bytesPerPixel)
  if (width === undefined && height === undefined && depth === undefined) {
    return bytes === undefined ? undefined : { byteLength: bytes, picture: undefined }
  }
  if (bytes !== undefined || width === undefined || height === undefined) {
    return yield* refuse("The size is either --bytes alone, or --width together with --height.")
  }
  const perPixel = depth ?? bytesPerPixel
  const byteLength = Schema.decodeOption(Page.ByteLength)(width * height * perPixel)
  if (Option.isNone(byteLength)) {
    return yield* refuse(
      `${width}×${height} pixels of ${perPixel} bytes are too many. Expected: ${Page.lengthExpected}.`
    )
  }
  return {
    byteLength: byteLength.value,
    picture: perPixel === bytesPerPixel ? { width, height } : undefined
  }
})

/**
 * The size that the flags tell; refused if they tell none.
 *
 * @category combinators
 * @since 0.1.0
 */
export const size = Effect.fnUntraced(function*(flags: SizeFlags) {
  const size = yield* optionalSize(flags)
  return size ?? (yield* refuse("The buffer's size is missing: give --bytes, or --width and --height."))
})

const noise = /^noise(?::([0-9]+))?$/
const seedMaximum = 0xffff_ffff

/**
 * `--pattern`: the name of a pattern; `pattern` makes sense of it.
 *
 * @category flags
 * @since 0.1.0
 */
export const patternFlag = (buffer: string): Flag.Flag<Option.Option<string>> =>
  Flag.String("pattern").pipe(
    Flag.withMetavar("name"),
    Flag.optional,
    Flag.withDescription(`Fill ${buffer} with: ${Pattern.expected}`)
  )

/**
 * The pattern of a name, for a buffer of this size, if a name was given.
 *
 * @category combinators
 * @since 0.1.0
 */
export const pattern = Effect.fnUntraced(function*(name: Option.Option<string>, { picture }: Size) {
  if (Option.isNone(name)) return undefined
  if (name.value === "card") {
    return picture === undefined
      ? yield* refuse("The pattern card is a picture: give --width and --height, with 4 bytes a pixel.")
      : { _tag: "Card" as const, ...picture }
  }
  if (name.value === "pages") return { _tag: "Pages" as const }
  if (name.value === "zero") return { _tag: "Zero" as const }
  const parts = noise.exec(name.value)
  const seed = parts === null ? Number.NaN : Number(parts[1] ?? 0)
  return seed <= seedMaximum
    ? { _tag: "Noise" as const, seed }
    : yield* invalid("pattern", name.value, Pattern.expected)
})

/**
 * `--png`: where a picture is written to.
 *
 * @category flags
 * @since 0.1.0
 */
export const png = Flag.String("png").pipe(
  Flag.withMetavar("file"),
  Flag.mapEffect((file) => file === "" ? invalid("png", file, "the name of a file") : Effect.succeed(file)),
  Flag.withDescription("Write the picture in the buffer (XR24) to this file")
)

/**
 * `--read-only` of a mapping or a share.
 *
 * @category flags
 * @since 0.1.0
 */
export const readOnly = (description: string): Flag.Flag<boolean> =>
  Flag.Boolean("read-only").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription(description)
  )

/**
 * An address to listen at: a host and a port, or a port alone, on loopback then. IPv6 stands in brackets.
 *
 * @category flags
 * @since 0.2.0
 */
export const listen = (name: string, standard: string): Flag.Flag<{ readonly host: string; readonly port: number }> =>
  Flag.String(name).pipe(
    Flag.withMetavar("host:port"),
    Flag.withDefault(standard),
    Flag.mapEffect((text) => {
      const parts = /^(?:(?:\[([0-9a-f:.]+)\]|([^:[\]]+)):)?([0-9]{1,5})$/i.exec(text)
      const port = Number(parts?.[3])
      return parts !== null && port <= 65_535
        ? Effect.succeed({ host: parts[1] ?? parts[2] ?? "127.0.0.1", port })
        : invalid(name, text, "host:port, such as 127.0.0.1:8380, [::1]:8380 or 0.0.0.0:8380, or a port")
    }),
    Flag.withDescription(`Where the server listens; the default is ${standard}`)
  )

/**
 * `--token` of a server: what a viewer must have. A shell gives an empty one where a variable has none.
 *
 * @category flags
 * @since 0.2.0
 */
export const token = Flag.String("token").pipe(
  Flag.withMetavar("text"),
  Flag.mapEffect((text) => text === "" ? invalid("token", text, "a text that nobody guesses, not an empty one") : Effect.succeed(text)),
  Flag.optional,
  Flag.withDescription("Only who has it in the address may look; made up where --listen is not on loopback")
)

/**
 * A number of things from 1 on.
 *
 * @category flags
 * @since 0.2.0
 */
export const count = (name: string, standard: number, most: number, description: string): Flag.Flag<number> =>
  number(name, upTo(most), `a number from 1 to ${most}`).pipe(
    Flag.withDefault(standard),
    Flag.withDescription(`${description}; the default is ${standard}`)
  )
