/**
 * Boots a real Xen on this machine and runs the project in it: `npm run xenlab`.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Semaphore from "effect/Semaphore"
import { appendFileSync } from "node:fs"
import { join } from "node:path"
import * as Death from "./checks/Death.ts"
import * as Hostile from "./checks/Hostile.ts"
import * as Laws from "./checks/Laws.ts"
import * as Modules from "./checks/Modules.ts"
import * as Sharing from "./checks/Sharing.ts"
import * as Soak from "./checks/Soak.ts"
import * as Grants from "./Grants.ts"
import * as Image from "./Image.ts"
import { cache, results } from "./Lab.ts"
import type { Machine } from "./Machine.ts"
import * as Plan from "./Plan.ts"
import { say } from "./Progress.ts"
import * as Provision from "./Provision.ts"
import * as Qemu from "./Qemu.ts"
import * as Report from "./Report.ts"
import * as Toolstack from "./Toolstack.ts"
import * as Tree from "./Tree.ts"

/** Random buffers of a soak: dom0 with itself, and each guest with dom0, which is slower. */
const cycles = { dom0: 2000, guest: 500 }

const cli = Flag.String("cli").pipe(
  Flag.withDefault(Image.entries["cli"] ?? ""),
  Flag.withDescription("The entry of the command line tool to bundle")
)

/** What can be asked for by name. The domains are prepared in any case. */
const topics = ["tool", "laws", "sharing", "death", "hostile", "soak"] as const
type Topic = typeof topics[number]

const only = Flag.Literals("only", topics).pipe(
  Flag.atLeast(0),
  Flag.withDescription("Runs nothing but this topic; may be repeated")
)
const soak = Flag.Boolean("soak").pipe(
  Flag.withDefault(false),
  Flag.withDescription(`Shares ${cycles.dom0} random buffers in dom0, and ${cycles.guest} between each guest and dom0, too`)
)

/** Keeps what a domain says besides its agent's reports. */
const transcript = (name: string) => (line: string): void => appendFileSync(join(results, `${name}.log`), `${line}\n`)

/** A folder of this run in the cache. Folders of runs that were killed are removed. */
const runFolder = Effect.fnUntraced(function*(folder: string) {
  const fs = yield* FileSystem.FileSystem
  for (const name of yield* fs.readDirectory(folder)) {
    const pid = /^run-(\d+)-/.exec(name)?.[1]
    if (pid === undefined || (yield* fs.exists(`/proc/${pid}`))) continue
    yield* fs.remove(join(folder, name), { recursive: true, force: true })
  }
  return yield* fs.makeTempDirectoryScoped({ directory: folder, prefix: `run-${process.pid}-` })
})

/** From nothing to a booted dom0. */
const boot = Effect.fnUntraced(function*(entries: Image.Entries) {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* cache
  yield* fs.makeDirectory(folder, { recursive: true })
  yield* Provision.host
  const run = yield* runFolder(folder)
  const base = yield* Tree.assemble(folder, run)
  const images = yield* Image.make(base, entries, run)
  const booted = yield* Qemu.boot(base, images, transcript("dom0"))
  return { ...booted, bundles: images.bundles }
})

