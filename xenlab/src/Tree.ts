/**
 * Assembles the part of the lab that does not change with the project: Xen, the kernel, and two initramfs archives
 * (`base.cpio` for every domain: busybox, modules, Node; `dom0.cpio` beside it: the Xen toolstack).
 *
 * The result stays in the cache with the hash of every file; a warm run only checks them.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { basename, dirname, join } from "node:path"
import * as Command from "./Command.ts"
import { LabError } from "./Lab.ts"
import { say } from "./Progress.ts"
import * as Provision from "./Provision.ts"
import { Target } from "./Target.ts"

/** The assembled files. */
export interface Base {
  readonly xen: string
  /** Linux for every domain. */
  readonly kernel: string
  readonly base: string
  readonly dom0: string
  readonly busybox: string
}

/** Change it when this module puts other things into the archives. */
const recipe = 3

const toolNames = ["xl", "libxl-save-helper", "xenstored", "xenconsoled", "xen-init-dom0"]
const storeNames = ["ls", "read", "write", "list", "rm", "exists", "chmod", "watch"]

/** Kernel modules that dom0 loads as it comes up. gntalloc is loaded by the tests: one looks at a dom0 without. */
const early = ["xen-privcmd", "xenfs", "xen-evtchn", "xen-gntdev", "virtio_console", "9pnet_virtio", "9p"]

/** More to carry, with what they depend on. The front ends are for the kernel-made directories. */
const late = ["xen-gntalloc", "xen-front-pgdir-shbuf", "snd_xen_front", "evdev"]

/** Every file of {@link Base} by name, with its SHA-256. */
const Manifest = Schema.fromJsonString(Schema.Record(Schema.String, Schema.String))
const names = { xen: "xen", kernel: "kernel", base: "base.cpio", dom0: "dom0.cpio", busybox: "busybox" }

/** Runs a program of the target's on the host. */
const runInTree = Effect.fnUntraced(function*(program: string, ...args: ReadonlyArray<string>) {
  const [command = program, ...rest] = [...(yield* Target).arch.runner, program, ...args]
  return yield* Command.run(command, rest)
})

/** Packs a folder as an initramfs archive, everything owned by root. */
export const pack = Effect.fnUntraced(function*(busybox: string, folder: string, archive: string) {
  const fs = yield* FileSystem.FileSystem
  const { arch } = yield* Target
  const cpio = [...arch.runner, busybox, "cpio", "-o", "-H", "newc", "-R", "0:0"].join(" ")
  yield* Command.run("sh", ["-c", `find . | ${cpio} > "$0"`, archive], { cwd: folder })
  return yield* fs.stat(archive)
})

