/** Packs all packages as they would be published: `npm run pack` puts them into `packed`, or the folder that is named. */
import { globSync, readFileSync, rmSync } from "node:fs"
import { join, resolve } from "node:path"
import * as Steps from "./Steps.ts"

const { config } = JSON.parse(readFileSync(join(Steps.root, "package.json"), "utf8"))

/** Packs every package, built already, into a folder, and gives the tarball of each by the package's name. */
export const pack = async (into: string): Promise<ReadonlyMap<string, string>> => {
  const options = ["--filter", "./packages/*", "pack", "--pack-destination", into, "--json"]
  const { ok, stdout, text } = await Steps.run(["npx", "--yes", config.pnpm, ...options])
  if (!ok) throw new Error(text)
  const packed: ReadonlyArray<{ readonly name: string; readonly filename: string }> = [JSON.parse(stdout)].flat()
  return new Map(packed.map(({ filename, name }) => [name, filename]))
}

if (import.meta.main) {
  const into = resolve(process.env["INIT_CWD"] ?? "", process.argv[2] ?? join(Steps.root, "packed"))
  const built = await Steps.run(["tsc", "-b", "tsconfig.packages.json"])
  if (!built.ok) throw new Error(built.text)
  for (const old of globSync("xen-shbuf-*.tgz", { cwd: into })) rmSync(join(into, old))
  for (const tarball of (await pack(into)).values()) console.log(tarball)
}
