/**
 * `xen-shbuf vchan`: joins standard input and output of two domains.
 *
 * @since 0.2.0
 */
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import type { Vchan } from "@xen-shbuf/io/libxenvchan/Vchan"
import type { VchanError } from "@xen-shbuf/io/libxenvchan/VchanError"
import * as Cause from "effect/Cause"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { Reported } from "../Failure.ts"
import * as Flags from "../Flags.ts"
import { count, Output } from "../Output.ts"

/** What comes, until the peer closes, or until there is nothing more once `closing` is done. */
const incoming = ({ read, readSize }: Vchan, closing: Deferred.Deferred<void>): Stream.Stream<Uint8Array, VchanError> => {
  const into = new Uint8Array(readSize)
  return Stream.fromPull(Effect.succeed(Effect.suspend(() => {
    let length = 0
    // Noted at once: what was read is not lost where both come together.
    const reading = Effect.map(read(into), (count) => {
      length = count
    })
    return Effect.flatMap(Effect.raceFirst(reading, Deferred.await(closing)), () =>
      length === 0 ? Cause.done<void>() : Effect.succeed([into.slice(0, length)] as const))
  })))
}

/** Passes both ways until the peer closes, or with `close` until standard input has ended and the peer has read it. */
const pass = (vchan: Vchan, close: boolean) =>
  Effect.gen(function*() {
    const stdio = yield* Stdio.Stdio
    const closing = yield* Deferred.make<void>()
    const broken = yield* Deferred.make<never, PlatformError>()
    const sending = yield* stdio.stdin.pipe(
      Stream.run(vchan.sink),
      // What the peer does is seen where it is read.
      Effect.tapError((error) => error._tag === "PlatformError" ? Deferred.fail(broken, error) : Effect.void),
      Effect.andThen(Effect.when(Effect.andThen(vchan.drained, Deferred.succeed(closing, undefined)), Effect.succeed(close))),
      Effect.forkScoped
    )
    yield* Effect.raceFirst(
      Stream.run(incoming(vchan, closing), stdio.stdout({ endOnDone: false })),
      Deferred.await(broken)
    )
    // The peer has closed: has it read all that there was?
    const sent = sending.pollUnsafe()
    if (sent === undefined) yield* Effect.andThen(Fiber.interrupt(sending), vchan.drained)
    else yield* Effect.andThen(sent, vchan.drained)
  })

/** Standard output is the peer's: what there is to say goes to standard error. */
const join = Effect.fnUntraced(function*(
  open: Effect.Effect<Vchan, VchanError, GrantTable | EventChannels | XenStore | Scope.Scope>,
  close: boolean
) {
  const { aside } = yield* Output
  yield* Effect.gen(function*() {
    const vchan = yield* open
    const { peer, readSize, side, writeSize } = vchan
    if (side === "server") yield* aside({ event: "listening" }, `Waiting for domain ${peer}.`)
    yield* vchan.connected
    yield* aside(
      { event: "connected", readSize, writeSize },
      `Connected with domain ${peer}: up to ${count(readSize, "byte")} from it are under way, ` +
        `and ${count(writeSize, "byte")} to it.`
    )
    yield* pass(vchan, close)
    yield* aside({ event: "closed" }, "Closed.")
  }).pipe(
    Effect.scoped,
    Effect.catchTag(["VchanError", "PlatformError"], ({ _tag, message, reason }) =>
      Effect.andThen(
        aside({ event: "error", tag: _tag, reason: reason._tag, message }, message),
        Effect.fail(new Reported())
      ))
  )
})

const close = Flag.Boolean("close").pipe(
  Flag.withAlias("N"),
  Flag.withDefault(false),
  Flag.withoutNegation,
  Flag.withDescription("End when standard input has ended and the peer has read all of it; otherwise go on until the peer ends")
)

const listen = Command.make("listen", {
  peer: Flags.peer,
  path: Flags.path("Where to publish it in xenstore, for the peer to read"),
  readSize: Flags.ringSize("read-size", "Bytes from the peer that are under way at most"),
  writeSize: Flags.ringSize("write-size", "Bytes to the peer that are under way at most"),
  close
}, ({ close, ...options }) => join(Server.listen(options), close)).pipe(
  Command.withDescription(
    "Offer a vchan to another domain, wait for its client, and pass standard input to it and what it sends to standard " +
      "output, until it ends."
  ),
  Command.withShortDescription("Offer a vchan, and wait for a client")
)

const connect = Command.make("connect", {
  peer: Flags.peer,
  path: Flags.path("Where the peer has published it in xenstore"),
  close
}, ({ close, ...options }) => join(Client.connect(options), close)).pipe(
  Command.withDescription(
    "Join a vchan that another domain offers, as soon as it does, and pass standard input to it and what it sends to " +
      "standard output, until it ends."
  ),
  Command.withShortDescription("Join a vchan, once there is one")
)

/**
 * Joins standard input and output of two domains, like `nc`.
 *
 * @category commands
 * @since 0.2.0
 */
export const vchan = Command.make("vchan").pipe(
  Command.withSubcommands([listen, connect]),
  Command.withDescription(
    "Join standard input and output of two domains, like nc, through libxenvchan's protocol. A vchan can't be closed by " +
      "half: with --close the end of standard input ends both directions once the peer has read all; without, only the " +
      "peer's end does, and Ctrl-C."
  ),
  Command.withShortDescription("Join standard input and output of two domains")
)
