import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

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
