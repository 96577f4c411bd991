/**
 * Makes what only the benchmark has in the domains: our C programs, the libraries of Debian's that they link to, and strace.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { createHash } from "node:crypto"
import { join } from "node:path"
import * as Command from "../../../xenlab/src/Command.ts"
import { place } from "../../../xenlab/src/Image.ts"
import { cache, workspace } from "../../../xenlab/src/Lab.ts"
import { say } from "../../../xenlab/src/Progress.ts"
import * as Provision from "../../../xenlab/src/Provision.ts"
import { Target } from "../../../xenlab/src/Target.ts"
import * as Tree from "../../../xenlab/src/Tree.ts"

const packages = ["libxen-dev", "strace"]

/** Our programs, with the libraries that they link to. */
const programs = {
  grants: ["xengnttab"],
  signals: ["xenevtchn", "xenstore"],
  display: ["xengnttab", "xenevtchn", "xenstore"],
  sound: ["xengnttab", "xenevtchn", "xenstore"]
}

/** What they include. */
const headers = ["backend.h"]

const home = join(workspace, "bench", "c")
const source = (name: string) => join(home, `${name}.c`)

/** How they are compiled: on the host, for the target's processor. */
const flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]

/** Gives the folder of files to add to the images, from the cache if it is there. */
export const make = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const { arch, release } = yield* Target
  const folder = yield* cache
  yield* fs.makeDirectory(folder, { recursive: true })
  const sources = yield* Effect.forEach(
    [...Object.keys(programs).map(source), ...headers.map((name) => join(home, name))],
    (file) => fs.readFileString(file)
  )
  const recipe = JSON.stringify([arch.triple, release, packages, flags, programs, sources])
  const made = join(folder, `bench-${createHash("sha256").update(recipe).digest("hex").slice(0, 16)}`)
  if (yield* fs.exists(made)) return made

  const { command } = arch.compiler
  yield* Provision.commands([...arch.commands, ...arch.compiler.packages.map((name) => [command, name] as const)])
  const debs = yield* Provision.debs(join(folder, "debs"), packages)
  yield* say("compiling the C programs of the benchmark")
  const work = yield* fs.makeTempDirectoryScoped({ directory: folder, prefix: `run-${process.pid}-` })
  const tree = join(work, "tree")
  yield* fs.makeDirectory(tree)
  yield* Tree.unpack(debs, tree)

  const files = join(work, "files")
  const libraries = join(tree, "usr", "lib", arch.triple)
  const strace = join(tree, "usr", "bin", "strace")
  yield* fs.makeDirectory(join(files, place), { recursive: true })
  for (const [name, linked] of Object.entries(programs)) {
    const program = join(files, place, name)
    yield* Command.run(command, [
      ...flags,
      ...["-isystem", join(tree, "usr", "include"), "-o", program, source(name)],
      ...["-L", libraries, `-Wl,-rpath-link=${libraries}:${join(tree, "lib", arch.triple)}`, ...linked.map((library) => `-l${library}`)]
    ])
    yield* Tree.copyLibraries(tree, program, files)
  }
  yield* Tree.copy(strace, join(files, "usr", "bin", "strace"))
  yield* Tree.copyLibraries(tree, strace, files)
  yield* fs.rename(files, made)
  return made
}).pipe(Effect.scoped)
