/**
 * Makes folders of files to add to the images, out of Debian's packages and our C programs. Each is kept in the cache until
 * something that it was made of is another.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { createHash } from "node:crypto"
import { join } from "node:path"
import * as Command from "./Command.ts"
import { place } from "./Image.ts"
import { cache } from "./Lab.ts"
import { say } from "./Progress.ts"
import * as Provision from "./Provision.ts"
import { type HostCommand, Target } from "./Target.ts"
import * as Tree from "./Tree.ts"

/** What a folder is made of. */
export interface Recipe<E, R> {
  /** What the folder is called in the cache. */
  readonly name: string
  /** What is said when it is made. */
  readonly saying: string
  /** Packages of the target's Debian. */
  readonly packages: ReadonlyArray<string>
  /** Programs that the host needs, each with the package that has it. */
  readonly commands?: ReadonlyArray<HostCommand>
  /** What else its files depend on. */
  readonly ingredients: ReadonlyArray<unknown>
  /** Puts the files into a folder, with the packages unpacked beside it. */
  readonly fill: (files: string, tree: string) => Effect.Effect<void, E, R>
}

/** Gives the folder, from the cache if it is there. */
export const make = Effect.fnUntraced(function*<E, R>({ commands = [], fill, ingredients, name, packages, saying }: Recipe<E, R>) {
  const fs = yield* FileSystem.FileSystem
  const { arch, release } = yield* Target
  const folder = yield* cache
  yield* fs.makeDirectory(folder, { recursive: true })
  const recipe = JSON.stringify([arch.triple, release, packages, ...ingredients])
  const made = join(folder, `${name}-${createHash("sha256").update(recipe).digest("hex").slice(0, 16)}`)
  if (yield* fs.exists(made)) return made

  yield* Provision.commands(commands)
  const debs = yield* Provision.debs(join(folder, "debs"), packages)
  yield* say(saying)
  const work = yield* fs.makeTempDirectoryScoped({ directory: folder, prefix: `run-${process.pid}-` })
  const [files, tree] = [join(work, "files"), join(work, "tree")]
  yield* fs.makeDirectory(tree)
  yield* Tree.unpack(debs, tree)
  yield* fs.makeDirectory(join(files, place), { recursive: true })
  yield* fill(files, tree)
  yield* fs.rename(files, made)
  return made
}, Effect.scoped)

/** How our C programs are compiled. */
export const flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]

/** What the host compiles with, for the target's processor. */
export const compilers = Effect.map(Target, ({ arch: { commands, compiler } }) => [
  ...commands,
  ...compiler.packages.map((name) => [compiler.command, name] as const)
])

/** Compiles a program to the lab's place, for the target's processor, and copies what it links to of the packages. */
export const compile = Effect.fnUntraced(function*(
  { files, libraries, name, source, tree }: {
    readonly files: string
    readonly tree: string
    readonly name: string
    readonly source: string
    readonly libraries: ReadonlyArray<string>
  }
) {
  const { arch } = yield* Target
  const folder = join(tree, "usr", "lib", arch.triple)
  const program = join(files, place, name)
  yield* Command.run(arch.compiler.command, [
    ...flags,
    ...["-isystem", join(tree, "usr", "include"), "-o", program, source],
    ...["-L", folder, `-Wl,-rpath-link=${folder}:${join(tree, "lib", arch.triple)}`, ...libraries.map((library) => `-l${library}`)]
  ])
  yield* Tree.copyLibraries(tree, program, files)
})

/** Takes a program of the packages, with the libraries that it links to. */
export const take = Effect.fnUntraced(function*(files: string, tree: string, from: string, to = from) {
  yield* Tree.copy(join(tree, from), join(files, to))
  yield* Tree.copyLibraries(tree, join(tree, from), files)
})
