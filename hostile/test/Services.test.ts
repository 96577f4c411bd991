import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Services from "../src/services/Services.ts"

describe("Hostile guests at xenstore and event channels", () => {
  it.live("ten thousand cases: each answer is the one that plain models give, each watch tells what changed, nothing is left", () =>
    Effect.gen(function*() {
      const tally = new Map<string, number>()
      const play = (cases: number) => Effect.suspend(() => Services.run(Math.floor(Math.random() * 2 ** 31), cases, tally))
      yield* play(10_000)
      // What is rare comes more often in more cases.
      for (let left = 10; left > 0 && [...tally.values()].some((count) => count <= 100); left--) yield* play(2000)
      // The cases are worth something only if they reach everything that can happen.
      assert.sameMembers([...tally.keys()], [
        ...["AccessDenied", "NotFound", "TooLong", "QuotaExceeded nodes", "QuotaExceeded size", "a number", "not a number"],
        ...["read", "directory", "permissions", "makeDirectory", "remove", "write", "setPermissions"],
        ...["transaction: done", "transaction: Conflict", "transaction: mine"],
        ...["Listen", "Join", "Notify", "Take", "Close", "PortRefused", "NoSuchDomain"]
      ])
      for (const [outcome, count] of tally) assert.isAbove(count, 100, outcome)
    }), 120_000)
})
