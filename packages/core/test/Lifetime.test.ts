import { assert, describe, it } from "@effect/vitest"
import * as Lifetime from "@xen-shbuf/core/Lifetime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

/** Notes what happens, a release when it is done: a second later. */
const acquire = (noted: Array<string>, name: string) =>
  Effect.acquireRelease(
    Effect.sync(() => void noted.push(`acquired ${name}`)),
    () => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => void noted.push(`released ${name}`)))
  )

describe("Lifetime.allOrNothing", () => {
  it.effect("releases what was acquired where a later step fails, and who leaves the scope meanwhile waits for it", () =>
    Effect.gen(function*() {
      const noted: Array<string> = []
      const scope = yield* Scope.make()
      const failing = Lifetime.allOrNothing(() => Effect.andThen(acquire(noted, "a"), Effect.fail("no")))
      const failed = yield* Effect.forkChild(Effect.exit(Scope.provide(failing, scope)), { startImmediately: true })
      const left = yield* Effect.forkChild(
        Effect.andThen(Scope.close(scope, Exit.void), Effect.sync(() => void noted.push("left"))),
        { startImmediately: true }
      )
      assert.deepStrictEqual(noted, ["acquired a"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(failed), Exit.fail("no"))
      yield* Fiber.join(left)
      assert.deepStrictEqual(noted, ["acquired a", "released a", "left"])
    }))

  it.effect("leaves what was acquired to the caller's scope, and acquires nothing in one that has ended", () =>
    Effect.gen(function*() {
      const noted: Array<string> = []
      const scope = yield* Scope.make()
      const all = Scope.provide(Lifetime.allOrNothing(() => acquire(noted, "a")), scope)
      yield* all
      const left = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(left)
      assert.deepStrictEqual(noted, ["acquired a", "released a"])
      assert.isTrue(Exit.hasDies(yield* Effect.exit(all)))
      assert.deepStrictEqual(noted, ["acquired a", "released a"])
    }))
})
