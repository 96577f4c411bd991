/**
 * Disturbs a program at every step, one step a run: each operation on a grant table fails for every reason that it can
 * have, the fiber is interrupted before each operation of Effect's runtime, and the scope ends in every way.
 *
 * After each run nothing may be held, every view must have ended, and what was done to the program must be what came
 * out of it. That is no sample: whatever a single fault at a single place can break is found.
 *
 * @since 0.1.0
 */
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import * as Faults from "./Faults.ts"
import { InterruptingScheduler } from "./internal/InterruptingScheduler.ts"
import * as Ledger from "./Ledger.ts"
import { TestXen } from "./TestXen.ts"

/**
 * What can be done to a program in one run. Operations count from 1: those of a domain's grant table, or those of
 * Effect's runtime in all fibers together.
 *
 * @category models
 * @since 0.1.0
 */
export type Disturbance =
  | { readonly _tag: "None" }
  | { readonly _tag: "Fail"; readonly domain: number; readonly at: number; readonly reason: GrantTableError.Reason }
  | { readonly _tag: "Interrupt"; readonly at: number; readonly whom: "running" | "first" }
  | { readonly _tag: "End"; readonly with: "failure" | "defect" | "interruption" }

/**
 * Where a program runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stage {
  /** Runs a part of the program in a domain, on its grant table. */
  readonly runIn: (
    domain: number
  ) => <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, GrantTable>>
  /** The pages of each share and mapping of this run that has not ended, in the order in which they were made. */
  readonly live: () => ReadonlyArray<SharedMemory.Readable>
}

/**
 * How many runs there were, and of which kind.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly runs: number
  readonly failures: number
  readonly interruptions: number
}

/**
 * A run went wrong: after which disturbance, and how.
 *
 * @category errors
 * @since 0.1.0
 */
export class ExplorationError extends Data.TaggedError("ExplorationError")<{
  readonly disturbance: Disturbance
  readonly detail: string
}> {
  override get message() {
    return `${describe(this.disturbance)}: ${this.detail}`
  }
}

const describe = (disturbance: Disturbance): string => {
  switch (disturbance._tag) {
    case "None":
      return "undisturbed"
    case "Fail":
      return `operation ${disturbance.at} of domain ${disturbance.domain} fails with ${disturbance.reason._tag}`
    case "Interrupt":
      return `the ${disturbance.whom} fiber is interrupted before operation ${disturbance.at} of the runtime`
    case "End":
      return `the scope ends with ${disturbance.with}`
  }
}

type Table = GrantTable["Service"]

/** Notes every view that a grant table hands out. */
const watched = (table: Table, views: Array<SharedMemory.Readable>): Table => ({
  ...table,
  share: (options) => Effect.tap(table.share(options), ({ bytes }) => Effect.sync(() => views.push(bytes))),
  map: (options) => Effect.tap(table.map(options), ({ bytes }) => Effect.sync(() => views.push(bytes)))
})

const theEnd = new Error("the program's own")

const endings = {
  failure: Effect.fail(theEnd),
  defect: Effect.die(theEnd),
  interruption: Effect.interrupt
}

/** Whether what came out of a program is what was done to it. */
const arrived = <E>(
  disturbance: Disturbance,
  exit: Exit.Exit<unknown, E | Error>,
  scheduler: InterruptingScheduler
): boolean => {
  const causes = Exit.isFailure(exit) ? exit.cause.reasons : []
  const interrupts = causes.filter(Cause.isInterruptReason).length
  const errors = causes.filter(Cause.isFailReason).map(({ error }) => error)
  const defects = causes.filter(Cause.isDieReason).map(({ defect }) => defect)
  switch (disturbance._tag) {
    case "None":
      return Exit.isSuccess(exit)
    case "Interrupt":
      // A fiber beside the first can be done with its work when it is interrupted, to no effect.
      return errors.length + defects.length === 0 && (interrupts > 0 || !scheduler.interruptedFirst)
    case "Fail":
      // Fibers beside the one that failed are interrupted.
      return defects.length === 0 && errors.length === 1 && errors[0] instanceof GrantTableError.GrantTableError
        && errors[0].reason === disturbance.reason
    case "End":
      return disturbance.with === "interruption"
        ? interrupts > 0 && errors.length + defects.length === 0
        : causes.length === 1 && (disturbance.with === "failure" ? errors : defects)[0] === theEnd
  }
}

/** A time that really passes, whatever the test's clock says. */
const passed = (time: Duration.Input): Effect.Effect<undefined> =>
  Effect.callback((resume) => {
    const timer = setTimeout(() => resume(Effect.succeed(undefined)), Duration.toMillis(Duration.fromInputUnsafe(time)))
    return Effect.sync(() => clearTimeout(timer))
  })

