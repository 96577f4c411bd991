/**
 * Runs a program as the process that it is.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"

/**
 * Runs a program that prints its failures itself. SIGINT and SIGTERM interrupt it, so that it releases everything; the
 * exit code is then 130 or 143, as shells have it. A second signal changes nothing: releases are short.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <E>(program: Effect.Effect<void, E>): void => {
  let interrupted = 130
  process.on("SIGTERM", () => {
    interrupted = 143
  })
  NodeRuntime.runMain(program, {
    disableErrorReporting: true,
    // Always by `exit`: an open stdin, once read from, would keep the process.
    teardown: (exit) => Runtime.defaultTeardown(exit, (code) => process.exit(code === 130 ? interrupted : code))
  })
}
