/**
 * Puts the checks in order: what runs side by side, and what waits for what.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Boot from "./Boot.ts"
import * as Between from "./checks/Between.ts"
import * as Archive from "./checks/Archive.ts"
import * as Display from "./checks/Display.ts"
import * as Death from "./checks/Death.ts"
import * as Driver from "./checks/Driver.ts"
import * as Hostile from "./checks/Hostile.ts"
import * as Laws from "./checks/Laws.ts"
import * as Modules from "./checks/Modules.ts"
import * as Order from "./checks/Order.ts"
import * as Pages from "./checks/Pages.ts"
import * as Pair from "./checks/Pair.ts"
import * as Peer from "./checks/Peer.ts"
import * as Readme from "./checks/Readme.ts"
import * as Resident from "./checks/Resident.ts"
import * as Restore from "./checks/Restore.ts"
import * as Screen from "./checks/Screen.ts"
import * as Sharing from "./checks/Sharing.ts"
import * as Sound from "./checks/Sound.ts"
import * as Soak from "./checks/Soak.ts"
import * as Tool from "./checks/Tool.ts"
import * as Vchan from "./checks/Vchan.ts"
import * as Worker from "./checks/Worker.ts"
import type * as Grants from "./Grants.ts"
import * as Plan from "./Plan.ts"
import { say } from "./Progress.ts"
import type { Report } from "./Report.ts"
import { type Arch, type GuestPlan, type Kind, Target } from "./Target.ts"

/** What can be asked for by name. The domains are prepared in any case. */
export const topics = [
  "tool",
  "laws",
  "services",
  "sharing",
  "guests",
  "death",
  "hostile",
  "archive",
  "driver",
  "sound",
  "display",
  "screen",
  "vchan",
  "restore",
  "soak"
] as const
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

/** What all parts of a run have in common. */
const shared = Effect.fnUntraced(function*(lab: Boot.Booted, report: Report, { only, soak }: Options) {
  const { arch, xsm } = yield* Target
  const isWanted = (topic: Topic): boolean => only.length === 0 || only.includes(topic)
  return {
    lab,
    report,
    arch,
    policy: xsm ?? arch.policy,
    /** Where the tool runs in dom0. */
    tool: yield* Tool.resident(lab.dom0),
    isWanted,
    when: <A>(topic: Topic, checks: ReadonlyArray<A>): ReadonlyArray<A> => isWanted(topic) ? checks : [],
    isGeneral: (topic: Topic): boolean => isGeneral(arch, only, topic),
    general: <A>(checks: ReadonlyArray<A>): ReadonlyArray<A> => arch.isGeneral ? checks : [],
    prepare: (missing: Parameters<typeof Modules.checks>[0]) =>
      isWanted("tool") ? Modules.checks(missing) : Modules.prepare,
    run: <C>(group: Plan.Group<C>): Effect.Effect<void> =>
      group.checks.length === 0 ? Effect.void : Plan.run(lab, group, report),
    soaking: <C>(group: Plan.Group<C>): Effect.Effect<void> => {
      if (soak || only.includes("soak")) return Plan.run(lab, group, report)
      return isWanted("soak") ? Plan.skip(group, "ask for it with --soak", report) : Effect.void
    }
  }
})
type Shared = Effect.Success<ReturnType<typeof shared>>

/** Boots a guest in the background. What needs it waits for `context`, and for `prepared` if its drivers must be there. */
const start = Effect.fnUntraced(function*({ lab, tool }: Shared, plan: GuestPlan) {
  const booted = yield* Boot.startGuest(lab, plan)
  const context = Effect.gen(function*() {
    const guest = yield* booted
    const context: Sharing.Context = { guest, inGuest: yield* Tool.resident(guest), inDom0: tool }
    return context
  })
  return {
    plan,
    context: yield* Effect.cached(Scope.provide(context, yield* Effect.scope)),
    prepared: yield* Deferred.make<void>()
  }
})
type Started = Effect.Success<ReturnType<typeof start>>

const alone = {
  where: "dom0",
  concerns: (_: unknown, grant: Grants.Active) => grant.granter === 0 && grant.mapper === 0
}

const inDom0 = ({ lab, tool }: Shared) => ({ ...alone, acquire: Effect.succeed({ machine: lab.dom0, tool }) })

/** dom0 by itself. Some of it lowers a limit of all of dom0, measures or counts: nothing runs beside it. */
const checkDom0 = Effect.fnUntraced(function*<E>(shared: Shared, laws: Effect.Effect<Laws.Context, E>) {
  const { arch, general, lab, prepare, run, soaking, when } = shared
  const more = [Order.check(arch), ...general([Worker.check(lab), Resident.forgetful(lab)])]
  yield* run({ ...inDom0(shared), checks: [...prepare(["gntalloc"]), ...when("tool", more)] })
  yield* run({ ...alone, acquire: laws, checks: when("laws", general([Laws.checkSplit])) })
  yield* run({ ...alone, acquire: Archive.acquire(lab, arch), checks: when("archive", Archive.checks) })
  yield* soaking({ ...alone, acquire: Effect.succeed(lab.dom0), checks: [Soak.inDom0(lab, cycles.dom0)] })
})

