/**
 * Runs commands on the host.
 */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Stream from "effect/Stream"
import { LabError } from "./Lab.ts"

/** Options of {@link run}. */
export interface Options {
  readonly cwd?: string | undefined
  readonly input?: Stream.Stream<Uint8Array, PlatformError> | undefined
}

const text = (stream: Stream.Stream<Uint8Array, PlatformError>): Effect.Effect<string, PlatformError> =>
  Stream.mkString(Stream.decodeText(stream))

/** Runs a command to its end and gives its stdout. Fails with its stderr unless it ends with exit code 0. */
export const run = (
  command: string,
  args: ReadonlyArray<string>,
  options: Options = {}
): Effect.Effect<string, LabError, ChildProcessSpawner> => {
  const step = [command, ...args.slice(0, 3), ...(args.length > 3 ? ["…"] : [])].join(" ")
  return Effect.gen(function*() {
    const child = yield* ChildProcess.make(command, args, {
      cwd: options.cwd,
      env: { LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
      extendEnv: true,
      stdin: options.input ?? "ignore",
      forceKillAfter: "2 seconds"
    })
    const [stdout, stderr, code] = yield* Effect.all([text(child.stdout), text(child.stderr), child.exitCode], {
      concurrency: "unbounded"
    })
    return code === 0
      ? stdout
      : yield* new LabError({ step, detail: `exit code ${code}\n${(stderr + stdout).trim().slice(-4000)}` })
  }).pipe(
    Effect.catchTag("PlatformError", (error) => Effect.fail(new LabError({ step, detail: error.message }))),
    Effect.scoped
  )
}
