/** A machine that has the archive, a shell, and the libraries that these two are linked with: nothing else. */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Steps from "./Steps.ts"

/** What the archive's script calls. */
const tools = ["/bin/sh", "/usr/bin/dirname", "/usr/bin/readlink"]

/** New namespaces, so that there is no network, no other process, and no user but this one, as root. */
const alone = ["unshare", "--map-root-user", "--mount", "--net", "--pid", "--fork"]

/** Why there is no such machine here, if there is none. */
export const unavailable = async (): Promise<string | undefined> => {
  const { ok, text } = await Steps.run([...alone, "true"]).catch((cause) => ({ ok: false, text: String(cause) }))
  return ok ? undefined : text.trim()
}

/** Where the libraries of a program are. */
const libraries = async (program: string): Promise<ReadonlyArray<string>> => {
  const { stdout } = await Steps.run(["ldd", program])
  return Array.from(stdout.matchAll(/(\/\S+) \(0x/g), ([, path = ""]) => path)
}

/** Makes the machine in a new folder, and gives what runs a program of the archive on it. */
export const make = async (archive: string, scratch: string) => {
  const root = mkdtempSync(join(scratch, "bare-"))
  for (const folder of ["opt", "proc", "tmp"]) mkdirSync(join(root, folder))
  const unpacked = await Steps.run(["tar", "-xzf", archive, "-C", join(root, "opt")])
  if (!unpacked.ok) throw new Error(unpacked.text)
  const place = join("/opt", readdirSync(join(root, "opt"))[0]!)
  const needed = await Promise.all([...tools, join(root, place, "node")].map(libraries))
  for (const path of new Set([...tools, ...needed.flat()])) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    if (!existsSync(join(root, path))) copyFileSync(path, join(root, path))
  }
  const script = `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`
  return (...args: ReadonlyArray<string>): Promise<Steps.Ended> =>
    Steps.run([...alone, "sh", "-c", script, root, join(place, "xen-shbuf"), ...args], { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" } })
}
