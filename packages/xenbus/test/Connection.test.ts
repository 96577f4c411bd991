import { assert, describe, it } from "@effect/vitest"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import * as Frontend from "@xen-shbuf/xenbus/Frontend"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Dice from "./Dice.ts"
import * as Machine from "./Machine.ts"

type Machine = Effect.Success<typeof Machine.make>

/** What is shared and mapped. */
const pages = ({ xen }: Effect.Success<typeof Machine.make>) => Effect.map(xen.holdings, (all) => all.filter((held) => "refs" in held))

const inXen = (name: string, test: (machine: Machine) => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Ledger.checked(Effect.flatMap(Machine.make, test)).pipe(Effect.provide(TestXen.layer())))

/** A device of guest 3, whose backend is in domain 1. */
const device = { type: Dice.type, frontend: 3, backend: 1 }
const ours = "/local/domain/1/backend/dice/3/0"
const theirs = "/local/domain/3/device/dice/0"

const serve = (machine: Machine, options: Partial<Backend.Options<unknown, Scope.Scope>> = {}) => {
  const handler = Dice.handler((text) => machine.log.push(text))
  return Backend.serve({ type: Dice.type, handler, ...options })
}

/** What is logged at a level from now on. */
const logged = (level: "Error" | "Warn" | "Debug", lines: Array<string>) =>
  Logger.layer([
    Logger.make(({ cause, logLevel, message }) => {
      if (logLevel === level) lines.push(`${String(message)} ${cause.reasons.length > 0 ? Cause.pretty(cause) : ""}`)
    })
  ])

const state = (number: number) => String(number)

