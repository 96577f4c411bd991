/**
 * Describes a machine that runs processes for a test: dom0 or a guest, seen from the host in the same way.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Signal } from "./Wire.ts"

/** Says what was expected of a process, and everything that it said instead. */
export class ProcessError extends Data.TaggedError("ProcessError")<{
  readonly machine: string
  readonly command: string
  readonly problem: string
  readonly output: string
}> {
  override get message(): string {
    return `${this.problem}\n  in ${this.machine}: ${this.command}${
      this.output === "" ? "" : `\n${this.output.trimEnd().replaceAll(/^/gm, "    | ")}`
    }`
  }
}

/** How a process ended: `code` is null when a signal ended it. */
export interface Ended {
  readonly code: number | null
  readonly signal: string | null
}

/** A process that has ended, with all that it wrote. */
export interface Completed extends Ended {
  readonly stdout: string
  readonly stderr: string
}

/** One event of the command line tool's `--json` output. */
export interface Event {
  readonly event: string
  readonly [field: string]: unknown
}

/** A running process. It is killed when its scope closes. Waits are limited by `patience` (see {@link patience}). */
export interface Process {
  /** The command line, for messages. */
  readonly command: string
  /** The next line on stdout, without its end. */
  readonly nextLine: Effect.Effect<string, ProcessError>
  /** The next line on stdout, which must be a JSON object with this `event`. */
  readonly expect: (event: string) => Effect.Effect<Event, ProcessError>
  readonly send: (text: string) => Effect.Effect<void>
  /** What a person does to go on: sends a line end. */
  readonly enter: Effect.Effect<void>
  readonly closeInput: Effect.Effect<void>
  readonly signal: (signal: Signal) => Effect.Effect<void>
  /** Waits for the end; never fails because of an exit code. */
  readonly completed: Effect.Effect<Completed, ProcessError>
  /** Fails with all that was written, for a caller who found something wrong with it. */
  readonly fail: (problem: string) => Effect.Effect<never, ProcessError>
}

/** Options for starting a process. */
export interface StartOptions {
  readonly env?: Readonly<Record<string, string>> | undefined
  /** How long one wait may take, default {@link patience}. */
  readonly patience?: Duration.Input | undefined
}

/** A domain that runs processes. */
export interface Machine {
  readonly name: string
  readonly start: (
    argv: ReadonlyArray<string>,
    options?: StartOptions
  ) => Effect.Effect<Process, never, Scope.Scope>
}

/** How long a test waits for one answer: generous, because emulation on a shared machine is slow and uneven. */
export const patience = Duration.minutes(2)

/** Runs a process to its end. */
export const run = (
  machine: Machine,
  argv: ReadonlyArray<string>,
  options?: StartOptions & { readonly input?: string | undefined }
): Effect.Effect<Completed, ProcessError> =>
  Effect.scoped(Effect.gen(function*() {
    const process = yield* machine.start(argv, options)
    if (options?.input !== undefined) yield* process.send(options.input)
    yield* process.closeInput
    return yield* process.completed
  }))

/** Runs a process to its end, which must be exit code 0, and gives what it wrote to stdout. */
export const output = (
  machine: Machine,
  argv: ReadonlyArray<string>,
  options?: StartOptions & { readonly input?: string | undefined }
): Effect.Effect<string, ProcessError> =>
  Effect.scoped(Effect.gen(function*() {
    const process = yield* machine.start(argv, options)
    if (options?.input !== undefined) yield* process.send(options.input)
    yield* process.closeInput
    const { code, signal, stdout } = yield* process.completed
    if (code !== 0) return yield* process.fail(`ended with ${signal ?? `exit code ${code}`}, expected 0`)
    return stdout
  }))

/** Runs a shell script in busybox `sh`, and gives what it wrote to stdout. */
export const sh = (machine: Machine, script: string, options?: StartOptions): Effect.Effect<string, ProcessError> =>
  output(machine, ["sh", "-ec", script], options)
