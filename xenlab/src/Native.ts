/**
 * Compiles the C programs that run in guests, statically, with the headers of Debian's packages, and adds strace.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { createHash } from "node:crypto"
import { join } from "node:path"
import * as Command from "./Command.ts"
import * as Image from "./Image.ts"
import { cache, home } from "./Lab.ts"
import { say } from "./Progress.ts"
import * as Provision from "./Provision.ts"
import * as Tree from "./Tree.ts"

const packages = ["libdrm-dev", "strace"]
const flags = ["-std=gnu11", "-static", "-O2", "-Wall", "-Wextra", "-Werror"]
const source = join(home, "guest", "draw.c")

/** Where the program is inside a domain. */
export const draw = `${Image.place}/draw`

/** Gives the folder of files to add to the images, from the cache if it is there. */
export const make = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* cache
  yield* fs.makeDirectory(folder, { recursive: true })
  const recipe = JSON.stringify([packages, flags, yield* fs.readFileString(source)])
  const made = join(folder, `native-${createHash("sha256").update(recipe).digest("hex").slice(0, 16)}`)
  if (yield* fs.exists(made)) return made

  yield* Provision.commands([["gcc", "gcc"], ["gcc", "libc6-dev"]])
  const debs = yield* Provision.debs(join(folder, "debs"), packages)
  yield* say("compiling the C program that draws")
  const work = yield* fs.makeTempDirectoryScoped({ directory: folder, prefix: `run-${process.pid}-` })
  const tree = join(work, "tree")
  yield* fs.makeDirectory(tree)
  yield* Tree.unpack(debs, tree)

  const files = join(work, "files")
  yield* fs.makeDirectory(join(files, Image.place), { recursive: true })
  yield* Command.run("gcc", [
    ...flags,
    ...["-isystem", join(tree, "usr", "include", "libdrm"), "-o", join(files, draw), source]
  ])
  const strace = join(tree, "usr", "bin", "strace")
  yield* Tree.copy(strace, join(files, "usr", "bin", "strace"))
  yield* Tree.copyLibraries(tree, strace, files)
  yield* fs.rename(files, made)
  return made
}).pipe(Effect.scoped)
