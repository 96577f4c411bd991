/** Packs the packages as they would be published. */
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"

const root = join(import.meta.dirname, "..")
const { config } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

/** Packs every package, built already, into a folder, and gives the tarball of each by its name. */
export const pack = async (into: string): Promise<ReadonlyMap<string, string>> => {
  const args = ["--yes", config.pnpm, "--filter", "./packages/*", "pack", "--pack-destination", into, "--json"]
  const { stdout } = await promisify(execFile)("npx", args, { cwd: root, maxBuffer: 2 ** 26 })
  const packed: ReadonlyArray<{ readonly name: string; readonly filename: string }> = [JSON.parse(stdout)].flat()
  return new Map(packed.map(({ filename, name }) => [name, filename]))
}
