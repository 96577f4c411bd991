import { assert, describe, it } from "@effect/vitest"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as TestConsole from "effect/testing/TestConsole"
import { readFileSync } from "node:fs"
import { backend } from "./backend.ts"
import { frontend } from "./frontend.ts"
import { reading } from "./reading.ts"

const length = 640 * 480 * 4

describe("The README's reading", () => {
  it.effect("copies, decodes and views a mapped frame", () =>
    Effect.gen(function*() {
      const inDomain = (id: number) => Effect.provide(TestXen.layerDomain(id))
      const frame = yield* SharedBuffer.alloc({ peer: 0, byteLength: 4096 }).pipe(inDomain(5))
      SharedMemory.viewAs(frame.bytes, Uint32Array)[2] = 640
      yield* SharedMemory.write(frame.bytes, new TextEncoder().encode("A frame".padEnd(32)), 16)
      const at = { peer: 5, directory: frame.directory, byteLength: 4096 }
      const { header, title, width } = yield* Effect.flatMap(PeerBuffer.map(at), reading).pipe(inDomain(0))
      assert.deepStrictEqual([header.length, width, title], [64, 640, "A frame".padEnd(32)])
      assert.deepStrictEqual(frame.bytes.slice(0, 4), Uint8Array.of(0xff, 0, 0, 0xff))
    }).pipe(Effect.scoped, Ledger.checked, Effect.provide(TestXen.layer())))

  it("stands in the README, line by line", () => {
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8")
    const example = readFileSync(new URL("reading.ts", import.meta.url), "utf8")
    const lines = example.split("\n").filter((line) => line.includes("SharedMemory."))
    assert.lengthOf(lines, 4)
    for (const line of lines) assert.include(readme.split("\n"), line.trim())
  })
})

describe("The README's frontend and backend", () => {
  it.effect("pass a frame from one domain to the other, and leave nothing", () =>
    Effect.gen(function*() {
      const frame = yield* frontend(0, 0x80).pipe(Effect.provide(TestXen.layerDomain(5)))
      const pixels = yield* backend(5, frame.directory).pipe(Effect.provide(TestXen.layerDomain(0)))
      assert.deepStrictEqual(pixels, new Uint8Array(length).fill(0x80))
      assert.deepStrictEqual(yield* TestConsole.logLines, [
        `tell domain 0: the directory is ${frame.directory}`,
        `${length} bytes, the first is 128`
      ])
    }).pipe(Ledger.checked, Effect.provide(TestXen.layer())))

  it("stand in the README as they are here", () => {
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8")
    for (const name of ["frontend.ts", "backend.ts"]) {
      const example = readFileSync(new URL(name, import.meta.url), "utf8")
      assert.include(readme, `\`\`\`ts\n${example}\`\`\``, name)
    }
  })

  it("are at most 20 lines long", () => {
    for (const name of ["frontend.ts", "backend.ts"]) {
      const lines = readFileSync(new URL(name, import.meta.url), "utf8").trimEnd().split("\n")
      assert.isAtMost(lines.length, 20, name)
    }
  })
})
