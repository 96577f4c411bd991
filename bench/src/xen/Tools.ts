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
import * as Tree from "../../../xenlab/src/Tree.ts"

const packages = ["libxen-dev", "strace"]

/** Our programs, with the libraries that they link to. */
const programs = { grants: ["xengnttab"], signals: ["xenevtchn", "xenstore"] }

const source = (name: string) => join(workspace, "bench", "c", `${name}.c`)

/** How they are compiled: on the host, which has the same Debian as the domains. */
const flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]

/** Gives the folder of files to add to the images, from the cache if it is there. */
export const make = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* cache
  yield* fs.makeDirectory(folder, { recursive: true })
  const sources = yield* Effect.forEach(Object.keys(programs), (name) => fs.readFileString(source(name)))
  const recipe = JSON.stringify([packages, flags, programs, sources])
  const made = join(folder, `bench-${createHash("sha256").update(recipe).digest("hex").slice(0, 16)}`)
  if (yield* fs.exists(made)) return made

  yield* Provision.commands([["gcc", "gcc"], ["gcc", "libc6-dev"]])
  const debs = yield* Provision.debs(join(folder, "debs"), packages)
  yield* say("compiling the C programs of the benchmark")
  const work = yield* fs.makeTempDirectoryScoped({ directory: folder, prefix: `run-${process.pid}-` })
  const tree = join(work, "tree")
  yield* fs.makeDirectory(tree)
  yield* Effect.forEach(debs, (deb) => Command.run("dpkg-deb", ["-x", deb.path, tree]))

  const files = join(work, "files")
  const libraries = join(tree, "usr", "lib", "x86_64-linux-gnu")
  const strace = join(tree, "usr", "bin", "strace")
  yield* fs.makeDirectory(join(files, place), { recursive: true })
  for (const [name, linked] of Object.entries(programs)) {
    const program = join(files, place, name)
    yield* Command.run("gcc", [
      ...flags,
      ...["-I", join(tree, "usr", "include"), "-o", program, source(name)],
      ...["-L", libraries, `-Wl,-rpath-link=${libraries}`, ...linked.map((library) => `-l${library}`)]
    ])
    yield* Tree.copyLibraries(tree, program, files)
  }
  yield* Tree.copy(strace, join(files, "usr", "bin", "strace"))
  yield* Tree.copyLibraries(tree, strace, files)
  yield* fs.rename(files, made)
  return made
}).pipe(Effect.scoped)
