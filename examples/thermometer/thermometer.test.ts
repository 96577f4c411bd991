import { assert, describe, it } from "@effect/vitest"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { readFileSync } from "node:fs"
import * as Backend from "./Backend.ts"
import * as Frontend from "./Frontend.ts"
import * as Protocol from "./Protocol.ts"

const byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))

const text = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")

describe("A thermometer", () => {
  it.live("is read by guests, tells them when it is too hot, and outlives its backend", () =>
    Effect.gen(function*() {
      const dom0 = TestXen.layerDomain(0)
      const guest = TestXen.layerDomain(5)
      const hot = yield* Queue.unbounded<number>()
      const sensor: Backend.Sensor = {
        now: () => 21_500,
        last: (count) => Int32Array.from({ length: count }, (_, i) => 20_000 + i),
        tooHot: Stream.fromQueue(hot)
      }
      yield* Effect.provide(Effect.void, guest)
      yield* Toolstack.addDevice({ type: Protocol.type, frontend: 5 }).pipe(Effect.provide(dom0))
      const first = yield* Backend.serve(sensor).pipe(Effect.provide(dom0), Effect.forkScoped)
      const readings = Frontend.run(({ alarms, last, read }) =>
        Effect.gen(function*() {
          yield* Queue.offer(hot, 25_000)
          const alarm = yield* Stream.runHead(alarms)
          return [yield* read, [...(yield* last(3))], alarm] as const
        })).pipe(Effect.provide(guest))
      const [temperature, history, alarm] = yield* readings
      assert.deepStrictEqual([temperature, history], [21_500, [20_000, 20_001, 20_002]])
      assert.deepInclude(alarm, { value: 25_000 })
      // The frontend waits for a backend that comes back.
      yield* Fiber.interrupt(first)
      const again = yield* Effect.forkChild(readings)
      const second = yield* Backend.serve(sensor).pipe(Effect.provide(dom0), Effect.forkScoped)
      assert.strictEqual((yield* Fiber.join(again))[0], 21_500)
      yield* Fiber.interrupt(second)
    }).pipe(Ledger.checked, Effect.provide(TestXen.layer())))

  it.prop("understands every slot, whatever is in it", { bytes: Schema.Array(byte).check(Schema.isBetweenLength(8, 8)) }, ({ bytes }) => {
    const request = Protocol.request(Uint8Array.from(bytes))
    if (request._tag === "FillHistory") assert.isAtMost(request.count, Protocol.places)
    if (request._tag !== "Unknown") assert.deepStrictEqual(Protocol.request(Protocol.toSlot(request)), request)
  })
})

describe("docs/drivers.md", () => {
  it("shows the example as it is", () => {
    const page = text("../../docs/drivers.md")
    const shown = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code!.trimEnd())
    const files = ["Protocol.ts", "Backend.ts", "Frontend.ts", "thermometer.test.ts"].map((name) => text(name))
    assert.isAbove(shown.length, 6)
    for (const code of shown) assert.isTrue(files.some((file) => file.includes(code)), code)
  })
})
