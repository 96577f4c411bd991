/**
 * A kernel whose pages are not Xen's: everything is refused, for that reason.
 */
import * as Effect from "effect/Effect"
import { type Check, same } from "../Plan.ts"
import type { Context } from "./Modules.ts"
import * as Tool from "./Tool.ts"

const kernel = "16384"

const refuses = (name: string, args: ReadonlyArray<string | number>): Check<Context> => ({
  name: `pages of ${kernel} bytes: ${name} refuses, and says why`,
  run: Effect.fnUntraced(function*({ tool }) {
    const event = yield* Tool.refusal(tool, args)
    yield* same("the reason", event["reason"], "Unsupported")
    yield* Tool.mentions(event, kernel, "4096")
  })
})

/** What can be said on such a kernel. */
export const checks: ReadonlyArray<Check<Context>> = [
  {
    name: `pages of ${kernel} bytes: doctor says so`,
    run: Effect.fnUntraced(function*({ tool }) {
      const process = yield* tool.start(Tool.command(["doctor"]))
      const { code, stdout } = yield* process.completed
      yield* same("the exit code of doctor", code, 1)
      yield* Tool.mentions({ event: "doctor", message: stdout }, kernel)
    })
  },
  refuses("share", ["share", "--peer", 0, "--bytes", 100 * 4096]),
  refuses("map", ["map", "--peer", 0, "--directory", 8, "--bytes", 4096]),
  refuses("provide", ["provide", "--peer", 0, "--directory", 8, "--bytes", 4096])
]
