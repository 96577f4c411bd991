/**
 * `xen-shbuf screen`: the screens of guests on a page in a browser.
 *
 * @since 0.2.0
 */
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import * as Guests from "@xen-shbuf/screen/Guests"
import * as Screens from "@xen-shbuf/screen/Screens"
import type * as Server from "@xen-shbuf/screen/Server"
import * as Sounds from "@xen-shbuf/screen/Sounds"
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { randomBytes } from "node:crypto"
import { hostname } from "node:os"
import { NotListening } from "../Failure.ts"
import * as Flags from "../Flags.ts"
import * as Recorder from "../internal/Recorder.ts"
import * as Stage from "../internal/Stage.ts"
import { Output } from "../Output.ts"

const isLoopback = (host: string) => /^(?:localhost|127(?:\.[0-9]+){3}|::1)$/i.test(host)

const inUrl = (host: string) => host.includes(":") ? `[${host}]` : host

/** The address to open: where a server listens on all addresses, by this machine's own name. */
const addressOf = ({ host, path, port, token }: {
  readonly host: string
  readonly port: number
  readonly path: string
  readonly token: string | undefined
}) => {
  const name = host === "0.0.0.0" || host === "::" ? hostname() : inUrl(host)
  return `http://${name}:${port}${path}${token === undefined ? "" : `?token=${encodeURIComponent(token)}`}`
}

/** Starts the server, until its scope ends, and says where it is. */
const listen = Effect.fnUntraced(function*({ host, port, ...options }: Server.Listening & { readonly host: string }) {
  const { event, hint } = yield* Output
  // A quarter of the time that a start takes, for this command alone.
  const Server = yield* Effect.promise(() => import("@xen-shbuf/screen/Server"))
  const { HttpServer } = yield* Effect.promise(() => import("effect/http/HttpServer"))
  const context = yield* Layer.build(Server.layer({ host, port, ...options })).pipe(
    Effect.mapError(({ cause }) => NotListening.from(`${inUrl(host)}:${port}`, cause))
  )
  const { address } = Context.get(context, HttpServer)
  const bound = "port" in address ? address.port : port
  const url = addressOf({ host, port: bound, path: Server.pathOf(options), token: options.token })
  yield* event({ event: "listening", url, host, port: bound }, `Open ${url}`)
  if (options.token !== undefined) yield* hint("Whoever has this address may look" + (options.viewOnly === true ? "." : " and type."))
})

/**
 * Shows the screens of guests on a page until it is interrupted, or with `--demo` those of two guests in memory.
 *
 * @category commands
 * @since 0.2.0
 */
export const screen = Command.make("screen", {
  guests: Argument.String("guest").pipe(
    Argument.withDescription("The name or number of a guest to show; all, unless given"),
    Argument.variadic()
  ),
  listen: Flags.listen("listen", "127.0.0.1:8380"),
  token: Flags.token,
  path: Flag.String("path").pipe(
    Flag.withDefault("/"),
    Flag.withDescription("Where the page lies on the server, such as /screens behind a proxy")
  ),
  viewOnly: Flag.Boolean("view-only").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Let nothing that viewers do reach a guest")
  ),
  sound: Flag.Boolean("sound").pipe(
    Flag.withDefault(true),
    Flag.withDescription("Serve the guests' sound cards (vsnd), too; --no-sound leaves them to another backend")
  ),
  microphone: Flag.Boolean("microphone").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Let viewers speak into guests that record, when their browser may use the microphone")
  ),
  viewers: Flags.count("viewers", 32, 10_000, "Viewers at one time"),
  allocate: Flag.Boolean("be-alloc").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Allocate the buffers of guests that are configured so (be-alloc=1): they hold memory of this domain")
  ),
  png: Flag.String("png").pipe(
    Flag.withMetavar("folder"),
    Flag.optional,
    Flag.withDescription("Write what screens show to PNG files in this folder, a picture each time that something changes")
  ),
  record: Flag.String("record").pipe(
    Flag.withMetavar("folder"),
    Flag.optional,
    Flag.withDescription("Film every screen to a WebM file in this folder, until it is gone; takes the package sharp")
  ),
  demo: Flag.Boolean("demo").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Show two guests of an in-memory Xen: a test card that moves and plays a melody, and a terminal that repeats what is said; takes Linux, but no Xen")
  )
}, Effect.fnUntraced(function*({ allocate, demo, guests, listen: { host, port }, microphone, path, png, record, sound, token, viewOnly, viewers }) {
  if (microphone && viewOnly) {
    return yield* new CliError.ValidationError({ message: "--microphone lets viewers speak, and --view-only lets them do nothing." })
  }
  if (microphone && !sound) {
    return yield* new CliError.ValidationError({ message: "--microphone takes the guests' sound cards, which --no-sound leaves alone." })
  }
  const given = Option.getOrUndefined(token)
  const ours = given ?? (isLoopback(host) ? undefined : randomBytes(16).toString("base64url"))
  const options = { token: ours, path, viewOnly, microphone, viewers }
  const { hint } = yield* Output
  const shown: Guests.Options = { allocate, sound, guests: guests.length === 0 ? undefined : new Set(guests) }
  const serving: Effect.Effect<void, Stage.Error, Screens.Screens | Sounds.Sounds | GrantTable | EventChannels | XenStore> = demo
    ? Stage.act(shown)
    : Guests.serve(shown)
  // What can't be recorded is not served first.
  const recording = yield* Recorder.prepare({ png: Option.getOrUndefined(png), film: Option.getOrUndefined(record) })
  yield* Effect.gen(function*() {
    yield* listen({ host, port, ...options })
    yield* hint("Ctrl-C ends it.")
    return yield* Effect.raceFirst(serving, recording)
  }).pipe(Effect.scoped, Effect.provide(Layer.merge(Screens.layer(), Sounds.layer())))
})).pipe(
  Command.withDescription(
    "Show the screens (vdispl) of guests on a page in a browser, and take what people type and point at there into the " +
      "guests' keyboards (vkbd). What guests play (vsnd) is heard there by who wants to. Prints the address of the page."
  ),
  Command.withShortDescription("Show the screens of guests in a browser, hear them, and type into them")
)
