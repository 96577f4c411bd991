import { assert, describe, it } from "@effect/vitest"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import * as Frontend from "@xen-shbuf/xenbus/Frontend"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import * as Dice from "./Dice.ts"
import * as Machine from "./Machine.ts"
import * as Model from "./Model.ts"
import * as Traces from "./Traces.ts"

const cases = 10_000

/** Other ones each time. */
const first = Math.floor(Math.random() * 2 ** 31)

const ours = "/local/domain/1/backend/dice/3/0"
const theirs = "/local/domain/3/device/dice/0"

const texts = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "", "3 ", "-1", "x".repeat(2000)]

const quiet = Logger.layer([])

/** A few states in any order, and nonsense between them; the victim gets to see some of them, or only the last. */
const provoke = Effect.fnUntraced(function*({ settle, store }: Effect.Success<typeof Machine.make>, half: string, seed: number) {
  const { below } = Model.random(seed)
  for (let left = 1 + below(6); left > 0; left--) {
    if (below(12) === 0) yield* Effect.ignore(store.remove(`${half}/state`))
    else yield* store.write(`${half}/state`, texts[below(texts.length)]!)
    if (below(2) === 0) yield* settle
  }
})

const inXen = (name: string, test: (machine: Effect.Success<typeof Machine.make>) => Effect.Effect<void, unknown, TestXen.TestXen>) =>
  it.live(name, () =>
    Ledger.checked(Effect.flatMap(Machine.make, test)).pipe(Effect.provide([TestClock.layer(), TestXen.layer()]), Traces.without), 180_000)

describe("states in every order", () => {
  inXen(`of a hostile frontend, ${cases} cases: at most one handler runs, and only while it may; another guest's goes on`, (machine) =>
    Effect.gen(function*() {
      const { operations, process, settle, store, text, toolstack } = machine
      const backend = yield* process(1)
      for (const frontend of [3, 4]) {
        yield* process(frontend)
        yield* toolstack(Toolstack.addDevice({ type: Dice.type, frontend, backend: 1 }))
      }
      const running = new Map([[3, 0], [4, 0]])
      let most = 0
      let begun = 0
      const change = (frontend: number, by: number) =>
        Effect.sync(() => {
          running.set(frontend, running.get(frontend)! + by)
          most = Math.max(most, running.get(frontend)!)
          if (by > 0) begun++
        })
      const handler = ({ frontend, ready }: Backend.Connection) =>
        Effect.andThen(Effect.acquireRelease(change(frontend, 1), () => change(frontend, -1)), Effect.andThen(ready, Effect.never))
      const server = yield* backend.start(
        Backend.serve({ type: Dice.type, handler, restarts: Schedule.forever, closeWithin: 0 }).pipe(Effect.provide(quiet))
      )
      yield* settle
      yield* store.write("/local/domain/4/device/dice/0/state", "3")
      yield* settle
      for (let seed = first; seed < first + cases; seed++) {
        const before = operations()
        yield* provoke(machine, theirs, seed)
        yield* settle
        if (["1", "5", "6"].includes((yield* text(`${theirs}/state`)) ?? "")) assert.strictEqual(running.get(3), 0, `seed ${seed}`)
        yield* store.write(`${theirs}/state`, "1")
        yield* settle
        assert.strictEqual(yield* text(`${ours}/state`), "2", `seed ${seed}`)
        assert.deepStrictEqual([...running.values()], [0, 1], `seed ${seed}`)
        assert.isBelow(operations() - before, 400, `seed ${seed}`)
        machine.log.length = 0
      }
      assert.strictEqual(most, 1)
      assert.isAbove(begun, cases / 4)
      yield* Fiber.interrupt(server)
      assert.deepStrictEqual(backend.held, { watches: 0, ports: 0 })
    }))

  inXen(`of a hostile backend, ${cases} cases: what is shared ends with each connection, and a good one is served`, (machine) =>
    Effect.gen(function*() {
      const { operations, process, settle, store, text, toolstack, xen } = machine
      yield* process(1)
      const guest = yield* process(3)
      yield* toolstack(Toolstack.addDevice({ type: Dice.type, frontend: 3, backend: 1 }))
      let begun = 0
      const run = yield* guest.start(
        Frontend.run({
          type: Dice.type,
          publish: Dice.publish,
          restarts: Schedule.forever,
          use: () =>
            Effect.suspend(() => {
              begun++
              return Effect.never
            })
        }).pipe(Effect.provide(quiet))
      )
      yield* settle
      for (let seed = first; seed < first + cases; seed++) {
        const before = operations()
        yield* provoke(machine, ours, seed)
        yield* settle
        yield* store.write(`${ours}/state`, "6")
        yield* settle
        assert.strictEqual(yield* text(`${theirs}/state`), "1", `seed ${seed}`)
        assert.isEmpty((yield* xen.holdings).filter(({ _tag }) => _tag !== "Watch"), `seed ${seed}`)
        yield* store.write(`${ours}/state`, "2")
        yield* settle
        assert.strictEqual(yield* text(`${theirs}/state`), "3", `seed ${seed}`)
        const connections = begun
        yield* store.write(`${ours}/state`, "4")
        yield* settle
        assert.strictEqual(begun, connections + 1, `seed ${seed}`)
        assert.isBelow(operations() - before, 600, `seed ${seed}`)
        machine.log.length = 0
      }
      yield* store.write(`${ours}/state`, "6")
      yield* Fiber.interrupt(run)
      assert.deepStrictEqual(guest.held, { watches: 0, ports: 0 })
    }))
})
