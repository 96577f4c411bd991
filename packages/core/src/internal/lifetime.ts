import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/** A scope inside of the caller's, which can end before it. */
export interface Lifetime {
  readonly scope: Scope.Scope
  /** Ends it. Whoever else ends it meanwhile, the caller's scope among them, waits until it has ended. */
  readonly end: Effect.Effect<void>
}

/** The answer to who uses memory after its end. */
export const memoryEnded = Effect.die(
  new Error("This memory has ended: its scope was left, or its buffer was moved away. Copy what is to outlast it.")
)

const scopeEnded = Effect.die(new Error("The scope has ended: nothing can be acquired in it any more."))

/** The scope around an acquisition. Dies where it has ended: what was acquired then would be gone before it is used. */
export const openScope: Effect.Effect<Scope.Scope, never, Scope.Scope> = Effect.flatMap(
  Effect.scope,
  (scope) => scope.state._tag === "Closed" ? scopeEnded : Effect.succeed(scope)
)

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
 * the steps releases what was acquired so far at once, and success leaves it to the caller's scope, or to `end`.
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
