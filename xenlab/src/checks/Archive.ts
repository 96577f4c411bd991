/**
 * Unpacks the archive of `npm run archive` in dom0 and calls it there, as the guide to installing tells: without
 * anything of the lab's, as root, and as a user of the group that may use the devices.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import { basename, join } from "node:path"
import type { Booted } from "../Boot.ts"
import * as Command from "../Command.ts"
import { workspace } from "../Lab.ts"
import { type Machine, run, sh } from "../Machine.ts"
import { type Check, CheckError, same } from "../Plan.ts"
import type { Arch } from "../Target.ts"
import * as Modules from "./Modules.ts"
import * as Tool from "./Tool.ts"

/** dom0, and where the archive is in it. */
export interface Context {
  readonly machine: Machine
  readonly place: string
}

/** Makes the archive for a processor, and unpacks it in dom0's memory. */
export const acquire = Effect.fnUntraced(function*({ dom0, share }: Booted, arch: Arch) {
  const script = join(workspace, "scripts", "archive.ts")
  const file = (yield* Command.run("node", [script, "--arch", arch.npm, "--to", share])).trim()
  const place = `/tmp/${basename(file, ".tar.gz")}`
  yield* Effect.acquireRelease(
    sh(dom0, `tar -xzf /mnt/lab/${basename(file)} -C /tmp`, { patience: "5 minutes" }),
    () => Effect.ignore(sh(dom0, `rm -rf ${place}`))
  )
  const context: Context = { machine: dom0, place }
  return context
}, Effect.provide(NodeServices.layer))

/** The command of the archive, and no environment. */
const command = ({ place }: Context, args: ReadonlyArray<string | number>): ReadonlyArray<string> => [
  ...["env", "-i", `${place}/xen-shbuf`],
  ...args.map(String),
  "--json"
]

/** A user, and the group that the devices are given to. */
const user = 1000
const group = 4711

/** The same, as a user who is in that group, or in none. There is no `su` in the lab; the archive has a Node. */
const asUser = (context: Context, args: ReadonlyArray<string | number>, inGroup = true): ReadonlyArray<string> => {
  const [env, clean, ...rest] = command(context, args)
  const become = `process.setgroups([${inGroup ? group : ""}]); process.setgid(${user}); process.setuid(${user})`
  const program = `${become}; process.execve(process.argv[1], process.argv.slice(1), {})`
  return [env!, clean!, `${context.place}/node`, "-e", program, ...rest]
}

const devices = ["gntalloc", "gntdev"] as const

/** What the rule for udev does; there is none in the lab. */
const giveTo = (owner: number, mode: string) => ({ machine }: Context) =>
  sh(machine, devices.map((name) => `chgrp ${owner} /dev/xen/${name}; chmod ${mode} /dev/xen/${name}`).join("; "))

const doctor: Check<Context> = {
  name: "the archive runs without an environment, and its doctor finds nothing wrong",
  run: Effect.fnUntraced(function*(context) {
    const { code, stderr, stdout } = yield* run(context.machine, command(context, ["doctor"]))
    if (code !== 0) return yield* new CheckError({ message: `doctor ended with ${code}:\n${stdout}${stderr}` })
  })
}

const refused: Check<Context> = {
  name: "who is not in the group is refused, and told why",
  run: Effect.fnUntraced(function*(context) {
    const { code, stderr, stdout } = yield* run(context.machine, asUser(context, ["share", "--peer", 0, "--bytes", 1], false))
    yield* same("the exit code", code, 1)
    yield* Tool.mentions({ event: "error", message: `${stdout}${stderr}` }, "EACCES", "gntalloc")
  })
}

const shared: Check<Context> = {
  name: "a user in the group shares a frame, and another process of theirs maps it",
  run: Effect.fnUntraced(function*(context) {
    const { machine } = context
    yield* Effect.acquireRelease(giveTo(group, "660")(context), () => Effect.ignore(giveTo(0, "600")(context)))
    const size = ["--peer", 0, "--bytes", Modules.frame]
    const sharing = yield* machine.start(asUser(context, ["share", ...size, "--pattern", "noise:1"]))
    const { directory, sha256 } = yield* sharing.expect("shared")
    const mapping = yield* machine.start(asUser(context, ["map", ...size, "--directory", String(directory), "--hold"]))
    yield* same("the hash of what is mapped", (yield* mapping.expect("mapped"))["sha256"], sha256)
    yield* mapping.enter
    yield* Tool.release(mapping)
    yield* sharing.enter
    yield* sharing.expect("contents")
    yield* Tool.release(sharing)
  })
}

const limited: Check<Context> = {
  name: "gntalloc gets its limit from the archive's modprobe.d when it is loaded",
  run: Effect.fnUntraced(function*({ machine, place }) {
    const before = (yield* sh(machine, `cat ${Modules.limit}`)).trim()
    yield* Effect.acquireRelease(
      sh(machine, `mkdir -p /etc/modprobe.d; cp ${place}/etc/modprobe.d/* /etc/modprobe.d`),
      () => Effect.ignore(sh(machine, `rm -r /etc/modprobe.d; modprobe xen-gntalloc; echo ${before} > ${Modules.limit}`))
    )
    const module = `$(grep -v '^#' ${place}/etc/modules-load.d/* | head -n 1)`
    yield* same("the limit", (yield* sh(machine, `rmmod xen_gntalloc; modprobe ${module}; cat ${Modules.limit}`)).trim(), "4096")
  })
}

/** For a dom0 that is prepared, and in which nothing else uses the devices. */
export const checks: ReadonlyArray<Check<Context>> = [limited, doctor, refused, shared]