describe("a device", () => {
  inXen("goes through Xen's states, and is let go of before it is Closed, for each connection", (machine) =>
    Effect.gen(function*() {
      const { log, until } = machine
      const by = (half: string) => log.filter((line) => line.startsWith(half) || !line.includes(":"))
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const server = yield* backend.start(serve(machine, { advertise: () => Effect.succeed({ feature: "1" }) }))
      assert.deepStrictEqual(yield* guest.run(Dice.once(21)), [21, 42])
      yield* until(`${ours}/state`, "2")
      assert.deepStrictEqual(by("1:"), [
        "1: InitWait",
        "serving 3/0",
        "1: Connected, holding 2",
        "1: Closing, holding 2",
        "let go of 3/0",
        "1: Closed",
        "1: InitWait"
      ])
      assert.deepStrictEqual(by("3:"), [
        "3: Initialising",
        "3: Initialised, holding 2",
        "serving 3/0",
        "3: Connected, holding 2",
        "3: Closing, holding 2",
        "let go of 3/0",
        "3: Closed"
      ])
      assert.deepStrictEqual(yield* guest.run(Dice.once(4)), [4, 8])
      assert.isUndefined(yield* machine.text(`${theirs}/ring-ref`))
      yield* until(`${ours}/state`, "2")
      assert.isDefined(yield* machine.text(`${ours}/feature`))
      yield* Fiber.interrupt(server)
      assert.strictEqual(log.at(-1), "1: Closed")
      assert.isUndefined(yield* machine.text(`${ours}/feature`))
      assert.deepStrictEqual([backend.held, guest.held], [{ watches: 0, ports: 0 }, { watches: 0, ports: 0 }])
    }))

  inXen("comes and goes with the toolstack, which waits until it is closed", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      const other = yield* machine.process(4)
      const server = yield* backend.start(serve(machine))
      yield* machine.toolstack(Toolstack.addDevice({ ...device, frontend: 4 }))
      yield* machine.toolstack(Toolstack.addDevice(device))
      const connected = yield* Deferred.make<void>()
      const using = yield* guest.start(Effect.scoped(Effect.gen(function*() {
        const connection = yield* Frontend.connect({ type: Dice.type, publish: Dice.publish })
        yield* Deferred.succeed(connected, undefined)
        return yield* connection.ended
      })))
      yield* Deferred.await(connected)
      assert.deepStrictEqual(yield* other.run(Dice.once(5)), [5, 10])
      assert.deepStrictEqual(
        (yield* machine.toolstack(Toolstack.listDevices({ backend: 1 }))).map(({ backendState, frontend, frontendState, id, type }) =>
          [type, frontend, id, frontendState, backendState]
        ).filter(([, domain]) => domain === 3),
        [["dice", 3, 0, "Connected", "Connected"]]
      )
      assert.isTrue(yield* machine.toolstack(Toolstack.removeDevice(device)))
      const error = yield* Effect.flip(Fiber.join(using))
      assert.include(["PeerClosed", "PeerGone"], error.reason._tag)
      assert.deepStrictEqual(yield* machine.below("/local/domain/1/backend/dice/3"), [])
      assert.deepStrictEqual(yield* machine.below("/local/domain/3/device/dice"), [])
      assert.strictEqual(yield* Effect.flip(machine.toolstack(Toolstack.removeDevice(device))).pipe(Effect.map(({ reason }) => reason._tag)), "NoDevice")
      yield* machine.toolstack(Toolstack.addDevice(device))
      assert.deepStrictEqual(yield* guest.run(Dice.once(6)), [6, 12])
      yield* Fiber.interrupt(server)
    }))

  inXen("of a backend that was killed is taken down first: no handler sees the old ring, and a frontend connects anew", (machine) =>
    Effect.gen(function*() {
      const first = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      yield* first.start(serve(machine))
      const answers: Array<number> = []
      const once = yield* Deferred.make<void>()
      const again = yield* Deferred.make<void>()
      const run = yield* guest.start(Frontend.run({
        type: Dice.type,
        publish: Dice.publish,
        use: (connection) => Effect.gen(function*() {
          answers.push((yield* Dice.double(connection, 7))[1]!)
          yield* Deferred.succeed(answers.length === 2 ? again : once, undefined)
          return yield* Effect.never
        })
      }))
      yield* Deferred.await(once)
      yield* first.kill
      assert.strictEqual(yield* machine.text(`${ours}/state`), "4")
      machine.log.length = 0
      const second = yield* machine.process(1)
      const server = yield* second.start(serve(machine))
      yield* Deferred.await(again)
      const states = machine.log.filter((line) => line.startsWith("1:") || line.startsWith("serving"))
      assert.deepStrictEqual(states, ["1: Closing", "1: Closed", "1: InitWait", "serving 3/0", "1: Connected, holding 2"])
      assert.deepStrictEqual(answers, [14, 14])
      yield* Fiber.interrupt(run)
      yield* Fiber.interrupt(server)
    }))

  inXen("of a frontend that was killed is taken down by the next one", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const first = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const server = yield* backend.start(serve(machine))
      yield* first.start(Effect.scoped(Effect.andThen(Frontend.connect({ type: Dice.type, publish: Dice.publish }), Effect.never)))
      yield* machine.until(`${theirs}/state`, "4")
      yield* first.kill
      const second = yield* machine.process(3)
      assert.deepStrictEqual(yield* second.run(Dice.once(9)), [9, 18])
      yield* Fiber.interrupt(server)
    }))

  inXen("of a guest that is destroyed lets go of it, and is content with the toolstack", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const server = yield* backend.start(serve(machine))
      yield* guest.start(Effect.scoped(Effect.andThen(Frontend.connect({ type: Dice.type, publish: Dice.publish }), Effect.never)))
      yield* machine.until(`${theirs}/state`, "4")
      yield* guest.kill
      yield* machine.store.remove("/local/domain/3")
      yield* machine.until(`${ours}/state`, "6")
      assert.lengthOf(yield* pages(machine), 0)
      assert.isTrue(yield* machine.toolstack(Toolstack.removeDevice(device)))
      yield* Fiber.interrupt(server)
    }))

  inXen("of Linux's driver that is removed goes back to InitWait while the frontend still says Closing", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const handler = ({ ready }: Backend.Connection) => Effect.andThen(ready, Effect.never)
      const server = yield* backend.start(Backend.serve({ type: Dice.type, handler, closeWithin: 0 }))
      yield* machine.until(`${ours}/state`, "2")
      yield* machine.store.write(`${theirs}/state`, state(3))
      yield* machine.until(`${ours}/state`, "4")
      yield* machine.store.write(`${theirs}/state`, state(4))
      yield* machine.store.write(`${theirs}/state`, state(5))
      yield* machine.until(`${ours}/state`, "2")
      yield* machine.store.write(`${theirs}/state`, state(6))
      yield* machine.store.write(`${theirs}/state`, state(1))
      yield* machine.store.write(`${theirs}/state`, state(3))
      yield* machine.until(`${ours}/state`, "4")
      yield* Fiber.interrupt(server)
    }))
})

