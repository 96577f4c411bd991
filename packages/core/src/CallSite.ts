/**
 * Notes the place of a call, for stack traces and for whoever asks who made something.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as References from "effect/References"

/** V8's, and so Node's; elsewhere there is no place to be found, and nothing is lost but that. */
const v8 = Error as ErrorConstructor & {
  stackTraceLimit: number
  readonly captureStackTrace?: (target: object, above: (...args: Array<never>) => unknown) => void
}

/**
 * The line of the stack above a function that is running, made readable only when it is asked for. There is none where
 * the program wants no stacks at all.
 */
const above = (self: (...args: Array<never>) => unknown): () => string | undefined => {
  const here: { readonly stack?: string } = {}
  const limit = v8.stackTraceLimit
  if (limit === 0) return () => undefined
  // Not assigned: somebody may have frozen it, and then the place is found all the same, only slower.
  Reflect.set(v8, "stackTraceLimit", 1)
  v8.captureStackTrace?.(here, self)
  Reflect.set(v8, "stackTraceLimit", limit)
  return () => here.stack?.split("\n")[1]?.trim()
}

/**
 * The same function, but the effects that it gives know its name and the place of the call. `Effect.fn` gives both too,
 * with a span always, which reads the clock: a system call in many Xen domains.
 *
 * @typeParam F - The function's own type, which stays as it is, generics and all.
 * @category tracing
 * @since 0.2.0
 */
export const named = <Args extends ReadonlyArray<never>, A, E, R, F extends (...args: Args) => Effect.Effect<A, E, R>>(
  name: string,
  f: F & ((...args: Args) => Effect.Effect<A, E, R>)
): F => {
  const self = (...args: Args) => {
    const stack = above(self)
    return Effect.updateService(Effect.suspend(() => f(...args)), References.CurrentStackFrame, (parent) => ({ name, stack, parent }))
  }
  return self as unknown as F
}
