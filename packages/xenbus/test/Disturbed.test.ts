import { assert, describe, it } from "@effect/vitest"
import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as XenStoreError from "@xen-shbuf/core/XenStoreError"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as Dice from "./Dice.ts"
import * as Machine from "./Machine.ts"
import * as Traces from "./Traces.ts"

const refusals = {
  store: new XenStoreError.XenStoreError({
    operation: "read",
    reason: new XenStoreError.QuotaExceeded({ path: "/", quota: "nodes" })
  }),
  grants: new GrantTableError.GrantTableError({ operation: "share", reason: new GrantTableError.OutOfGrants({ requested: 1 }) }),
  channels: new EventChannelError.EventChannelError({ operation: "listen", reason: new EventChannelError.OutOfPorts({}) })
}

/**
 * Both halves, where one of them is disturbed at one of its operations, then ended in order, and a look at what is left.
 * Gives whether there was such an operation, whether a request was answered, and how the disturbed one ended.
 */
const play = (whom: 1 | 3, at: number, how: "refused" | "interrupted") =>
  Ledger.checked(Effect.gen(function*() {
    const machine = yield* Machine.make
    let reached = false
    let answers = 0
    const fibers = new Map<number, Fiber.Fiber<unknown, unknown>>()
    const disturb = (id: number): Machine.Disturb => (operation) => {
      if (id !== whom || operation.at !== at) return undefined
      reached = true
      if (how === "refused") return Effect.fail(refusals[operation.service])
      fibers.get(id)?.interruptUnsafe()
      return undefined
    }
    const backend = yield* machine.process(1, disturb(1))
    const guest = yield* machine.process(3, disturb(3))
    yield* machine.toolstack(Toolstack.addDevice({ type: Dice.type, frontend: 3, backend: 1 }))
    fibers.set(1, yield* backend.start(Dice.served))
    fibers.set(3, yield* guest.start(Dice.used(() => answers++)))
    yield* machine.settle
    yield* TestClock.adjust("1 minute")
    yield* machine.settle
    const before = answers
    const exits = []
    for (const id of [3, 1]) {
      const fiber = fibers.get(id)!
      const ending = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* machine.settle
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(ending)
      exits.push(yield* Fiber.await(fiber))
    }
    for (const { held } of [backend, guest]) assert.deepStrictEqual(held, { watches: 0, ports: 0 }, `operation ${at}`)
    return { reached, answers: before, exit: exits[whom === 3 ? 0 : 1]! }
  })).pipe(Effect.provide(TestClock.layer()), Effect.provide(TestXen.layer(), { local: true }), Traces.without)

describe.each([["a backend", 1], ["a frontend", 3]] as const)("%s", (_, whom) => {
  it.live("outlives a refusal of any operation, or fails with it, and leaves nothing", () =>
    Effect.gen(function*() {
      let answered = 0
      let at = 1
      for (; at < 500; at++) {
        const { answers, exit, reached } = yield* play(whom, at, "refused")
        if (!reached) break
        if (answers > 0) answered++
        // Only what can't go on at all ends with the refusal, and says so.
        if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) {
          const error = Cause.squash(exit.cause)
          assert.instanceOf(error, ConnectionError)
          assert.include(["QuotaExceeded", "OutOfGrants", "OutOfPorts"], error.reason._tag)
        } else assert.isAbove(answers, 0, `operation ${at}`)
      }
      assert.isAbove(at, 15)
      assert.isAbove(answered, 5)
    }), 120_000)

  it.live("that is interrupted at any operation leaves nothing", () =>
    Effect.gen(function*() {
      let at = 1
      while (at < 500 && (yield* play(whom, at, "interrupted")).reached) at++
      assert.isAbove(at, 15)
      assert.isBelow(at, 500)
    }), 120_000)
})