describe("a handler", () => {
  inXen("that fails is logged with its cause and closes its device, which is served anew; others go on", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      const other = yield* machine.process(4)
      yield* machine.toolstack(Toolstack.addDevice(device))
      yield* machine.toolstack(Toolstack.addDevice({ ...device, frontend: 4 }))
      let failures = 2
      const errors: Array<string> = []
      // @effect-diagnostics-next-line globalErrorInEffectFailure:off a handler may fail with anything
      const own = Effect.fail(new Error("the handler's own"))
      const handler = (connection: Backend.Connection) =>
        connection.frontend === 3 && failures-- > 0
          ? Effect.andThen(connection.ready, failures === 1 ? own : Effect.die("a defect"))
          : Dice.handler(() => {})(connection)
      const server = yield* backend.start(Backend.serve({ type: Dice.type, handler }).pipe(Effect.provide(logged("Error", errors))))
      const answer = yield* guest.start(Frontend.run({
        type: Dice.type,
        publish: Dice.publish,
        use: (connection) => Dice.double(connection, 1)
      }))
      assert.deepStrictEqual(yield* other.run(Dice.once(2)), [2, 4])
      assert.deepStrictEqual(yield* Fiber.join(answer), [1, 2])
      assert.lengthOf(errors, 2)
      assert.include(errors[0], "The handler failed: the device is closed. Error: the handler's own")
      assert.include(errors[1], "a defect")
      yield* Fiber.interrupt(server)
    }))

  inXen("hears what is wrong with a node, and where", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      yield* machine.process(3)
      const errors: Array<unknown> = []
      const handler = (connection: Backend.Connection) =>
        Dice.handler(() => {})(connection).pipe(Effect.tapError((error) => Effect.sync(() => errors.push(error))))
      yield* machine.toolstack(Toolstack.addDevice(device))
      const server = yield* backend.start(
        Backend.serve({ type: Dice.type, handler, restarts: Schedule.forever }).pipe(Effect.provide(logged("Debug", [])))
      )
      const values: ReadonlyArray<readonly [ref: string | undefined, port: string | undefined, tag: string]> = [
        [undefined, "1", "InvalidNode"],
        ["8", undefined, "InvalidNode"],
        ["0", "1", "InvalidNode"],
        ["-9", "1", "InvalidNode"],
        ["4294967295", "1", "InvalidNode"],
        ["8 ", "1", "InvalidNode"],
        ["8", "0", "InvalidNode"],
        ["8", "x".repeat(4000), "InvalidNode"],
        ["8", "77", "PortRefused"]
      ]
      for (const [ref, port, tag] of values) {
        yield* machine.until(`${ours}/state`, "2")
        if (ref !== undefined) yield* machine.store.write(`${theirs}/ring-ref`, ref)
        if (port !== undefined) yield* machine.store.write(`${theirs}/event-channel`, port)
        yield* machine.store.write(`${theirs}/state`, "3")
        yield* machine.until(`${ours}/state`, "6")
        const error = errors.pop()
        assert.instanceOf(error, ConnectionError)
        assert.strictEqual(error.reason._tag, tag, `${ref} ${port}`)
        assert.isBelow(error.message.length, 400)
        yield* machine.store.remove(`${theirs}/ring-ref`)
        yield* machine.store.remove(`${theirs}/event-channel`)
        yield* machine.store.write(`${theirs}/state`, "1")
      }
      yield* Fiber.interrupt(server)
    }))
})