/** Runs the program once. */
const attempt = Effect.fnUntraced(function*<E>(
  program: (stage: Stage) => Effect.Effect<unknown, E, Scope.Scope>,
  domains: ReadonlyArray<number>,
  options: Options,
  disturbance: Disturbance
) {
  const xen = yield* TestXen
  const views: Array<SharedMemory.Readable> = []
  const tables = new Map<number, ReturnType<typeof Faults.make>>()
  for (const id of domains) {
    const plan = disturbance._tag === "Fail" && disturbance.domain === id
      ? [Faults.failAt(disturbance.at, disturbance.reason)]
      : []
    tables.set(id, Faults.make(watched(yield* xen.domain(id), views), plan))
  }
  const stage: Stage = {
    runIn: (id) => {
      const faulty = tables.get(id)
      if (faulty === undefined) {
        throw new Error(`Domain ${id} is not among those that are explored: ${domains.join(", ")}. Add it to the list.`)
      }
      return Effect.provideService(GrantTable, faulty.table)
    },
    live: () => views.filter((view) => view.length > 0)
  }
  const scheduler = disturbance._tag === "Interrupt"
    ? new InterruptingScheduler(disturbance.at, disturbance.whom)
    : new InterruptingScheduler(0)
  const fiber = yield* Effect.suspend(() => program(stage)).pipe(
    Effect.andThen(disturbance._tag === "End" ? endings[disturbance.with] : Effect.void),
    Effect.scoped,
    Effect.provideService(Scheduler.Scheduler, scheduler),
    Effect.provideService(Scheduler.MaxOpsBeforeYield, options.operationsPerTurn ?? 2048),
    // Not a child, for whose end this fiber would wait for ever.
    Effect.forkDetach({ startImmediately: true })
  )
  const wrong = (detail: string) => Effect.fail(new ExplorationError({ disturbance, detail }))
  const within = options.within ?? "3 seconds"
  const exit = yield* Effect.raceFirst(Fiber.await(fiber), passed(within)).pipe(
    Effect.onInterrupt(() => Fiber.interrupt(fiber))
  )
  if (exit === undefined) {
    // Not waited for: what keeps it may keep off interruptions, too.
    fiber.interruptUnsafe()
    return yield* wrong(
      `it has not ended after ${Duration.format(Duration.fromInputUnsafe(within))}. It waits for something that does ` +
        "not come any more, such as an answer of a fiber that has ended, or a time that nobody lets pass"
    )
  }
  if (!arrived(disturbance, exit, scheduler)) {
    return yield* wrong(`out came ${Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "a success"}`)
  }
  yield* Effect.catchTag(Ledger.assertEmpty, "LeakError", ({ message }) => wrong(message))
  const left = [(yield* xen.activeGrants).length, yield* xen.framesInUse, stage.live().length]
  if (left.some((count) => count > 0)) {
    return yield* wrong(`left are ${left[0]} active grants, ${left[1]} frames, ${left[2]} views`)
  }
  const operations: Array<readonly [domain: number, operations: ReadonlyArray<Faults.Operation>]> = []
  for (const [id, { faults }] of tables) operations.push([id, yield* faults.operations])
  return { operations, steps: scheduler.operations }
})

/**
 * How to explore: `operationsPerTurn` is how many operations of the runtime a fiber may do before another has its turn
 * (2048, as ever), to mix up concurrent fibers. With `firstFiber` each interruption is tried twice: of the fiber whose
 * turn it is, and of the program's first. `within` is the time that really passes, whatever the test's clock says, until
 * a run that has not ended is given up: 3 seconds, less than a test has with vitest.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly operationsPerTurn?: number | undefined
  readonly firstFiber?: boolean | undefined
  readonly within?: Duration.Input | undefined
}

/**
 * Runs a program, each time in a scope of its own, once undisturbed and then once for every disturbance.
 *
 * It runs in these domains of the `TestXen`, must succeed when nothing disturbs it, must do the same in every run, and
 * must neither swallow nor change errors of the grant table. Nothing else may be held meanwhile.
 *
 * @category running
 * @since 0.1.0
 */
export const explore = Effect.fnUntraced(function*<E>(
  domains: ReadonlyArray<number>,
  program: (stage: Stage) => Effect.Effect<unknown, E, Scope.Scope>,
  options: Options = {}
): Effect.fn.Return<Report, ExplorationError, TestXen> {
  const run = (disturbance: Disturbance) => attempt(program, domains, options, disturbance)
  const { operations, steps } = yield* run({ _tag: "None" })
  for (const ending of ["failure", "defect", "interruption"] as const) yield* run({ _tag: "End", with: ending })
  let failures = 0
  for (const [domain, asked] of operations) {
    for (const [i, operation] of asked.entries()) {
      for (const reason of Faults.reasons[operation]) {
        yield* run({ _tag: "Fail", domain, at: i + 1, reason })
        failures++
      }
    }
  }
  const whoms = options.firstFiber === true ? ["running", "first"] as const : ["running"] as const
  for (const whom of whoms) {
    for (let at = 1; at <= steps; at++) yield* run({ _tag: "Interrupt", at, whom })
  }
  const interruptions = steps * whoms.length
  return { runs: 4 + failures + interruptions, failures, interruptions }
})
