// Puts the page, built, beside the compiled server: run before the package is packed.
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs"
import * as Assets from "./src/Assets.ts"

const into = new URL("./dist/page/", import.meta.url)
mkdirSync(into, { recursive: true })
for (const name of ["index.html", "style.css"]) copyFileSync(new URL(`./page/${name}`, import.meta.url), new URL(name, into))
for (const name of Assets.programs) writeFileSync(new URL(name, into), await Assets.bundle(name))