describe("serve", () => {
  /** A frontend that is not one of ours: it only writes states, and never closes anything by itself. */
  const says = (machine: Machine, number: number, at = theirs) => machine.store.write(`${at}/state`, String(number))
  const idle = ({ ready }: Backend.Connection) => Effect.andThen(ready, Effect.never)

  inXen("keeps its hands off a device whose frontend is said to be elsewhere", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      yield* machine.process(3)
      yield* machine.process(4)
      const served: Array<string> = []
      const errors: Array<string> = []
      for (const [node, value] of [["frontend", "/local/domain/4/device/dice/0"], ["frontend-id", "4"]] as const) {
        yield* machine.toolstack(Toolstack.addDevice({ ...device, backendNodes: { [node]: value } }))
        yield* machine.store.write("/local/domain/4/device/dice/0/state", "3")
        yield* says(machine, 3)
        const handler = ({ frontendPath }: Backend.Connection) => Effect.sync(() => served.push(frontendPath))
        const server = yield* backend.start(Backend.serve({ type: Dice.type, handler: (c) => Effect.asVoid(handler(c)) }).pipe(
          Effect.provide(logged("Error", errors))
        ))
        yield* machine.until(`${ours}/state`, "6")
        yield* Fiber.interrupt(server)
        yield* machine.toolstack(Toolstack.removeDevice(device))
      }
      assert.deepStrictEqual(served, [])
      assert.include(errors[0], "it is not among the nodes of domain 3")
      assert.include(errors.at(-1), "it is 4, but the device is one of domain 3")
    }))

  inXen("leaves guests that are not its own to other backends", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      for (const guest of [3, 4]) {
        yield* machine.process(guest)
        yield* machine.toolstack(Toolstack.addDevice({ ...device, frontend: guest }))
      }
      const stateOf = (guest: number) => machine.text(`/local/domain/1/backend/dice/${guest}/0/state`)
      const is = (guest: number, state: string) => Effect.map(stateOf(guest), (now) => now === state)
      const first = yield* backend.start(serve(machine, { serves: (guest) => Effect.succeed(guest === 4) }))
      yield* machine.when(is(4, "2"))
      // What it was told of the other one before, it has looked at.
      assert.strictEqual(yield* stateOf(3), "1")
      const second = yield* backend.start(serve(machine, { serves: (guest) => Effect.succeed(guest === 3) }))
      yield* machine.when(is(3, "2"))
      yield* Fiber.interrupt(first)
      assert.strictEqual(yield* stateOf(3), "2")
      yield* Fiber.interrupt(second)
    }))

  inXen("serves so many devices, and the others when there is room", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      yield* machine.process(3)
      const waiting = (...ids: ReadonlyArray<number>) =>
        Effect.forEach(ids, (id) => machine.text(`/local/domain/1/backend/dice/3/${id}/state`)).pipe(
          Effect.map((states) => states.filter((state) => state === "2").length)
        )
      for (const id of [0, 1, 2, 3]) yield* machine.toolstack(Toolstack.addDevice({ ...device, id }))
      const warnings: Array<string> = []
      const server = yield* backend.start(
        Backend.serve({ type: Dice.type, handler: idle, maxDevices: 2 }).pipe(Effect.provide(logged("Warn", warnings)))
      )
      yield* machine.when(Effect.map(waiting(0, 1, 2, 3), (count) => count === 2))
      yield* machine.toolstack(Toolstack.removeDevice({ ...device, id: 0 }))
      yield* machine.when(Effect.map(waiting(1, 2, 3), (count) => count === 2))
      // Whatever a backend has written there.
      yield* machine.store.write("/local/domain/1/backend/dice/3/3/state", Uint8Array.of(0xff))
      assert.isFalse(yield* machine.toolstack(Toolstack.removeDevice({ ...device, id: 3, within: 0 })))
      yield* machine.toolstack(Toolstack.removeDevice({ ...device, id: 1 }))
      yield* machine.when(Effect.map(waiting(2), (count) => count === 1))
      assert.include(warnings[0], "2 devices of type dice are served already: /local/domain/1/backend/dice/3/2 waits")
      yield* Fiber.interrupt(server)
    }))

  it.effect("lets a guest that comes and goes cost no more than its pace, and waits for it at the end", () =>
    Ledger.checked(Effect.gen(function*() {
      const machine = yield* Machine.make
      const backend = yield* machine.process(1)
      yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      let handled = 0
      const handler = () => Effect.sync(() => {
        handled++
      })
      const server = yield* backend.start(Backend.serve({ type: Dice.type, handler }))
      for (let second = 0; second < 120; second++) {
        for (let i = 0; i < 10; i++) {
          yield* says(machine, [1, 3, 4, 5, 6, 3, 7, 0, 2, 3][i]!)
          yield* TestClock.adjust("100 millis")
        }
      }
      assert.isAbove(handled, 15)
      assert.isBelow(handled, 30)
      yield* says(machine, 1)
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(yield* machine.text(`${ours}/state`), "2")
      yield* Fiber.interrupt(server)
    })).pipe(Effect.provide(TestXen.layer())))

  it.effect("waits at its end for frontends to let go, but not for ever", () =>
    Ledger.checked(Effect.gen(function*() {
      const machine = yield* Machine.make
      const backend = yield* machine.process(1)
      yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      for (const lets of [true, false]) {
        yield* says(machine, 1)
        const server = yield* backend.start(Backend.serve({ type: Dice.type, handler: idle, closeWithin: "3 seconds" }))
        yield* machine.until(`${ours}/state`, "2")
        yield* says(machine, 3)
        yield* machine.until(`${ours}/state`, "4")
        const end = yield* Effect.forkChild(Fiber.interrupt(server))
        yield* machine.until(`${ours}/state`, "6")
        yield* TestClock.adjust("2999 millis")
        assert.isUndefined(end.pollUnsafe())
        if (lets) yield* says(machine, 6)
        else yield* TestClock.adjust("1 millis")
        yield* Fiber.join(end)
      }
    })).pipe(Effect.provide(TestXen.layer())))
})

