/**
 * Drives the C program (`bench/c/grants.c`).
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Buffer } from "./Operations.ts"

/** What the C program answered. */
export interface Answer {
  /** The time of all repetitions together. */
  readonly nanos: number
  /** The reference of the directory that it shared last. */
  readonly directory: number
}

/** Says why the C program could not do something. */
export class NativeError extends Data.TaggedError("NativeError")<{ readonly message: string }> {}

/** A running C program. */
export interface Native {
  /** Does an operation so many times. */
  readonly run: (operation: string, buffer: Buffer, times: number) => Effect.Effect<Answer, NativeError>
}

/** Where it is in a domain. */
export const program: string = join(import.meta.dirname, "grants")

/** One command for it. */
export const command = (operation: string, { directory, pages, peer }: Buffer, times: number): string =>
  `${operation} ${peer} ${pages} ${times} ${directory}\n`

/** Starts it. `memory` is an open file, for a program that works on it in the place of the devices. */
export const start = (path: string, memory?: number): Effect.Effect<Native, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => spawn(path, { stdio: ["pipe", "pipe", "inherit", ...memory === undefined ? [] : [memory]] })),
      ({ stdin }) => Effect.sync(() => void stdin?.end())
    ),
    ({ stdin, stdout }): Native => {
      const lines = createInterface({ input: stdout! })[Symbol.asyncIterator]()
      return {
        run: (operation, buffer, times) =>
          Effect.gen(function*() {
            stdin!.write(command(operation, buffer, times))
            const line = yield* Effect.promise(() => lines.next())
            const said: string = line.done === true ? "it has ended" : line.value
            const [, nanos, directory] = /^ok (\d+) (\d+)$/.exec(said) ?? []
            if (nanos === undefined) {
              return yield* new NativeError({ message: `${command(operation, buffer, times).trim()}: ${said}` })
            }
            return { nanos: Number(nanos), directory: Number(directory) }
          })
      }
    }
  )
