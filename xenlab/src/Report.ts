/**
 * Records what ran, where, and how it ended; prints it as a table with the closing line for CI.
 */
import * as Effect from "effect/Effect"
import { appendFileSync } from "node:fs"
import { say, seconds } from "./Progress.ts"

/** How one check ended. What could not be run is never "passed". */
export interface Outcome {
  readonly where: string
  readonly name: string
  readonly result: "passed" | "failed" | "skipped"
  readonly millis: number
  /** Why it failed or was skipped, or figures of what passed. */
  readonly detail?: string | undefined
}

/** Everything recorded so far. */
export interface Report {
  readonly outcomes: ReadonlyArray<Outcome>
  readonly record: (outcome: Outcome) => Effect.Effect<void>
}

const sign = { passed: "✓", failed: "✗", skipped: "-" }

/** An empty report. Every outcome is also a JSON line in `file`. */
export const make = (file: string): Report => {
  const outcomes: Array<Outcome> = []
  return {
    outcomes,
    record: (outcome) =>
      Effect.suspend(() => {
        outcomes.push(outcome)
        appendFileSync(file, `${JSON.stringify(outcome)}\n`)
        return say(`${sign[outcome.result]} ${outcome.where}: ${outcome.name} (${seconds(outcome.millis)})`)
      })
  }
}

/** The table, figures and what went wrong, and the closing line. */
export const render = (recorded: ReadonlyArray<Outcome>): string => {
  // Groups run side by side: put each place's outcomes together, in the order of their first.
  const places = [...new Set(recorded.map((o) => o.where))]
  const outcomes = places.flatMap((place) => recorded.filter((o) => o.where === place))
  const width = (pick: (outcome: Outcome) => string) => Math.max(0, ...outcomes.map((o) => pick(o).length))
  const where = width((o) => o.where)
  const name = width((o) => o.name)
  const count = (result: Outcome["result"]) => outcomes.filter((o) => o.result === result).length
  const lines = outcomes.map((o) =>
    `${sign[o.result]} ${o.where.padEnd(where)}  ${o.name.padEnd(name)}  ${o.result.padEnd(7)} ${
      seconds(o.millis).padStart(8)
    }`
  )
  const details = outcomes.filter((o) => o.result !== "passed" || o.detail !== undefined).map((o) =>
    `${sign[o.result]} ${o.where}: ${o.name}\n${(o.detail ?? "").replaceAll(/^/gm, "    ")}`
  )
  const skipped = count("skipped")
  const closing = `${count("passed")} passed, ${count("failed")} failed${skipped === 0 ? "" : `, ${skipped} skipped`}`
  return [...lines, "", ...details, ...(details.length === 0 ? [] : [""]), closing].join("\n")
}