describe("a device that changes in the middle", () => {
  const idle = ({ ready }: Backend.Connection) => Effect.andThen(ready, Effect.never)

  /** A backend that is connected with a frontend that only writes states. */
  const connected = Effect.fnUntraced(function*(machine: Machine, disturb?: Machine.Disturb) {
    const backend = yield* machine.process(1, disturb)
    yield* machine.process(3)
    yield* machine.toolstack(Toolstack.addDevice(device))
    const server = yield* backend.start(
      Backend.serve({ type: Dice.type, handler: idle, restarts: Schedule.forever, closeWithin: 0 })
    )
    yield* machine.until(`${ours}/state`, "2")
    yield* machine.store.write(`${theirs}/state`, "3")
    yield* machine.until(`${ours}/state`, "4")
    yield* machine.store.write(`${theirs}/state`, "4")
    yield* machine.settle
    return server
  })

  inXen("is another connection when its frontend has published anew, too fast to be seen in between", (machine) =>
    Effect.gen(function*() {
      const server = yield* connected(machine)
      yield* machine.store.write(`${theirs}/state`, "1")
      yield* machine.store.write(`${theirs}/state`, "3")
      yield* machine.until(`${ours}/state`, "6")
      yield* machine.store.write(`${theirs}/state`, "1")
      yield* machine.until(`${ours}/state`, "2")
      yield* Fiber.interrupt(server)
    }))

  // In dom0, which xenstore lets write anything.
  inXen("is not made anew by its backend when the toolstack removes it", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(0)
      yield* machine.process(3)
      const path = "/local/domain/0/backend/dice/3"
      yield* machine.toolstack(Toolstack.addDevice({ type: Dice.type, frontend: 3 }))
      const server = yield* backend.start(Backend.serve({ type: Dice.type, handler: idle, closeWithin: 0 }))
      yield* machine.until(`${path}/0/state`, "2")
      yield* machine.store.write(`${theirs}/state`, "3")
      yield* machine.until(`${path}/0/state`, "4")
      yield* machine.store.remove(path)
      yield* machine.settle
      assert.deepStrictEqual(yield* machine.below(path), [])
      yield* Fiber.interrupt(server)
      assert.deepStrictEqual(yield* machine.below(path), [])
    }))

  inXen("is served again where the toolstack makes it anew, at whatever moment of its end", (machine) =>
    Effect.gen(function*() {
      const made = machine.toolstack(Toolstack.addDevice(device))
      let countdown = -1
      const server = yield* connected(machine, () => {
        if (countdown-- === 0) Effect.runSync(made)
        return undefined
      })
      for (let at = 0; countdown < 0; at++) {
        countdown = at
        yield* machine.store.remove("/local/domain/3/device/dice")
        yield* machine.store.remove("/local/domain/1/backend/dice/3")
        yield* machine.settle
        if (countdown >= 0) break
        assert.strictEqual(yield* machine.text(`${ours}/state`), "2", `made anew before operation ${at}`)
        yield* machine.store.write(`${theirs}/state`, "3")
        yield* machine.until(`${ours}/state`, "4")
        yield* machine.settle
      }
      countdown = -1
      yield* Fiber.interrupt(server)
    }))
})