/** Two guests with each other, as soon as both are prepared. */
const checkPair = Effect.fnUntraced(function*({ arch, isWanted, lab, policy, run }: Shared, guests: ReadonlyArray<Started>) {
  if (!isWanted("guests")) return
  const pair = guests.filter(({ plan }) => arch.pair.includes(plan))
  yield* Effect.forEach(pair, ({ prepared }) => Deferred.await(prepared))
  const both = Effect.map(Effect.forEach(pair, ({ context }) => context), ([front, back]) => [front!, back!] as const)
  const acquire = Effect.map(both, ([front, back]): Pair.Context => ({ front: Pair.side(front), back: Pair.side(back) }))
  const where = pair.map(({ plan }) => plan.name).join(" and ")
  yield* run({ where, acquire, concerns: Pair.concerns, checks: Pair.checks(lab, policy) })
  yield* run({ where, acquire: both, concerns: () => false, checks: [Between.inPair] })
})

/** The same checks, in a guest. */
const alike = (checks: ReadonlyArray<Plan.Check<Modules.Context>>) =>
  checks.map((check) =>
    Plan.within(check, ({ guest, inGuest }: Sharing.Context) => ({ machine: guest, tool: inGuest })))

/** A guest with dom0, when dom0 is prepared; its death is the last, and waits for what others do with it. */
const checkGuest = Effect.fnUntraced(function*(
  { arch, general, isGeneral, lab, prepare, run, soaking, when }: Shared,
  { context, plan, prepared }: Started,
  { dom0, pair, seed, turns }: {
    readonly dom0: Fiber.Fiber<void>
    readonly pair: Fiber.Fiber<void>
    readonly seed: number
    /** For what serves all guests: its backend takes any that comes. */
    readonly turns: Semaphore.Semaphore
  }
) {
  const group = { where: plan.name, acquire: context, concerns: Sharing.concerns }
  yield* Effect.ensuring(
    run({ ...group, checks: alike(prepare(["gntalloc", "gntdev"])) }),
    Deferred.succeed(prepared, void 0)
  )
  if (!arch.guests.includes(plan)) return
  const acquireLaws = Effect.flatMap(context, ({ guest }) => Laws.start(guest, guest.domain))
  yield* run({ ...group, concerns: () => false, acquire: acquireLaws, checks: when("services", Laws.checksInGuest) })
  yield* run({ ...group, checks: when("services", [Between.check(lab)]) })
  yield* Fiber.join(dom0)
  const sharing = [...Sharing.checks(lab), ...general([...Sharing.generalChecks(lab), Readme.check(lab)])]
  yield* run({ ...group, checks: when("sharing", sharing) })
  if (isGeneral("driver")) yield* turns.withPermit(run({ ...group, checks: Driver.checks(lab) }))
  if (isGeneral("vchan")) yield* run({ ...group, checks: Vchan.checks(lab, seed) })
  yield* soaking({ ...group, checks: [Soak.withGuest(lab, cycles.guest)] })
  yield* Fiber.join(pair)
  yield* run({ ...group, checks: when("tool", alike([Resident.left])) })
  const peers = [
    ...when("death", Death.checks(lab, seed)),
    ...when("hostile", Hostile.checks),
    ...when("death", Death.lastChecks(lab))
  ]
  const acquire = Effect.flatMap(context, ({ guest }) => Peer.acquire(lab, guest))
  yield* run({ ...group, acquire, checks: peers })
})

/** Displays and keyboards, in guests that have them. */
const checkDisplays = Effect.fnUntraced(function*({ arch, lab, run }: Shared) {
  const scope = yield* Effect.scope
  const once = <A, E>(acquire: Effect.Effect<A, E, Scope.Scope>) => Effect.cached(Scope.provide(acquire, scope))
  const backend = yield* once(Display.start(lab.dom0))
  const guests = yield* Effect.forEach(arch.guests, (plan) =>
    Effect.map(
      once(Effect.flatMap(backend, (backend) => Display.acquire(lab, backend, plan))),
      (acquire) => ({ plan, acquire, where: `${plan.name}'s displays` })
    ))
  for (const { acquire, plan, where } of guests) {
    yield* run({
      where,
      acquire,
      concerns: ({ guest }, { granter, mapper }) => granter === guest.domain || mapper === guest.domain,
      checks: Display.checks(lab, plan.kind)
    })
  }
  const acquire = Effect.all(guests.map(({ acquire }) => acquire))
  yield* run({ where: "both guests' displays", acquire, concerns: () => true, checks: [Display.both] })
  for (const { acquire, where } of guests) {
    yield* run({ where, acquire, concerns: () => false, checks: Display.lastChecks(lab) })
  }
}, Effect.scoped)

