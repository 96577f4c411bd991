import { assert, describe, it } from "@effect/vitest"
import * as Vchan from "../src/devices/Vchan.ts"

describe("libxenvchan's Protocol with a hostile peer", () => {
  it("ten thousand cases: wrong indexes, orders and references are found out, and nothing else is read or written", () => {
    const tally = new Map<string, number>()
    const from = Math.floor(Math.random() * 2 ** 31)
    for (let seed = from; seed < from + 10_000; seed++) {
      try {
        for (const outcome of Vchan.play(seed)) tally.set(outcome, (tally.get(outcome) ?? 0) + 1)
      } catch (error) {
        throw new Error(`Case ${seed} failed`, { cause: error })
      }
    }
    // The cases are worth something only if they reach everything that can happen.
    const indexes = ["left.prod", "left.cons", "right.prod", "right.cons"]
    assert.sameMembers([...tally.keys()], [
      ...indexes.flatMap((index) => [`${index} TooFar`, `${index} Backwards`]),
      ...["InvalidOrders", "InvalidRingRef", "sound, big", "entered", "wrong indexes"],
      ...["read", "nothing to read", "written", "no space", "absent", "connected", "closed"]
    ])
  }, 60_000)
})