describe("a frontend", () => {
  /** A backend that is not one of ours: it only writes states. */
  const says = (machine: Machine, number: number) => machine.store.write(`${ours}/state`, String(number))
  const connect = Frontend.connect({ type: Dice.type, publish: Dice.publish, closeWithin: "3 seconds" })

  /** A frontend that has just connected, and what becomes of it. */
  const connected = Effect.fnUntraced(function*(machine: Machine) {
    const guest = yield* machine.process(3)
    yield* machine.process(1)
    yield* machine.toolstack(Toolstack.addDevice(device))
    const fiber = yield* guest.start(Effect.scoped(Effect.flatMap(connect, ({ ended }) => Effect.flip(ended))))
    yield* says(machine, 2)
    yield* machine.until(`${theirs}/state`, "3")
    yield* says(machine, 4)
    yield* machine.until(`${theirs}/state`, "4")
    return { guest, fiber }
  })

  const ends = (
    name: string,
    disturb: (machine: Machine) => Effect.Effect<unknown, unknown>,
    tag: ConnectionError["reason"]["_tag"],
    after: string | undefined
  ) =>
    inXen(name, (machine) =>
      Effect.gen(function*() {
        const { fiber } = yield* connected(machine)
        yield* disturb(machine)
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error.reason._tag, tag)
        assert.strictEqual(yield* machine.text(`${theirs}/state`), after)
        // What a device has that was made anew is not ours to remove.
        if (after !== "1") assert.isUndefined(yield* machine.text(`${theirs}/ring-ref`))
      }))

  ends("ends when its backend is Closed", (machine) => says(machine, 6), "PeerClosed", "6")
  ends("ends when its backend begins anew", (machine) => says(machine, 2), "PeerClosed", "6")
  ends("ends when its backend is gone", (machine) => machine.store.remove("/local/domain/1"), "PeerGone", "6")
  ends("ends when its backend writes nonsense", (machine) =>
    Effect.andThen(machine.store.write(`${ours}/state`, "4 "), Effect.andThen(machine.until(`${theirs}/state`, "5"), says(machine, 6))), "InvalidNode", "6")
  ends("ends when the toolstack has removed it, and does not make it anew", (machine) => machine.store.remove("/local/domain/3/device"), "PeerGone", undefined)
  ends("ends when the toolstack has made it anew, as after a restore", (machine) =>
    machine.store.transaction((nodes) => Effect.gen(function*() {
      yield* nodes.remove(theirs)
      yield* nodes.write(`${theirs}/backend`, "/local/domain/7/backend/dice/3/0")
      yield* nodes.write(`${theirs}/backend-id`, "7")
      yield* nodes.write(`${theirs}/state`, "1")
    })), "Suspended", "1")

  ends("ends when the toolstack has made it anew with the same names", (machine) =>
    machine.store.write(`${theirs}/state`, "1"), "Suspended", "1")

  inXen("holds what it shares until the backend has let go, but not for ever", (machine) =>
    Effect.gen(function*() {
      const { fiber } = yield* connected(machine)
      const end = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* machine.until(`${theirs}/state`, "5")
      yield* says(machine, 5)
      yield* Effect.yieldNow
      assert.lengthOf(yield* pages(machine), 2)
      assert.isDefined(yield* machine.text(`${theirs}/ring-ref`))
      yield* says(machine, 6)
      yield* Fiber.join(end)
      assert.lengthOf(yield* pages(machine), 0)
      assert.include(machine.log, "3: Closed")
    }))

  it.effect("does not wait for ever for a backend that was killed", () =>
    Ledger.checked(Effect.gen(function*() {
      const machine = yield* Machine.make
      const { fiber } = yield* connected(machine)
      const end = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* machine.until(`${theirs}/state`, "5")
      yield* TestClock.adjust("2999 millis")
      assert.lengthOf(yield* pages(machine), 2)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(end)
      assert.include(machine.log, "3: Closed")
    })).pipe(Effect.provide(TestXen.layer())))

  inXen("fails where there is no device, and where it is not what it must be", (machine) =>
    Effect.gen(function*() {
      const guest = yield* machine.process(3)
      yield* machine.process(1)
      const refused = Effect.map(Effect.flip(guest.run(Effect.scoped(connect))), ({ reason }) => reason._tag)
      assert.strictEqual(yield* refused, "NoDevice")
      yield* machine.toolstack(Toolstack.addDevice(device))
      yield* machine.store.write(`${theirs}/backend`, "/local/domain/5/backend/dice/3/0")
      assert.strictEqual(yield* refused, "InvalidNode")
      yield* machine.store.write(`${theirs}/backend`, ours)
      yield* machine.store.write(`${theirs}/backend-id`, "one")
      assert.strictEqual(yield* refused, "InvalidNode")
    }))

  inXen("that fails to share ends as it began, with its own reason", (machine) =>
    Effect.gen(function*() {
      const guest = yield* machine.process(3)
      yield* machine.process(1)
      yield* machine.toolstack(Toolstack.addDevice(device))
      yield* says(machine, 2)
      yield* machine.xen.setSharedPages(3, 1)
      const error = yield* Effect.flip(guest.run(Effect.scoped(connect)))
      assert.strictEqual(error.reason._tag, "OutOfGrants")
      assert.deepStrictEqual(machine.log, ["3: Initialising", "3: Closed"])
    }))

  inXen("run again and again waits for a device, and outlives backends, removals and failures of the connection", (machine) =>
    Effect.gen(function*() {
      const guest = yield* machine.process(3)
      const backend = yield* machine.process(1)
      let connections = 0
      const bells = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>(), Deferred.make<void>()])
      const run = yield* guest.start(Frontend.run({
        type: Dice.type,
        publish: Dice.publish,
        restarts: Schedule.forever,
        use: (connection) => Effect.gen(function*() {
          yield* Dice.double(connection, 1)
          yield* Deferred.succeed(bells[connections++]!, undefined)
          return connections === 3 ? "done" : yield* Effect.never
        })
      }))
      const first = yield* backend.start(serve(machine))
      yield* machine.toolstack(Toolstack.addDevice(device))
      yield* Deferred.await(bells[0])
      yield* Fiber.interrupt(first)
      const second = yield* backend.start(serve(machine))
      yield* Deferred.await(bells[1])
      yield* machine.toolstack(Toolstack.removeDevice(device))
      yield* machine.toolstack(Toolstack.addDevice(device))
      yield* Deferred.await(bells[2])
      assert.strictEqual(yield* Fiber.join(run), "done")
      const own = Frontend.run({ type: Dice.type, publish: Dice.publish, use: () => Effect.fail("the user's own" as const) })
      assert.strictEqual(yield* Effect.flip(guest.run(own)), "the user's own")
      yield* Fiber.interrupt(second)
    }))
})

