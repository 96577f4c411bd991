import { readdirSync } from "node:fs"
import { availableParallelism } from "node:os"
import { basename, join } from "node:path"
import { defineConfig } from "vitest/config"

const roots = [...readdirSync("packages").map((name) => `packages/${name}`), "bench", "hostile"]

/** Suites that count what their process holds, which has to be their own. All others share processes, and what they import. */
const alone: { readonly [root: string]: ReadonlyArray<string> } = {
  "packages/core": ["test/Allocations.test.ts"],
  "packages/linux": ["test/**/*.test.ts"],
  "packages/testkit": ["test/{Cost,TestXen}.test.ts"],
  "packages/xenbus": ["test/Ring.test.ts"]
}

/** Suites that open pages in a Chromium: `npm run browsers` runs them, `npm test` all others. */
const browsers = { name: "browsers", root: "packages/screen", include: ["test/Browser*.test.ts"] }

const excluded = (root: string) => [...alone[root] ?? [], ...root === browsers.root ? browsers.include : []]

const projects = [
  ...roots.map((root) => ({ name: basename(root), root, include: ["test/**/*.test.ts"], exclude: excluded(root) })),
  { name: "examples", root: "examples", include: ["**/*.test.ts"], exclude: ["**/node_modules/**"] },
  browsers
]

const apart = Object.entries(alone).map(([root, include]) => ({ name: `${basename(root)}-alone`, root, include: [...include] }))

export default defineConfig({
  test: {
    // One more than there are processors: some suites wait for what they have started.
    maxWorkers: availableParallelism() + 1,
    // Long enough for a machine that is busy with other things: no test is about time.
    testTimeout: 60_000,
    // For the programs that tests start: a third of what the start of one takes is reading what the one before has read.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules/.cache/compiled") },
    projects: [...projects.map((test) => ({ ...test, isolate: false })), ...apart].map((test) => ({
      extends: true as const,
      test: { ...test, execArgv: ["--expose-gc"] }
    }))
  }
})
