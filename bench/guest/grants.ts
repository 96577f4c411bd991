/**
 * Measures the library against C inside a domain, batch by batch in turn, and holds buffers for whoever measures in
 * another one.
 *
 * Usage: node grants.mjs GRANT_TABLE_SIZE; then a JSON request a line (see `Request`), each answered by a line.
 */
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { accessSync } from "node:fs"
import { createInterface } from "node:readline"
import { nextLine, say } from "../../xenlab/guest/Program.ts"
import * as Native from "./Native.ts"
import { type Buffer, type Job, location, operations, type Refused } from "./Operations.ts"

/** Something that is measured. */
export type Operation = keyof typeof operations | "mapProvided"

/** Who does it: the library inside of one running fiber, or each time run anew; or the C program. */
export type Way = "fiber" | "runSync" | "runPromise" | "c"

/** An operation done in one way. */
export interface Side {
  readonly way: Way
  readonly operation: Operation
}

/** What the host asks for. What is held is held until `release`. */
export type Request =
  /** Shares a buffer: answers with its `directory`. */
  | { readonly do: "alloc" } & Buffer
  /** Shares an empty directory for the library, and one for C (`native`), to be filled by the peer. */
  | { readonly do: "directories" } & Buffer
  /** Fills a directory of the peer's. */
  | { readonly do: "provide" } & Buffer
  | { readonly do: "release" }
  /** Measures one side against the other, after a warm-up: answers with `samples`, pairs of nanoseconds. */
  | {
    readonly do: "measure"
    readonly ours: Side
    readonly theirs: Side
    readonly pairs: number
    readonly warmUpRuns: number
  } & Buffer
  /** Does an operation five times, each between two calls of access("/mark"). */
  | { readonly do: "mark"; readonly operation: Operation } & Buffer
  /** Starts a program, and answers with the line that it prints, and when it was started and heard of. */
  | { readonly do: "spawn"; readonly argv: ReadonlyArray<string>; readonly env: Readonly<Record<string, string>> }

type Failure = Refused | Native.NativeError

/** Nanoseconds that so many repetitions take. */
type Batch = (times: number) => Effect.Effect<number, Failure, GrantTable>

/** How long a batch should be, in nanoseconds: long enough that the ends don't count, short enough for many. */
const batchLength = 30e6

const clock = () => Number(process.hrtime.bigint())

/** The library's batch, in one of its ways. */
const batchOf = (way: Exclude<Way, "c">, job: Job): Batch => {
  const once = Effect.scoped(job)
  return Effect.fnUntraced(function*(times) {
    const context = yield* Effect.context<GrantTable>()
    const start = clock()
    switch (way) {
      case "fiber":
        for (let n = 0; n < times; n++) yield* once
        break
      case "runSync":
        for (let n = 0; n < times; n++) Effect.runSyncWith(context)(once)
        break
      case "runPromise":
        yield* Effect.promise(async () => {
          for (let n = 0; n < times; n++) await Effect.runPromiseWith(context)(once)
        })
    }
    return clock() - start
  })
}

/** Does it so many times, since V8 and the emulator compile what runs often; then tells how many are a batch. */
const warmUp = Effect.fnUntraced(function*(batch: Batch, runs: number) {
  let times = 1
  let best = Infinity
  for (let done = 0; done < runs; done += times) {
    // A microsecond at least: the emulated clock stands still at times.
    best = Math.min(best, Math.max(1e3, (yield* batch(times)) / times))
    times = Math.max(1, Math.round(batchLength / best))
  }
  return times
})

/** Each goes first in every other pair: what one leaves behind hits both alike. */
const inTurn = Effect.fnUntraced(function*(ours: Batch, theirs: Batch, pairs: number, warmUpRuns: number) {
  const timed = Effect.fnUntraced(function*(batch: Batch, runs: number) {
    const times = yield* warmUp(batch, runs)
    return Effect.map(batch(times), (nanos) => nanos / times)
  })
  const us = yield* timed(ours, warmUpRuns)
  // C has no compiler that must see it run.
  const them = yield* timed(theirs, warmUpRuns / 20)
  const samples: Array<readonly [ours: number, theirs: number]> = []
  while (samples.length < pairs) {
    if (samples.length % 2 === 0) {
      const first = yield* them
      samples.push([yield* us, first])
    } else samples.push([yield* us, yield* them])
  }
  return samples
})

