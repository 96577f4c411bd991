import * as Effect from "effect/Effect"

/**
 * Runs a program whose errors note no callers. Where most answers are errors, and a seed says which one is wrong, it is
 * their stacks that take the time.
 */
export const without = <A, E, R>(program: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const depth = Error.stackTraceLimit
      Error.stackTraceLimit = 0
      return depth
    }),
    () => program,
    (depth) => Effect.sync(() => {
      Error.stackTraceLimit = depth
    })
  )
