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
import { join } from "node:path"
import * as Boot from "./Boot.ts"
import * as Grants from "./Grants.ts"
import * as Image from "./Image.ts"
import { results } from "./Lab.ts"
import * as Plan from "./Plan.ts"
import * as Report from "./Report.ts"
import * as Suite from "./Suite.ts"

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
  const report = Report.make(join(results, "outcomes.jsonl"))

  yield* Effect.gen(function*() {
    const booted = yield* Effect.exit(Boot.boot({ entries: Image.entries, results }))
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

const xenlab = Command.make("xenlab", { only, soak, seed }, test).pipe(
  Command.withDescription("Boots a real Xen under QEMU and runs the law suites and the command line tool in it")
)

xenlab.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
