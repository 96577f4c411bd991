/**
 * `npm test`: type check, lint, Effect diagnostics, and all suites that need no Xen. Ends with one line that adds up
 * everything, `N passed, N failed`.
 */
import { spawn } from "node:child_process"
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Steps from "./Steps.ts"

const scratch = mkdtempSync(join(tmpdir(), "xen-shbuf-test-"))
const { close, counts, skip, step } = Steps.make()

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
  const all = globSync("packages/*/dist/*.d.ts", { cwd: Steps.root }).filter((path) => !path.endsWith("/index.d.ts"))
  const lost = all.filter((path) => !/^(#!.*\n)?\/\*\*/.test(readFileSync(join(Steps.root, path), "utf8")))
  return { ok: lost.length === 0, text: `put an empty line behind the comment at the head of:\n${lost.join("\n")}` }
}

/** What vitest says of a run, as far as it is read here. */
interface Outcome {
  readonly success: boolean
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numTotalTests: number
  readonly testResults: ReadonlyArray<{
    readonly assertionResults: ReadonlyArray<{ readonly status: string; readonly ancestorTitles: ReadonlyArray<string> }>
  }>
}

/** The suites with tests that were left out; their titles say why. */
const skipped = ({ testResults }: Outcome): ReadonlySet<string> =>
  new Set(testResults.flatMap(({ assertionResults }) =>
    assertionResults.filter(({ status }) => status === "skipped").map(({ ancestorTitles }) => ancestorTitles.join(", "))))

const suites = async (): Promise<Outcome> => {
  const report = join(scratch, "vitest.json")
  const options = ["--reporter=default", "--reporter=json", `--outputFile=${report}`]
  const vitest = spawn("vitest", ["run", ...options], { cwd: Steps.root, stdio: "inherit" })
  await new Promise((resolve) => vitest.once("close", resolve).once("error", resolve))
  try {
    return JSON.parse(readFileSync(report, "utf8"))
  } catch {
    return { numPassedTests: 0, numFailedTests: 1, numTotalTests: 1, success: false, testResults: [] }
  }
}

// Takes one processor for a while, the suites longer than all of it.
const steps = async () => {
  await step("types: tsc -b", () => Steps.run(["tsc", "-b"]))
  await step("lint: oxlint --type-aware", () => Steps.run(["oxlint", "--type-aware", "--deny-warnings"]))
  await diagnostics()
  await step("figures: every ratio in the docs is one that a benchmark has printed", () =>
    Steps.run(["node", "scripts/figures.ts"]))
  await step("declarations: each module has the comment at its head", heads)
}
const [outcome] = await Promise.all([suites(), steps()])

counts.passed += outcome.numPassedTests
// A suite that can't even be loaded has no failed test, but the run is not a success.
counts.failed += outcome.success || outcome.numFailedTests > 0 ? outcome.numFailedTests : 1
if (outcome.numPassedTests === 0) counts.failed++
counts.skipped += outcome.numTotalTests - outcome.numPassedTests - outcome.numFailedTests
for (const title of skipped(outcome)) console.log(`not run ${title}`)

rmSync(scratch, { recursive: true })
close("Not run here: whatever needs a real Xen (npm run xenlab), and the packages where nothing else is (npm run shipping).")
