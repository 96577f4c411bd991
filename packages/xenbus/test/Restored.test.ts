import { assert, describe, it } from "@effect/vitest"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as Dice from "./Dice.ts"
import * as Machine from "./Machine.ts"

/** Both halves, where the domain of one is saved and restored before one of its operations. Whether there was such a one. */
const play = (whom: 1 | 3, at: number, as: number) =>
  Ledger.checked(Effect.gen(function*() {
    const machine = yield* Machine.make
    let reached = false
    let [answers, before] = [0, 0]
    /** What the toolstack does: nothing of the device before helps to connect it. */
    const makeAnew = Effect.gen(function*() {
      before = answers
      yield* machine.store.remove("/local/domain/1/backend/dice/3").pipe(Effect.ignore)
      yield* machine.store.remove("/local/domain/3/device/dice").pipe(Effect.ignore)
      const [frontend, backend] = whom === 3 ? [as, 1] : [3, as]
      yield* machine.toolstack(Toolstack.addDevice({ type: Dice.type, frontend, backend }))
    })
    const restore: Machine.Disturb = (operation) => {
      if (operation.at !== at) return undefined
      reached = true
      Effect.runSync(machine.xen.suspendAndResume(whom, { as }))
      // Devices of a domain are there when it goes on; those that it serves are made when somebody asks for them.
      if (whom === 3) Effect.runSync(makeAnew)
      return undefined
    }
    const backend = yield* machine.process(1, whom === 1 ? restore : undefined)
    const guest = yield* machine.process(3, whom === 3 ? restore : undefined)
    yield* machine.toolstack(Toolstack.addDevice({ type: Dice.type, frontend: 3, backend: 1 }))
    const server = yield* backend.start(Dice.served)
    const run = yield* guest.start(Dice.used(() => answers++))
    const aWhile = Effect.andThen(Effect.andThen(machine.settle, TestClock.adjust("1 minute")), machine.settle)
    yield* aWhile
    if (reached) {
      if (whom === 1) yield* Effect.andThen(makeAnew, aWhile)
      const outcomes = `operation ${at}: ${JSON.stringify([run.pollUnsafe(), server.pollUnsafe()])}`
      assert.isAbove(answers, before, outcomes)
    }
    for (const fiber of [run, server]) {
      const ending = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* aWhile
      yield* Fiber.join(ending)
    }
    for (const { held } of [backend, guest]) assert.deepStrictEqual(held, { watches: 0, ports: 0 }, `operation ${at}`)
    return reached
  })).pipe(Effect.provide(TestClock.layer()), Effect.provide(TestXen.layer(), { local: true }))

describe.each([["a backend", 1], ["a frontend", 3]] as const)("%s whose domain is saved and restored, at whatever operation,", (_, whom) => {
  it.live.each([{ id: "another id", as: 9 }, { id: "the id it had", as: whom }])("connects anew under $id, and leaves nothing", ({ as }) =>
    Effect.gen(function*() {
      let at = 1
      while (at < 500 && (yield* play(whom, at, as))) at++
      assert.isAbove(at, 15)
      assert.isBelow(at, 500)
    }), 240_000)
})
