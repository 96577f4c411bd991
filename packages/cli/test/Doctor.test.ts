import { assert, describe, it } from "@effect/vitest"
import type * as Preflight from "@xen-shbuf/xen-gntdev/Preflight"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { report } from "@xen-shbuf/cli/commands/Doctor"
import * as Output from "@xen-shbuf/cli/Output"

const fine: Preflight.Point = { name: "Xen", ok: true, detail: "this is a Xen domain" }
const broken: Preflight.Point = { name: "gntalloc limit", ok: false, detail: "1024, 2027 needed", remedy: "Raise it." }

const gntdev: Preflight.Point = { name: "/dev/xen/gntdev", ok: false, detail: "no", remedy: "Load it.", only: "map" }

const printed = Effect.fnUntraced(function*(
  points: ReadonlyArray<Preflight.Point>,
  layer: typeof Output.layerText,
  role?: Preflight.Role
) {
  const lines: Array<string> = []
  const screen: Console.Console = Object.assign(Object.create(console), { log: (text: string) => lines.push(text) })
  const exit = yield* report(points, role).pipe(
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
        lines: ["✓ Xen: this is a Xen domain", "\nThis machine can share and map buffers and connect devices."]
      })
    }))

  it.effect("names each failing point with its remedy, and fails", () =>
    Effect.gen(function*() {
      const { lines, ok } = yield* printed([fine, broken], Output.layerText)
      assert.isFalse(ok)
      assert.strictEqual(lines[1], "✗ gntalloc limit: 1024, 2027 needed\n    Raise it.")
    }))

  it.effect("knows that a frontend needs no gntdev, and a backend no gntalloc", () =>
    Effect.gen(function*() {
      const both = yield* printed([fine, gntdev], Output.layerText)
      assert.isFalse(both.ok)
      assert.strictEqual(
        both.lines.at(-1),
        "\nThis machine can't share and map buffers and connect devices yet: 1 point to mend, from the top. " +
          "It can share buffers and connect devices (--for share or connect asks for that alone)."
      )
      const json = yield* printed([fine, gntdev], Output.layerJson)
      assert.deepStrictEqual(JSON.parse(json.lines.at(-1)!), { event: "doctor", ok: false, failed: 1, can: ["share", "connect"] })
      const share = yield* printed([fine, gntdev], Output.layerText, "share")
      assert.deepStrictEqual(share, {
        ok: true,
        lines: ["✓ Xen: this is a Xen domain", "\nThis machine can share buffers."]
      })
      const map = yield* printed([fine, gntdev], Output.layerText, "map")
      assert.strictEqual(map.lines.at(-1), "\nThis machine can't map buffers yet: 1 point to mend, from the top.")
      const evtchn: Preflight.Point = { ...gntdev, name: "/dev/xen/evtchn", only: "connect" }
      const some = yield* printed([fine, gntdev, evtchn], Output.layerText)
      assert.include(some.lines.at(-1), "It can share buffers (--for share asks for that alone).")
      const connect = yield* printed([fine, gntdev], Output.layerText, "connect")
      assert.strictEqual(connect.lines.at(-1), "\nThis machine can connect devices.")
      const neither = yield* printed([broken, gntdev], Output.layerText)
      assert.notInclude(neither.lines.at(-1), "It can")
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
