/**
 * Makes what only the benchmark has in the domains: our C programs, the libraries of Debian's that they link to, and strace.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { join } from "node:path"
import * as Extra from "../../../xenlab/src/Extra.ts"
import { workspace } from "../../../xenlab/src/Lab.ts"

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
const sourceOf = (name: string) => join(home, `${name}.c`)

/** Gives the folder of files to add to the images. */
export const make = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const sources = yield* Effect.forEach(
    [...Object.keys(programs).map(sourceOf), ...headers.map((name) => join(home, name))],
    (file) => fs.readFileString(file)
  )
  return yield* Extra.make({
    name: "bench",
    saying: "compiling the C programs of the benchmark",
    packages: ["libxen-dev", "strace"],
    commands: yield* Extra.compilers,
    ingredients: [Extra.flags, programs, sources],
    fill: Effect.fnUntraced(function*(files, tree) {
      for (const [name, libraries] of Object.entries(programs)) {
        yield* Extra.compile({ files, tree, name, source: sourceOf(name), libraries })
      }
      yield* Extra.take(files, tree, "/usr/bin/strace")
    })
  })
})
