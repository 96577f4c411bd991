/**
 * The files of the page: built already in a package that is installed, and built now in a clone.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"

/**
 * A file of the page.
 *
 * @category models
 * @since 0.2.0
 */
export interface Asset {
  /** Its media type. */
  readonly type: string
  /** Its text. */
  readonly body: string
}

const types = {
  "index.html": "text/html; charset=utf-8",
  "style.css": "text/css; charset=utf-8",
  "main.js": "text/javascript; charset=utf-8",
  "listener.js": "text/javascript; charset=utf-8",
  "worklet.js": "text/javascript; charset=utf-8"
} as const

/**
 * The name of a file of the page.
 *
 * @category models
 * @since 0.2.0
 */
export type Name = keyof typeof types

/** Where this file is built already the page lies beside it. */
const isBuilt = !import.meta.url.endsWith(".ts")

const source = (name: string) => new URL(isBuilt ? `./page/${name}` : `../page/${name}`, import.meta.url)

/**
 * The programs of the page: its own, and what runs beside it to listen, and to play and record.
 *
 * @category constants
 * @since 0.2.0
 */
export const programs = ["main.js", "listener.js", "worklet.js"] as const

/**
 * Builds a program of the page from its source, as it is done for a package.
 *
 * @category building
 * @since 0.2.0
 */
export const bundle = async (name: typeof programs[number]): Promise<string> => {
  const { build } = await import("esbuild")
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(`../page/${name.replace(".js", ".ts")}`, import.meta.url))],
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    write: false
  })
  return outputFiles[0]!.text
}

const isProgram = (name: Name): name is typeof programs[number] => (programs as ReadonlyArray<string>).includes(name)

/**
 * Reads all files of the page.
 *
 * @category reading
 * @since 0.2.0
 */
export const load: Effect.Effect<ReadonlyMap<string, Asset>> = Effect.promise(async () => {
  const names = Object.keys(types) as ReadonlyArray<Name>
  const bodies = await Promise.all(names.map((name) =>
    isProgram(name) && !isBuilt ? bundle(name) : readFile(source(name), "utf8")))
  return new Map(names.map((name, i) => [name, { type: types[name], body: bodies[i]! }]))
})
