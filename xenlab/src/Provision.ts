/**
 * Fetches what the lab is made of: Debian packages into the cache, and QEMU onto the host.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import { delimiter, join } from "node:path"
import { pipeline } from "node:stream/promises"
import * as Command from "./Command.ts"
import { LabError } from "./Lab.ts"
import { say } from "./Progress.ts"

/** The packages that the lab's domains are made of; their dependencies come along. */
export const packages: ReadonlyArray<string> = [
  "busybox-static",
  "libatomic1",
  "libgcc-s1",
  "libstdc++6",
  "linux-image-amd64",
  "xen-hypervisor-4.17-amd64",
  "xen-utils-4.17",
  "xenstore-utils"
]

/** A command that the host must have, and the Debian package that it needs for that. */
export type HostCommand = readonly [command: string, name: string]

const hostCommands: ReadonlyArray<HostCommand> = [
  ["qemu-system-x86_64", "qemu-system-x86"],
  ["dpkg-deb", "dpkg"],
  ["setpriv", "util-linux"],
  ["xz", "xz-utils"]
]

/** A fetched package. */
export interface Deb {
  readonly name: string
  readonly version: string
  readonly sha256: string
  readonly path: string
}

/** The SHA-256 of a file, in hex. */
export const sha256 = (path: string): Effect.Effect<string, LabError> =>
  Effect.tryPromise({
    try: async (signal) => {
      const hash = createHash("sha256")
      await pipeline(createReadStream(path), hash, { signal })
      return hash.digest("hex")
    },
    catch: (cause) => new LabError({ step: `hash ${path}`, detail: String(cause) })
  })

/** Runs something that needs apt's package lists; if it fails, once more with fresh lists. */
const withLists = <A, R>(effect: Effect.Effect<A, LabError, R>) =>
  Effect.catchTag(effect, "LabError", () =>
    say("apt-get update").pipe(
      Effect.andThen(Command.run("apt-get", ["update", "-qq"])),
      Effect.andThen(effect)
    ))

/** Installs on the host, as root, what is called there and not found. */
export const commands = Effect.fnUntraced(function*(wanted: ReadonlyArray<HostCommand>) {
  if (process.platform !== "linux" || process.arch !== "x64") {
    return yield* new LabError({ step: "look at the host", detail: "the lab runs on x86-64 Linux" })
  }
  const fs = yield* FileSystem.FileSystem
  const path = (process.env["PATH"] ?? "").split(delimiter).concat("/usr/sbin", "/sbin")
  const missing = yield* Effect.filter(wanted, ([command]) =>
    Effect.map(
      Effect.forEach(path, (folder) => Effect.orElseSucceed(fs.exists(join(folder, command)), () => false)),
      (found) => !found.includes(true)
    ))
  if (missing.length === 0) return
  const names = missing.map(([, name]) => name)
  yield* say(`installing on this machine: ${names.join(", ")}`)
  yield* withLists(Command.run("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...names]))
})

/** Installs what the lab calls on the host. */
export const host = commands(hostCommands)

/** Fetches packages, and all that they need, into `folder`, each checked against apt's SHA-256. */
export const debs = Effect.fnUntraced(function*(folder: string, names: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.makeDirectory(folder, { recursive: true })

  // With an empty list of installed packages apt resolves the whole closure, whatever the host has.
  const resolved = yield* withLists(
    Command.run("apt-get", [
      ...["-s", "-qq", "-o", "Dir::State::status=/dev/null", "-o", "APT::Install-Recommends=false"],
      ...["install", ...names]
    ])
  )
  const wanted = [...resolved.matchAll(/^Inst (\S+) \((\S+) /gm)].map(([, name, version]) => `${name}=${version}`)
  const stanzas = (yield* Command.run("apt-cache", ["show", "--no-all-versions", ...wanted])).trim().split("\n\n")
  const found = stanzas.map((stanza): Deb => {
    const field = (name: string): string => new RegExp(`^${name}: (.*)$`, "m").exec(stanza)?.[1] ?? ""
    const [name, version] = [field("Package"), field("Version")]
    // apt-get download names a file like this, with the epoch's colon escaped.
    const file = `${name}_${version.replaceAll(":", "%3a")}_${field("Architecture")}.deb`
    return { name, version, sha256: field("SHA256"), path: join(folder, file) }
  })

  const intact = (deb: Deb) => Effect.orElseSucceed(Effect.map(sha256(deb.path), (sum) => sum === deb.sha256), () => false)
  const absent = yield* Effect.filter(found, (deb) => Effect.map(intact(deb), (yes) => !yes), { concurrency: 4 })
  if (absent.length > 0) {
    yield* say(`fetching ${absent.length} Debian packages`)
    yield* withLists(
      Command.run("apt-get", [
        ...["download", "-qq", "-o", "APT::Sandbox::User=root"],
        ...absent.map((deb) => `${deb.name}=${deb.version}`)
      ], { cwd: folder })
    )
    const broken = yield* Effect.filter(absent, (deb) => Effect.map(intact(deb), (yes) => !yes))
    if (broken.length > 0) {
      return yield* new LabError({
        step: "check the Debian packages",
        detail: `not what apt's lists promise: ${broken.map((deb) => deb.path).join(", ")}`
      })
    }
  }
  return found
})
