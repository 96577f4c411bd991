import { assert, describe, it } from "@effect/vitest"
import type * as Preflight from "@xen-shbuf/xen-gntdev/Preflight"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { report } from "@xen-shbuf/cli/commands/Doctor"
import * as Output from "@xen-shbuf/cli/Output"

const fine: Preflight.Point = { name: "Xen", ok: true, detail: "this is a Xen domain" }
const broken: Preflight.Point = { name: "gntalloc limit", ok: false, detail: "1024, 2027 needed", remedy: "Raise it." }

const printed = Effect.fnUntraced(function*(points: ReadonlyArray<Preflight.Point>, layer: typeof Output.layerText) {
  const lines: Array<string> = []
  const screen: Console.Console = Object.assign(Object.create(console), { log: (text: string) => lines.push(text) })
  const exit = yield* report(points).pipe(
    Effect.provide(layer),
    Effect.provideService(Console.Console, screen),
    Effect.exit
  )
  return { ok: Exit.isSuccess(exit), lines }
})

describe("doctor", () => {
  it.effect("is content", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* printed([fine], Output.layerText), {
        ok: true,
        lines: ["✓ Xen: this is a Xen domain", "\nThis machine can share and map buffers."]
      })
    }))

  it.effect("names each failing point with its remedy, and fails", () =>
    Effect.gen(function*() {
      const { lines, ok } = yield* printed([fine, broken], Output.layerText)
      assert.isFalse(ok)
      assert.strictEqual(lines[1], "✗ gntalloc limit: 1024, 2027 needed\n    Raise it.")
    }))

  it.effect("prints a line for each point with --json", () =>
    Effect.gen(function*() {
      const { lines } = yield* printed([fine, broken], Output.layerJson)
      assert.deepStrictEqual(lines.map((line) => JSON.parse(line)), [
        { event: "point", ...fine },
        { event: "point", ...broken },
        { event: "doctor", ok: false, failed: 1 }
      ])
    }))
})
