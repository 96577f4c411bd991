// Bootstraps the workspace with nothing but Node 20 or newer and npm, then runs a command in it on the pinned Node.
// `npm start` and `npm test` go through here, so both work in a fresh clone and change nothing global.
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const bin = join(root, "node_modules", ".bin")
const { config: { pnpm } } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

const run = (command, args, env, cwd = root) => {
  const { error, signal, status } = spawnSync(command, args, { cwd, stdio: "inherit", env })
  if (error) throw error
  if (status !== 0) process.exit(status ?? (signal === "SIGINT" ? 130 : 1))
}

// A Ctrl-C reaches the child as well: let it release what it holds, then end with its status.
process.on("SIGINT", () => {})

const lock = readFileSync(join(root, "pnpm-lock.yaml"))
const digest = createHash("sha256").update(lock).update(pnpm).digest("hex")
const stamp = join(root, "node_modules", ".bootstrap")
if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== digest) {
  console.error(`Installing the locked dependencies into node_modules (${pnpm}, Node 24 included) ...`)
  run("npx", ["--yes", pnpm, "install", "--frozen-lockfile"], process.env)
  writeFileSync(stamp, digest)
}

// The pinned Node of node_modules/.bin comes first, so every tool runs on it; what it has compiled it keeps, which saves
// every later program a third of its start.
const cache = join(root, "node_modules", ".cache", "compiled")
const env = { NODE_COMPILE_CACHE: cache, ...process.env, PATH: `${bin}:${process.env.PATH}` }
const [command, ...args] = process.argv.slice(2)
if (command === "--here") {
  // A program of ours for the folder that npm was called in, so that file names mean what they say there.
  const [program, ...others] = args
  run("node", [join(root, program), ...others], env, process.env.INIT_CWD ?? process.cwd())
} else {
  run(command, args, env)
}
