/**
 * Compiles the C side of a benchmark with the machine's own compiler.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { spawnSync } from "node:child_process"
import { join } from "node:path"

/** Where the C side is. */
export const folder = join(import.meta.dirname, "..", "c")

/** Gives the path of the compiled file, which lasts as long as the scope; `undefined` where there is no C compiler. */
export const compile = Effect.fnUntraced(function*(
  sources: ReadonlyArray<string>,
  options: ReadonlyArray<string> = []
) {
  const fs = yield* FileSystem.FileSystem
  const path = join(yield* fs.makeTempDirectoryScoped({ prefix: "xen-shbuf-bench-" }), "compiled")
  const files = sources.map((source) => join(folder, source))
  const { error, status, stderr } = spawnSync("cc", ["-std=gnu11", "-O2", ...options, "-o", path, ...files], {
    encoding: "utf8"
  })
  if (error !== undefined) return undefined
  return status === 0 ? path : yield* Effect.die(new Error(`cc: ${stderr}`))
})

/** The same, as a library for this process to load. */
export const library = (sources: ReadonlyArray<string>, options: ReadonlyArray<string> = []) =>
  compile(sources, ["-shared", "-fPIC", ...options])
