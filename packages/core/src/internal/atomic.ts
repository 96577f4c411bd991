import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/**
 * Runs an acquisition of several steps in a scope of its own inside the caller's: a failure or interruption between
 * the steps releases what was acquired so far at once, and success leaves it to the caller's scope, or to whoever
 * closes `scope` before.
 */
export const atomic = <A, E, R>(
  acquire: (scope: Scope.Closeable) => Effect.Effect<A, E, R | Scope.Scope>
): Effect.Effect<A, E, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.scope, (parent) => {
      const scope = Scope.forkUnsafe(parent)
      return restore(acquire(scope)).pipe(
        Scope.provide(scope),
        Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
      )
    })
  )
