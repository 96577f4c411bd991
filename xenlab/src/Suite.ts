/**
 * Puts the checks in order: what runs side by side, and what waits for what.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Boot from "./Boot.ts"
import * as Death from "./checks/Death.ts"
import * as Hostile from "./checks/Hostile.ts"
import * as Laws from "./checks/Laws.ts"
import * as Modules from "./checks/Modules.ts"
import * as Peer from "./checks/Peer.ts"
import * as Readme from "./checks/Readme.ts"
import * as Sharing from "./checks/Sharing.ts"
import * as Soak from "./checks/Soak.ts"
import * as Tool from "./checks/Tool.ts"
import type * as Grants from "./Grants.ts"
import * as Plan from "./Plan.ts"
import { say } from "./Progress.ts"
import type { Report } from "./Report.ts"
import type { Kind } from "./Toolstack.ts"

/** What can be asked for by name. The domains are prepared in any case. */
export const topics = ["tool", "laws", "sharing", "death", "hostile", "soak"] as const
export type Topic = typeof topics[number]

/** Random buffers of a soak: dom0 with itself, and each guest with dom0, which is slower. */
export const cycles = { dom0: 2000, guest: 500 }

/** What was asked for. */
export interface Options {
  /** These topics only; all without any. */
  readonly only: ReadonlyArray<Topic>
  readonly soak: boolean
  /** Where the moments of the kills come from. */
  readonly seed: number
}

const kinds: ReadonlyArray<Kind> = ["pv", "pvh"]

/** Runs what was asked for: dom0 by itself, while the guests boot, and then each guest with dom0, side by side. */
export const run = Effect.fnUntraced(function*(lab: Boot.Booted, report: Report, { only, seed, soak }: Options) {
  const { dom0 } = lab
  const isWanted = (topic: Topic): boolean => only.length === 0 || only.includes(topic)
  const when = <A>(topic: Topic, checks: ReadonlyArray<A>): ReadonlyArray<A> => isWanted(topic) ? checks : []
  const soaking = <C>(group: Plan.Group<C>): Effect.Effect<void> => {
    if (soak || only.includes("soak")) return Plan.run(lab, group, report)
    return isWanted("soak") ? Plan.skip(group, "ask for it with --soak", report) : Effect.void
  }
  const prepare = (missing: Parameters<typeof Modules.checks>[0]) =>
    isWanted("tool") ? Modules.checks(missing) : Modules.prepare
  const peers = [
    ...when("death", Death.checks(lab, seed)),
    ...when("hostile", Hostile.checks),
    ...when("death", Death.lastChecks(lab))
  ]

  if (isWanted("death")) yield* say(`the moments of the kills come from --seed ${seed}`)
  const tool = yield* Tool.resident(dom0)
  const guests = yield* Effect.forEach(kinds, (where) =>
    Effect.map(Boot.startGuest(lab, where), (booted) => ({ where, booted })))
  const laws = yield* Effect.cached(Scope.provide(Laws.start(dom0), yield* Effect.scope))
  // It takes a while, too.
  if (isWanted("laws")) yield* Effect.forkScoped(laws)

  const alone = {
    where: "dom0",
    concerns: (_: unknown, grant: Grants.Active) => grant.granter === 0 && grant.mapper === 0
  }
  const runLaws = (check: Plan.Check<Laws.Context>) =>
    isWanted("laws") ? Plan.run(lab, { ...alone, acquire: laws, checks: [check] }, report) : Effect.void
  // One lowers a limit of all of dom0, and the other measures: nothing runs beside them.
  const dom0Prepared = yield* Effect.forkScoped(Effect.gen(function*() {
    const domain = Effect.succeed({ machine: dom0, tool })
    yield* Plan.run(lab, { ...alone, acquire: domain, checks: prepare(["gntalloc"]) }, report)
    yield* runLaws(Laws.checkSplit)
    yield* soaking({ ...alone, acquire: Effect.succeed(dom0), checks: [Soak.inDom0(lab, cycles.dom0)] })
  }))

  const checkGuest = Effect.fnUntraced(function*({ booted, where }: typeof guests[number]) {
    const context = yield* Effect.exit(Effect.gen(function*() {
      const guest = yield* booted
      const context: Sharing.Context = { guest, inGuest: yield* Tool.resident(guest), inDom0: tool }
      return context
    }))
    const group = { where, acquire: context, concerns: Sharing.concerns }
    const prepared = prepare(["gntalloc", "gntdev"]).map((check) =>
      Plan.within(check, ({ guest, inGuest }: Sharing.Context) => ({ machine: guest, tool: inGuest })))
    yield* Plan.run(lab, { ...group, checks: prepared }, report)
    yield* Fiber.join(dom0Prepared)
    yield* Plan.run(lab, { ...group, checks: when("sharing", [...Sharing.checks(lab), Readme.check(lab)]) }, report)
    yield* soaking({ ...group, checks: [Soak.withGuest(lab, cycles.guest)] })
    if (peers.length === 0) return
    const acquire = Effect.flatMap(context, ({ guest }) => Peer.acquire(lab, guest))
    yield* Plan.run(lab, { ...group, acquire, checks: peers }, report)
  })
  yield* Effect.all([Effect.andThen(Fiber.join(dom0Prepared), runLaws(Laws.check)), ...guests.map(checkGuest)], {
    concurrency: "unbounded"
  })
}, Effect.scoped)