/** What the C program needs to have before an operation. */
const holds: Partial<Record<Operation, string>> = {
  map: "Refs",
  copyIn: "Frame",
  copyOut: "Frame",
  copyPlain: "Frame"
}

const main = Effect.gen(function*() {
  const scope = yield* Effect.scope
  const native = yield* Native.start(Native.program)
  let held = yield* Scope.fork(scope)
  let provided: Job = Effect.die(new Error("no directory is held"))

  /** A job of the library's, ready to be done. */
  const prepare = (operation: Operation, buffer: Buffer) =>
    operation === "mapProvided" ? Effect.succeed(provided) : operations[operation](buffer)

  const side = Effect.fnUntraced(function*({ operation, way }: Side, buffer: Buffer) {
    if (way !== "c") return batchOf(way, yield* prepare(operation, buffer))
    const batch: Batch = (times) => Effect.map(native.run(operation, buffer, times), ({ nanos }) => nanos)
    return batch
  })

  const obey = Effect.fnUntraced(function*(request: Request) {
    switch (request.do) {
      case "alloc": {
        const { directory } = yield* Scope.provide(SharedBuffer.alloc(location(request)), held)
        return { directory }
      }
      case "directories": {
        const { directory, map } = yield* Scope.provide(SharedBuffer.allocByBackend(location(request)), held)
        provided = map()
        const theirs = yield* native.run("holdDirectory", request, 1)
        yield* Scope.addFinalizer(held, Effect.orDie(native.run("releaseDirectory", request, 1)))
        return { directory, native: theirs.directory }
      }
      case "provide":
        yield* Scope.provide(PeerBuffer.allocForFrontend(location(request)), held)
        return {}
      case "release":
        yield* Scope.close(held, Exit.void)
        held = yield* Scope.fork(scope)
        return {}
      case "measure":
        return yield* Effect.scoped(Effect.gen(function*() {
          const wanted = [request.ours, request.theirs].flatMap(({ operation, way }) => way === "c" ? holds[operation] ?? [] : [])
          // Both sides may be C's: it holds each thing once.
          for (const what of new Set(wanted)) {
            yield* Effect.acquireRelease(native.run(`hold${what}`, request, 1), () =>
              Effect.orDie(native.run(`release${what}`, request, 1)))
          }
          const ours = yield* side(request.ours, request)
          const theirs = yield* side(request.theirs, request)
          return { samples: yield* inTurn(ours, theirs, request.pairs, request.warmUpRuns) }
        }))
      case "mark": {
        const mark = Effect.ignore(Effect.try(() => accessSync("/mark")))
        yield* Effect.scoped(Effect.gen(function*() {
          const once = Effect.scoped(yield* prepare(request.operation, request))
          yield* once
          for (let n = 0; n < 5; n++) yield* Effect.ensuring(Effect.andThen(mark, once), mark)
        }))
        return {}
      }
      case "spawn": {
        const [command, ...args] = request.argv
        return yield* Effect.promise(async () => {
          const started = clock()
          const child = spawn(command!, args, {
            stdio: ["ignore", "pipe", "inherit"],
            env: { ...process.env, ...request.env }
          })
          const line = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next()
          const heard = clock()
          child.kill()
          return { started, heard, line: String(line.value) }
        })
      }
    }
  })

  yield* say("ready")
  for (let line = yield* nextLine; line !== undefined; line = yield* nextLine) {
    yield* obey(JSON.parse(line) as Request).pipe(
      Effect.matchEffect({
        onSuccess: (fields) => say("done", fields),
        onFailure: ({ message }) => say("refused", { message })
      })
    )
  }
})

await Effect.runPromise(
  Effect.scoped(main).pipe(Effect.provide(GntDev.layer({ grantTableSize: Number(process.argv[2]) })))
)
