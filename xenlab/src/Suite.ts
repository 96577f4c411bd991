/**
 * Puts the checks in order: what runs side by side, and what waits for what.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Boot from "./Boot.ts"
import * as Death from "./checks/Death.ts"
import * as Hostile from "./checks/Hostile.ts"
import * as Laws from "./checks/Laws.ts"
import * as Modules from "./checks/Modules.ts"
import * as Pages from "./checks/Pages.ts"
import * as Pair from "./checks/Pair.ts"
import * as Peer from "./checks/Peer.ts"
import * as Readme from "./checks/Readme.ts"
import * as Resident from "./checks/Resident.ts"
import * as Sharing from "./checks/Sharing.ts"
import * as Soak from "./checks/Soak.ts"
import * as Tool from "./checks/Tool.ts"
import * as Worker from "./checks/Worker.ts"
import type * as Grants from "./Grants.ts"
import * as Plan from "./Plan.ts"
import { say } from "./Progress.ts"
import type { Report } from "./Report.ts"
import { Target } from "./Target.ts"

/** What can be asked for by name. The domains are prepared in any case. */
export const topics = ["tool", "laws", "sharing", "guests", "death", "hostile", "soak"] as const
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

/** dom0 alone, on a kernel with pages that are not Xen's: nothing can be shared there. */
const refusing = Effect.fnUntraced(function*(lab: Boot.Booted, report: Report) {
  const { dom0 } = lab
  yield* Plan.run(lab, {
    where: "dom0",
    acquire: Effect.map(Tool.resident(dom0), (tool) => ({ machine: dom0, tool })),
    concerns: () => true,
    checks: [Modules.loaded, ...Pages.checks]
  }, report)
})

/** Runs what was asked for: dom0 by itself, while the guests boot, and then each guest with dom0, side by side. */
export const run = Effect.fnUntraced(function*(lab: Boot.Booted, report: Report, { only, seed, soak }: Options) {
  const { dom0 } = lab
  const { arch, pages, xsm } = yield* Target
  if (pages !== "4k") return yield* refusing(lab, report)
  const isWanted = (topic: Topic): boolean => only.length === 0 || only.includes(topic)
  const when = <A>(topic: Topic, checks: ReadonlyArray<A>): ReadonlyArray<A> => isWanted(topic) ? checks : []
  const general = <A>(checks: ReadonlyArray<A>): ReadonlyArray<A> => arch.isGeneral ? checks : []
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
  const needed = new Set([...arch.guests, ...when("guests", arch.pair)])
  const guests = yield* Effect.forEach(needed, Effect.fnUntraced(function*(plan) {
    const booted = yield* Boot.startGuest(lab, plan)
    const context = yield* Effect.cached(Effect.gen(function*() {
      const guest = yield* booted
      const context: Sharing.Context = { guest, inGuest: yield* Tool.resident(guest), inDom0: tool }
      return context
    }).pipe(Scope.provide(yield* Effect.scope)))
    return { plan, context, prepared: yield* Deferred.make<void>() }
  }))
  const laws = yield* Effect.cached(Scope.provide(Laws.start(dom0), yield* Effect.scope))
  // It takes a while, too.
  if (isWanted("laws")) yield* Effect.forkScoped(laws)

  const alone = {
    where: "dom0",
    concerns: (_: unknown, grant: Grants.Active) => grant.granter === 0 && grant.mapper === 0
  }
  const inDom0 = { ...alone, acquire: Effect.succeed({ machine: dom0, tool }) }
  const runLaws = (checks: ReadonlyArray<Plan.Check<Laws.Context>>) =>
    checks.length === 0 ? Effect.void : Plan.run(lab, { ...alone, acquire: laws, checks }, report)
  // One lowers a limit of all of dom0, and the others measure or count: nothing runs beside them.
  const dom0Prepared = yield* Effect.forkScoped(Effect.gen(function*() {
    const ends = general([Worker.check(lab), Resident.forgetful(lab)])
    yield* Plan.run(lab, { ...inDom0, checks: [...prepare(["gntalloc"]), ...when("tool", ends)] }, report)
    yield* runLaws(when("laws", general([Laws.checkSplit])))
    yield* soaking({ ...alone, acquire: Effect.succeed(dom0), checks: [Soak.inDom0(lab, cycles.dom0)] })
  }))

  type Started = typeof guests[number]
  const inGuest = ({ context, plan }: Started) => ({ where: plan.name, acquire: context, concerns: Sharing.concerns })
  const alike = (checks: ReadonlyArray<Plan.Check<Modules.Context>>) =>
    checks.map((check) =>
      Plan.within(check, ({ guest, inGuest }: Sharing.Context) => ({ machine: guest, tool: inGuest })))
  const prepareGuest = (started: Started) =>
    Effect.ensuring(
      Plan.run(lab, { ...inGuest(started), checks: alike(prepare(["gntalloc", "gntdev"])) }, report),
      Deferred.succeed(started.prepared, void 0)
    )
  const pairChecked = yield* Effect.forkScoped(Effect.gen(function*() {
    if (!isWanted("guests")) return
    const pair = arch.pair.map((plan) => guests.find((started) => started.plan === plan)!)
    yield* Effect.forEach(pair, ({ prepared }) => Deferred.await(prepared))
    const acquire = Effect.gen(function*() {
      const [front, back] = yield* Effect.forEach(pair, ({ context }) => context)
      const sides: Pair.Context = { front: Pair.side(front!), back: Pair.side(back!) }
      return sides
    })
    const where = arch.pair.map(({ name }) => name).join(" and ")
    const checks = Pair.checks(lab, xsm ?? arch.policy)
    yield* Plan.run(lab, { where, acquire, concerns: Pair.concerns, checks }, report)
  }))

  const checkGuest = Effect.fnUntraced(function*(started: Started) {
    yield* prepareGuest(started)
    if (!arch.guests.includes(started.plan)) return
    const group = inGuest(started)
    yield* Fiber.join(dom0Prepared)
    const sharing = [...Sharing.checks(lab), ...general([...Sharing.generalChecks(lab), Readme.check(lab)])]
    yield* Plan.run(lab, { ...group, checks: when("sharing", sharing) }, report)
    yield* soaking({ ...group, checks: [Soak.withGuest(lab, cycles.guest)] })
    yield* Fiber.join(pairChecked)
    yield* Plan.run(lab, { ...group, checks: when("tool", alike([Resident.left])) }, report)
    if (peers.length === 0) return
    const acquire = Effect.flatMap(started.context, ({ guest }) => Peer.acquire(lab, guest))
    yield* Plan.run(lab, { ...group, acquire, checks: peers }, report)
  })
  yield* Effect.all([
    Effect.andThen(Fiber.join(dom0Prepared), runLaws(when("laws", [Laws.check]))),
    ...guests.map(checkGuest)
  ], { concurrency: "unbounded" })
  yield* Plan.run(lab, { ...inDom0, checks: when("tool", [Resident.left]) }, report)
}, Effect.scoped)
