/**
 * `npm test`: type check, lint, Effect diagnostics, all suites that need no Xen, and the packages as they would be
 * published. Ends with one line that adds up everything, `N passed, N failed`. A step that fails does not hide the next.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { text } from "node:stream/consumers"
import { pack } from "./Pack.ts"

const root = join(import.meta.dirname, "..")
const scratch = mkdtempSync(join(tmpdir(), "xen-shbuf-test-"))

interface Result {
  readonly ok: boolean
  readonly text: string
}

const run = async (command: string, ...args: ReadonlyArray<string>): Promise<Result> => {
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] })
  const status = new Promise<number | null>((resolve, reject) => child.once("close", resolve).once("error", reject))
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { ok: await status === 0, text: `${stdout}${stderr}` }
}

let passed = 0
let failed = 0
let notRun = 0
const complaints: Array<string> = []

/** One quiet step. Its output matters only if it fails, and then at the very end, where the suites don't bury it. */
const step = async (name: string, work: () => Promise<Result>) => {
  const begin = performance.now()
  const { ok, text } = await work().catch((cause) => ({ ok: false, text: String(cause) }))
  if (ok) passed++
  else failed++
  console.log(`${ok ? "passed" : "FAILED"}  ${name} (${((performance.now() - begin) / 1000).toFixed(1)} s)`)
  if (!ok) complaints.push(`FAILED  ${name}\n${text}`)
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

const diagnostics = async () => {
  // Linux on arm64 has no build of it. On x86 a missing one is a failure.
  if (process.arch !== "x64" && !hasDiagnostics(process.arch)) {
    notRun++
    console.log(`not run Effect diagnostics: effect-tsgo has no build for ${process.arch}`)
    return
  }
  // The root's project goes on to all that it refers to, so this is every file.
  const args = ["--project", "tsconfig.json", "--strict", "--severity", "error,warning"]
  await step("Effect diagnostics: effect-tsgo", () => run("effect-tsgo", "diagnostics", ...args))
}

const packages = async () => {
  let packed: ReadonlyMap<string, string> = new Map()
  await step("all packages: packed", async () => {
    packed = await pack(scratch)
    return { ok: packed.size > 0, text: "there are none" }
  })
  for (const [name, tarball] of packed) {
    await step(`package ${basename(name)}: publint, attw`, async () => {
      const outcomes = [
        await run("publint", "run", tarball, "--strict"),
        await run("attw", tarball, "--profile", "esm-only", "--no-emoji")
      ]
      return { ok: outcomes.every(({ ok }) => ok), text: outcomes.map(({ text }) => text).join("\n") }
    })
  }
}

const suites = async () => {
  const report = join(scratch, "vitest.json")
  const args = ["run", "--reporter=default", "--reporter=json", `--outputFile=${report}`]
  const vitest = spawn("vitest", args, { cwd: root, stdio: "inherit" })
  await new Promise((resolve) => vitest.once("close", resolve).once("error", resolve))
  try {
    return JSON.parse(readFileSync(report, "utf8"))
  } catch {
    return { numPassedTests: 0, numFailedTests: 1, numTotalTests: 1, success: false }
  }
}

await step("types: tsc -b", () => run("tsc", "-b"))
// What follows takes one processor most of the time, the suites a while longer than all of it.
const steps = async () => {
  await step("lint: oxlint --type-aware", () => run("oxlint", "--type-aware", "--deny-warnings"))
  await diagnostics()
  await step("figures: every ratio in the docs is one that a benchmark has printed", () => run("node", "scripts/figures.ts"))
  await packages()
}
const [counts] = await Promise.all([suites(), steps()])

const skipped = notRun + counts.numTotalTests - counts.numPassedTests - counts.numFailedTests
passed += counts.numPassedTests
// A suite that can't even be loaded has no failed test, but the run is not a success.
failed += counts.success || counts.numFailedTests > 0 ? counts.numFailedTests : 1
if (counts.numPassedTests === 0) failed++

rmSync(scratch, { recursive: true })
for (const complaint of complaints) console.log(`\n${complaint}`)
console.log("\nNot run here: whatever needs a real Xen (npm run xenlab).")
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`)
process.exitCode = failed > 0 ? 1 : 0
