/**
 * Acquires in several steps, all or nothing, in a lifetime of its own.
 *
 * @since 0.2.0
 */

import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { openScope } from "./internal/ended.ts"

/**
 * A scope inside of the caller's, which can end before it.
 *
 * @category models
 * @since 0.2.0
 */
export interface Lifetime {
  /** What belongs to it is released when it ends. */
  readonly scope: Scope.Scope
  /** Ends it. Whoever else ends it meanwhile, the caller's scope among them, waits until it has ended. */
  readonly end: Effect.Effect<void>
}

/** A scope whose end all who ask for it wait for: a `Scope` by itself tells the second one that it has ended already. */
const fork = (parent: Scope.Scope): Effect.Effect<Lifetime & { readonly close: Close }> => {
  const scope = Scope.makeUnsafe()
  const link = Scope.forkUnsafe(parent)
  let ended: Deferred.Deferred<void> | undefined
  const close: Close = (exit) =>
    Effect.uninterruptible(Effect.suspend(() => {
      if (ended !== undefined) return Deferred.await(ended)
      const done = ended = Deferred.makeUnsafe<void>()
      return Effect.ensuring(
        Scope.close(scope, exit),
        Effect.andThen(Deferred.succeed(done, undefined), Scope.close(link, exit))
      )
    }))
  return Effect.as(Scope.addFinalizerExit(link, close), { scope, close, end: close(Exit.void) })
}

type Close = (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>

/**
 * Runs an acquisition of several steps in a scope of its own inside the caller's: a failure or interruption between
 * the steps releases what was acquired so far at once, and success leaves it to the caller's scope, or to `end`. Dies
 * where the caller's scope has ended.
 *
 * @category constructors
 * @since 0.2.0
 */
export const allOrNothing = <A, E, R>(
  acquire: (lifetime: Lifetime) => Effect.Effect<A, E, R | Scope.Scope>
): Effect.Effect<A, E, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(openScope, (parent) =>
      Effect.flatMap(fork(parent), (lifetime) =>
        restore(acquire(lifetime)).pipe(
          Scope.provide(lifetime.scope),
          Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : lifetime.close(exit))
        )))
  )
