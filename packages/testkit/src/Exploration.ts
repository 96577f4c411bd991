/**
 * Disturbs a program at every step, one step a run: each operation on a grant table, or on any other service, fails for
 * every reason that it can have, the fiber is interrupted before each step of Effect's runtime, and the scope ends in
 * every way.
 *
 * After each run nothing may be held, every view must have ended, xenstore must have the nodes that it had before, and
 * what was done to the program must be what came out of it. That is no sample: whatever a single fault at a single place can break is found.
 *
 * @since 0.1.0
 */
import { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
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
 * Why an operation of a service fails, of any service.
 *
 * @category models
 * @since 0.2.0
 */
export interface Reason {
  readonly _tag: string
}

/**
 * What can be done to a program in one run. The operations of a domain's service, and the steps of Effect's runtime in
 * all fibers together, count from 1.
 *
 * @category models
 * @since 0.1.0
 */
export type Disturbance =
  | { readonly _tag: "None" }
  | {
    readonly _tag: "Fail"
    /** Whose service it is. */
    readonly domain: number
    /** The name of the service. */
    readonly service: string
    /** Which of its operations fails. */
    readonly at: number
    /** Why it fails. */
    readonly reason: Reason
  }
  | {
    readonly _tag: "Interrupt"
    /** At which step. */
    readonly at: number
    /** The fiber that runs then, or the first of all. */
    readonly whom: "running" | "first"
  }
  | {
    readonly _tag: "End"
    /** How the scope ends. */
    readonly with: "failure" | "defect" | "interruption"
  }

/**
 * Where a program runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stage<Services = GrantTable> {
  /** Runs a part of the program in a domain, on its services that are explored. */
  readonly runIn: (
    domain: number
  ) => <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Services>>
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
  /** All runs. */
  readonly runs: number
  /** Runs in which an operation failed. */
  readonly failures: number
  /** Runs that were interrupted. */
  readonly interruptions: number
}

/**
 * A run went wrong: after which disturbance, and how.
 *
 * @category errors
 * @since 0.1.0
 */
export class ExplorationError extends Data.TaggedError("ExplorationError")<{
  /** What was done to the program. */
  readonly disturbance: Disturbance
  /** What went wrong then, in words. */
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
      return `operation ${disturbance.at} on the ${disturbance.service} of domain ${disturbance.domain} fails with ` +
        disturbance.reason._tag
    case "Interrupt":
      return `the ${disturbance.whom} fiber is interrupted before step ${disturbance.at} of the runtime`
    case "End":
      return `the scope ends with ${disturbance.with}`
  }
}

/**
 * A service that is explored: its operations fail one by one, for each of their reasons. {@link grantTable},
 * {@link eventChannels} and {@link xenStore} are there, and {@link subject} makes others.
 *
 * @category models
 * @since 0.2.0
 */
export interface Subject<Service> {
  /** What a report calls it. */
  readonly name: string
  /** Makes it in a domain for one run, in which this operation fails. `note` takes every view that it hands out. */
  readonly begin: (
    domain: number,
    failing: { readonly at: number; readonly reason: Reason } | undefined,
    note: (bytes: SharedMemory.Readable) => void
  ) => Effect.Effect<{
    /** The service. */
    readonly context: Context.Context<Service>
    /** The operations begun so far: all reasons that each can have to fail. */
    readonly asked: Effect.Effect<ReadonlyArray<ReadonlyArray<Reason>>>
  }, never, TestXen>
}

/**
 * Explores a service that `make` decorates by `Faults.decorator`: for a domain, with a plan. `reasons` are those of each
 * of its operations.
 *
 * @category constructors
 * @since 0.2.0
 */
export const subject = <Service, Operation extends string, R extends Reason>(options: {
  readonly name: string
  readonly reasons: { readonly [operation in Operation]: ReadonlyArray<R> }
  readonly make: (
    domain: number,
    plan: Faults.Plan<R>,
    note: (bytes: SharedMemory.Readable) => void
  ) => Effect.Effect<{
    readonly context: Context.Context<Service>
    readonly journal: Faults.Journal<Operation>
  }, never, TestXen>
}): Subject<Service> => ({
  name: options.name,
  begin: (domain, failing, note) => {
    // It is one of the reasons that `asked` gave.
    const plan = failing === undefined ? [] : [Faults.failAt(failing.at, failing.reason as R)]
    return Effect.map(options.make(domain, plan, note), ({ context, journal }) => ({
      context,
      asked: Effect.map(journal.operations, (operations) => operations.map((operation) => options.reasons[operation]))
    }))
  }
})

