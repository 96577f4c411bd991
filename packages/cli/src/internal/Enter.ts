import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { Output } from "../Output.ts"

const newline = 10

/**
 * Listens for Enter: each run of the effect that it returns waits for one. At the end of input (`</dev/null`, a closed
 * pipe) nobody can press Enter any more, so it waits for a signal: a service's grants must not end as it starts. Nothing is
 * read before the first run: in a shell's loop the input is the loop's.
 */
export const listen: Effect.Effect<Effect.Effect<void>, never, Output | Stdio.Stdio | Scope.Scope> = Effect.gen(
  function*() {
    const { hint } = yield* Output
    const { stdin } = yield* Stdio.Stdio
    const pressed = yield* Queue.unbounded<number>()
    const reading = yield* stdin.pipe(
      Stream.runForEach((bytes) => Queue.offerAll(pressed, bytes.filter((byte) => byte === newline))),
      Effect.ignore,
      Effect.andThen(hint("The input has ended: from here on Ctrl-C or SIGTERM ends this.")),
      Effect.forkIn(yield* Effect.scope),
      Effect.cached
    )
    return Effect.andThen(reading, Effect.asVoid(Queue.take(pressed)))
  }
)
