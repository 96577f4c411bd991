import { availableParallelism } from "node:os"
import { join } from "node:path"
import { defineConfig } from "vitest/config"

const all = ["{packages/*,bench,hostile}/test/**/*.test.ts", "examples/**/*.test.ts"]

/** Suites that count what their process holds, which has to be their own. All others share processes, and what they import. */
const alone = [
  "packages/core/test/Allocations.test.ts",
  "packages/linux/test/**/*.test.ts",
  "packages/testkit/test/{Cost,TestXen}.test.ts",
  "packages/xenbus/test/Ring.test.ts"
]

/** Suites that open pages in a Chromium: `npm run browsers` runs them, `npm test` all others. */
const browsers = ["packages/screen/test/Browser*.test.ts"]

/** Suites that map more than all others: what those leave in a process makes the collection of garbage slower for them. */
const testkit = ["packages/testkit/test/**/*.test.ts"]

// Not one for each package: processes are not shared between projects, and each has to load everything.
const projects = [
  { name: "shared", include: all, exclude: ["**/node_modules/**", ...testkit, ...alone, ...browsers], isolate: false },
  { name: "testkit", include: testkit, exclude: alone, isolate: false },
  { name: "alone", include: alone },
  { name: "browsers", include: browsers, isolate: false }
]

export default defineConfig({
  test: {
    // One more than there are processors: some suites wait for what they have started.
    maxWorkers: availableParallelism() + 1,
    // Long enough for a machine that is busy with other things: no test is about time.
    testTimeout: 60_000,
    // For the programs that tests start: a third of what the start of one takes is reading what the one before has read.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules/.cache/compiled") },
    projects: projects.map((test) => ({ extends: true as const, test: { ...test, execArgv: ["--expose-gc"] } }))
  }
})