/** Screens in a browser, of guests that have one. */
const checkScreens = Effect.fnUntraced(function*({ arch, lab, run }: Shared) {
  const served = yield* Effect.cached(Scope.provide(Screen.serve(lab.dom0), yield* Effect.scope))
  for (const plan of arch.guests) {
    yield* Effect.scoped(Effect.gen(function*() {
      const begin = Effect.flatMap(served, (served) => Screen.acquire(lab, served, plan))
      const acquire = yield* Effect.cached(Scope.provide(begin, yield* Effect.scope))
      const group = { where: `${plan.name}'s screen`, acquire }
      yield* run({ ...group, concerns: Screen.concerns, checks: Screen.checks })
      yield* run({ ...group, concerns: () => false, checks: Screen.lastChecks(lab) })
    }))
  }
}, Effect.scoped)

/** A sound card, in a guest that has one. */
const checkSound = Effect.fnUntraced(function*({ lab, run }: Shared, kind: Kind, soak: boolean) {
  const acquire = yield* Effect.cached(Scope.provide(Sound.acquire(lab, kind), yield* Effect.scope))
  const group = { where: `${kind} with a sound card`, acquire }
  yield* run({ ...group, concerns: Sound.concerns, checks: Sound.checks(soak) })
  yield* run({ ...group, concerns: () => false, checks: Sound.lastChecks(lab) })
}, Effect.scoped)

/** Guests that are saved and restored. */
const checkRestores = Effect.fnUntraced(function*({ arch, lab, run }: Shared) {
  for (const { kind, name } of arch.guests) {
    const acquire = yield* Effect.cached(Scope.provide(Restore.acquire(lab, kind), yield* Effect.scope))
    yield* run({ where: `${name}, saved and restored`, acquire, concerns: () => false, checks: Restore.checks(lab) })
  }
}, Effect.scoped)

/** dom0 by itself, while the guests boot, and then each guest with dom0, side by side. */
const checkDomains = Effect.fnUntraced(function*(common: Shared, { seed }: Options) {
  const { arch, isWanted, lab, run, when } = common
  if (isWanted("death")) yield* say(`the moments of the kills come from --seed ${seed}`)
  const guests = yield* Effect.forEach(
    new Set([...arch.guests, ...when("guests", arch.pair)]),
    (plan) => start(common, plan)
  )
  const laws = yield* Effect.cached(Scope.provide(Laws.start(lab.dom0), yield* Effect.scope))
  // It takes a while, too.
  if (isWanted("laws") || isWanted("services")) yield* Effect.forkScoped(laws)

  const turns = yield* Semaphore.make(1)
  const dom0 = yield* Effect.forkScoped(checkDom0(common, laws))
  const pair = yield* Effect.forkScoped(checkPair(common, guests))
  yield* Effect.all([
    Effect.andThen(Fiber.join(dom0), run({
      ...alone,
      acquire: laws,
      checks: [...when("laws", [Laws.check]), ...when("services", Laws.checksInDom0)]
    })),
    ...guests.map((guest) => checkGuest(common, guest, { dom0, pair, seed, turns }))
  ], { concurrency: "unbounded" })
  yield* run({ ...inDom0(common), checks: when("tool", [Resident.left]) })
}, Effect.scoped)

/** What says nothing about the processor runs on one of them, and on others if it is asked for by name. */
const isGeneral = (arch: Arch, only: Options["only"], topic: Topic): boolean =>
  only.includes(topic) || (only.length === 0 && arch.isGeneral)

/** Whether vchans are checked, which takes a compiler. */
export const hasVchans = (arch: Arch, only: Options["only"]): boolean => isGeneral(arch, only, "vchan")

/** Displays, and the page that shows them. */
const displays = ["display", "screen"] as const

/** Whether one of these is checked: only x86's kernel has the driver. */
const isShown = ({ modules }: Arch, only: Options["only"], topic: typeof displays[number]): boolean =>
  modules.includes("drm_xen_front") && (only.length === 0 || only.includes(topic))

/** What has guests of its own. */
const apart: ReadonlyArray<Topic> = [...displays, "sound", "restore"]

/** Whether there are displays. */
export const hasDisplays = (arch: Arch, only: Options["only"]): boolean =>
  displays.some((topic) => isShown(arch, only, topic))

/** Runs what was asked for. */
export const run = Effect.fnUntraced(function*(lab: Boot.Booted, report: Report, options: Options) {
  const { pages } = yield* Target
  if (pages !== "4k") return yield* refusing(lab, report)
  const common = yield* shared(lab, report, options)
  const { only } = options
  if (only.length > 0 && only.every((topic) => apart.includes(topic))) {
    yield* common.run({ ...inDom0(common), checks: Modules.prepare })
  } else yield* checkDomains(common, options)
  // When there is memory for them again.
  for (const { kind } of common.isGeneral("sound") ? common.arch.guests : []) yield* checkSound(common, kind, options.soak)
  if (only.includes("restore")) yield* checkRestores(common)
  if (isShown(common.arch, only, "display")) yield* checkDisplays(common)
  if (isShown(common.arch, only, "screen")) yield* checkScreens(common)
}, Effect.scoped)
