/** What programs do at their end, over devices that take their time to answer. */
import { assert, describe, it } from "@effect/vitest"
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as Domains from "@xen-shbuf/testkit/Domains"
import * as Law from "@xen-shbuf/testkit/Law"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as XenStoreLaws from "@xen-shbuf/testkit/XenStoreLaws"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Server from "../../io/src/libxenvchan/Server.ts"
import * as Backend from "../../xenbus/src/Backend.ts"
import * as Connection from "../src/internal/Connection.ts"
import * as Kernel from "../src/internal/Kernel.ts"
import * as StoreDriver from "../src/internal/StoreDriver.ts"
import * as Transports from "../src/internal/Transports.ts"
import * as StoreClient from "../src/StoreClient.ts"
import * as FakeXenbus from "./FakeXenbus.ts"
import * as FakeXenStored from "./FakeXenStored.ts"

const domain = 5

/** Xenstore of a guest, through its device; at the end nothing is held. */
const open = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const stored = FakeXenStored.make({ domain })
      const fake = FakeXenbus.make(stored)
      const connection = Connection.make(Transports.device(Kernel.loading("x", () => fake.kernel), "/dev/xen/xenbus"))
      stored.write(`/local/domain/${domain}/domid`, String(domain))
      return { stored, fake, connection }
    }),
    ({ connection, fake, stored }) =>
      Effect.gen(function*() {
        yield* Effect.sleep(10)
        assert.deepStrictEqual(stored.held(), { watches: 0, transactions: 0 })
        connection.close(StoreClient.closed)
        assert.deepStrictEqual(fake.errors, [])
      })
  ),
  ({ connection, stored }) => ({ stored, store: XenStore.make(StoreDriver.make(connection)) })
)

const test = <E>(name: string, body: Effect.Effect<void, E, Effect.Services<typeof open> | TestXen.TestXen>) =>
  it.live(name, () => Effect.provide(Effect.scoped(body), TestXen.layer()))

describe("XenStore over the device", () => {
  for (const law of XenStoreLaws.laws.filter(({ name }) => /finalizer|more fibers/.test(name))) {
    test(law.name, Effect.gen(function*() {
      const { store } = yield* open
      const loopback = Domains.loopback(domain).pipe(
        Layer.provide(Layer.succeed(XenStore.XenStore, store)),
        Layer.provide(TestXen.layerDomain(domain))
      )
      const { failure } = yield* Law.run(law, Layer.provide(loopback, TestXen.layer()))
      assert.isUndefined(failure, String(failure))
    }))
  }
})

describe("A vchan server", () => {
  for (const end of ["is interrupted", "has ended"]) {
    test(`leaves no nodes behind when it ${end}`, Effect.gen(function*() {
      const { store } = yield* open
      const listening = Effect.andThen(Server.listen({ peer: 0, path: "data/pipe" }), end === "has ended" ? Effect.sleep(20) : Effect.never)
      const server = yield* Effect.forkChild(Effect.scoped(listening).pipe(
        Effect.provideService(XenStore.XenStore, store),
        Effect.provide(TestXen.layerDomain(domain))
      ))
      while ((yield* Effect.exit(store.read("data/pipe/event-channel")))._tag === "Failure") yield* Effect.sleep(1)
      if (end === "has ended") yield* Fiber.join(server)
      else yield* Fiber.interrupt(server)
      const left = yield* Effect.flip(store.directory("data/pipe"))
      assert.strictEqual(left.reason._tag, "NotFound")
    }))
  }
})

describe("A backend in a guest", () => {
  test("closes all its devices when it is interrupted, also more than it may have transactions", Effect.gen(function*() {
    const { store, stored } = yield* open
    const guests = Array.from({ length: 40 }, (_, i) => 20 + i)
    const backendPath = (guest: number) => `/local/domain/${domain}/backend/dice/${guest}/0`
    const frontendPath = (guest: number) => `/local/domain/${guest}/device/dice/0`
    for (const guest of guests) {
      const nodes = { frontend: frontendPath(guest), "frontend-id": String(guest), online: "1", state: "1" }
      for (const [name, value] of Object.entries(nodes)) stored.write(`${backendPath(guest)}/${name}`, value)
      stored.write(`${frontendPath(guest)}/state`, "1")
    }
    const states = Effect.map(Effect.forEach(guests, (guest) => store.readText(`${backendPath(guest)}/state`)), (all) => all.join(""))
    const until = (state: string) =>
      Effect.gen(function*() {
        while ((yield* states) !== state.repeat(guests.length)) yield* Effect.sleep(5)
      })
    const server = yield* Effect.forkChild(
      Backend.serve({ type: "dice", closeWithin: 500, handler: ({ ready }) => Effect.andThen(ready, Effect.never) }).pipe(
        Effect.provideService(XenStore.XenStore, store)
      ),
      { startImmediately: true }
    )
    yield* until("2")
    for (const guest of guests) stored.write(`${frontendPath(guest)}/state`, "3")
    yield* until("4")
    yield* Fiber.interrupt(server)
    assert.strictEqual(yield* states, "6".repeat(guests.length))
  }))
})
