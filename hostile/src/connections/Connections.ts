/**
 * Two halves of a device, while anybody does anything: processes that begin, end and are killed, a toolstack that makes
 * and removes the device, a guest that is destroyed, and a peer that writes what it likes into either half. Whatever has
 * happened, both halves find each other afterwards, without work for nothing meanwhile, and leave nothing in the end.
 */
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import * as Frontend from "@xen-shbuf/xenbus/Frontend"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as Dice from "../../../packages/xenbus/test/Dice.ts"
import * as Machine from "../../../packages/xenbus/test/Machine.ts"
import * as Traces from "../../../packages/xenbus/test/Traces.ts"

const device = { type: Dice.type, frontend: 3, backend: 1 }
const halves = { ours: "/local/domain/1/backend/dice/3/0", theirs: "/local/domain/3/device/dice/0" } as const

const actions = [
  "start backend",
  "stop backend",
  "kill backend",
  "start frontend",
  "stop frontend",
  "kill frontend",
  "add device",
  "remove device",
  "take offline",
  "destroy guest",
  "write",
  "remove node",
  "settle",
  "wait"
] as const

const values = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "", "4 ", "-1", "8", "77", "x".repeat(4000), "\u0000"] as const
const nodes = ["state", "ring-ref", "event-channel", "evt-ring-ref", "evt-event-channel", "frontend", "backend", "frontend-id", "online", "0/deep/er"] as const

/** What anybody does next; which value and node counts for some of it. */
export interface Step {
  readonly action: typeof actions[number]
  readonly half: keyof typeof halves
  readonly node: typeof nodes[number]
  readonly value: typeof values[number]
}

const between = (minimum: number, maximum: number) => Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

const weighted = <A>(weights: ReadonlyArray<readonly [weight: number, value: A]>): Arbitrary.Arbitrary<A> => {
  const all = weights.flatMap(([weight, value]) => Array.from({ length: weight }, () => value))
  return Arbitrary.map(between(0, all.length - 1), (i) => all[i]!)
}

const step: Arbitrary.Arbitrary<Step> = Arbitrary.all({
  action: weighted(actions.map((action) => [action === "write" ? 8 : action === "settle" ? 4 : 1, action])),
  half: weighted([[3, "theirs"], [1, "ours"]] as const),
  node: weighted(nodes.map((node) => [node === "state" ? 12 : 1, node])),
  value: weighted(values.map((value) => [1, value]))
})

/** How much is there already, and what happens then. */
export interface Case {
  readonly begun: number
  readonly steps: ReadonlyArray<Step>
}

const beginnings = ["add device", "start backend", "settle", "start frontend", "settle"] as const

export const arbitrary: Arbitrary.Arbitrary<Case> = Arbitrary.all({
  begun: between(0, beginnings.length),
  steps: Arbitrary.array(step, { minLength: 1, maxLength: 16 })
})

/** How often something came to pass. */
export type Tally = Map<string, number>

const quiet = Logger.layer([])

interface Actor {
  readonly process: Machine.Process
  readonly fiber: Fiber.Fiber<unknown, unknown>
}

/** Plays one case: whatever happened, both halves find each other afterwards, and nothing is left of them in the end. */
export const play = (self: Case, tally: Tally): Effect.Effect<void, unknown, TestXen.TestXen> =>
  Ledger.checked(Effect.gen(function*() {
    const scene = new Scene(yield* Machine.make, tally)
    for (const id of [1, 3]) yield* scene.machine.process(id)
    for (const action of beginnings.slice(0, self.begun)) yield* scene.act(action)
    const { operations, settle } = scene.machine
    const before = operations()
    for (const { action, ...at } of self.steps) yield* scene.act(action, at)
    yield* settle
    const asked = operations() - before
    if (asked > 200 * (self.steps.length + 5)) return yield* wrong(`${asked} operations for ${self.steps.length} steps`)
    // Both halves may go on as they are, or be begun; the toolstack makes the device anew.
    for (const action of ["remove device", "add device", "start backend", "start frontend"] as const) yield* scene.act(action)
    const answers = scene.answers
    yield* settle
    yield* TestClock.adjust("30 seconds")
    yield* settle
    if (scene.answers === answers) return yield* wrong(`they do not find each other: ${scene.machine.log.slice(-12).join("; ")}`)
    for (const name of ["frontend", "backend"] as const) {
      const { held } = scene[name]!.process
      yield* scene.stop(name)
      if (held.ports + held.watches > 0) return yield* wrong(`left are ${held.watches} watches, ${held.ports} ports`)
    }
  })).pipe(Effect.provide(TestClock.layer()))

const wrong = (what: string) => Effect.die(new Error(what))

/** A machine with at most one process for each half. */
class Scene {
  readonly machine: Effect.Success<typeof Machine.make>
  readonly tally: Tally
  backend: Actor | undefined
  frontend: Actor | undefined
  answers = 0

  constructor(machine: Effect.Success<typeof Machine.make>, tally: Tally) {
    this.machine = machine
    this.tally = tally
  }

