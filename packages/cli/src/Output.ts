/**
 * Prints what happens: calm text for people, or one JSON object a line for programs (`--json`).
 *
 * @since 0.1.0
 */

import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"

/**
 * Something that happened, as programs read it: a name and what belongs to it.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Readonly<Record<string, unknown>> & {
  /** What happened, such as "mapped". */
  readonly event: string
}

/**
 * Why a command failed: the error's tag, the tag of its reason, and a sentence.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failure {
  /** The error's tag. */
  readonly tag: string
  /** The tag of its reason. */
  readonly reason: string
  /** What is wrong, for people. */
  readonly message: string
}

/**
 * Where the commands print to.
 *
 * @category services
 * @since 0.1.0
 */
export class Output extends Context.Service<Output, {
  /** Prints an event: `text` for people, or the object itself. */
  readonly event: (event: Event, text: string) => Effect.Effect<void>
  /** Prints what only people need, such as what to do next. */
  readonly hint: (text: string) => Effect.Effect<void>
  /** The same as `event`, on stderr: for a command whose stdout is not its own. */
  readonly aside: (event: Event, text: string) => Effect.Effect<void>
  /** Prints a failure: on stderr for people, as an event `error` on stdout for programs. */
  readonly failure: (failure: Failure) => Effect.Effect<void>
}>()("@xen-shbuf/cli/Output") {}

// Orders for the terminal, and what turns the direction of text: peers may have written a part of it.
const unsafe = /(?![\n\t])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

/**
 * Text as it may be printed: characters that a terminal obeys, but for the end of a line and tabs, become their names.
 *
 * @category formatting
 * @since 0.2.0
 */
export const printable = (text: string): string =>
  text.replace(unsafe, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** What is logged goes to stderr: stdout has what was asked for, which may be samples or another domain's bytes. */
const logging = <A>(line: Logger.Logger<unknown, string>, output: Layer.Layer<A>): Layer.Layer<A> =>
  Layer.merge(output, Logger.layer([Logger.withConsoleError(line)]))

/**
 * Prints text for people.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerText: Layer.Layer<Output> = logging(Logger.map(Logger.formatLogFmt, printable), Layer.succeed(Output, {
  event: (_, text) => Console.log(printable(text)),
  hint: (text) => Console.log(printable(text)),
  aside: (_, text) => Console.error(printable(text)),
  failure: ({ message }) => Console.error(printable(message))
}))

/** A line of the log as programs read it. */
const logged = Logger.map(Logger.formatStructured, ({ annotations, cause, level, message, timestamp }) =>
  JSON.stringify({ event: "log", timestamp, level, message, cause, ...annotations }))

/**
 * Prints JSON objects, one a line.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerJson: Layer.Layer<Output> = logging(logged, Layer.succeed(Output, {
  event: (event) => Console.log(JSON.stringify(event)),
  hint: () => Effect.void,
  aside: (event) => Console.error(JSON.stringify(event)),
  failure: (failure) => Console.log(JSON.stringify({ event: "error", ...failure }))
}))

/**
 * A number as people read it: 8,294,400.
 *
 * @category formatting
 * @since 0.1.0
 */
export const grouped = (value: number): string => value.toLocaleString("en")

/**
 * A number of things: 1 page, 2025 pages.
 *
 * @category formatting
 * @since 0.1.0
 */
export const count = (value: number, thing: string): string => `${grouped(value)} ${thing}${value === 1 ? "" : "s"}`
