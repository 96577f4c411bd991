/**
 * Fetches what the lab is made of: Debian and npm packages into the cache, and QEMU onto the host.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import { delimiter, join } from "node:path"
import { pipeline } from "node:stream/promises"
import * as Command from "./Command.ts"
import { LabError, workspace } from "./Lab.ts"
import { say } from "./Progress.ts"
import { type HostCommand, Target } from "./Target.ts"

/** The packages that the lab's domains are made of; their dependencies come along. */
export const packages = ({ arch, pages, release }: Target["Service"]): ReadonlyArray<string> => [
  "alsa-utils",
  "busybox-static",
  "libatomic1",
  "libgcc-s1",
  "libstdc++6",
  `linux-image-${arch.debian}${pages === "4k" ? "" : `-${pages}`}`,
  `xen-hypervisor-${release.xen}-${arch.debian}`,
  `xen-utils-${release.xen}`,
  "xenstore-utils"
]

const hostCommands: ReadonlyArray<HostCommand> = [
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
const withLists = <A, R>(effect: Effect.Effect<A, LabError, R>, options: ReadonlyArray<string> = []) =>
  Effect.catchTag(effect, "LabError", () =>
    say("apt-get update").pipe(
      Effect.andThen(Command.run("apt-get", [...options, "update", "-qq"])),
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
export const host = Effect.flatMap(Target, ({ arch }) => commands([...arch.commands, ...hostCommands]))

/**
 * The options that give apt package lists of its own, for the target's processor and release, in `folder`: the host's
 * have no say and stay as they are. The packages come from where the host's do.
 */
const aptOptions = Effect.fnUntraced(function*(folder: string) {
  const { arch, release } = yield* Target
  const fs = yield* FileSystem.FileSystem
  const uris = yield* Command.run("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
  const mirror = (archive: string) =>
    uris.split("\n").find((uri) => new RegExp(`/${archive}/?$`).test(uri)) ?? `http://deb.debian.org/${archive}/`
  const place = join(folder, `apt-${release.suite}-${arch.debian}`)
  yield* fs.makeDirectory(join(place, "lists", "partial"), { recursive: true })
  const keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
  yield* fs.writeFileString(
    join(place, "sources.list"),
    `deb [signed-by=${keys}] ${mirror("debian")} ${release.suite} main\n` +
      `deb [signed-by=${keys}] ${mirror("debian-security")} ${release.suite}-security main\n`
  )
  return [
    `APT::Architecture=${arch.debian}`,
    `APT::Architectures=${arch.debian}`,
    "APT::Install-Recommends=false",
    "APT::Sandbox::User=root",
    `Dir::Cache=${place}`,
    `Dir::State::Lists=${join(place, "lists")}`,
    `Dir::Etc::SourceList=${join(place, "sources.list")}`,
    "Dir::Etc::SourceParts=/dev/null",
    // With an empty list of installed packages apt resolves the whole closure.
    "Dir::State::Status=/dev/null"
  ].flatMap((option) => ["-o", option])
})

/** Fetches packages, and all that they need, into `folder`, each checked against apt's SHA-256. */
export const debs = Effect.fnUntraced(function*(folder: string, names: ReadonlyArray<string>) {
  const options = yield* aptOptions(folder)
  const resolved = yield* withLists(Command.run("apt-get", [...options, "-s", "-qq", "install", ...names]), options)
  const wanted = [...resolved.matchAll(/^Inst (\S+) \((\S+) /gm)].map(([, name, version]) => `${name}=${version}`)
  const stanzas = (yield* Command.run("apt-cache", [...options, "show", "--no-all-versions", ...wanted])).trim().split("\n\n")
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
        ...[...options, "download", "-qq"],
        ...absent.map((deb) => `${deb.name}=${deb.version}`)
      ], { cwd: folder }),
      options
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

/** The folder of an npm package of the lockfile: the workspace's, or one in the cache, checked against the lockfile. */
export const npm = Effect.fnUntraced(function*(folder: string, name: string) {
  const fs = yield* FileSystem.FileSystem
  for (const place of ["node_modules", join("node_modules", ".pnpm", "node_modules")]) {
    const installed = join(workspace, place, name)
    if (yield* fs.exists(installed)) return yield* fs.realPath(installed)
  }
  const lock = yield* fs.readFileString(join(workspace, "pnpm-lock.yaml"))
  const [, version, integrity] = new RegExp(`^  '?${name}@([^':]+)'?:\n    resolution: \\{integrity: ([^}]+)\\}`, "m")
    .exec(lock) ?? []
  const step = `fetch ${name} from npm`
  if (version === undefined) return yield* new LabError({ step, detail: "it is not in the lockfile" })
  const place = join(folder, `npm-${name.replace("/", "-")}-${version}`)
  if (yield* fs.exists(place)) return place

  yield* say(step)
  const work = yield* fs.makeTempDirectoryScoped({ directory: folder, prefix: `run-${process.pid}-` })
  const file = (yield* Command.run("npm", ["pack", "--silent", `${name}@${version}`], { cwd: work })).trim()
  const found = createHash("sha512").update(yield* fs.readFile(join(work, file))).digest("base64")
  if (integrity !== `sha512-${found}`) return yield* new LabError({ step, detail: "not what the lockfile promises" })
  yield* Command.run("tar", ["-xzf", file], { cwd: work })
  yield* fs.rename(join(work, "package"), place)
  return place
}, Effect.scoped)