/** Runs the groups that are wanted: what needs one domain only side by side, then each guest with dom0. */
const runAll = Effect.fnUntraced(function*(
  lab: Plan.Lab,
  report: Report.Report,
  isWanted: (topic: Topic) => boolean,
  isSoak: boolean
) {
  const { dom0 } = lab
  const when = <A>(topic: Topic, checks: ReadonlyArray<A>): ReadonlyArray<A> => isWanted(topic) ? checks : []
  const prepare = (missing: Parameters<typeof Modules.checks>[0]) =>
    isWanted("tool") ? Modules.checks(missing) : Modules.prepare
  const soaking = <C>(group: Plan.Group<C>) =>
    isSoak ? Plan.run(lab, group, report) : isWanted("soak") ? Plan.skip(group, "ask for it with --soak", report) : Effect.void
  // The guests boot while dom0 is looked at: that is where the time goes.
  const guests = yield* Effect.forEach(["pv", "pvh"] as const, (kind) =>
    Effect.map(
      Effect.forkScoped(
        Effect.tap(
          Toolstack.guest(dom0, kind, transcript(kind)),
          (guest) => say(`the ${kind} guest is up: domain ${guest.domain}`)
        )
      ),
      (fiber) => ({ where: kind, acquire: Fiber.join(fiber), concerns: Sharing.concerns })
    ))
  const alone = {
    where: "dom0",
    acquire: Effect.succeed(dom0),
    concerns: (_: Machine, grant: Grants.Active) => grant.granter === 0 && grant.mapper === 0
  }
  yield* Effect.all([
    Plan.run(lab, {
      ...alone,
      checks: [...prepare(["gntalloc"]), ...when("laws", [Laws.check, Laws.checkSplit])]
    }, report).pipe(Effect.andThen(soaking({ ...alone, checks: [Soak.inDom0(lab, cycles.dom0)] }))),
    ...guests.map((guest) => Plan.run(lab, { ...guest, checks: prepare(["gntalloc", "gntdev"]) }, report))
  ], { concurrency: "unbounded" })
  const peers = [
    ...when("death", Death.checks(lab)),
    ...when("hostile", Hostile.checks),
    ...when("death", Death.lastChecks(lab))
  ]
  yield* Effect.forEach(
    guests,
    Effect.fnUntraced(function*(guest) {
      yield* Plan.run(lab, { ...guest, checks: when("sharing", Sharing.checks(lab)) }, report)
      yield* soaking({ ...guest, checks: [Soak.withGuest(lab, cycles.guest)] })
      if (peers.length === 0) return
      yield* Plan.run(lab, {
        where: guest.where,
        acquire: Death.acquire(lab, guest.acquire),
        concerns: ({ guest }, grant) => Sharing.concerns(guest, grant),
        checks: peers
      }, report)
    }),
    { concurrency: "unbounded" }
  )
}, Effect.scoped)

const test = Effect.fnUntraced(function*(options: {
  readonly cli: string
  readonly only: ReadonlyArray<Topic>
  readonly soak: boolean
}) {
  const isWanted = (topic: Topic) => options.only.length === 0 || options.only.includes(topic)
  const isSoak = options.soak || options.only.includes("soak")
  const fs = yield* FileSystem.FileSystem
  yield* fs.remove(results, { recursive: true, force: true })
  yield* fs.makeDirectory(results, { recursive: true })
  const report = Report.make(join(results, "outcomes.jsonl"))

  yield* Effect.gen(function*() {
    const booted = yield* Effect.exit(boot({ ...Image.entries, cli: options.cli }))
    if (Exit.isFailure(booted)) {
      if (Cause.hasInterruptsOnly(booted.cause)) return yield* booted
      const detail = Cause.prettyErrors(booted.cause).map((error) => error.message).join("\n")
      return yield* report.record({ where: "host", name: "boot", result: "failed", millis: performance.now(), detail })
    }
    const { bundles, dom0, powerOff, serial } = booted.value
    const one = yield* Semaphore.make(1)
    const grants = one.withPermits(1)(
      Effect.provideService(Grants.read(dom0, serial), FileSystem.FileSystem, fs)
    )
    const lab: Plan.Lab = { dom0, bundles, grants }
    yield* report.record({ where: "host", name: "Xen and dom0 boot", result: "passed", millis: performance.now() })

    const before = yield* Effect.exit(grants)
    yield* runAll(lab, report, isWanted, isSoak)
    yield* Plan.run(lab, {
      where: "Xen",
      acquire: before,
      concerns: () => false,
      checks: [{
        name: "the active grants are what they were before the first guest",
        run: (before) => Grants.settle(grants, before)
      }]
    }, report)
    yield* say("powering off")
    yield* powerOff
  }).pipe(Effect.scoped)

  process.stdout.write(`\n${Report.render(report.outcomes)}\n`)
  if (report.outcomes.some((outcome) => outcome.result === "failed")) process.exitCode = 1
})

const xenlab = Command.make("xenlab", { cli, only, soak }, test).pipe(
  Command.withDescription("Boots a real Xen under QEMU and runs the law suites and the command line tool in it")
)

xenlab.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
