import { assert, describe, it } from "@effect/vitest"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as TestConsole from "effect/testing/TestConsole"
import { readFileSync } from "node:fs"
import { backend } from "./backend.ts"
import { frontend } from "./frontend.ts"

const length = 640 * 480 * 4

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
