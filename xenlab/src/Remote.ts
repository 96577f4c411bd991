/**
 * Makes a {@link Machine.Machine} of an agent at the other end of a line channel.
 *
 * The channel may be QEMU's virtio port (dom0), or the console of a guest, itself a process in dom0: the same code
 * drives both.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Completed, Ended, Event, Machine, Process } from "./Machine.ts"
import { patience, ProcessError } from "./Machine.ts"
import { mark, type Report, type Request } from "./Wire.ts"

/** A two-way channel of lines. `nextLine` fails when the other end is gone. */
export interface Channel<E> {
  readonly nextLine: Effect.Effect<string, E>
  readonly send: (text: string) => Effect.Effect<void>
}

/** What the host remembers of one process. */
interface Entry {
  readonly id: number
  stdout: string
  stderr: string
  /** The last line of stdout, not complete yet. */
  rest: string
  readonly lines: Queue.Queue<string, "ended">
  readonly ended: Deferred.Deferred<Ended>
}

/** One process, as who has started it sees it. Nothing of it is waited for longer than `wait`. */
const processOf = (
  machine: string,
  command: string,
  entry: Entry,
  wait: Duration.Duration,
  ask: (request: Request) => Effect.Effect<void>
): Process => {
  const fail = (problem: string) =>
    Effect.suspend(() => Effect.fail(new ProcessError({ machine, command, problem, output: entry.stdout + entry.stderr })))
  const limited = <A>(effect: Effect.Effect<A, ProcessError>, what: string): Effect.Effect<A, ProcessError> =>
    Duration.isFinite(wait)
      ? Effect.timeoutOrElse(effect, {
        duration: wait,
        orElse: () => fail(`${what}: nothing after ${Duration.toSeconds(wait)} s`)
      })
      : effect

  const nextLine = limited(
    Effect.catch(Queue.take(entry.lines), () => fail("ended, but another line was expected")),
    "waiting for a line"
  )
  const completed: Effect.Effect<Completed, ProcessError> = limited(
    Effect.map(Deferred.await(entry.ended), ({ code, signal }) => ({
      code,
      signal,
      stdout: entry.stdout,
      stderr: entry.stderr
    })),
    "waiting for the end"
  )
  const expect = (event: string): Effect.Effect<Event, ProcessError> =>
    Effect.flatMap(nextLine, (line) => {
      const value = parse(line) as Event | undefined
      return value?.event === event ? Effect.succeed(value) : fail(`expected the event "${event}", got: ${line}`)
    })
  const send = (text: string) => ask({ op: "input", id: entry.id, text })
  return {
    command,
    nextLine,
    expect,
    send,
    enter: send("\n"),
    closeInput: ask({ op: "close", id: entry.id }),
    signal: (signal) => ask({ op: "signal", id: entry.id, signal }),
    completed,
    fail
  }
}

/**
 * Waits until the agent answers, then gives its machine. `transcript` gets every line that is not the agent's.
 * Waits for ever: whoever boots the machine knows how long it may take.
 */
export const make = <E>(
  name: string,
  channel: Channel<E>,
  transcript: (line: string) => void
): Effect.Effect<Machine, never, Scope.Scope> =>
  Effect.gen(function*() {
    const entries = new Map<number, Entry>()
    const ready = yield* Deferred.make<void>()
    let nextId = 1
    let gone = false

    const finish = (entry: Entry, ended: Ended): void => {
      if (entry.rest !== "") Queue.offerUnsafe(entry.lines, entry.rest)
      entry.rest = ""
      Deferred.doneUnsafe(entry.ended, Effect.succeed(ended))
      Queue.failCauseUnsafe(entry.lines, causeEnded)
    }

    const hear = (report: Report): void => {
      if (report.event === "ready") return void Deferred.doneUnsafe(ready, Effect.void)
      const entry = entries.get(report.id)
      if (entry === undefined) return
      if (report.event === "exit") {
        entries.delete(report.id)
        return finish(entry, report)
      }
      entry[report.stream] += report.text
      if (report.stream === "stderr") return
      const lines = (entry.rest + report.text).split("\n")
      entry.rest = lines.pop() ?? ""
      for (const line of lines) Queue.offerUnsafe(entry.lines, line)
    }

    const listen = Effect.map(channel.nextLine, (line) => {
      const at = line.indexOf(mark)
      const said = (at < 0 ? line : line.slice(0, at)).trimEnd()
      // A console echoes what it is told until the agent has it.
      if (said !== "" && !said.startsWith(`{"op":`)) transcript(said)
      if (at < 0) return
      const report = parse(line.slice(at + 1))
      if (report === undefined) transcript(line)
      else hear(report)
    })
    yield* Effect.forever(listen).pipe(
      Effect.ensuring(Effect.sync(() => {
        gone = true
        for (const entry of entries.values()) finish(entry, { code: null, signal: "the machine is gone" })
      })),
      Effect.ignore,
      Effect.forkScoped
    )

    const ask = (request: Request): Effect.Effect<void> => channel.send(`${JSON.stringify(request)}\n`)

    // The agent may not be there yet, and what is said before it listens may be lost: ask until it answers.
    yield* Effect.raceFirst(
      Deferred.await(ready),
      Effect.repeat(ask({ op: "hello" }), Schedule.spaced("500 millis"))
    )

    const start: Machine["start"] = (argv, options) =>
      Effect.gen(function*() {
        const id = nextId++
        const entry: Entry = {
          id,
          stdout: "",
          stderr: "",
          rest: "",
          lines: yield* Queue.unbounded<string, "ended">(),
          ended: yield* Deferred.make<Ended>()
        }
        yield* Effect.acquireRelease(
          Effect.suspend(() => {
            if (gone) finish(entry, { code: null, signal: "the machine is gone" })
            else entries.set(id, entry)
            return ask({ op: "start", id, argv, env: options?.env ?? {} })
          }),
          (_, exit) =>
            Effect.suspend(() =>
              // After an interruption QEMU itself is ended at once: no time for manners.
              entries.has(id) && !Exit.hasInterrupts(exit)
                ? ask({ op: "signal", id, signal: "SIGKILL" }).pipe(
                  Effect.andThen(Deferred.await(entry.ended)),
                  // A machine that hangs must not hold up the rest.
                  Effect.timeoutOption("10 seconds")
                )
                : Effect.void
            )
        )

        return processOf(name, argv.join(" "), entry, Duration.fromInputUnsafe(options?.patience ?? patience), ask)
      })

    return { name, start }
  })

const causeEnded = Cause.fail("ended" as const)

const parse = (text: string): Report | undefined => {
  try {
    return JSON.parse(text) as Report
  } catch {
    return undefined
  }
}
