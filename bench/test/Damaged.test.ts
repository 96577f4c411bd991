/**
 * The C programs refuse what the library refuses: else they would be compared while they do less, or fall over.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it, layer } from "@effect/vitest"
import * as Chain from "@xen-shbuf/core/Chain"
import type * as DirectoryError from "@xen-shbuf/core/DirectoryError"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import * as Page from "@xen-shbuf/core/Page"
import * as Generators from "@xen-shbuf/testkit/Generators"
import * as Arbitrary from "effect/Arbitrary"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import koffi from "koffi"
import { spawnSync } from "node:child_process"
import { writeSync } from "node:fs"
import * as Cc from "../src/Cc.ts"
import * as StandIn from "../src/StandIn.ts"

const hasCompiler = spawnSync("cc", ["--version"]).error === undefined

/** Ends the program at the first access outside of what it has. */
const guarded = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

const first = GrantRef.minimum

/** Where a buffer of so many pages is: its directory in the file's first pages, the buffer after it. */
const soundOf = (pages: number): Generators.Directory => {
  const links = Chain.pagesFor(pages)
  const refs = Uint32Array.from({ length: links + pages }, (_, i) => first + i)
  return { links: refs.slice(0, links), refs: refs.slice(links) }
}

/** How C begins to say it. It does not look for a cycle in the link of a last page, which must be 0. */
const inC = (reason: DirectoryError.Reason, { links }: Generators.Directory): RegExp => {
  switch (reason._tag) {
    case "TooShort":
      return /^not a link: 0 /
    case "TooLong":
      return /^the directory is too long/
    case "Cyclic":
      return reason.page === links.length - 1 ? /^the directory is too long/ : /^the directory is cyclic/
    case "InvalidLink":
      return /^not a link/
    case "InvalidRef":
      return /^not a reference/
    case "RepeatedRef":
      return /^repeated reference/
    default:
      return assert.fail(reason._tag)
  }
}

const start = Effect.gen(function*() {
  const memory = yield* StandIn.memory
  const native = (yield* StandIn.native(memory, guarded))!
  const write = (bytes: Uint8Array, ref: number) => writeSync(memory, bytes, 0, bytes.length, (ref - first) * Page.size)
  /** What C says to an operation: "ok", or why not. */
  const says = (operation: string, pages: number, directory = first) =>
    native.run(operation, { peer: 0, pages, directory }, 1).pipe(
      Effect.as("ok"),
      Effect.catchTag("NativeError", ({ message }) => Effect.succeed(message.replace(/^.*: error /, "")))
    )
  return { native, says, write }
}).pipe(Effect.provide(NodeFileSystem.layer))

class Program extends Context.Service<Program, Effect.Success<typeof start>>()("Program") {}

const inProgram = layer(Layer.effect(Program, start), { timeout: "2 minutes" })

describe.skipIf(!hasCompiler)("the C program on the devices", () => inProgram((it) => {
  it.effect("takes sound directories", () =>
    Effect.gen(function*() {
      const { says, write } = yield* Program
      for (const pages of [1, 2, 1023, 1024, 2046, 2047]) {
        write(Generators.layOut(soundOf(pages)), first)
        for (const operation of ["walk", "holdRefs", "map", "releaseRefs", "holdFrame", "copyIn", "releaseFrame", "provide"]) {
          assert.strictEqual(yield* says(operation, pages), "ok", `${operation}, ${pages} pages`)
        }
      }
    }), 60_000)

  it.effect("refuses damaged ones for the library's reasons, and goes on", () =>
    Effect.gen(function*() {
      const { says, write } = yield* Program
      const all = yield* Arbitrary.sampleEffect(Generators.hostile(), { count: 300, seed: 1 })
      for (const { damage, pages } of all) {
        const sound = soundOf(pages)
        const { bytes, reason } = Generators.damaged(sound, damage)
        write(bytes, first)
        const isInLinks = Generators.kinds.links.some((kind) => kind === damage._tag)
        for (const operation of ["walk", "holdRefs", "holdFrame", ...isInLinks ? ["provide"] : []]) {
          assert.match(yield* says(operation, pages), inC(reason, sound), `${operation}, ${JSON.stringify(damage)}`)
        }
        write(Generators.layOut(sound), first)
        assert.strictEqual(yield* says("walk", pages), "ok")
      }
    }), 60_000)

  it.effect("refuses references that can't begin a directory before it maps any page", () =>
    Effect.gen(function*() {
      const { says } = yield* Program
      for (const directory of [0, 1, 7, 0xffff_ffff]) {
        for (const operation of ["walk", "provide", "holdRefs", "holdFrame"]) {
          assert.match(yield* says(operation, 1, directory), /^not a link/)
        }
      }
    }))

  it.effect("refuses what a backend fills in wrongly, and a size that it shares no directory for", () =>
    Effect.gen(function*() {
      const { native, says, write } = yield* Program
      assert.match(yield* says("mapProvided", 1), /^no directory/)
      const pages = 1024
      const { directory } = yield* native.run("holdDirectory", { peer: 0, pages, directory: 0 }, 1)
      const links = Uint32Array.of(directory, directory + 1)
      const sound = { links, refs: soundOf(pages).refs }
      for (const damage of [{ _tag: "BadRef", index: 1023, word: 7 }, { _tag: "Repeated", index: 1023, first: 0 }] as const) {
        const { bytes, reason } = Generators.damaged(sound, damage)
        write(bytes, directory)
        assert.match(yield* says("mapProvided", pages), inC(reason, sound))
      }
      write(Generators.layOut(sound), directory)
      assert.strictEqual(yield* says("mapProvided", pages), "ok")
      for (const other of [1, 1023, 5000]) assert.match(yield* says("mapProvided", other), /^no directory/)
    }))

  it.effect("refuses sizes that no buffer has", () =>
    Effect.gen(function*() {
      const { says } = yield* Program
      for (const pages of [0, Page.maxCount + 1, 2 ** 32 - 1]) {
        for (const operation of ["share", "alloc", "walk", "provide", "holdDirectory"]) {
          assert.match(yield* says(operation, pages), /^not a size/)
        }
      }
      assert.match(yield* says("map", 1), /^no references/)
    }))
}))

describe.skipIf(!hasCompiler)("the C codec", () => {
  it.effect("refuses damaged directories, as the library's does", () =>
    Effect.gen(function*() {
      const read = koffi.load((yield* Cc.library(["codec.c"]))!)
        .func("double bytes_to_refs(const void *, size_t, uint32_t, size_t, size_t)")
      const all = yield* Arbitrary.sampleEffect(Generators.hostile(), { count: 300, seed: 2 })
      for (const { damage, pages } of all) {
        const sound = soundOf(pages)
        const micros = (bytes: Uint8Array): number => read(bytes, sound.links.length, first, pages, 1)
        assert.isAtLeast(micros(Generators.layOut(sound)), 0)
        assert.strictEqual(micros(Generators.damaged(sound, damage).bytes), -1, JSON.stringify(damage))
      }
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))
})