/** What the toolstack does when a domain is restored as another: the devices of before are gone, and are made anew. */
const remade = Effect.fnUntraced(function*({ store, toolstack }: Machine, before: typeof device, after: typeof device) {
  yield* store.remove(`/local/domain/${before.backend}/backend/dice/${before.frontend}`).pipe(Effect.ignore)
  yield* store.remove(`/local/domain/${before.frontend}/device/dice`).pipe(Effect.ignore)
  yield* toolstack(Toolstack.addDevice(after))
})

/** Dice again and again, and how many times so far. */
const dicing = (told: (reason: string) => void = () => {}) => {
  const counted = { connections: 0, bell: Deferred.makeUnsafe<void>() }
  const program = Frontend.run({
    type: Dice.type,
    publish: Dice.publish,
    restarts: Schedule.forever,
    use: (connection) =>
      Effect.gen(function*() {
        yield* Dice.double(connection, 3)
        counted.connections++
        yield* Deferred.succeed(counted.bell, undefined)
        yield* Effect.forkDetach(Effect.catch(connection.ended, ({ reason }) => Effect.sync(() => told(reason._tag))))
        return yield* Effect.never
      })
  })
  const next = Effect.suspend(() => Deferred.await(counted.bell)).pipe(
    Effect.tap(() => Effect.sync(() => {
      counted.bell = Deferred.makeUnsafe<void>()
    }))
  )
  return { counted, program, next }
}

describe.each([["another id", [8, 9]], ["the ids they had", [3, 1]]] as const)("saved and restored, with %s,", (_, [guestAs, backendAs]) => {
  inXen("a guest is told, and connects again", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const server = yield* backend.start(serve(machine))
      const reasons: Array<string> = []
      const { next, program } = dicing((reason) => reasons.push(reason))
      const run = yield* guest.start(program)
      yield* next
      yield* machine.xen.suspendAndResume(3, { as: guestAs })
      yield* machine.settle
      yield* remade(machine, device, { ...device, frontend: guestAs })
      yield* next
      // A domain that has its id again sees no more than that its device is not there.
      assert.deepStrictEqual(reasons, [guestAs === 3 ? "PeerGone" : "Suspended"])
      yield* Fiber.interrupt(run)
      yield* Fiber.interrupt(server)
    }))

  inXen("a backend's domain ends what was connected, and serves on", (machine) =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const failures: Array<string> = []
      const handler = (connection: Backend.Connection) =>
        Effect.onInterrupt(Dice.handler((text) => machine.log.push(text))(connection), () =>
          // Nothing of the old life can be said any more, and that is no fault of the peer's.
          Effect.flip(connection.write({ late: "1" })).pipe(
            Effect.flatMap(({ reason }) => Effect.sync(() => failures.push(reason._tag))),
            Effect.ignore
          ))
      const server = yield* backend.start(Backend.serve({ type: Dice.type, handler }).pipe(
        Effect.provide(logged("Debug", lines)),
        Effect.provideService(References.MinimumLogLevel, "Debug")
      ))
      const { next, program } = dicing()
      const run = yield* guest.start(program)
      yield* next
      yield* machine.xen.suspendAndResume(1, { as: backendAs })
      yield* machine.settle
      assert.isUndefined(server.pollUnsafe(), "it serves on")
      assert.include(machine.log, "let go of 3/0")
      assert.isEmpty((yield* machine.xen.holdings).filter((held) => "refs" in held && held._tag === "Mapping"))
      const tag = backendAs === 1 ? "PeerGone" : "Suspended"
      assert.deepStrictEqual(failures, [tag])
      const told = tag === "PeerGone" ? `there is no ${ours}` : "this domain was saved and restored"
      assert.lengthOf(lines.filter((line) => line.includes(told)), 1, lines.join("\n"))
      yield* remade(machine, device, { ...device, backend: backendAs })
      yield* next
      assert.strictEqual(yield* machine.text(`/local/domain/${backendAs}/backend/dice/3/0/state`), "4")
      // And devices that are new.
      yield* machine.process(4)
      const other = yield* machine.process(4)
      yield* machine.toolstack(Toolstack.addDevice({ ...device, frontend: 4, backend: backendAs }))
      assert.deepStrictEqual(yield* other.run(Dice.once(5)), [5, 10])
      yield* Fiber.interrupt(run)
      yield* Fiber.interrupt(server)
      assert.deepStrictEqual([backend.held, guest.held], [{ watches: 0, ports: 0 }, { watches: 0, ports: 0 }])
    }))
})

