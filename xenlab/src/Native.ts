/**
 * Compiles the C program that draws in guests, statically, with the headers of Debian's packages, and adds strace.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { join } from "node:path"
import * as Command from "./Command.ts"
import * as Extra from "./Extra.ts"
import * as Image from "./Image.ts"
import { home } from "./Lab.ts"

const flags = [...Extra.flags, "-static"]
const source = join(home, "guest", "draw.c")

/** Where the program is inside a domain. */
export const draw = `${Image.place}/draw`

/** Gives the folder of files to add to the images. */
export const make = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  return yield* Extra.make({
    name: "native",
    saying: "compiling the C program that draws",
    packages: ["libdrm-dev", "strace"],
    commands: [["gcc", "gcc"], ["gcc", "libc6-dev"]],
    ingredients: [flags, yield* fs.readFileString(source)],
    fill: Effect.fnUntraced(function*(files, tree) {
      const headers = join(tree, "usr", "include", "libdrm")
      yield* Command.run("gcc", [...flags, "-isystem", headers, "-o", join(files, draw), source])
      yield* Extra.take(files, tree, "/usr/bin/strace")
    })
  })
})
