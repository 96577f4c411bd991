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
import * as Option from "effect/Option"
import { join } from "node:path"
import * as Arm64 from "./arch/Arm64.ts"
import * as X86 from "./arch/X86.ts"
import * as Boot from "./Boot.ts"
import * as Console from "./Console.ts"
import * as CPeer from "./CPeer.ts"
import * as Grants from "./Grants.ts"
import * as Image from "./Image.ts"
import { LabError, results } from "./Lab.ts"
import * as Native from "./Native.ts"
import * as Plan from "./Plan.ts"
import * as Report from "./Report.ts"
import * as Suite from "./Suite.ts"
import { releases, Target } from "./Target.ts"

const arches = { x86: X86.arch, arm64: Arm64.arch }

const arch = Flag.Literals("arch", ["x86", "arm64"]).pipe(
  Flag.withDefault("x86"),
  Flag.withDescription("The processor that QEMU emulates")
)
const xen = Flag.Literals("xen", ["4.17", "4.20"]).pipe(
  Flag.withDefault("4.17"),
  Flag.withDescription("Xen's version: 4.17 comes with Linux 6.1, from Debian 12, and 4.20 with Linux 6.12, from Debian 13; arm64 only")
)
const pages = Flag.Literals("pages", ["4k", "16k"]).pipe(
  Flag.withDefault("4k"),
  Flag.withDescription("The size of Linux's pages; 16k is arm64's only, and Debian 13's")
)
const xsm = Flag.Literals("xsm", ["dummy", "silo"]).pipe(
  Flag.optional,
  Flag.withDescription("Which domains Xen lets share: all, or only each with dom0; arm64 only; unless told, what Debian's Xen does by itself, which is silo")
)

const only = Flag.Literals("only", Suite.topics).pipe(
  Flag.atLeast(0),
  Flag.withDescription("Runs nothing but this topic; may be repeated")
)
const soak = Flag.Boolean("soak").pipe(
  Flag.withDefault(false),
  Flag.withDescription(`Shares ${Suite.cycles.dom0} random buffers in dom0, and ${Suite.cycles.guest} between each guest and dom0, too`)
)

const seed = Flag.Int("seed").pipe(
  Flag.withDefault(Math.floor(Math.random() * 1e6)),
  Flag.withDescription("Where the moments of the kills come from; a random one is printed")
)

const test = Effect.fnUntraced(function*(options: Suite.Options) {
  const { arch, pages, release, xsm } = yield* Target
  if (arch.name !== "arm64" && (release.xen !== "4.17" || pages !== "4k" || xsm !== undefined)) {
    return yield* new LabError({ step: "look at the options", detail: "--xen, --pages and --xsm need --arch arm64" })
  }
  if (pages === "16k" && release.suite !== "trixie") {
    return yield* new LabError({ step: "look at the options", detail: "--pages 16k needs --xen 4.20" })
  }
  const report = Report.make(join(results, "outcomes.jsonl"))

  yield* Effect.gen(function*() {
    const booted = yield* Effect.exit(Effect.gen(function*() {
      const files = [
        ...Suite.hasDisplays(arch, options.only) ? [yield* Native.make, yield* Console.make] : [],
        ...pages === "4k" && Suite.hasVchans(arch, options.only) ? [yield* CPeer.make] : []
      ]
      return yield* Boot.boot({ entries: Image.entries, files, results })
    }))
    if (Exit.isFailure(booted)) {
      if (Cause.hasInterruptsOnly(booted.cause)) return yield* booted
      const detail = Cause.prettyErrors(booted.cause).map((error) => error.message).join("\n")
      return yield* report.record({ where: "host", name: "boot", result: "failed", millis: performance.now(), detail })
    }
    const lab = booted.value
    yield* report.record({ where: "host", name: "Xen and dom0 boot", result: "passed", millis: performance.now() })

    const before = yield* Effect.exit(lab.grants)
    yield* Suite.run(lab, report, options)
    yield* Plan.run(lab, {
      where: "Xen",
      acquire: before,
      concerns: () => false,
      checks: [{
        name: "the active grants are what they were before the first guest",
        run: (before) => Grants.settle(lab.grants, before)
      }]
    }, report)
  }).pipe(Effect.scoped)

  process.stdout.write(`\n${Report.render(report.outcomes)}\n`)
  if (report.outcomes.some((outcome) => outcome.result === "failed")) process.exitCode = 1
})

const xenlab = Command.make("xenlab", { arch, xen, pages, xsm, only, soak, seed }, (options) =>
  Effect.provideService(test(options), Target, {
    arch: arches[options.arch],
    release: releases[options.xen],
    pages: options.pages,
    xsm: Option.getOrUndefined(options.xsm)
  })).pipe(
  Command.withDescription("Boots a real Xen under QEMU and runs the law suites and the command line tool in it")
)

xenlab.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