describe("a backend's domain that is restored", () => {
  inXen("leaves alone what is another's now", (machine) =>
    Effect.gen(function*() {
      const backend = yield* machine.process(1)
      const guest = yield* machine.process(3)
      yield* machine.toolstack(Toolstack.addDevice(device))
      const server = yield* backend.start(serve(machine))
      const { next, program } = dicing()
      const run = yield* guest.start(program)
      yield* next
      yield* machine.xen.suspendAndResume(1, { as: 9 })
      // Before it has looked, another domain has the id, and such a device.
      const successor = yield* machine.process(1)
      yield* remade(machine, device, device)
      const second = yield* successor.start(serve(machine))
      yield* next
      yield* machine.settle
      assert.strictEqual(yield* machine.text(`${ours}/state`), "4")
      yield* Fiber.interrupt(server)
      yield* machine.settle
      assert.strictEqual(yield* machine.text(`${ours}/state`), "4")
      yield* Fiber.interrupt(run)
      yield* Fiber.interrupt(second)
    }))
})

describe("the toolstack", () => {
  inXen("refuses what is there, and domains that are not", (machine) =>
    Effect.gen(function*() {
      yield* machine.process(3)
      const refused = (frontend: number, backend?: number) =>
        machine.toolstack(Toolstack.addDevice({ type: "dice", frontend, backend })).pipe(
          Effect.flip,
          Effect.map(({ reason }) => reason._tag)
        )
      assert.strictEqual(yield* refused(9), "NoSuchDomain")
      assert.strictEqual(yield* refused(3, 9), "NoSuchDomain")
      yield* machine.toolstack(Toolstack.addDevice({ type: "dice", frontend: 3, frontendNodes: { "0/sides": "6" }, backendNodes: { mode: "fair" } }))
      assert.strictEqual(yield* refused(3), "DeviceExists")
      const nodes = [
        ...yield* machine.below("/local/domain/0/backend/dice"),
        ...yield* machine.below("/local/domain/3/device/dice")
      ]
      assert.sameMembers(nodes, [
        "/local/domain/0/backend/dice=",
        "/local/domain/0/backend/dice/3=",
        "/local/domain/0/backend/dice/3/0=",
        "/local/domain/0/backend/dice/3/0/frontend=/local/domain/3/device/dice/0",
        "/local/domain/0/backend/dice/3/0/frontend-id=3",
        "/local/domain/0/backend/dice/3/0/online=1",
        "/local/domain/0/backend/dice/3/0/state=1",
        "/local/domain/0/backend/dice/3/0/mode=fair",
        "/local/domain/3/device/dice=",
        "/local/domain/3/device/dice/0=",
        "/local/domain/3/device/dice/0/backend=/local/domain/0/backend/dice/3/0",
        "/local/domain/3/device/dice/0/backend-id=0",
        "/local/domain/3/device/dice/0/state=1",
        "/local/domain/3/device/dice/0/0=",
        "/local/domain/3/device/dice/0/0/sides=6"
      ])
    }))
})
