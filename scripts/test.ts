/**
 * `npm test`: type check, lint, Effect diagnostics, all suites that need no Xen, and the packages as they would be
 * published. Ends with one line that adds up everything, `N passed, N failed`. A step that fails does not hide the next.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"

const root = join(import.meta.dirname, "..")
const scratch = mkdtempSync(join(tmpdir(), "xen-shbuf-test-"))
const packages = readdirSync(join(root, "packages"))

const run = (command: string, args: ReadonlyArray<string>, cwd = root) => {
  const { status, stderr, stdout } = spawnSync(command, args, { cwd, encoding: "utf8" })
  return { ok: status === 0, text: `${stdout}${stderr}` }
}

let passed = 0
let failed = 0
let notRun = 0

/** One quiet step: its output matters only if it fails. */
const step = (name: string, work: () => { readonly ok: boolean; readonly text: string }) => {
  const begin = performance.now()
  const { ok, text } = work()
  if (ok) passed++
  else failed++
  console.log(`${ok ? "passed" : "FAILED"}  ${name} (${((performance.now() - begin) / 1000).toFixed(1)} s)`)
  if (!ok) console.log(text)
}

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

const all = (results: ReadonlyArray<{ readonly ok: boolean; readonly text: string }>) => ({
  ok: results.every((result) => result.ok),
  text: results.filter((result) => !result.ok).map((result) => result.text).join("\n")
})

step("types: tsc -b", () => run("tsc", ["-b"]))
step("lint: oxlint --type-aware", () => run("oxlint", ["--type-aware", "--deny-warnings"]))
// Linux on arm64 has no build of it. On x86 a missing one is a failure.
if (process.arch === "x64" || hasDiagnostics(process.arch)) {
  step("Effect diagnostics: effect-tsgo", () =>
    all(["tsconfig.json", ...packages.map((name) => `packages/${name}/tsconfig.json`)].map((project) =>
      run("effect-tsgo", ["diagnostics", "--project", project, "--strict", "--severity", "error,warning"])
    )))
} else {
  notRun++
  console.log(`not run Effect diagnostics: effect-tsgo has no build for ${process.arch}`)
}
step("figures: every ratio in the docs is one that a benchmark has printed", () => run("node", ["scripts/figures.ts"]))
for (const name of packages) {
  step(`package ${name}: packed, publint, attw`, () => {
    const into = join(scratch, name)
    const pack = run("npx", ["--yes", "pnpm@12.21.0", "pack", "--pack-destination", into], join(root, "packages", name))
    if (!pack.ok) return pack
    const tarball = join(into, readdirSync(into)[0]!)
    return all([
      run("publint", ["run", tarball, "--strict"]),
      run("attw", [tarball, "--profile", "esm-only", "--no-emoji"])
    ])
  })
}

const report = join(scratch, "vitest.json")
spawnSync("vitest", ["run", "--reporter=default", "--reporter=json", `--outputFile=${report}`], {
  cwd: root,
  stdio: "inherit"
})
const counts = (() => {
  try {
    return JSON.parse(readFileSync(report, "utf8"))
  } catch {
    return { numPassedTests: 0, numFailedTests: 1, numTotalTests: 1, success: false }
  }
})()
const skipped = notRun + counts.numTotalTests - counts.numPassedTests - counts.numFailedTests
passed += counts.numPassedTests
// A suite that can't even be loaded has no failed test, but the run is not a success.
failed += counts.success || counts.numFailedTests > 0 ? counts.numFailedTests : 1
if (counts.numPassedTests === 0) failed++

rmSync(scratch, { recursive: true })
console.log("\nNot run here: whatever needs a real Xen (npm run xenlab).")
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`)
process.exitCode = failed > 0 ? 1 : 0
