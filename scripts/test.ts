/**
 * `npm test`: all suites that need neither a Xen nor a browser; `npm run browsers` (`--browsers`): those that need one. Ends
 * with one line that adds up everything, `N passed, N failed`.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Steps from "./Steps.ts"

const scratch = mkdtempSync(join(tmpdir(), "xen-shbuf-test-"))
const { close, counts } = Steps.make()
const ofBrowsers = process.argv.includes("--browsers")

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
  const options = ["--project", ofBrowsers ? "browsers" : "!browsers", "--reporter=default", "--reporter=json", `--outputFile=${report}`]
  const vitest = spawn("vitest", ["run", ...options], { cwd: Steps.root, stdio: "inherit" })
  await new Promise((resolve) => vitest.once("close", resolve).once("error", resolve))
  try {
    return JSON.parse(readFileSync(report, "utf8"))
  } catch {
    return { numPassedTests: 0, numFailedTests: 1, numTotalTests: 1, success: false, testResults: [] }
  }
}

const outcome = await suites()
counts.passed += outcome.numPassedTests
// A suite that can't even be loaded has no failed test, but the run is not a success.
counts.failed += outcome.success || outcome.numFailedTests > 0 ? outcome.numFailedTests : 1
if (outcome.numPassedTests === 0) counts.failed++
counts.skipped += outcome.numTotalTests - outcome.numPassedTests - outcome.numFailedTests
for (const title of skipped(outcome)) console.log(`not run ${title}`)

rmSync(scratch, { recursive: true })
const others = ofBrowsers ? "all other suites (npm test)" : "the pages in a browser (npm run browsers)"
close(`Not run here: ${others}, types and lint (npm run check), whatever needs a real Xen (npm run xenlab), and the packages where nothing else is (npm run shipping).`)
