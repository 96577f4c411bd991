/** What programs do that they should not: they are told so, and the keyboard goes on. */
import { assert, describe, it } from "@effect/vitest"
import * as Backend from "@xen-shbuf/io/kbdif/Backend"
import * as Frontend from "@xen-shbuf/io/kbdif/Frontend"
import type * as Protocol from "@xen-shbuf/io/kbdif/Protocol"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"

const dom0 = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, TestXen.layerDomain(0))
const guest = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, TestXen.layerDomain(3))

const key: Protocol.Event = { _tag: "Key", pressed: true, code: 30 }

describe("events that are sent", () => {
  it.live("are taken as they are then, and one that is none stops no other", () =>
    Ledger.checked(Effect.scoped(Effect.gen(function*() {
      yield* guest(Effect.void)
      yield* dom0(Toolstack.addDevice({ type: "vkbd", backendType: "vinput", frontend: 3 }))
      const keyboards = yield* Queue.unbounded<Backend.Keyboard>()
      yield* Backend.serve({ use: (keyboard) => Queue.offer(keyboards, keyboard) }).pipe(dom0, Effect.forkScoped)
      const { events } = yield* guest(Frontend.connect())
      const { send } = yield* Queue.take(keyboards)
      const wrong = [{ ...key, code: 30n }, { _tag: "Touch" }, undefined, { _tag: "Touch", touch: { _tag: "Up", contact: 1n } }]
      for (const event of wrong) assert.isTrue(Exit.hasDies(yield* Effect.exit(send(key, event as never))))
      assert.deepStrictEqual(yield* Stream.runHead(events).pipe(Effect.timeoutOption(0), Effect.map((none) => none._tag)), "None")
      // More than there are places for: the last ones wait.
      const own = { _tag: "Key" as const, pressed: true, code: 1 }
      for (let sent = 0; sent < 60; sent++) assert.isTrue(yield* send(own))
      own.code = 2
      const seen = yield* Stream.runCollect(Stream.take(events, 60))
      assert.isTrue(Array.from(seen).every((event) => event._tag === "Key" && event.code === 1))
    }))).pipe(Effect.provide(TestXen.layer())))
})