  count(what: string): void {
    this.tally.set(what, (this.tally.get(what) ?? 0) + 1)
  }

  readonly served = Backend.serve({
    type: Dice.type,
    restarts: Schedule.forever,
    handler: (connection) =>
      Effect.onExit(Dice.handler(() => {})(connection), (exit) => Effect.sync(() => this.count(`handler: ${outcome(exit)}`)))
  }).pipe(Effect.provide(quiet))

  readonly used = Frontend.run({
    type: Dice.type,
    publish: Dice.publish,
    restarts: Schedule.forever,
    use: (connection) =>
      Effect.gen({ self: this }, function*() {
        const [event, answer] = yield* Dice.double(connection, 21)
        // Where a page is said to be the other one, what comes is anything.
        if (event !== 21 || answer !== 42) return yield* Effect.fail("another answer" as const)
        this.count("answer")
        this.answers++
        return yield* Effect.never
      }).pipe(Effect.onExit((exit) => Effect.sync(() => this.count(`use: ${outcome(exit)}`))))
  }).pipe(Effect.provide(quiet))

  start(name: "backend" | "frontend") {
    return Effect.gen({ self: this }, function*() {
      // A frontend that failed for a reason of its own is begun again.
      if (this[name] !== undefined && this[name].fiber.pollUnsafe() === undefined) return
      const process = yield* this.machine.process(name === "backend" ? 1 : 3)
      const fiber = yield* (name === "backend" ? process.start(this.served) : process.start(this.used))
      this[name] = { process, fiber }
    })
  }

  stop(name: "backend" | "frontend") {
    return Effect.gen({ self: this }, function*() {
      const actor = this[name]
      this[name] = undefined
      if (actor !== undefined) yield* this.timed(Fiber.interrupt(actor.fiber))
    })
  }

  kill(name: "backend" | "frontend") {
    const actor = this[name]
    this[name] = undefined
    return actor === undefined ? Effect.void : actor.process.kill
  }

  /** Something that may take its time. */
  timed(self: Effect.Effect<unknown, unknown>) {
    return Effect.gen({ self: this }, function*() {
      const fiber = yield* Effect.forkChild(Effect.ignore(self))
      yield* this.machine.settle
      yield* TestClock.adjust("20 seconds")
      yield* Fiber.join(fiber)
    })
  }

  act(
    action: Step["action"],
    { half, node, value }: Omit<Step, "action"> = { half: "theirs", node: "state", value: "0" }
  ): Effect.Effect<unknown, unknown, TestXen.TestXen> {
    const { machine } = this
    const at = `${halves[half]}/${node}`
    switch (action) {
      case "start backend":
        return this.start("backend")
      case "stop backend":
        return this.stop("backend")
      case "kill backend":
        return this.kill("backend")
      case "start frontend":
        return this.start("frontend")
      case "stop frontend":
        return this.stop("frontend")
      case "kill frontend":
        return this.kill("frontend")
      case "add device":
        return Effect.andThen(
          Effect.forEach([1, 3], (id) => machine.process(id)),
          Effect.ignore(machine.toolstack(Toolstack.addDevice(device)))
        )
      case "remove device":
        return this.timed(machine.toolstack(Toolstack.removeDevice(device)))
      case "take offline":
        return Effect.ignore(machine.store.transaction((nodes) =>
          Effect.andThen(nodes.write(`${halves.ours}/online`, "0"), nodes.write(`${halves.ours}/state`, "5"))))
      case "destroy guest":
        return Effect.andThen(
          Effect.andThen(this.kill("frontend"), machine.xen.destroy(3)),
          Effect.ignore(machine.store.remove("/local/domain/3"))
        )
      case "write":
        return Effect.andThen(Effect.forEach([1, 3], (id) => machine.process(id)), machine.store.write(at, value))
      case "remove node":
        return Effect.ignore(machine.store.remove(at))
      case "settle":
        return machine.settle
      case "wait":
        return Effect.andThen(machine.settle, TestClock.adjust("3 seconds"))
    }
  }
}

const outcome = (exit: { readonly _tag: string; readonly cause?: unknown }): string => {
  const reasons = (exit.cause as { reasons: ReadonlyArray<{ _tag: string; error?: { _tag: string; reason?: { _tag: string } } }> } | undefined)?.reasons
  return reasons === undefined ? exit._tag : reasons.map(({ _tag, error }) => error?.reason?._tag ?? error?._tag ?? _tag).join("+")
}

/** Plays so many cases, the same ones for the same seed, or replays a failure. Stops at the first that fails. */
export const run = (options: Pick<Arbitrary.CheckOptions, "runs" | "seed" | "replay">) =>
  Effect.gen(function*() {
    const tally: Tally = new Map()
    const result = yield* Arbitrary.checkEffect(arbitrary, (self) =>
      Effect.sandbox(Effect.as(play(self, tally), true)).pipe(Effect.provide(TestXen.layer(), { local: true })), options)
    return { tally, failure: Arbitrary.formatCheckFailure(result) }
  }).pipe(Traces.without)
