import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Rings from "../src/devices/Rings.ts"

const cases = 10_000

describe("Rings and event pages with a hostile peer", () => {
  it.effect(`${cases} cases for each half: it does what the rules say, and touches nothing else`, () =>
    Effect.gen(function*() {
      const tally = new Map<string, number>()
      yield* Rings.play(Math.floor(Math.random() * 2 ** 31), cases * Rings.halves.length, tally)
      // The cases are worth something only if they reach everything that can happen.
      assert.sameMembers([...tally.keys()], [...Rings.outcomes])
      for (const [outcome, times] of tally) assert.isAbove(times, 80, outcome)
    }), 60_000)
})
