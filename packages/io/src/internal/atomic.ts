import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/**
 * Runs an acquisition of several steps in a scope of its own inside the caller's: a failure or interruption between the
 * steps releases what was acquired so far at once.
 */
export const atomic = <A, E, R>(
  acquire: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.scope, (parent) => {
      const scope = Scope.forkUnsafe(parent)
      return restore(acquire).pipe(
        Scope.provide(scope),
        Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
      )
    })
  )
