/**
 * Boots a real Xen on this machine and measures the library against C in it: `npm run bench:xen`.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import { join } from "node:path"
import * as Arm64 from "../../../xenlab/src/arch/Arm64.ts"
import * as X86 from "../../../xenlab/src/arch/X86.ts"
import * as Boot from "../../../xenlab/src/Boot.ts"
import * as CPeer from "../../../xenlab/src/CPeer.ts"
import * as Image from "../../../xenlab/src/Image.ts"
import { grantFrames } from "../../../xenlab/src/Lab.ts"
import { type Machine, sh } from "../../../xenlab/src/Machine.ts"
import * as Native from "../../../xenlab/src/Native.ts"
import { say } from "../../../xenlab/src/Progress.ts"
import { releases, Target } from "../../../xenlab/src/Target.ts"
import * as Report from "../Report.ts"
import * as Calls from "./Calls.ts"
import * as Copy from "./Copy.ts"
import * as Domain from "./Domain.ts"
import * as Emulator from "./Emulator.ts"
import * as Flips from "./Flips.ts"
import * as Signals from "./Signals.ts"
import * as Sounds from "./Sounds.ts"
import * as Start from "./Start.ts"
import * as Times from "./Times.ts"
import * as Tools from "./Tools.ts"
import * as Vchan from "./Vchan.ts"

/** What can be asked for by name. */
const parts = ["times", "copy", "calls", "start", "emulator", "signals", "vchan", "flips", "sounds"] as const
type Part = typeof parts[number]

const needsGuests: ReadonlyArray<Part> = ["times", "copy", "start", "signals", "vchan"]

const arches = { x86: X86.arch, arm64: Arm64.arch }

const arch = Flag.Literals("arch", ["x86", "arm64"]).pipe(
  Flag.withDefault("x86"),
  Flag.withDescription("The processor that QEMU emulates; what arm64 has measured goes into files of that name")
)
const only = Flag.Literals("only", parts).pipe(
  Flag.atLeast(0),
  Flag.withDescription("Measures nothing but this; may be repeated")
)
const quick = Flag.Boolean("quick").pipe(
  Flag.withDefault(false),
  Flag.withDescription("Measures little, prints it, and writes nothing: to see that it works")
)

const refsPerFrame = 512
const tableSize = { dom0: grantFrames * refsPerFrame, guest: 64 * refsPerFrame }

/** The package of the benchmarks. */
const home = join(import.meta.dirname, "..", "..")

const programs = ["grants", "frame", "frameEager", "empty", "emulator", "signals", "display", "sound"]
const entries: Image.Entries = {
  cli: Image.entries["cli"]!,
  vchan: Image.entries["vchan"]!,
  ...Object.fromEntries(programs.map((name) => [name, join(home, "guest", `${name}.ts`)]))
}

/** What was measured on, as dom0 says it. */
const whereIn = Effect.fnUntraced(function*(dom0: Machine) {
  const [major, minor, linux] = (yield* sh(dom0, versions)).trim().split("\n")
  const { arch } = yield* Target
  return `in domains of Xen ${major}.${minor} with Linux ${linux} on ${arch.npm}, all of it emulated by QEMU (TCG)`
})

const versions = "cat /sys/hypervisor/version/major /sys/hypervisor/version/minor; uname -r"

/** What was asked for, and where it goes. */
interface Run {
  readonly lab: Boot.Booted
  readonly where: string
  readonly quick: boolean
  readonly isWanted: (part: Part) => boolean
  readonly publish: (section: Report.Section) => Effect.Effect<void, unknown, FileSystem.FileSystem>
}

/** Measures what dom0 does, by itself and with the lab's guests. */
const withGuests = Effect.fnUntraced(function*({ isWanted, lab, publish, quick, where }: Run) {
  const plans = needsGuests.some(isWanted) ? (yield* Target).arch.guests : []
  const starting = yield* Effect.forEach(plans, (plan) =>
    Effect.map(Boot.startGuest(lab, plan), (guest) => ({ kind: plan.kind, guest })))
  yield* Domain.prepare(lab.dom0, tableSize.dom0)
  const dom0 = yield* Domain.start(lab.dom0, 0, tableSize.dom0)
  const guests = yield* Effect.forEach(
    starting,
    Effect.fnUntraced(function*({ guest, kind }) {
      const machine = yield* guest
      yield* Domain.prepare(machine, tableSize.guest)
      return { ...yield* Domain.start(machine, machine.domain, tableSize.guest), kind }
    })
  )
  yield* say("measuring")
  if (isWanted("calls")) {
    for (const section of yield* Calls.sections(dom0, tableSize.dom0, where, quick)) yield* publish(section)
  }
  if (isWanted("emulator")) yield* publish(yield* Emulator.section(lab.dom0, where))
  if (isWanted("signals")) {
    for (const section of yield* Signals.sections(lab.dom0, guests, where, quick)) yield* publish(section)
  }
  const [guest] = guests
  if (isWanted("start") && guest !== undefined) {
    yield* publish(yield* Start.section(dom0, guest, where, quick))
  }
  if (isWanted("vchan") && guest !== undefined) {
    const pair = { dom0: lab.dom0, guest: guest.machine, id: guest.id }
    yield* publish(yield* Vchan.section(pair, where, quick))
  }
  if (isWanted("copy")) yield* publish(yield* Copy.section(dom0, guests, where, quick))
  if (isWanted("times")) yield* publish(yield* Times.section(dom0, guests, where, quick))
}, Effect.scoped)

const bench = Effect.fnUntraced(function*(options: { readonly only: ReadonlyArray<Part>; readonly quick: boolean }) {
  const { arch } = yield* Target
  const { quick } = options
  const isWanted = (part: Part) => options.only.length === 0 || options.only.includes(part)
  // Only x86's kernel has the driver.
  const hasFlips = isWanted("flips") && arch.modules.includes("drm_xen_front")
  const named = (section: Report.Section): Report.Section =>
    arch.name === "x86" ? section : { ...section, name: `${section.name}-${arch.name}`, title: `${section.title}, ${arch.name}` }
  const publish = (section: Report.Section) => quick ? Report.print(section) : Report.publish(named(section))

  const files = [
    yield* Tools.make,
    ...isWanted("vchan") ? [yield* CPeer.make] : [],
    ...hasFlips ? [yield* Native.make] : []
  ]
  const lab = yield* Boot.boot({ entries, files, results: join(Report.results, "xen") })
  const run: Run = { lab, where: yield* whereIn(lab.dom0), quick, isWanted, publish }
  if (parts.some((part) => part !== "flips" && part !== "sounds" && isWanted(part))) yield* withGuests(run)
  // Guests of their own, when there is memory for them again.
  if (hasFlips) for (const section of yield* Flips.sections(lab, run.where, quick)) yield* publish(section)
  if (isWanted("sounds")) for (const section of yield* Sounds.sections(lab, run.where, quick)) yield* publish(section)
}, Effect.scoped)

Command.make("bench:xen", { arch, only, quick }, (options) =>
  Effect.provideService(bench(options), Target, {
    arch: arches[options.arch],
    release: releases["4.17"],
    pages: "4k",
    xsm: undefined
  })).pipe(
  Command.withDescription("Boots a real Xen under QEMU and measures the library against C with Xen's libraries in it"),
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
