/** What programs do that they should not: they are told so, and nobody else is disturbed. */
import { assert, describe, it } from "@effect/vitest"
import type { EventChannel } from "@xen-shbuf/core/EventChannels"
import * as Exploration from "@xen-shbuf/testkit/Exploration"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import * as Frontend from "@xen-shbuf/xenbus/Frontend"
import * as Ring from "@xen-shbuf/xenbus/Ring"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Dice from "./Dice.ts"
import * as Machine from "./Machine.ts"

type Machine = Effect.Success<typeof Machine.make>

const inXen = (name: string, test: (machine: Machine) => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Ledger.checked(Effect.flatMap(Machine.make, test)).pipe(Effect.provide(TestXen.layer())))

const device = { type: Dice.type, frontend: 3, backend: 1 }
const ours = "/local/domain/1/backend/dice/3/0"
const theirs = "/local/domain/3/device/dice/0"

/** The sentence of the defect that an effect dies with. */
const defect = (effect: Effect.Effect<unknown, unknown>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    const squashed = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
    return Exit.isFailure(exit) && Cause.hasDies(exit.cause) && squashed instanceof Error ? squashed.message : String(exit)
  })

describe("what is kept after the end of a connection", () => {
  inXen("of a backend can't touch the nodes of the next one", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const kept: Array<Backend.Connection> = []
      const server = yield* backend.start(Backend.serve({
        type: Dice.type,
        handler: (connection) => {
          kept.push(connection)
          return Dice.handler(() => {})(connection)
        }
      }))
      yield* guest.run(Dice.once(1))
      yield* machine.until(`${ours}/state`, "2")
      const before = yield* machine.below(ours)
      assert.include(yield* defect(kept[0]!.write({ late: "1" })), "over")
      assert.include(yield* defect(kept[0]!.ready), "over")
      assert.deepStrictEqual(yield* machine.below(ours), before)
      assert.deepStrictEqual(yield* guest.run(Dice.once(2)), [2, 4])
      yield* Fiber.interrupt(server)
    }))

  inXen("of a frontend ends who waits for its end", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const server = yield* backend.start(Backend.serve({ type: Dice.type, handler: Dice.handler(() => {}) }))
      const scope = yield* Scope.make()
      const { ended } = yield* guest.run(Scope.provide(Frontend.connect({ type: Dice.type, publish: Dice.publish }), scope))
      const waiting = yield* Effect.forkChild(defect(ended), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      assert.include(yield* Fiber.join(waiting), "its scope was left")
      assert.include(yield* defect(ended), "its scope was left")
      yield* Fiber.interrupt(server)
    }))
})

describe("what a frontend published", () => {
  inXen("is taken back though the program has changed its list since", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const server = yield* backend.start(Backend.serve({ type: Dice.type, handler: Dice.handler(() => {}) }))
      yield* guest.run(Effect.scoped(Effect.gen(function*() {
        const { published } = yield* Frontend.connect({ type: Dice.type, publish: Dice.publish })
        for (const name of Object.keys(published.nodes)) delete (published.nodes as Record<string, unknown>)[name]
      })))
      assert.isUndefined(yield* machine.text(`${theirs}/ring-ref`))
      yield* Fiber.interrupt(server)
    }))
})

describe("what a frontend can't publish", () => {
  inXen("leaves its device closed, and the next one connects", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const server = yield* backend.start(Backend.serve({ type: Dice.type, handler: Dice.handler(() => {}) }))
      for (const nodes of [{ "../x": "1" }, { "": "1" }, { a: 7 as never }, { a: "x".repeat(5000) }, { a: "\ud800" }]) {
        const publish = () => Effect.succeed({ nodes })
        const { reason } = yield* Effect.flip(guest.run(Effect.scoped(Frontend.connect({ type: Dice.type, publish }))))
        assert.include(["InvalidInput", "TooLong"], reason._tag)
        assert.strictEqual(yield* machine.text(`${theirs}/state`), "6")
      }
      assert.deepStrictEqual(yield* guest.run(Dice.once(3)), [3, 6])
      yield* Fiber.interrupt(server)
    }))
})

