/**
 * Puts the commands together, and runs them.
 *
 * @since 0.1.0
 */
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import * as Cause from "effect/Cause"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { demo } from "./commands/Demo.ts"
import { device } from "./commands/Device.ts"
import { doctor } from "./commands/Doctor.ts"
import { map } from "./commands/Map.ts"
import { provide } from "./commands/Provide.ts"
import { screen } from "./commands/Screen.ts"
import { share } from "./commands/Share.ts"
import { sound } from "./commands/Sound.ts"
import { store } from "./commands/Store.ts"
import { vchan } from "./commands/Vchan.ts"
import { walk } from "./commands/Walk.ts"
import * as Failure from "./Failure.ts"
import * as Flags from "./Flags.ts"
import * as Output from "./Output.ts"

const version = "0.1.0"

const command = Command.make("xen-shbuf").pipe(
  Command.withDescription("Share big buffers between Xen domains through page directories of grant references."),
  Command.withGlobalFlags([Flags.json]),
  Command.withSubcommands([demo, doctor, share, map, provide, walk, screen, sound, vchan, device, store])
)

/** Help where it is asked for; errors are printed with all others. */
const presenter: CliOutput.Presenter = {
  present: (event) => event._tag === "InvalidInvocation" ? Effect.void : CliOutput.defaultPresenter.present(event)
}

const report = Effect.fnUntraced(function*(cause: Cause.Cause<Failure.Error>) {
  if (Cause.hasInterruptsOnly(cause)) return
  const { failure } = yield* Output.Output
  const error = Cause.findErrorOption(cause)
  if (Option.isNone(error)) return yield* Console.error(Cause.pretty(cause))
  yield* Effect.forEach(Failure.describe(error.value), failure)
})

/** As `--json` is read where it stands among the flags. */
const isJson = (args: ReadonlyArray<string>) =>
  args.some((arg, i) => arg === "--json=true" || arg === "--json" && args[i + 1] !== "false")

/**
 * Runs `xen-shbuf` with the arguments of a command line, in the domain that the grant table belongs to. A failure is
 * printed, and then left to the caller for the exit code.
 *
 * @category running
 * @since 0.1.0
 */
export const run = (
  args: ReadonlyArray<string>
): Effect.Effect<void, Failure.Error, GrantTable | EventChannels | XenStore | Command.Environment> =>
  Command.runWith(command, { version })(args).pipe(
    Effect.tapCause(report),
    // Looked up beforehand: wrong flags are to be told in JSON as well.
    Effect.provide(Layer.mergeAll(
      isJson(args) ? Output.layerJson : Output.layerText,
      CliOutput.layerPresenter(presenter),
      CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] })
    ))
  )
