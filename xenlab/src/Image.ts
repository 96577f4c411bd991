/**
 * Adds the project to the base images: bundles of the command line tool, the laws and the agent, with koffi beside them.
 */
import * as Assets from "@xen-shbuf/screen/Assets"
import { build } from "esbuild"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import { join } from "node:path"
import * as Command from "./Command.ts"
import { cache, home, LabError, workspace } from "./Lab.ts"
import { say } from "./Progress.ts"
import * as Provision from "./Provision.ts"
import { Target } from "./Target.ts"
import * as Tree from "./Tree.ts"

/** Where the project is inside a domain. */
export const place = "/opt/xen-shbuf"

/** The images of one run. */
export interface Images {
  /** dom0's initramfs. */
  readonly dom0: string
  /** The folder that dom0 sees as /mnt/lab: the guests' kernel and initramfs. */
  readonly share: string
}

/** What to bundle besides the agent: name to entry. */
export interface Entries {
  readonly [name: string]: string
}

/** The project's own entries. */
export const entries: Entries = {
  cli: join(workspace, "packages", "cli", "src", "bin.ts"),
  "thermometer-backend": join(workspace, "examples", "thermometer", "Backend.ts"),
  "thermometer-frontend": join(workspace, "examples", "thermometer", "Frontend.ts"),
  ...Object.fromEntries(
    ["tool", "laws", "services", "peer", "hostile", "soak", "worker", "display", "input", "tunnel", "vchan", "restored"].map((name) =>
      [name, join(home, "guest", `${name}.ts`)]
    )
  )
}

const bundle = (entryPoints: Record<string, string>, outdir: string): Effect.Effect<void, LabError> =>
  Effect.tryPromise({
    try: () =>
      build({
        entryPoints,
        outdir,
        bundle: true,
        platform: "node",
        format: "esm",
        target: "node24",
        outExtension: { ".js": ".mjs" },
        external: ["koffi"],
        // Under emulation every line that Node parses counts.
        minify: true,
        // A CommonJS dependency inside an ES module still calls require.
        banner: { js: `import { createRequire as $require } from "node:module"; const require = $require(import.meta.url);` },
        logLevel: "silent"
      }),
    catch: (cause) => new LabError({ step: "bundle the project", detail: String(cause) })
  })

/** Copies koffi and its binary, which no bundle can hold. */
const copyKoffi = Effect.fnUntraced(function*(to: string) {
  const fs = yield* FileSystem.FileSystem
  const koffi = yield* fs.realPath(join(workspace, "packages", "linux", "node_modules", "koffi"))
  const native = `@koromix/koffi-linux-${(yield* Target).arch.npm}`
  yield* fs.makeDirectory(join(to, "node_modules", "@koromix"), { recursive: true })
  yield* fs.copy(koffi, join(to, "node_modules", "koffi"))
  yield* fs.copy(yield* Provision.npm(yield* cache, native), join(to, "node_modules", native))
})

/** Writes several archives one after the other: the kernel unpacks them in turn. */
const concatenate = Effect.fnUntraced(function*(archives: ReadonlyArray<string>, to: string) {
  const fs = yield* FileSystem.FileSystem
  yield* Stream.fromIterable(archives).pipe(
    Stream.flatMap((archive) => fs.stream(archive, { chunkSize: 1 << 20 })),
    Stream.run(fs.sink(to))
  )
})

/** Makes the images of one run in `folder`. What is in the folder `files` goes into every domain, too. */
export const make = Effect.fnUntraced(function*(
  base: Tree.Base,
  wanted: Entries,
  files: ReadonlyArray<string>,
  folder: string
) {
  const fs = yield* FileSystem.FileSystem
  yield* say(`bundling ${["agent", ...Object.keys(wanted)].join(", ")}`)

  const project = join(folder, "project")
  const inside = join(project, place)
  yield* bundle({ agent: join(home, "guest", "agent.ts"), ...wanted }, inside)
  yield* copyKoffi(inside)
  yield* fs.makeDirectory(join(inside, "page"))
  for (const [name, { body }] of yield* Assets.load) yield* fs.writeFileString(join(inside, "page", name), body)
  for (const folder of files) yield* Command.run("cp", ["-a", `${folder}/.`, project])
  yield* Tree.pack(base.busybox, project, join(folder, "project.cpio"))

  const init = Effect.fnUntraced(function*(name: string) {
    const root = join(folder, name)
    yield* fs.makeDirectory(root)
    yield* fs.copyFile(join(home, "guest", name), join(root, "init"))
    yield* fs.chmod(join(root, "init"), 0o755)
    yield* Tree.pack(base.busybox, root, `${root}.cpio`)
    return `${root}.cpio`
  })
  const share = join(folder, "share")
  yield* fs.makeDirectory(share)
  yield* Command.run("cp", ["--reflink=auto", base.kernel, join(share, "kernel")])
  const dom0 = join(folder, "dom0.img")
  yield* concatenate([base.base, base.dom0, join(folder, "project.cpio"), yield* init("init-dom0")], dom0)
  yield* concatenate(
    [base.base, join(folder, "project.cpio"), yield* init("init-guest")],
    join(share, "guest.img")
  )
  const images: Images = { dom0, share }
  return images
})
