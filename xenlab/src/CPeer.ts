/**
 * Adds to the domains what speaks vchan and is not ours: Debian's `vchan-socket-proxy`, and a C program on Debian's
 * libxenvchan.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { join } from "node:path"
import * as Extra from "./Extra.ts"
import { place } from "./Image.ts"
import { home } from "./Lab.ts"
import { Target } from "./Target.ts"

/** Where they are in a domain. */
export const program = `${place}/vchan`
export const proxy = `${place}/vchan-socket-proxy`

const source = join(home, "c", "vchan.c")

/** Gives the folder of files to add to the images. */
export const make = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const { release } = yield* Target
  return yield* Extra.make({
    name: "vchan",
    saying: "compiling the C program that speaks vchan",
    packages: ["libxen-dev", `xen-utils-${release.xen}`],
    commands: yield* Extra.compilers,
    ingredients: [Extra.flags, yield* fs.readFileString(source)],
    fill: Effect.fnUntraced(function*(files, tree) {
      yield* Extra.compile({ files, tree, name: "vchan", source, libraries: ["xenvchan"] })
      yield* Extra.take(files, tree, `/usr/lib/xen-${release.xen}/bin/vchan-socket-proxy`, proxy)
    })
  })
})
