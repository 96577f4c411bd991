import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Connections from "../src/connections/Connections.ts"

describe("two halves", () => {
  it.live("find each other whatever has happened, and leave nothing", () =>
    Effect.gen(function*() {
      const { failure, tally } = yield* Connections.run({ runs: 300 })
      assert.isUndefined(failure, failure)
      // The cases are worth something only if they reach what can happen.
      assert.includeMembers([...tally.keys()], ["answer", "handler: Interrupt", "use: Interrupt"])
    }), 120_000)
})
