/**
 * `npm run archive`: the command with all that it needs, for a machine that has neither npm nor a network, in one file.
 * `-- --arch arm64` makes the one for the other processor, `-- --to FOLDER` puts it somewhere else than in `packed`.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cli from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { build, type Metafile } from "esbuild"
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import * as Command from "../xenlab/src/Command.ts"
import { cache, LabError, workspace } from "../xenlab/src/Lab.ts"
import * as Provision from "../xenlab/src/Provision.ts"

const cli = join(workspace, "packages", "cli")
const screen = join(workspace, "packages", "screen")
const { version }: { readonly version: string } = JSON.parse(readFileSync(join(cli, "package.json"), "utf8"))

const launcher = `#!/bin/sh
# Runs the command on the Node beside it.
here=$(dirname "$(readlink -f "$0")")
exec "$here/node" "$here/xen-shbuf.mjs" "$@"
`

/** Bundles the command, and gives the folders of all packages that something of is in it. */
const bundle = Effect.fnUntraced(function*(outfile: string) {
  const { metafile } = yield* Effect.tryPromise({
    try: () =>
      build({
        absWorkingDir: workspace,
        entryPoints: [join(cli, "src", "bin.ts")],
        outfile,
        bundle: true,
        platform: "node",
        format: "esm",
        target: "node24",
        metafile: true,
        // Only a clone builds the page, and films take what is installed.
        external: ["esbuild", "sharp"],
        // A CommonJS dependency inside an ES module still calls require.
        banner: { js: `import { createRequire as $require } from "node:module"; const require = $require(import.meta.url);` },
        logLevel: "silent"
      }),
    catch: (cause) => new LabError({ step: "bundle the command", detail: String(cause) })
  })
  return folders(metafile)
})

const folders = ({ inputs }: Metafile): ReadonlyArray<string> => {
  const found = Object.keys(inputs).map((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1])
  return [...new Set(found)].filter((folder) => folder !== undefined).map((folder) => join(workspace, folder))
}

/** The licences of packages, one after the other. */
const licences = Effect.fnUntraced(function*(packages: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  return yield* Effect.forEach(packages, Effect.fnUntraced(function*(folder) {
    const { license, name } = JSON.parse(yield* fs.readFileString(join(folder, "package.json")))
    const file = (yield* fs.readDirectory(folder)).find((file) => /^licen[cs]e/i.test(file))
    const text = file === undefined ? `${license}\n` : yield* fs.readFileString(join(folder, file))
    return `${"=".repeat(80)}\n${name}\n${"=".repeat(80)}\n\n${text}`
  }))
})

/** Makes the folder of the archive. */
const fill = Effect.fnUntraced(function*(place: string, arch: string) {
  const fs = yield* FileSystem.FileSystem
  const from = yield* cache
  yield* fs.makeDirectory(from, { recursive: true })
  const node = yield* Provision.npm(from, `node-linux-${arch}`)
  const native = `@koromix/koffi-linux-${arch}`
  const binary = yield* Provision.npm(from, native)
  const koffi = yield* fs.realPath(join(workspace, "packages", "linux", "node_modules", "koffi"))

  yield* fs.makeDirectory(join(place, "node_modules", "@koromix"), { recursive: true })
  yield* fs.writeFileString(join(place, "xen-shbuf"), launcher, { mode: 0o755 })
  yield* fs.copyFile(join(node, "bin", "node"), join(place, "node"))
  const bundled = yield* bundle(join(place, "xen-shbuf.mjs"))
  yield* Command.run("node", [join(screen, "build.ts")])
  yield* fs.copy(join(screen, "dist", "page"), join(place, "page"))
  yield* fs.copy(koffi, join(place, "node_modules", "koffi"))
  yield* fs.copy(binary, join(place, "node_modules", native))
  yield* fs.remove(join(place, "node_modules", native, `musl_${arch}`), { recursive: true, force: true })
  yield* fs.copy(join(cli, "etc"), join(place, "etc"))
  yield* fs.copyFile(join(workspace, "LICENSE"), join(place, "LICENSE"))
  const others = yield* licences([node, koffi, ...bundled])
  yield* fs.writeFileString(join(place, "LICENSES-OF-OTHERS"), others.join("\n"))
})

const make = Effect.fnUntraced(function*({ arch, to }: { readonly arch: string; readonly to: string }) {
  const fs = yield* FileSystem.FileSystem
  const into = resolve(process.env["INIT_CWD"] ?? "", to)
  const name = `xen-shbuf-${version}-linux-${arch}`
  const work = yield* fs.makeTempDirectoryScoped()
  yield* fill(join(work, name), arch)
  yield* fs.makeDirectory(into, { recursive: true })
  const file = join(into, `${name}.tar.gz`)
  // The same files make the same archive.
  const same = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]
  yield* Command.run("tar", [...same, "--use-compress-program", "gzip -n", "-cf", file, name], { cwd: work })
  console.log(file)
}, Effect.scoped)

const arch = Flag.Literals("arch", ["x64", "arm64"]).pipe(
  Flag.withDefault(process.arch === "arm64" ? "arm64" as const : "x64" as const),
  Flag.withDescription("The processor that it is for")
)
const to = Flag.String("to").pipe(Flag.withDefault(join(workspace, "packed")), Flag.withDescription("Where to put it"))

Cli.make("archive", { arch, to }, make).pipe(
  Cli.withDescription("Packs the command with Node and koffi, for a machine that has nothing but Linux"),
  Cli.run({ version }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
