/**
 * `npm run check`: all that is found out without running anything: types, lint, Effect diagnostics, and whether what the
 * docs and the declarations say is so. Ends with one line that adds up everything, `N passed, N failed`.
 */
import { globSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { join } from "node:path"
import * as Modules from "./Modules.ts"
import * as Steps from "./Steps.ts"

const { close, skip, step } = Steps.make()

/** Whether the Effect diagnostics have a build for a machine, and it is installed. */
const hasDiagnostics = (arch: string): boolean => {
  const { resolve } = createRequire(import.meta.url)
  try {
    createRequire(resolve("@effect/tsgo/package.json")).resolve(`@effect/tsgo-${process.platform}-${arch}/package.json`)
    return true
  } catch {
    return false
  }
}

const diagnostics = async () => {
  // Linux on arm64 has no build of it. On x86 a missing one is a failure.
  if (process.arch !== "x64" && !hasDiagnostics(process.arch)) {
    return skip("Effect diagnostics", `effect-tsgo has no build for ${process.arch}`)
  }
  // The root's project goes on to all that it refers to, so this is every file.
  const options = ["--project", "tsconfig.json", "--strict", "--severity", "error,warning"]
  await step("Effect diagnostics: effect-tsgo", () => Steps.run(["effect-tsgo", "diagnostics", ...options]))
}

/** The compiler drops a comment with the import that it stands before; one with an empty line behind it stays. */
const heads = async () => {
  const all = globSync("packages/*", { cwd: Steps.root }).flatMap((folder) =>
    Modules.exported(join(Steps.root, folder)).map((name) => join(folder, "dist", `${name}.d.ts`))
  )
  const lost = all.filter((path) => !readFileSync(join(Steps.root, path), "utf8").startsWith("/**"))
  return { ok: lost.length === 0, text: `put an empty line behind the comment at the head of:\n${lost.join("\n")}` }
}

/** The packages move together, and the command says what it is. */
const versions = async () => {
  const packages = globSync("packages/*/package.json", { cwd: Steps.root }).map((path) => {
    const { name, version } = JSON.parse(readFileSync(join(Steps.root, path), "utf8"))
    return { name, version }
  })
  const { stdout } = await Steps.run(["node", "packages/cli/src/bin.ts", "--version"])
  const all = [...packages, { name: "the command", version: stdout.trim().replace(/^.* v?/, "") }]
  return {
    ok: new Set(all.map(({ version }) => version)).size === 1,
    text: all.map(({ name, version }) => `${name} ${version}`).join("\n")
  }
}

await step("types: tsc -b", () => Steps.run(["tsc", "-b"]))
await step("lint: oxlint --type-aware", () => Steps.run(["oxlint", "--type-aware", "--deny-warnings"]))
await diagnostics()
await step("figures: every ratio in the docs is one that a benchmark has printed", () =>
  Steps.run(["node", "scripts/figures.ts"]))
await step("declarations: each module that others import has the comment at its head", heads)
await step("versions: all packages and the command have the same", versions)

close("Not run here: the suites (npm test, npm run browsers), and whatever needs a real Xen (npm run xenlab).")
