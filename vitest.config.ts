import { readdirSync } from "node:fs"
import { defineConfig } from "vitest/config"

const packages = readdirSync("packages").map((name) => ({ name, root: `packages/${name}`, include: ["test/**/*.test.ts"] }))

export default defineConfig({
  test: {
    projects: [...packages, { name: "examples", root: "examples", include: ["**/*.test.ts"] }].map((test) => ({
      extends: true as const,
      test: { ...test, execArgv: ["--expose-gc"] }
    }))
  }
})
