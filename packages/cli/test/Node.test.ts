import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"

const root = new URL("../../../", import.meta.url)
const text = (path: string) => readFileSync(new URL(path, root), "utf8")
const json = (path: string) => JSON.parse(text(path))
const minimum = (manifest: { readonly engines?: { readonly node?: string } }) => {
  const [, version] = /^>=(\d+(?:\.\d+)*)$/.exec(manifest.engines?.node ?? "") ?? []
  assert.isDefined(version, JSON.stringify(manifest.engines))
  return version
}

const packages = readdirSync(new URL("packages/", root))

describe("The oldest Node", () => {
  it("is one for all packages, and the one that README tells", () => {
    const [first, ...others] = new Set(packages.map((name) => minimum(json(`packages/${name}/package.json`))))
    assert.deepStrictEqual(others, [])
    assert.include(text("README.md"), `Node ${first} or newer, and the modules`)
  })

  it("is new enough for what the command stands on", () => {
    const needed = minimum(json("packages/cli/node_modules/@effect/platform-node/package.json"))
    const ours = minimum(json("packages/cli/package.json"))
    assert.isAtLeast(ours.localeCompare(needed.replace(/\.0$/, ""), "en", { numeric: true }), 0)
  })

  it("is one for the bootstrap in a clone", () => {
    const needed = minimum(json("package.json"))
    for (const file of ["README.md", "scripts/run.mjs", ".ci/run"]) {
      assert.include(text(file), `Node ${needed} or newer`, file)
    }
  })
})
