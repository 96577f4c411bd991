import { assert, describe, it } from "@effect/vitest"
import * as CallSite from "@xen-shbuf/core/CallSite"
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"

const frame = Effect.withFiber((fiber) => Effect.succeed(fiber.cache.stackFrame))

describe("CallSite.named", () => {
  it.effect("gives the effect the function's name and the line of its call, however often it is wrapped", () =>
    Effect.gen(function*() {
      const ask = CallSite.named("ask", () => frame)
      const again = CallSite.named("again", () => ask())
      const called = yield* again()
      assert.deepStrictEqual([called?.name, called?.parent?.name], ["ask", "again"])
      assert.match(called?.stack() ?? "", /again|CallSite\.test\.ts:12/)
      assert.match(called?.parent?.stack() ?? "", /CallSite\.test\.ts:13/)
    }))

  it.effect("leaves Error.stackTraceLimit as it was", () =>
    Effect.gen(function*() {
      const before = Error.stackTraceLimit
      yield* CallSite.named("ask", () => frame)()
      assert.strictEqual(Error.stackTraceLimit, before)
      assert.isAbove(new Error().stack!.split("\n").length, 4)
    }))

  it.effect("looks for no line where errors are to have no stack", () =>
    Effect.gen(function*() {
      const before = Error.stackTraceLimit
      Error.stackTraceLimit = 0
      const called = yield* CallSite.named("ask", () => frame)()
      Error.stackTraceLimit = before
      assert.deepStrictEqual([called?.name, called?.stack()], ["ask", undefined])
    }))

  it("works where somebody has frozen Error", () => {
    const program = `
      import * as CallSite from "@xen-shbuf/core/CallSite"
      import * as Effect from "effect/Effect"
      Object.freeze(Error)
      const frame = Effect.withFiber((fiber) => Effect.succeed(fiber.cache.stackFrame))
      const { name, stack } = Effect.runSync(CallSite.named("ask", () => frame)())
      console.log(name, typeof stack(), Error.stackTraceLimit)`
    const { stderr, stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
      cwd: import.meta.dirname,
      encoding: "utf8"
    })
    assert.strictEqual(stdout, "ask string 10\n", stderr)
  })
})
