/**
 * Boots Xen and dom0 under QEMU's emulation, and gives dom0 as a machine.
 *
 * About one boot in eight hangs in the emulator: a watchdog ends such a QEMU and starts again. The scope owns QEMU,
 * and QEMU dies with this process even if it is killed: nothing is left running.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { dirname, join } from "node:path"
import * as Command from "./Command.ts"
import type { Console } from "./Grants.ts"
import type { Images } from "./Image.ts"
import { grantFrames, LabError, memory, processors } from "./Lab.ts"
import type { Machine } from "./Machine.ts"
import { say } from "./Progress.ts"
import * as Remote from "./Remote.ts"
import { Target } from "./Target.ts"
import type { Base } from "./Tree.ts"

/** A booted lab. */
export interface Booted {
  readonly dom0: Machine
  readonly console: Console
}

const attempts = 4
/** A boot that has been silent for so long hangs. A healthy one is never silent for more than some seconds. */
const silence = 40_000
/** A boot that has not come to its agent by then hangs, even if it talks. */
const limit = 300_000

const controlA = "\u0001"

const arguments_ = (target: Target["Service"], base: Base, images: Images, console: string): ReadonlyArray<string> => {
  const { arch, xsm } = target
  return [
    // One thread for all processors would be interrupted all the time, and QEMU 7.2 delivers an event that Xen injects
    // into a PVH guest twice if that happens just then: the guest dies in its interrupt entry.
    ...["-accel", "tcg,thread=multi"],
    ...["-m", String(memory.machine), "-smp", String(processors)],
    ...["-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"],
    ...["-chardev", `pipe,id=console,path=${console}`, "-serial", "chardev:console"],
    ...arch.options({
      xen: base.xen,
      kernel: base.kernel,
      initrd: images.dom0,
      xenOptions: [
        ...["loglvl=warning", "guest_loglvl=warning"],
        ...[`dom0_mem=${memory.dom0}M`, "dom0_max_vcpus=1", "dom0_vcpus_pin"],
        // QEMU's memory is zero already.
        ...["bootscrub=off", `gnttab_max_frames=${grantFrames}`],
        ...(xsm === undefined ? [] : [`xsm=${xsm}`])
      ]
    }),
    ...["-fsdev", `local,id=lab,path=${images.share},security_model=none,readonly=on`],
    ...["-device", `virtio-9p-${arch.bus},fsdev=lab,mount_tag=lab`],
    ...["-chardev", "stdio,id=agent,signal=off"],
    ...["-device", `virtio-serial-${arch.bus}`, "-device", "virtserialport,chardev=agent,name=xenlab"]
  ]
}

/** Starts one QEMU and waits for dom0's agent; fails if it hangs. */
const attempt = Effect.fnUntraced(function*(base: Base, images: Images, serial: string, log: (line: string) => void) {
  const fs = yield* FileSystem.FileSystem
  const target = yield* Target
  yield* fs.writeFileString(serial, "")
  // QEMU's pipe: what Xen prints goes to one file, and what is typed comes from the other, which no end closes.
  const console = join(yield* fs.makeTempDirectoryScoped({ directory: dirname(images.dom0) }), "console")
  yield* fs.symlink(serial, `${console}.out`)
  yield* Command.run("mkfifo", [`${console}.in`])
  const keyboard = yield* fs.open(`${console}.in`, { flag: "a+" })
  const input = yield* Queue.unbounded<Uint8Array, Cause.Done>()
  const lines = yield* Queue.unbounded<string, Cause.Done>()
  const qemu = yield* ChildProcess.make(
    "setpriv",
    ["--pdeathsig", "KILL", target.arch.qemu, ...arguments_(target, base, images, console)],
    { stdin: Stream.fromQueue(input), forceKillAfter: "2 seconds" }
  )
  const complaints = yield* Ref.make("")
  yield* Stream.decodeText(qemu.stderr).pipe(
    Stream.runForEach((text) => Ref.update(complaints, (all) => all + text)),
    Effect.ignore,
    Effect.forkScoped
  )
  yield* Stream.decodeText(qemu.stdout).pipe(
    Stream.splitLines,
    Stream.runForEach((line) => Queue.offer(lines, line)),
    Effect.ensuring(Queue.end(lines)),
    Effect.ignore,
    Effect.forkScoped
  )
  const channel: Remote.Channel<Cause.Done> = {
    nextLine: Queue.take(lines),
    send: (text) => Effect.asVoid(Queue.offer(input, Buffer.from(text)))
  }
  const hung = Effect.gen(function*() {
    const start = performance.now()
    let last = start
    let size = 0n
    while (performance.now() - last < silence && performance.now() - start < limit) {
      yield* Effect.sleep("1 second")
      const now = BigInt((yield* fs.stat(serial)).size)
      if (now !== size) last = performance.now()
      size = now
    }
    return yield* new LabError({ step: "boot", detail: "no sign of dom0" })
  })
  const ended = Effect.gen(function*() {
    const code = yield* qemu.exitCode
    return yield* new LabError({ step: "boot", detail: `QEMU ended with ${code}: ${yield* Ref.get(complaints)}` })
  })
  const dom0 = yield* Remote.make("dom0", channel, log).pipe(Effect.raceFirst(hung), Effect.raceFirst(ended))
  const press = (text: string) => Effect.orDie(keyboard.writeAll(Buffer.from(text)))
  // From dom0's console to Xen's own.
  yield* press(controlA.repeat(3))
  const booted: Booted = { dom0, console: { file: serial, press } }
  return booted
})

/** Boots, with the serial logs in `results`; a boot that hangs is tried again a few times. */
export const boot = Effect.fnUntraced(function*(
  base: Base,
  images: Images,
  results: string,
  log: (line: string) => void
) {
  const scope = yield* Effect.scope
  for (let n = 1;; n++) {
    yield* say(n === 1 ? "booting Xen and dom0" : `booting again (${n} of ${attempts})`)
    const own = yield* Scope.fork(scope)
    const exit = yield* Effect.exit(Scope.provide(attempt(base, images, join(results, `serial-${n}.log`), log), own))
    if (Exit.isSuccess(exit)) return exit.value
    yield* Scope.close(own, exit)
    if (n === attempts || Cause.hasInterrupts(exit.cause)) return yield* exit
    yield* say(`the boot failed: ${Cause.pretty(exit.cause).split("\n")[0]}`)
  }
})
