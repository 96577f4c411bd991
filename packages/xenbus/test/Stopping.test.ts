import { assert, describe, it } from "@effect/vitest"
import * as XenStore from "@xen-shbuf/core/XenStore"
import { QuotaExceeded, XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

const backend = 5
const guests = Array.from({ length: 40 }, (_, i) => 20 + i)
const frontendState = (guest: number) => `/local/domain/${guest}/device/dice/0/state`

/** A driver domain that serves a device of each guest, all connected. */
const serving = Effect.fnUntraced(function*(change: (store: XenStore.XenStore["Service"]) => XenStore.XenStore["Service"]) {
  const xen = yield* TestXen.TestXen
  const dom0 = yield* xen.store(0)
  const store = yield* xen.store(backend)
  for (const guest of guests) {
    yield* xen.domain(guest)
    yield* Effect.provideService(Toolstack.addDevice({ type: "dice", frontend: guest, backend }), XenStore.XenStore, dom0)
  }
  const states = Effect.map(
    Effect.forEach(guests, (guest) => dom0.readText(`/local/domain/${backend}/backend/dice/${guest}/0/state`)),
    (all) => all.join("")
  )
  const until = (state: string) =>
    Effect.gen(function*() {
      while ((yield* states) !== state.repeat(guests.length)) yield* Effect.sleep(5)
    })
  const serve = Backend.serve({ type: "dice", closeWithin: 1000, handler: ({ ready }) => Effect.andThen(ready, Effect.never) })
  const server = yield* Effect.forkScoped(Effect.provideService(serve, XenStore.XenStore, change(store)))
  yield* until("2")
  for (const guest of guests) yield* dom0.write(frontendState(guest), "3")
  yield* until("4")
  return { server, states }
})

const test = (name: string, body: Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Effect.provide(Effect.scoped(body), TestXen.layer()))

describe("The end of a backend in a guest that serves more devices than it may have transactions", () => {
  test("closes them all", Effect.gen(function*() {
    const { server, states } = yield* serving((store) => store)
    yield* Fiber.interrupt(server)
    assert.strictEqual(yield* states, "6".repeat(guests.length))
  }))

  test("closes them all where xenstore refuses for a while", Effect.gen(function*() {
    let refusals = 0
    const { server, states } = yield* serving((store) => ({
      ...store,
      transaction: (body, options) =>
        refusals-- > 0
          ? Effect.fail(new XenStoreError({ operation: "transaction", reason: new QuotaExceeded({ path: "/", quota: "transactions" }) }))
          : store.transaction(body, options)
    }))
    refusals = 5 * guests.length
    yield* Fiber.interrupt(server)
    assert.strictEqual(yield* states, "6".repeat(guests.length))
  }))

  test("ends in time where xenstore refuses for ever", Effect.gen(function*() {
    let refuses = false
    const { server, states } = yield* serving((store) => ({
      ...store,
      transaction: (body, options) =>
        refuses
          ? Effect.fail(new XenStoreError({ operation: "transaction", reason: new QuotaExceeded({ path: "/", quota: "nodes" }) }))
          : store.transaction(body, options)
    }))
    refuses = true
    yield* Fiber.interrupt(server)
    assert.strictEqual(yield* states, "4".repeat(guests.length))
  }))
})

describe("A backend in a guest", () => {
  it.live("serves so many devices that watches are left, and the next when one goes", () =>
    Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const dom0 = yield* xen.store(0)
      yield* xen.domain(backend)
      yield* xen.domain(20)
      const device = (id: number) => ({ type: "dice", frontend: 20, backend, id })
      const toolstack = <A, E>(effect: Effect.Effect<A, E, XenStore.XenStore>) => Effect.provideService(effect, XenStore.XenStore, dom0)
      const state = (id: number) => dom0.readText(`/local/domain/${backend}/backend/dice/20/${id}/state`)
      // The toolstack's nodes of the guest's half count as the guest's.
      for (let id = 0; id < 101; id++) yield* toolstack(Toolstack.addDevice(device(id)))
      const served = Effect.map(Effect.forEach(Array.from({ length: 101 }), (_, id) => state(id)), (all) =>
        all.filter((state) => state === "2").length)
      yield* Effect.forkScoped(Effect.provideService(
        Backend.serve({ type: "dice", handler: () => Effect.never }),
        XenStore.XenStore,
        yield* xen.store(backend)
      ))
      while ((yield* served) < 100) yield* Effect.sleep(5)
      yield* Effect.sleep(50)
      assert.strictEqual(yield* served, 100)
      const waiting = yield* Effect.findFirst(Array.from({ length: 101 }, (_, id) => id), (id) => Effect.map(state(id), (is) => is === "1"))
      assert.strictEqual(waiting._tag, "Some")
    }).pipe(Effect.scoped, Effect.provide(TestXen.layer())))
})
