/**
 * Creates guests from dom0 with xl, and gives each as a machine.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { LabError, memory } from "./Lab.ts"
import { type Machine, output, run, sh } from "./Machine.ts"
import * as Remote from "./Remote.ts"
import type { GuestPlan } from "./Target.ts"

export type { Kind } from "./Target.ts"

/** A running guest. */
export interface Guest extends Machine {
  readonly domain: number
}

/** Creates a guest and waits for its agent; it is destroyed when the scope closes. */
export const guest = Effect.fnUntraced(function*(
  dom0: Machine,
  { devices = [], kind, name, processor }: GuestPlan,
  log: (line: string) => void
) {
  const config = [
    `name="${name}"`,
    `type="${kind}"`,
    `memory=${memory.guest}`,
    "vcpus=1",
    `cpus="${processor}"`,
    `kernel="/mnt/lab/kernel"`,
    `ramdisk="/mnt/lab/guest.img"`,
    `extra="console=hvc0 loglevel=5"`,
    `on_crash="destroy"`,
    `on_reboot="destroy"`,
    ...devices
  ].join("\n")
  const file = `/tmp/${name}.cfg`
  yield* output(dom0, ["sh", "-c", `cat > ${file}`], { input: `${config}\n` })
  const domain = yield* Effect.acquireRelease(
    sh(dom0, `xl create ${file} >&2; xl domid ${name}`, { patience: "4 minutes" }).pipe(
      Effect.map((text) => Number(text.trim()))
    ),
    (domain, exit) =>
      Exit.hasInterrupts(exit) ? Effect.void : Effect.ignore(run(dom0, ["xl", "destroy", String(domain)])),
    { interruptible: true }
  )
  const tty = (yield* output(dom0, ["xenstore-read", `/local/domain/${domain}/console/tty`])).trim()
  // The guest's console, as two processes in dom0: whoever reads it, and whoever types.
  const reader = yield* dom0.start(["cat", tty], { patience: Duration.infinity })
  const writer = yield* dom0.start(["sh", "-c", `exec cat > ${tty}`], { patience: Duration.infinity })
  const machine = yield* Remote.make(name, { nextLine: reader.nextLine, send: writer.send }, log).pipe(
    Effect.timeoutOrElse({
      duration: "6 minutes",
      orElse: () => Effect.fail(new LabError({ step: `boot the guest ${name}`, detail: "its agent does not answer" }))
    })
  )
  const booted: Guest = { ...machine, domain }
  return booted
})