/** Gives the assembled files, from the cache when they are there and intact. `run` is a folder to work in. */
export const assemble = Effect.fnUntraced(function*(cache: string, run: string) {
  const fs = yield* FileSystem.FileSystem
  const target = yield* Target
  const { arch, release } = target
  const node = yield* Provision.npm(cache, `node-linux-${arch.npm}`)
  const version = yield* Effect.map(fs.readFileString(join(node, "package.json")), (text) =>
    (JSON.parse(text) as { readonly version: string }).version)
  const packages = Provision.packages(target)
  const modules = [arch.virtio, arch.modules, early, late]
  const key = createHash("sha256").update(JSON.stringify([recipe, release, packages, modules, toolNames, version]))
    .digest("hex").slice(0, 16)
  const place = join(cache, `base-${key}`)
  const files: Base = {
    xen: join(place, names.xen),
    kernel: join(place, names.kernel),
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
  const debs = yield* Provision.debs(join(cache, "debs"), packages)
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

/** Unpacks packages into a new folder. What is in `/lib` and the like may be in `/usr` as well: there is one of each. */
export const unpack = Effect.fnUntraced(function*(debs: ReadonlyArray<Provision.Deb>, tree: string) {
  const fs = yield* FileSystem.FileSystem
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    yield* fs.makeDirectory(join(tree, "usr", name), { recursive: true })
    yield* fs.symlink(`usr/${name}`, join(tree, name))
  }
  const script = `dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$1"`
  yield* Effect.forEach(debs, (deb) => Command.run("sh", ["-c", script, deb.path, tree]))
})

const build = Effect.fnUntraced(function*(
  debs: ReadonlyArray<Provision.Deb>,
  node: string,
  work: string,
  out: string
) {
  const fs = yield* FileSystem.FileSystem
  const { arch } = yield* Target
  const tree = join(work, "tree")
  yield* unpack(debs, tree)

  const named = Effect.fnUntraced(function*(folder: string, pattern: RegExp) {
    const all = yield* fs.readDirectory(join(tree, folder))
    const name = all.find((name) => pattern.test(name))
    return name ??
      (yield* new LabError({ step: "look into the packages", detail: `no ${pattern} in ${folder}: ${all.join(" ")}` }))
  })
  yield* arch.unpackXen(join(tree, "boot", yield* named("boot", arch.xenName)), join(out, names.xen))
  const vmlinuz = yield* named("boot", /^vmlinuz-/)
  yield* arch.unpackKernel(join(tree, "boot", vmlinuz), join(out, names.kernel))

  const busybox = join(out, names.busybox)
  yield* fs.copyFile(join(tree, "bin", "busybox"), busybox)
  yield* fs.chmod(busybox, 0o755)

  const base = join(work, "base")
  yield* copy(busybox, join(base, "bin", "busybox"))
  yield* copy(node, join(base, "bin", "node"))
  yield* copyLibraries(tree, node, base)
  yield* fs.makeDirectory(dirname(join(base, arch.loader)), { recursive: true })
  yield* fs.symlink(`/lib/${arch.triple}/${basename(arch.loader)}`, join(base, arch.loader))
  // Plays and records: what a guest's people have.
  for (const program of ["aplay", "arecord"]) yield* copy(join(tree, "usr", "bin", program), join(base, "usr", "bin", program))
  yield* copyLibraries(tree, join(tree, "usr", "bin", "aplay"), base)
  yield* fs.makeDirectory(join(base, "usr", "share"), { recursive: true })
  yield* fs.copy(join(tree, "usr", "share", "alsa"), join(base, "usr", "share", "alsa"))
  yield* copyModules(busybox, tree, vmlinuz.slice("vmlinuz-".length), base)
  yield* pack(busybox, base, join(out, names.base))

  const dom0 = join(work, "dom0")
  const tools = join("usr", "lib", yield* named("usr/lib", /^xen-[\d.]+$/), "bin")
  const programs = [
    ...toolNames.map((name) => join(tools, name)),
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
  const { arch } = yield* Target
  const path = ["lib", "usr/lib"].map((folder) => join(tree, folder, arch.triple)).join(":")
  const loader = join(tree, "lib", arch.triple, basename(arch.loader))
  const list = yield* runInTree(loader, "--library-path", path, "--list", program)
  const found = list.split(/\s+/).filter((word) => word.startsWith(tree))
  for (const library of new Set(found)) {
    const target = join(to, "lib", arch.triple, basename(library))
    if (!(yield* fs.exists(target))) yield* copy(library, target)
  }
})

/** The file of a module without what it is packed with, and the names of those that it needs. */
const readModule = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  if (file.endsWith(".xz")) yield* Command.run("xz", ["-d", file])
  const plain = file.replace(/\.xz$/, "")
  const depends = /\0depends=([^\0]*)\0/.exec(Buffer.from(yield* fs.readFile(plain)).toString("latin1"))?.[1] ?? ""
  return { plain, needs: depends.split(",").filter((name) => name !== "") }
})

/** Copies kernel modules and what they depend on, indexes them for modprobe, and lists in /etc/modules what to load. */
const copyModules = Effect.fnUntraced(function*(busybox: string, tree: string, kernel: string, to: string) {
  const fs = yield* FileSystem.FileSystem
  const { arch } = yield* Target
  const place = join("lib", "modules", kernel)
  // A dash and an underscore are the same in the name of a module.
  const named = (file: string) => basename(file).replace(/\.ko(\.xz)?$/, "").replaceAll("-", "_")
  const files = yield* fs.readDirectory(join(tree, place), { recursive: true })
  const found = new Map(files.filter((file) => /\.ko(\.xz)?$/.test(file)).map((file) => [named(file), file]))
  const builtIn = new Set((yield* fs.readFileString(join(tree, place, "modules.builtin"))).split("\n").map(named))

  const wanted = [...arch.virtio, ...early, ...late, ...arch.modules].map(named)
  const copied = new Set<string>()
  for (let name = wanted.pop(); name !== undefined; name = wanted.pop()) {
    const file = found.get(name)
    if (copied.has(name) || builtIn.has(name)) continue
    if (file === undefined) {
      return yield* new LabError({ step: "look for kernel modules", detail: `no ${name} in ${kernel}` })
    }
    const { needs, plain } = yield* readModule(join(tree, place, file))
    yield* copy(plain, join(to, place, file.replace(/\.xz$/, "")))
    copied.add(name)
    wanted.push(...needs.map(named))
  }
  yield* runInTree(busybox, "depmod", "-b", to, kernel)
  yield* fs.makeDirectory(join(to, "etc"))
  const load = [...arch.virtio, ...early].filter((name) => copied.has(named(name)))
  yield* fs.writeFileString(join(to, "etc", "modules"), load.map((name) => `${name}\n`).join(""))
})
