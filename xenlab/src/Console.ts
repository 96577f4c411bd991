/**
 * Adds to the domains what a person would run on a display: Debian's kmscon, a text console that draws through KMS, with the
 * keymaps that it reads.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { createHash } from "node:crypto"
import { dirname, join } from "node:path"
import { cache } from "./Lab.ts"
import { say } from "./Progress.ts"
import * as Provision from "./Provision.ts"
import { Target } from "./Target.ts"
import * as Tree from "./Tree.ts"

/** Where the program is in a domain. */
export const program = "/usr/libexec/kmscon/kmscon"

const packages = ["kmscon", "xkb-data"]
const keymaps = join("usr", "share", "X11", "xkb")

/** Gives the folder of files to add to the images, from the cache if it is there. */
export const make = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const { arch, release } = yield* Target
  const folder = yield* cache
  yield* fs.makeDirectory(folder, { recursive: true })
  const recipe = JSON.stringify([arch.triple, release, packages])
  const made = join(folder, `console-${createHash("sha256").update(recipe).digest("hex").slice(0, 16)}`)
  if (yield* fs.exists(made)) return made

  const debs = yield* Provision.debs(join(folder, "debs"), packages)
  yield* say("unpacking a text console")
  const work = yield* fs.makeTempDirectoryScoped({ directory: folder, prefix: `run-${process.pid}-` })
  const tree = join(work, "tree")
  yield* fs.makeDirectory(tree)
  yield* Tree.unpack(debs, tree)
  const files = join(work, "files")
  yield* Tree.copy(join(tree, program), join(files, program))
  yield* Tree.copyLibraries(tree, join(tree, program), files)
  yield* fs.makeDirectory(dirname(join(files, keymaps)), { recursive: true })
  yield* fs.copy(join(tree, keymaps), join(files, keymaps))
  yield* fs.rename(files, made)
  return made
}).pipe(Effect.scoped)
