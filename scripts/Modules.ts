/** The modules that packages let others import: the sources that a package's `exports` reach, but for its commands. */
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** Whether a subpath is the one that a key of `exports` stands for; `*` is anything, with slashes, too. */
const matches = (key: string, subpath: string): boolean => {
  const [head = "", tail] = key.split("*")
  return tail === undefined ? subpath === head : subpath.startsWith(head) && subpath.endsWith(tail)
}

/** The names of a package's modules as its importers have them, such as `displif/Backend`, in order. */
export const exported = (folder: string): ReadonlyArray<string> => {
  const { bin = {}, exports } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
  const commands = Object.values<string>(bin).map((path) => path.replace(/^\.\/\w+\/(.*)\.[jt]s$/, "$1"))
  const keys = Object.keys(exports)
  return globSync("**/*.ts", { cwd: join(folder, "src") })
    .map((path) => path.replace(/\.ts$/, ""))
    .filter((name) => {
      const found = keys.filter((key) => matches(key, `./${name}`))
      // What is null is no one's, whatever else matches it.
      return found.length > 0 && found.every((key) => exports[key] !== null) && !commands.includes(name)
    })
    .sort()
}
