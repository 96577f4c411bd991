/**
 * Runs a part of a benchmark in a process of its own.
 */
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"

/** What a program prints as JSON, started with options for V8 and with arguments. `A` is taken on its word. */
export const run = <A>(program: string, args: ReadonlyArray<string>, options: ReadonlyArray<string> = []) =>
  Effect.sync((): A =>
    JSON.parse(
      execFileSync(process.execPath, [...options, program, ...args], { encoding: "utf8", maxBuffer: Infinity })
    )
  )
