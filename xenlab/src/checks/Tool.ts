/**
 * Calls the command line tool inside a domain.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Image from "../Image.ts"
import type { Event, Machine, Process, ProcessError } from "../Machine.ts"
import { run } from "../Machine.ts"
import { CheckError } from "../Plan.ts"
import * as Remote from "../Remote.ts"

/** The command line of `xen-shbuf` with `--json`. */
export const command = (args: ReadonlyArray<string | number>): ReadonlyArray<string> => [
  "node",
  `${Image.place}/cli.mjs`,
  ...args.map(String),
  "--json"
]

/**
 * A process that stays and runs the tool's commands in it, as a machine: what is started on it is a command, and costs
 * no start of Node. It starts with the first command, and keeps what they release if it is told to `forget` (see tool.ts).
 */
export const resident = Effect.fnUntraced(function*(machine: Machine, ...args: ReadonlyArray<"forget">) {
  const scope = yield* Effect.scope
  const process = Effect.gen(function*() {
    const process = yield* machine.start(["node", `${Image.place}/tool.mjs`, ...args], { patience: Duration.infinity })
    return yield* Remote.make(machine.name, { nextLine: process.nextLine, send: process.send }, () => {})
  })
  const started = yield* Effect.cached(Scope.provide(process, scope))
  const resident: Machine = {
    name: machine.name,
    start: (argv, options) => Effect.flatMap(started, ({ start }) => start(argv, options))
  }
  return resident
})

/** Starts the tool, on a domain or on a resident process. */
export const start = (machine: Machine, args: ReadonlyArray<string | number>) => machine.start(command(args))

/** Lets a waiting tool go on to its end: it must say that it released everything, and end with exit code 0. */
export const release = (process: Process): Effect.Effect<void, ProcessError> =>
  Effect.gen(function*() {
    yield* process.expect("released")
    const { code, signal } = yield* process.completed
    if (code !== 0) return yield* process.fail(`ended with ${signal ?? `exit code ${code}`}, expected 0`)
  })

/** Runs the tool, which must refuse: exit code 1, and one `error` event. Gives the event. */
export const refusal = Effect.fnUntraced(function*(machine: Machine, args: ReadonlyArray<string | number>) {
  const { code, stderr, stdout } = yield* run(machine, command(args))
  const said = `${stdout}${stderr}`.trim()
  if (code !== 1) {
    return yield* new CheckError({ message: `${args.join(" ")} ended with ${code}, expected 1:\n${said}` })
  }
  const lines = stdout.trim().split("\n")
  const event = yield* Effect.try({
    try: () => JSON.parse(lines.at(-1) ?? "") as Event,
    catch: () => new CheckError({ message: `${args.join(" ")}: the last line is not JSON:\n${said}` })
  })
  return event.event === "error"
    ? event
    : yield* new CheckError({ message: `${args.join(" ")}: no error event:\n${said}` })
})

/** Fails unless the event's `message` says all of this. */
export const mentions = (event: Event, ...words: ReadonlyArray<string | RegExp>): Effect.Effect<void, CheckError> => {
  const message = String(event["message"])
  const missing = words.filter((word) => typeof word === "string" ? !message.includes(word) : !word.test(message))
  return missing.length === 0
    ? Effect.void
    : Effect.fail(new CheckError({ message: `the message does not say ${missing.join(", ")}: ${message}` }))
}
