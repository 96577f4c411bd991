/**
 * Tells who called, from the frames that `Effect.fn` and spans leave on a fiber.
 */
import type { StackFrame } from "effect/References"

// "at name (place)" or "at place": what is left of an error's stack.
const place = (stack: string): string =>
  (/\((.*)\)/.exec(stack)?.[1] ?? stack.replace(/^at /, "")).replace("file://", "")

/** The calls behind a frame, the innermost first, as `name (file:line:column)`. */
export const callers = (innermost: StackFrame | undefined): ReadonlyArray<string> => {
  const calls: Array<string> = []
  for (let frame = innermost; frame !== undefined; frame = frame.parent) {
    // Each call is followed by the place where its function was defined: not what one looks for.
    if (frame.name.endsWith(" (definition)")) continue
    const stack = frame.stack()
    calls.push(stack === undefined ? frame.name : `${frame.name} (${place(stack)})`)
  }
  return calls
}
