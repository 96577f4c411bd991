/**
 * `npm run reference`: the reference of all packages, from their docstrings, and the guides, for a browser
 * (`reference/site/index.html`). A warning is a failure. TypeDoc has a TypeScript of its own there, the last one that is
 * written in JavaScript.
 */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import * as Steps from "./Steps.ts"

const { close, step } = Steps.make()
const cwd = join(Steps.root, "reference")
const documented = readdirSync(join(Steps.root, "packages")).flatMap((name) => [
  "--packagesRequiringDocumentation",
  `@xen-shbuf/${name}`
])

await step("reference: typedoc, without a warning", () =>
  Steps.run([join("node_modules", ".bin", "typedoc"), ...documented], { cwd }))
close(`It is in ${join(cwd, "site", "index.html")}.`)
