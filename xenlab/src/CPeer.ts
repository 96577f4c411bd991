/**
 * Adds to the domains what speaks vchan and is not ours: Debian's `vchan-socket-proxy`, and a C program on Debian's
 * libxenvchan, compiled on the host for the target's processor.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { createHash } from "node:crypto"
import { join } from "node:path"
import * as Command from "./Command.ts"
import { place } from "./Image.ts"
import { cache, home } from "./Lab.ts"
import { say } from "./Progress.ts"
import * as Provision from "./Provision.ts"
import { Target } from "./Target.ts"
import * as Tree from "./Tree.ts"

/** Where they are in a domain. */
export const program = `${place}/vchan`
export const proxy = `${place}/vchan-socket-proxy`

const source = join(home, "c", "vchan.c")

const flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]

/** Gives the folder of files to add to the images, from the cache if it is there. */
export const make = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const { arch, release } = yield* Target
  const folder = yield* cache
  yield* fs.makeDirectory(folder, { recursive: true })
  const packages = ["libxen-dev", `xen-utils-${release.xen}`]
  const recipe = JSON.stringify([arch.triple, release, packages, flags, yield* fs.readFileString(source)])
  const made = join(folder, `vchan-${createHash("sha256").update(recipe).digest("hex").slice(0, 16)}`)
  if (yield* fs.exists(made)) return made

  const { command } = arch.compiler
  yield* Provision.commands([...arch.commands, ...arch.compiler.packages.map((name) => [command, name] as const)])
  const debs = yield* Provision.debs(join(folder, "debs"), packages)
  yield* say("compiling the C program that speaks vchan")
  const work = yield* fs.makeTempDirectoryScoped({ directory: folder, prefix: `run-${process.pid}-` })
  const tree = join(work, "tree")
  yield* fs.makeDirectory(tree)
  yield* Tree.unpack(debs, tree)
  const files = join(work, "files")
  yield* fs.makeDirectory(join(files, place), { recursive: true })
  const libraries = join(tree, "usr", "lib", arch.triple)
  yield* Command.run(command, [
    ...flags,
    ...["-isystem", join(tree, "usr", "include"), "-o", join(files, program), source],
    ...["-L", libraries, `-Wl,-rpath-link=${libraries}:${join(tree, "lib", arch.triple)}`, "-lxenvchan"]
  ])
  yield* Tree.copyLibraries(tree, join(files, program), files)
  const debian = join(tree, "usr", "lib", `xen-${release.xen}`, "bin", "vchan-socket-proxy")
  yield* Tree.copy(debian, join(files, proxy))
  yield* Tree.copyLibraries(tree, debian, files)
  yield* fs.rename(files, made)
  return made
}).pipe(Effect.scoped)
