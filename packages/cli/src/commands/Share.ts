/**
 * `xen-shbuf share`: the frontend's half.
 *
 * @since 0.1.0
 */

import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { sha256 } from "../Digest.ts"
import * as Flags from "../Flags.ts"
import * as Session from "../internal/Session.ts"
import { count, Output } from "../Output.ts"
import * as Pattern from "../Pattern.ts"

interface Options {
  readonly peer: number
  readonly byteLength: number
  readonly pattern: Pattern.Pattern | undefined
}

const onPeer = (verb: string, { directory, bytes }: { readonly directory: number; readonly bytes: number }) =>
  `On the peer: xen-shbuf ${verb} --peer <this domain's id> --directory ${directory} --bytes ${bytes}`

const alloc = ({ byteLength, pattern, peer }: Options, readOnly: boolean) =>
  Session.run(
    SharedBuffer.alloc({ peer, byteLength, access: readOnly ? "read-only" : "read-write" }),
    Effect.fnUntraced(function*({ bytes, directory, pages }, enter) {
      const { event, hint } = yield* Output
      if (pattern !== undefined) Pattern.write(bytes, pattern)
      const shared = { event: "shared", directory, ...Session.summary(pages, bytes) }
      yield* event(
        shared,
        `Shared ${count(pages, "page")} (${count(bytes.length, "byte")}) with domain ${peer}, ` +
          `directory ${directory}.\nsha256 ${shared.sha256}`
      )
      yield* hint(`${onPeer("map", shared)}\nEnter releases it; let the peer release first.`)
      yield* enter
      yield* Session.contents(bytes, shared.sha256)
    })
  )

const allocByBackend = ({ byteLength, pattern, peer }: Options) =>
  Session.run(
    SharedBuffer.allocByBackend({ peer, byteLength }),
    Effect.fnUntraced(function*({ directory, map, pages }, enter) {
      const { event, hint } = yield* Output
      const offered = { event: "directory", directory, pages, bytes: byteLength }
      yield* event(
        offered,
        `Shared an empty directory, ${directory}, with domain ${peer}, for ${count(pages, "page")} of its own ` +
          `(${count(byteLength, "byte")}).`
      )
      yield* hint(`${onPeer("provide", offered)}\nEnter maps them, once the peer has provided them.`)
      yield* enter
      const { bytes } = yield* map()
      const hash = sha256(bytes)
      yield* event({ event: "mapped", sha256: hash }, `Mapped. sha256 ${hash}`)
      yield* Session.write(bytes, pattern)
      yield* hint("Enter releases it.")
      yield* enter
    })
  )

/**
 * Shares a buffer until Enter or a signal.
 *
 * @category commands
 * @since 0.1.0
 */
export const share = Command.make("share", {
  peer: Flags.peer,
  ...Flags.sizeFlags,
  pattern: Flags.patternFlag("the buffer"),
  backendAlloc: Flag.Boolean("backend-alloc").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Share an empty directory; the peer allocates the buffer (its command: provide)")
  ),
  readOnly: Flags.readOnly("Let the peer read only; many backends map for writing, and will be refused")
}, Effect.fnUntraced(function*(flags) {
  const size = yield* Flags.size(flags)
  const pattern = yield* Flags.pattern(flags.pattern, size)
  const options = { peer: flags.peer, byteLength: size.byteLength, pattern }
  if (!flags.backendAlloc) return yield* alloc(options, flags.readOnly)
  if (flags.readOnly) {
    return yield* new CliError.ValidationError({
      message: "--read-only has no meaning with --backend-alloc: the buffer is the peer's, and it fills our directory."
    })
  }
  yield* allocByBackend(options)
})).pipe(
  Command.withDescription(
    "Share a buffer with another domain, print where, and wait. Enter prints what the buffer holds by then, and " +
      "releases it; Ctrl-C and SIGTERM release it at once. At the end of input (</dev/null) it goes on until a signal."
  ),
  Command.withShortDescription("Share a buffer with another domain")
)
