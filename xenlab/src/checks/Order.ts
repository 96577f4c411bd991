/**
 * Looks at the machine code with which V8 makes `Atomics` in this domain: it must publish in order.
 */
import * as Effect from "effect/Effect"
import { sh } from "../Machine.ts"
import { type Check, CheckError } from "../Plan.ts"
import type { Arch } from "../Target.ts"
import type { Context } from "./Modules.ts"

/** What V8 prints of one of its builtins, which all code calls, whatever buffer it is for. */
const codeOf = (builtin: string) => `node --print-builtin-code --print-builtin-code-filter=${builtin} -e 0`

/** `Atomics.store` and `Atomics.load`, for every width. */
export const check = ({ order }: Arch): Check<Context> => ({
  name: "Atomics.store and Atomics.load are instructions that publish in order, on memory that is not shared to JavaScript, too",
  run: Effect.fnUntraced(function*({ machine }) {
    for (const [builtin, instructions] of Object.entries(order)) {
      const code = yield* sh(machine, codeOf(builtin))
      const missing = instructions.filter((instruction) => !code.includes(instruction))
      if (missing.length > 0) {
        return yield* new CheckError({ message: `${builtin} has no ${missing.join(", ")} in:\n${code.slice(0, 20_000)}` })
      }
    }
  })
})
