/**
 * `xen-shbuf provide`: the backend's half, for a buffer that the backend allocates.
 *
 * @since 0.1.0
 */

import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Flags from "../Flags.ts"
import * as Session from "../internal/Session.ts"
import { count, Output } from "../Output.ts"
import * as Pattern from "../Pattern.ts"

/**
 * Provides a buffer until Enter or a signal.
 *
 * @category commands
 * @since 0.1.0
 */
export const provide = Command.make("provide", {
  peer: Flags.peer,
  directory: Flags.directory,
  ...Flags.sizeFlags,
  pattern: Flags.patternFlag("the buffer")
}, Effect.fnUntraced(function*({ directory, peer, ...flags }) {
  const size = yield* Flags.size(flags)
  const pattern = yield* Flags.pattern(flags.pattern, size)
  yield* Session.run(
    PeerBuffer.allocForFrontend({ peer, directory, byteLength: size.byteLength, maxByteLength: size.byteLength }),
    Effect.fnUntraced(function*({ bytes, pages }, enter) {
      const { event, hint } = yield* Output
      if (pattern !== undefined) Pattern.write(bytes, pattern)
      const provided = { event: "provided", ...Session.summary(pages, bytes) }
      yield* event(
        provided,
        `Provided ${count(pages, "page")} (${count(bytes.length, "byte")}) to domain ${peer}, in its directory ` +
          `${directory}.\nsha256 ${provided.sha256}`
      )
      yield* hint("Enter releases it; let the peer release first.")
      yield* enter
      yield* Session.contents(bytes, provided.sha256)
    })
  )
})).pipe(
  Command.withDescription(
    "Allocate a buffer, share it with another domain, and put its references into that domain's empty directory (its " +
      "command: share --backend-alloc). Enter prints what the buffer holds by then, and releases it; Ctrl-C and " +
      "SIGTERM release it at once. At the end of input (</dev/null) it goes on until a signal."
  ),
  Command.withShortDescription("Put a buffer of ours into another domain's directory")
)
