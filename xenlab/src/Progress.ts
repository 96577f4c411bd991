/**
 * Tells a person what goes on: one line per step, with the time since the start.
 */
import * as Effect from "effect/Effect"

const clock = (millis: number): string => {
  const seconds = Math.floor(millis / 1000)
  return `${String(Math.floor(seconds / 60)).padStart(2)}:${String(seconds % 60).padStart(2, "0")}`
}

/** Writes one line to stderr. */
export const say = (text: string): Effect.Effect<void> =>
  Effect.sync(() => void process.stderr.write(`${clock(performance.now())}  ${text}\n`))

/** A duration in milliseconds, for a person. */
export const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`
