/**
 * Measures us against C and against plain JavaScript, where no Xen is needed: `npm run bench`.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Codec from "./codec.ts"
import * as Cycles from "./cycles.ts"
import * as Language from "./language.ts"
import * as Listening from "./listening.ts"
import * as Memory from "./memory.ts"
import * as Overhead from "./overhead.ts"
import * as Report from "./Report.ts"
import * as Rings from "./rings.ts"
import * as Screen from "./screen.ts"
import * as Services from "./services.ts"
import * as Sound from "./sound.ts"
import * as Vchan from "./vchan.ts"
import * as Views from "./views.ts"
import * as Waiting from "./waiting.ts"

const topics = {
  codec: Codec.run,
  overhead: Overhead.run,
  language: Language.run,
  views: Views.run,
  cycles: Cycles.run,
  memory: Memory.run,
  screen: Screen.run,
  rings: Rings.run,
  services: Services.run,
  sound: Sound.run,
  listening: Listening.run,
  vchan: Vchan.run,
  waiting: Waiting.run
}
const names = [
  "codec",
  "overhead",
  "language",
  "views",
  "cycles",
  "memory",
  "screen",
  "rings",
  "services",
  "sound",
  "listening",
  "vchan",
  "waiting"
] as const satisfies ReadonlyArray<keyof typeof topics>

const only = Flag.Literals("only", names).pipe(
  Flag.atLeast(0),
  Flag.withDescription("Runs nothing but this topic; may be repeated")
)
const pairs = Flag.Int("pairs").pipe(
  Flag.withDefault(200),
  Flag.withDescription("Pairs of batches that each ratio is the median of")
)
const out = Flag.String("out").pipe(
  Flag.withDefault(Report.folder),
  Flag.withDescription("The folder for tables and plots")
)

const bench = Command.make("bench", { only, out, pairs }, Effect.fnUntraced(function*({ only, out, pairs }) {
  for (const name of names.filter((name) => only.length === 0 || only.includes(name))) {
    for (const section of yield* topics[name](pairs)) yield* Report.publish(section, out)
  }
}))

bench.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