/**
 * The services of such subjects.
 *
 * @category models
 * @since 0.2.0
 */
export type Services<One> = One extends Subject<infer Service> ? Service : never

type Table = GrantTable["Service"]

/** Notes every view that a grant table hands out. */
const watched = (table: Table, note: (bytes: SharedMemory.Readable) => void): Table => ({
  ...table,
  share: (options) => Effect.tap(table.share(options), ({ bytes }) => Effect.sync(() => note(bytes))),
  map: (options) => Effect.tap(table.map(options), ({ bytes }) => Effect.sync(() => note(bytes)))
})

/**
 * The grant table of each domain.
 *
 * @category subjects
 * @since 0.2.0
 */
export const grantTable: Subject<GrantTable> = subject({
  name: "grant table",
  reasons: Faults.reasons,
  make: Effect.fnUntraced(function*(domain, plan, note) {
    const xen = yield* TestXen
    const { faults, table } = Faults.make(watched(yield* xen.domain(domain), note), plan)
    return { context: Context.make(GrantTable, table), journal: faults }
  })
})

/**
 * The event channels of each domain.
 *
 * @category subjects
 * @since 0.2.0
 */
export const eventChannels: Subject<EventChannels> = subject({
  name: "event channels",
  reasons: Faults.channelReasons,
  make: Effect.fnUntraced(function*(domain, plan) {
    const xen = yield* TestXen
    const { channels, faults } = Faults.eventChannels(yield* xen.eventChannels(domain), plan)
    return { context: Context.make(EventChannels, channels), journal: faults }
  })
})

/**
 * Xenstore as each domain sees it.
 *
 * @category subjects
 * @since 0.2.0
 */
export const xenStore: Subject<XenStore> = subject({
  name: "xenstore",
  reasons: Faults.storeReasons,
  make: Effect.fnUntraced(function*(domain, plan) {
    const xen = yield* TestXen
    const { faults, store } = Faults.xenStore(yield* xen.store(domain), plan)
    return { context: Context.make(XenStore, store), journal: faults }
  })
})

const theEnd = new Error("the program's own")

const endings = {
  failure: Effect.fail(theEnd),
  defect: Effect.die(theEnd),
  interruption: Effect.interrupt
}

const reasonOf = (error: unknown): unknown =>
  typeof error === "object" && error !== null && "reason" in error ? error.reason : undefined

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
      return defects.length === 0 && errors.length === 1 && reasonOf(errors[0]) === disturbance.reason
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

/** What was asked of a domain's service in a run: the reasons that each operation can have to fail. */
interface Asked {
  readonly domain: number
  readonly service: string
  readonly asked: Effect.Effect<ReadonlyArray<ReadonlyArray<Reason>>>
}

/** Makes the services of all domains for one run. */
const begin = Effect.fnUntraced(function*<One extends Subject<never>>(
  subjects: ReadonlyArray<One>,
  domains: ReadonlyArray<number>,
  disturbance: Disturbance
) {
  const views: Array<SharedMemory.Readable> = []
  const contexts = new Map<number, Context.Context<Services<One>>>()
  const all: Array<Asked> = []
  for (const domain of domains) {
    let whole: Context.Context<never> = Context.empty()
    for (const { begin, name: service } of subjects) {
      const isMeant = disturbance._tag === "Fail" && disturbance.domain === domain && disturbance.service === service
      const { asked, context } = yield* begin(domain, isMeant ? disturbance : undefined, (bytes) => views.push(bytes))
      whole = Context.merge(whole, context)
      all.push({ domain, service, asked })
    }
    contexts.set(domain, whole as Context.Context<Services<One>>)
  }
  const stage: Stage<Services<One>> = {
    runIn: (id) => {
      const context = contexts.get(id)
      if (context === undefined) {
        throw new Error(`Domain ${id} is not among those that are explored: ${domains.join(", ")}. Add it to the list.`)
      }
      return Effect.provideContext(context)
    },
    live: () => views.filter((view) => view.length > 0)
  }
  return { stage, all }
})