describe("a frontend that is run", () => {
  inXen("fails as its last connection where its restarts are over, instead of waiting for ever", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      let served = 0
      const handler = ({ ready }: Backend.Connection) => Effect.sync(() => void served++).pipe(Effect.andThen(ready), Effect.asVoid)
      const server = yield* backend.start(Backend.serve({ type: Dice.type, handler, restarts: Schedule.forever }))
      const { reason } = yield* Effect.flip(guest.run(Frontend.run({
        type: Dice.type,
        publish: Dice.publish,
        restarts: Schedule.recurs(2),
        use: () => Effect.never
      })))
      assert.strictEqual(reason._tag, "PeerClosed")
      assert.isAtLeast(served, 1)
      yield* Fiber.interrupt(server)
    }))
})

describe("the toolstack", () => {
  inXen("takes no numbers that are none, and makes nothing of them", (machine) =>
    Effect.gen(function*() {
      yield* machine.process(3)
      const before = yield* machine.xen.nodes
      const wrong: ReadonlyArray<Partial<Toolstack.Address>> = [
        ...[Number.NaN, -1, 0.5, Infinity, 2 ** 32, 4n, "3", undefined, null].flatMap((value) => [
          { frontend: value as never },
          ...(value === undefined ? [] : [{ backend: value as never }, { id: value as never }])
        ]),
        ...["", "a/b", "..", "a ", "\ud800", "x".repeat(5000), 7 as never].map((type) => ({ type }))
      ]
      for (const one of wrong) {
        const address = { type: "dice", frontend: 3, backend: 0, ...one }
        for (const ask of [Toolstack.addDevice(address), Toolstack.removeDevice(address)]) {
          const error = yield* Effect.flip(Effect.asVoid(machine.toolstack(ask)))
          assert.strictEqual(error.reason._tag, "InvalidInput", `${Object.keys(one)[0]} ${String(Object.values(one)[0])}`)
          assert.isBelow(error.message.length, 600)
        }
      }
      const guest = yield* machine.process(3)
      const others = [
        guest.run(Effect.scoped(Frontend.connect({ type: Dice.type, id: Number.NaN, publish: Dice.publish }))),
        guest.run(Frontend.run({ type: "a/b", publish: Dice.publish, use: () => Effect.never })),
        guest.run(Backend.serve({ type: "", handler: Dice.handler(() => {}) })),
        guest.run(Backend.serve({ type: Dice.type, maxDevices: Number.NaN, handler: Dice.handler(() => {}) })),
        machine.toolstack(Toolstack.listDevices({ backend: Number.NaN })),
        machine.toolstack(Toolstack.listDevices({ type: ".." }))
      ]
      for (const ask of others) {
        const error = yield* Effect.flip(Effect.asVoid<unknown, unknown, never>(ask))
        assert.instanceOf(error, ConnectionError)
        assert.strictEqual(error.reason._tag, "InvalidInput")
      }
      assert.deepStrictEqual(yield* machine.xen.nodes, before)
    }))

  inXen("lists all devices, whatever a backend's domain has written of one", (machine) =>
    Effect.gen(function*() {
      yield* machine.process(1)
      yield* machine.process(3)
      for (const id of [0, 1, 2, 3]) yield* machine.toolstack(Toolstack.addDevice({ ...device, id }))
      const frontends = [new Uint8Array([0xff]), "not a path!", "x".repeat(2000)]
      for (const [id, value] of frontends.entries()) {
        yield* machine.store.write(`/local/domain/1/backend/dice/3/${id}/frontend`, value)
      }
      const listed = yield* machine.toolstack(Toolstack.listDevices({ backend: 1 }))
      assert.deepStrictEqual(listed.map(({ id }) => id), [0, 1, 2, 3])
      assert.strictEqual(listed[3]!.frontendState, "Initialising")
    }))
})

describe("what was put", () => {
  it.live("is shown and signalled, or neither, where its fiber is interrupted", () =>
    Effect.gen(function*() {
      let shown = 0
      let signals = 0
      const half = { push: () => Result.succeed(++shown > 0) }
      const fake: Partial<EventChannel> = { notify: Effect.sync(() => void signals++) }
      const channel = fake as EventChannel
      const interruptions = yield* Exploration.interruptEach((disturbed) =>
        Effect.andThen(disturbed(Ring.pushAndNotify(half, channel)), Effect.sync(() => assert.strictEqual(signals, shown))))
      assert.isAbove(interruptions, 2)
      assert.isAbove(shown, 1)
    }))
})
