/**
 * Does what README.md tells to do on a Xen host: the commands of that section as they stand, in order, in their domains.
 */
import * as Png from "@xen-shbuf/cli/Png"
import * as TestCard from "@xen-shbuf/cli/TestCard"
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Image from "../Image.ts"
import { workspace } from "../Lab.ts"
import { type Machine, output, type Process, run, sh } from "../Machine.ts"
import { type Check, CheckError, type Lab, same } from "../Plan.ts"
import type { Guest } from "../Toolstack.ts"
import * as Modules from "./Modules.ts"

/** The commands of the section, without the comments behind them. */
const commands = (readme: string): ReadonlyArray<string> => {
  const section = (readme.split("\n## On a Xen host\n")[1] ?? "").split("\n## ")[0] ?? ""
  return [...section.matchAll(/^```sh\n(.*?)^```$/gms)]
    .flatMap(([, block = ""]) => block.split("\n"))
    .map((line) => line.replace(/\s+#.*$/, ""))
    .filter((line) => line !== "")
}

/** Gives each command, in their order, to the check that expects it; any other fails. */
const reader = (lines: ReadonlyArray<string>) => {
  let at = 0
  return {
    next: (start: string) =>
      Effect.suspend(() => {
        const line = lines[at++]
        return line?.startsWith(start) === true ? Effect.succeed(line) : Effect.fail(
          new CheckError({ message: `README's command ${at} is ${JSON.stringify(line)}, expected one that starts with ${start}` })
        )
      }),
    end: Effect.suspend(() => same("what README tells besides", lines.slice(at), []))
  }
}

/** Linux's own limit of gntalloc, which README raises. */
const linuxLimit = 1024

const patience = "4 minutes"

/** Reads lines until one fits, and gives what it found in it. */
const find = Effect.fnUntraced(function*(process: Process, pattern: RegExp) {
  for (;;) {
    const found = pattern.exec(yield* process.nextLine)?.[1]
    if (found !== undefined) return found
  }
})

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")

/** The test card that the host draws and encodes, in the size that a command asks for. */
const card = (command: string) => {
  const [, width, height] = / --width (\d+) --height (\d+)/.exec(command)?.map(Number) ?? []
  return width === undefined || height === undefined
    ? Effect.fail(new CheckError({ message: `no size in ${command}` }))
    : Png.encode({ width, height, bytes: TestCard.draw(width, height) })
}

const follow = (lab: Lab) =>
  Effect.fnUntraced(function*({ guest }: { readonly guest: Guest }) {
    const { dom0 } = lab
    const folder = `/tmp/readme-${guest.name}`
    const script = (command: string): ReadonlyArray<string> => ["sh", "-ec", `cd ${folder}; exec ${command}`]
    const bundled = (command: string) => command.replace("npm run xen-shbuf --", `node ${Image.place}/cli.mjs`)
    const inBoth = <A, E>(one: (machine: Machine) => Effect.Effect<A, E>) =>
      Effect.all([one(guest), one(dom0)], { concurrency: 2 })
    const { end, next } = reader(commands(readFileSync(join(workspace, "README.md"), "utf8")))

    yield* inBoth((machine) => sh(machine, `mkdir -p ${folder}`))
    const before = (yield* sh(guest, `cat ${Modules.limit}`)).trim()
    yield* Effect.acquireRelease(
      sh(guest, `echo ${linuxLimit} > ${Modules.limit}`),
      () => Effect.ignore(sh(guest, `echo ${before} > ${Modules.limit}`))
    )

    const modprobe = yield* next("modprobe ")
    yield* inBoth((machine) => output(machine, script(modprobe)))
    const doctor = bundled(yield* next("npm run xen-shbuf -- doctor "))
    const [inGuest, inDom0] = yield* inBoth((machine) => run(machine, script(doctor), { patience }))
    yield* same("what doctor finds in dom0, where the limit is raised", inDom0.code, 0)
    yield* same("what doctor finds in the guest", inGuest.code, 1)
    const limits = inGuest.stdout.split("\n").filter((line) => line.includes(Modules.limit))
    yield* same("doctor's lines about the limit", limits.length, 1)
    yield* same("the points to mend", / (\d+) points? to mend/.exec(inGuest.stdout)?.[1], "1")
    yield* output(guest, script(yield* next("echo ")))

    const share = yield* guest.start(script(bundled(yield* next("npm run xen-shbuf -- share "))), { patience })
    const directory = yield* find(share, / directory (\d+)\./)
    const hash = yield* find(share, /^sha256 (\w+)$/)
    const real = (command: string) =>
      bundled(command).replace("--peer 5", `--peer ${guest.domain}`).replace("--directory 812", `--directory ${directory}`)
    const map = yield* next("npm run xen-shbuf -- map ")
    const mapped = yield* output(dom0, script(real(map)), { patience })
    yield* same("the hash of what dom0 sees", /^sha256 (\w+)$/m.exec(mapped)?.[1], hash)
    const walked = yield* output(dom0, script(real(yield* next("npm run xen-shbuf -- walk "))), { patience })
    yield* same("whether walk finds nothing wrong", walked.includes("✓ Nothing is wrong"), true)
    yield* end

    const png = (yield* sh(dom0, `cd ${folder}; sha256sum card.png`)).split(" ")[0]
    yield* same("the picture that dom0 wrote", png, sha256(yield* card(map)))
    yield* share.enter
    yield* find(share, /^(Released)\.$/)
    yield* same("the exit code of share", (yield* share.completed).code, 0)
  })

/** The check of a prepared guest and a prepared dom0. */
export const check = (lab: Lab): Check<{ readonly guest: Guest }> => ({
  name: "what README tells to do on a Xen host works as it stands: dom0 writes the guest's test card",
  run: follow(lab)
})