/** Runs the program once. */
const attempt = Effect.fnUntraced(function*<One extends Subject<never>, E>(
  subjects: ReadonlyArray<One>,
  domains: ReadonlyArray<number>,
  program: (stage: Stage<Services<One>>) => Effect.Effect<unknown, E, Scope.Scope>,
  options: Options,
  disturbance: Disturbance
) {
  const xen = yield* TestXen
  const { all, stage } = yield* begin(subjects, domains, disturbance)
  const before = yield* xen.nodes
  const scheduler = disturbance._tag === "Interrupt"
    ? new InterruptingScheduler(disturbance.at, disturbance.whom)
    : new InterruptingScheduler(0)
  const fiber = yield* Effect.suspend(() => program(stage)).pipe(
    Effect.andThen(disturbance._tag === "End" ? endings[disturbance.with] : Effect.void),
    Effect.scoped,
    Effect.provideService(Scheduler.Scheduler, scheduler),
    Effect.provideService(Scheduler.MaxOpsBeforeYield, options.stepsPerTurn ?? 2048),
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
  const nodes = yield* xen.nodes
  const changed = [...nodes.filter((path) => !before.includes(path)), ...before.filter((path) => !nodes.includes(path))]
  if (changed.length > 0) return yield* wrong(`there are other nodes in xenstore than before: ${changed.join(", ")}`)
  return { all, steps: scheduler.steps }
})

/**
 * How to explore: `stepsPerTurn` is how many steps of the runtime a fiber may do before another has its turn
 * (2048, as ever), to mix up concurrent fibers. With `firstFiber` each interruption is tried twice: of the fiber whose
 * turn it is, and of the program's first. `within` is the time that really passes, whatever the test's clock says, until
 * a run that has not ended is given up: 3 seconds, less than a test has with vitest.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Steps of the runtime before a fiber lets others run; 2048 unless set. */
  readonly stepsPerTurn?: number | undefined
  /** Whether the first fiber is interrupted, too, and not the running one alone. */
  readonly firstFiber?: boolean | undefined
  /** How long a run may take; 3 seconds unless set. */
  readonly within?: Duration.Input | undefined
}

/**
 * Runs a program on these services, each time in a scope of its own, once undisturbed and then once for every
 * disturbance.
 *
 * It runs in these domains of the `TestXen`, must succeed when nothing disturbs it, must do the same in every run, and
 * must neither swallow nor change errors of the services. Nothing else may be held meanwhile.
 *
 * @category running
 * @since 0.2.0
 */
export const exploreServices = Effect.fnUntraced(function*<One extends Subject<never>, E>(
  subjects: ReadonlyArray<One>,
  domains: ReadonlyArray<number>,
  program: (stage: Stage<Services<One>>) => Effect.Effect<unknown, E, Scope.Scope>,
  options: Options = {}
): Effect.fn.Return<Report, ExplorationError, TestXen> {
  const run = (disturbance: Disturbance) => attempt(subjects, domains, program, options, disturbance)
  const { all, steps } = yield* run({ _tag: "None" })
  for (const ending of ["failure", "defect", "interruption"] as const) yield* run({ _tag: "End", with: ending })
  let failures = 0
  for (const { asked, domain, service } of all) {
    for (const [i, reasons] of (yield* asked).entries()) {
      for (const reason of reasons) {
        yield* run({ _tag: "Fail", domain, service, at: i + 1, reason })
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

/**
 * Runs a program on grant tables, as {@link exploreServices} does.
 *
 * @category running
 * @since 0.1.0
 */
export const explore = <E>(
  domains: ReadonlyArray<number>,
  program: (stage: Stage) => Effect.Effect<unknown, E, Scope.Scope>,
  options: Options = {}
): Effect.Effect<Report, ExplorationError, TestXen> => exploreServices([grantTable], domains, program, options)

/**
 * Interrupts one effect at each of its steps, for what `explore` can't see: that nothing hangs which goes on after it. `run`
 * is played again and again, with a function that plays an effect in a fiber of its own, interrupts it before the next step
 * of the runtime than the last time, and gives its exit; until it ends before that step comes. How many interruptions there
 * were.
 *
 * @category running
 * @since 0.2.0
 */
export const interruptEach = Effect.fnUntraced(function*<E, R>(
  run: (disturbed: <A, E2, R2>(effect: Effect.Effect<A, E2, R2>) => Effect.Effect<Exit.Exit<A, E2>, never, R2>) => Effect.Effect<unknown, E, R>
) {
  for (let at = 1;; at++) {
    const scheduler = new InterruptingScheduler(at)
    yield* run((effect) =>
      Effect.provideService(effect, Scheduler.Scheduler, scheduler).pipe(
        Effect.forkDetach({ startImmediately: true }),
        Effect.flatMap(Fiber.await)
      ))
    if (scheduler.steps < at) return at - 1
  }
})
