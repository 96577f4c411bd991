import { readdirSync } from "node:fs"
import { basename } from "node:path"
import { defineConfig } from "vitest/config"

const packages = readdirSync("packages").map((name) => `packages/${name}`)
const tested = [...packages, "bench", "hostile"].map((root) => ({ name: basename(root), root, include: ["test/**/*.test.ts"] }))

export default defineConfig({
  test: {
    // All processors: vitest would leave one of them to itself, which is half of a machine with two.
    maxWorkers: "100%",
    // Long enough for a machine that is busy with other things: no test is about time.
    testTimeout: 60_000,
    projects: [...tested, { name: "examples", root: "examples", include: ["**/*.test.ts"] }].map((test) => ({
      extends: true as const,
      test: { ...test, execArgv: ["--expose-gc"] }
    }))
  }
})
