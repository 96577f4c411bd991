/**
 * Plays many cases in one world.
 */
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Traces from "../../../packages/xenbus/test/Traces.ts"
import * as Case from "./Case.ts"
import * as Check from "./Check.ts"
import * as World from "./World.ts"

/** How often each outcome came, by what the victim did. */
export type Tally = Map<Case.Case["mode"], Map<Check.Outcome, number>>

export interface Result {
  readonly tally: Tally
  /** What is wrong, with the smallest case that shows it and a token to replay it. */
  readonly failure: string | undefined
}

/** Plays so many cases, the same ones for the same seed, or replays a failure. Stops at the first that fails. */
export const run = (options: Pick<Arbitrary.CheckOptions, "runs" | "seed" | "replay">): Effect.Effect<Result> =>
  Effect.gen(function*() {
    const world = yield* Effect.orDie(World.make)
    const standing = (yield* world.xen.holdings).length
    const tally: Tally = new Map(Case.modes.map((mode) => [mode, new Map()]))
    const result = yield* Arbitrary.checkEffect(Case.arbitrary, (self) =>
      Check.play(world, self).pipe(
        Effect.map((outcome) => {
          const counts = tally.get(self.mode)!
          counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
          return true
        }),
        // A violation is a defect: so it is shrunk as well.
        Effect.sandbox
      ), options)
    const left = (yield* world.xen.holdings).slice(standing)
    return {
      tally,
      failure: Arbitrary.formatCheckFailure(result)
        ?? (left.length > 0 ? `After the last case of ${JSON.stringify(options)}: ${left.map(Ledger.describe).join("\n")}` : undefined)
    }
  }).pipe(
    Effect.scoped,
    // Who replays a failure looks for its place.
    options.replay === undefined ? Traces.without : identity
  )
