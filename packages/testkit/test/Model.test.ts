import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Commands from "./Commands.ts"

/** Set it to the token of a failure, to run that one case. */
const replay: string | undefined = undefined

/** Sequences of commands that a run of the tests tries. */
const runs = 1000

describe("Random commands on three domains", () => {
  it.live(`do on TestXen what they do in the model, ${runs} times`, () =>
    Effect.gen(function*() {
      const result = yield* Arbitrary.checkEffect(
        Commands.commands,
        (sequence) => Effect.sandbox(Effect.as(Commands.compare(sequence), true)),
        { runs, replay, size: 110 }
      )
      const failure = Arbitrary.formatCheckFailure(result)
      if (failure !== undefined) assert.fail(failure)
      for (const command of Commands.operations) assert.isDefined(Commands.tally.get(`${command} ok`), command)
    }), 60_000)

  afterAll(() => console.log([...Commands.tally].map(([what, times]) => `${times} ${what}`).toSorted().join("\n")))
})
