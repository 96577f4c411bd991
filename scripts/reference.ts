/**
 * `npm run reference`: the reference of all packages, from their docstrings, and the guides, for a browser
 * (`reference/site/index.html`). A warning is a failure. TypeDoc has a TypeScript of its own there, the last one that is
 * written in JavaScript.
 */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import * as Modules from "./Modules.ts"
import * as Steps from "./Steps.ts"

const { close, step } = Steps.make()
const cwd = join(Steps.root, "reference")
const packages = readdirSync(join(Steps.root, "packages"))
const documented = packages.flatMap((name) => ["--packagesRequiringDocumentation", `@xen-shbuf/${name}`])
const modules = packages.flatMap((name) =>
  Modules.exported(join(Steps.root, "packages", name)).map((module) => `../packages/${name}/src/${module}.ts`)
)

await step(`reference of ${modules.length} modules: typedoc, without a warning`, () =>
  Steps.run([join("node_modules", ".bin", "typedoc"), ...documented, ...modules], { cwd }))
close(`It is in ${join(cwd, "site", "index.html")}.`)
