/**
 * Runs commands of `xen-shbuf` for the host, side by side in this one process: to start Node takes seconds under
 * emulation.
 *
 * It is an agent on its stdin and stdout. Every command has devices, input and output of its own, and ends when it would
 * end as a process. What it forgets to release stays, though, where the end of a process would hide it.
 *
 * Usage: node tool.mjs [forget]. With `forget` no command releases anything: whoever looks for leaks must find these.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cli from "@xen-shbuf/cli/Cli"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import type * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { format } from "node:util"
import { mark, type Report, type Request } from "../src/Wire.ts"
import { nextLine } from "./Program.ts"

interface Command {
  readonly input: Queue.Queue<Uint8Array, Cause.Done>
  readonly fiber: Fiber.Fiber<void, unknown>
}

const running = new Map<number, Command>()

const say = (report: Report): void => void process.stdout.write(`${mark}${JSON.stringify(report)}\n`)

/** The devices; what is made with them belongs to the process if it is to forget. */
const devices = process.argv[2] === "forget"
  ? Layer.effect(GrantTable, Effect.map(GrantTable, (table): GrantTable["Service"] => {
    const never = Scope.makeUnsafe()
    return {
      ...table,
      share: (options) => Scope.provide(table.share(options), never),
      map: (options) => Scope.provide(table.map(options), never)
    }
  })).pipe(Layer.provideMerge(XenDevices.layer()))
  : XenDevices.layer()

const start = Effect.fnUntraced(function*(id: number, args: ReadonlyArray<string>) {
  const input = yield* Queue.unbounded<Uint8Array, Cause.Done>()
  const print = (stream: "stdout" | "stderr") => (...values: ReadonlyArray<unknown>): void =>
    say({ event: "output", id, stream, text: `${format(...values)}\n` })
  const fiber = yield* Cli.run(args).pipe(
    Effect.provide(Stdio.layerTest({ stdin: Stream.fromQueue(input) })),
    Effect.provideService(Console.Console, { ...globalThis.console, log: print("stdout"), error: print("stderr") }),
    Effect.provide(Layer.merge(devices, NodeServices.layer)),
    Effect.onExit((exit) => Effect.sync(() => {
      running.delete(id)
      Runtime.defaultTeardown(exit, (code) => say({ event: "exit", id, code, signal: null }))
    })),
    Effect.forkDetach
  )
  running.set(id, { input, fiber })
})

const obey = (request: Request): Effect.Effect<unknown> => {
  if (request.op === "hello") return Effect.sync(() => say({ event: "ready", node: process.version }))
  // The host's command line is that of a process: node, the file, and the command's own arguments.
  if (request.op === "start") return start(request.id, request.argv.slice(2))
  const command = running.get(request.id)
  if (command === undefined) return Effect.void
  switch (request.op) {
    case "input":
      return Queue.offer(command.input, Buffer.from(request.text))
    case "close":
      return Queue.end(command.input)
    case "signal":
      return Effect.forkDetach(Fiber.interrupt(command.fiber))
  }
}

const main = Effect.gen(function*() {
  for (let line = yield* nextLine; line !== undefined; line = yield* nextLine) yield* obey(JSON.parse(line) as Request)
})

await Effect.runPromise(main)
process.exit(0)
