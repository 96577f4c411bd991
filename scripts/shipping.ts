/**
 * `npm run shipping`: the packages where nothing else of this workspace is. Packs and inspects them, installs them with npm
 * into an empty project, and runs them from there and out of bundles, on the oldest Node that they promise and on the
 * pinned one; weighs them; then runs the archive on a machine that has nothing.
 */
import { build, type Format } from "esbuild"
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import * as Bare from "./Bare.ts"
import * as Modules from "./Modules.ts"
import * as Pack from "./Pack.ts"
import * as Steps from "./Steps.ts"
import * as Weights from "./Weights.ts"

const scratch = mkdtempSync(join(tmpdir(), "xen-shbuf-shipping-"))
const project = join(scratch, "project")
const { close, skip, step } = Steps.make()

const json = (...path: ReadonlyArray<string>) => JSON.parse(readFileSync(join(...path), "utf8"))
const pinned = (name: string) => `${name}@${json(Steps.root, "node_modules", name, "package.json").version}`

/** npm has Node itself as a package. */
const oldest: string = `${json(Steps.root, "packages/core/package.json").engines.node.replace(">=", "")}.0`
const nodePackage = `node-linux-${process.arch}`
const nodes = {
  [`Node ${oldest}`]: join(project, "node_modules", nodePackage, "bin", "node"),
  [`Node ${process.version.slice(1)}`]: process.execPath
}

let packed: ReadonlyMap<string, string> = new Map()
const pack = async () => {
  const built = await Steps.run(["tsc", "-b", "tsconfig.packages.json"])
  if (!built.ok) return built
  packed = await Pack.pack(join(scratch, "packed"))
  return { ok: packed.size > 0, text: "there are none" }
}

/** What a package says of itself holds for whoever imports it. */
const inspect = async (tarball: string) => {
  const outcomes = [
    await Steps.run(["publint", "run", tarball, "--strict"]),
    await Steps.run(["attw", tarball, "--profile", "esm-only", "--no-emoji"])
  ]
  return { ok: outcomes.every(({ ok }) => ok), text: outcomes.map(({ text }) => text).join("\n") }
}

const install = () => {
  mkdirSync(project)
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }))
  for (const example of ["frontend.ts", "backend.ts", "memory.ts"]) {
    cpSync(join(Steps.root, "examples", example), join(project, example))
  }
  const peers = [...["effect", "@effect/platform-node", "@types/node"].map(pinned), `${nodePackage}@${oldest}`]
  const quiet = ["--no-audit", "--no-fund", "--prefer-offline"]
  return Steps.run(["npm", "install", ...quiet, ...packed.values(), ...peers], { cwd: project })
}

/** Every module that a package exports; but for those that want the test runner, which was not installed. */
const importAll = () => {
  const modules = globSync("node_modules/@xen-shbuf/*/package.json", { cwd: project }).flatMap((path) => {
    const { name, peerDependenciesMeta = {} } = json(project, path)
    const optional = Object.keys(peerDependenciesMeta)
    const folder = join(project, path, "..")
    return Modules.exported(folder)
      .filter((module) => {
        const text = readFileSync(join(folder, "dist", `${module}.js`), "utf8")
        return !optional.some((peer) => text.includes(`from "${peer}`))
      })
      .map((module) => `${name}/${module}`)
  })
  const program = `for (const name of ${JSON.stringify(modules)}) await import(name)\nconsole.log(${modules.length})\n`
  writeFileSync(join(project, "all.js"), program)
  return modules.length
}

/** What examples/memory.ts prints at its end. */
const printed = /^1228800 bytes, the first is 128$/m
const memory = async (node: string, file: string, cwd: string) => {
  const ended = await Steps.run([node, file], { cwd, env: {} })
  return { ...ended, ok: ended.ok && printed.test(ended.stdout) }
}

/** One file, with nothing beside it but koffi, which has a binary that no bundler takes. */
const bundle = async (format: Format, name: string) => {
  const folder = join(scratch, format)
  const { warnings } = await build({
    stdin: {
      contents: `import * as Effect from "effect/Effect"\nimport { memory } from "./memory.ts"\nEffect.runFork(memory)\n`,
      resolveDir: project
    },
    outfile: join(folder, name),
    bundle: true,
    platform: "node",
    format,
    // In a bundle every module would be the main one.
    define: { "import.meta.main": "false" },
    logLevel: "silent"
  })
  for (const part of ["koffi", "@koromix"]) {
    cpSync(join(project, "node_modules", part), join(folder, "node_modules", part), { recursive: true })
  }
  return { folder, ok: warnings.length === 0, text: warnings.map(({ text }) => text).join("\n") }
}

const strict = ["--strict", "--noEmit", "--skipLibCheck", "false", "--module", "nodenext", "--target", "es2024"]
const options = [...strict, "--exactOptionalPropertyTypes", "--allowImportingTsExtensions", "--types", "node"]

const isPacked = await step("all packages: packed", pack)
for (const [name, tarball] of packed) {
  await step(`package ${basename(name)}: publint, attw`, () => inspect(tarball))
}
if (isPacked && await step("installed with npm into an empty project", install)) {
  await step("types: tsc --strict, with all declarations", () =>
    Steps.run(["tsc", ...options, "memory.ts"], { cwd: project }))
  const count = importAll()
  for (const [name, node] of Object.entries(nodes)) {
    await step(`${count} modules can be imported: ${name}`, () => Steps.run([node, "all.js"], { cwd: project }))
    await step(`two domains in memory share a frame: ${name}`, () => memory(node, "memory.ts", project))
    await step(`the command makes its picture: ${name}`, () =>
      Steps.run([node, "node_modules/.bin/xen-shbuf", "demo"], { cwd: project }))
  }
  for (const [format, file] of [["esm", "memory.mjs"], ["cjs", "memory.cjs"]] as const) {
    await step(`bundled as ${format}, without a warning`, () => bundle(format, file))
    for (const [name, node] of Object.entries(nodes)) {
      await step(`the ${format} bundle runs, with koffi beside it: ${name}`, () => memory(node, file, join(scratch, format)))
    }
  }
  await step("bundles have the sizes that docs/installing.md states", () =>
    Weights.check(project, join(Steps.root, "docs/installing.md")))
}

const why = await Bare.unavailable()
if (why !== undefined) skip("the archive on a machine that has nothing", why)
else {
  await step("the archive runs on a machine without Node, packages, network and environment", async () => {
    const made = await Steps.run(["node", "scripts/archive.ts", "--to", scratch])
    if (!made.ok) return made
    const xenShbuf = await Bare.make(made.stdout.trim(), scratch)
    const demo = await xenShbuf("demo", "--png", "/tmp/demo.png")
    if (!demo.ok) return demo
    // Its devices are missing, and so is all else that it could ask for: it tells so.
    const doctor = await xenShbuf("doctor")
    return { ok: !doctor.ok && doctor.stdout.includes("gntalloc"), text: doctor.text }
  })
}

rmSync(scratch, { recursive: true })
close("Not run here: whatever needs a real Xen (npm run xenlab).")
