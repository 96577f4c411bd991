/**
 * Runs a program as the process that it is.
 *
 * @since 0.1.0
 */

import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as CliError from "effect/cli/CliError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"

/** What was printed could not be written: a full disk, or nobody who reads it any more. */
class NotPrinted extends Data.TaggedError("NotPrinted")<{ readonly code: string }> {}

/** Waits for a write to standard output that fails; Node's console passes over it in silence. */
const notPrinted = Effect.callback<never, NotPrinted>((resume) => {
  process.stdout.on("error", ({ code = "unknown" }: NodeJS.ErrnoException) => resume(Effect.fail(new NotPrinted({ code }))))
})

/** Waits until all that was printed so far is written, or has failed. */
const written = Effect.callback<void>((resume) => {
  // Errors come in a turn of their own.
  process.stdout.write("", () => setImmediate(() => resume(Effect.void)))
})

const exitCode = (exit: Exit.Exit<unknown, unknown>, interrupted: number): number => {
  const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
  if (CliError.isCliError(error)) return 2
  let code = 1
  Runtime.defaultTeardown(exit, (by) => {
    code = by
  })
  return code === 130 ? interrupted : code
}

/**
 * Runs a program that prints its failures itself. SIGINT and SIGTERM interrupt it, so that it releases everything; the
 * exit code is then 130 or 143, as shells have it. It is 2 for a command line that makes no sense, and 1 for any other
 * failure, one to write what is printed among them. A second signal changes nothing: releases are short.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <E>(program: Effect.Effect<void, E>): void => {
  let interrupted = 130
  process.on("SIGTERM", () => {
    interrupted = 143
  })
  const printing = Effect.raceFirst(Effect.andThen(program, written), notPrinted).pipe(
    Effect.tapError((error) =>
      Effect.sync(() => {
        // Who closes a pipe has read enough, and needs no word.
        if (error instanceof NotPrinted && error.code !== "EPIPE") {
          process.stderr.write(`What there is to say can't be written (${error.code}).\n`)
        }
      })
    )
  )
  NodeRuntime.runMain(printing, {
    disableErrorReporting: true,
    // Always by `exit`: an open stdin, once read from, would keep the process.
    teardown: (exit) => process.exit(exitCode(exit, interrupted))
  })
}
