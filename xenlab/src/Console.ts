/**
 * Adds to the domains what a person would run on a display: Debian's kmscon, a text console that draws through KMS, with the
 * keymaps that it reads.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { dirname, join } from "node:path"
import * as Extra from "./Extra.ts"

/** Where the program is in a domain. */
export const program = "/usr/libexec/kmscon/kmscon"

const keymaps = join("usr", "share", "X11", "xkb")

/** Gives the folder of files to add to the images. */
export const make = Extra.make({
  name: "console",
  saying: "unpacking a text console",
  packages: ["kmscon", "xkb-data"],
  ingredients: [],
  fill: Effect.fnUntraced(function*(files, tree) {
    const fs = yield* FileSystem.FileSystem
    yield* Extra.take(files, tree, program)
    yield* fs.makeDirectory(dirname(join(files, keymaps)), { recursive: true })
    yield* fs.copy(join(tree, keymaps), join(files, keymaps))
  })
})
