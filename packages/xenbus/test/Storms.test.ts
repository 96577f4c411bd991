import { assert, describe, it } from "@effect/vitest"
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import type { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import * as Frontend from "@xen-shbuf/xenbus/Frontend"
import * as Ring from "@xen-shbuf/xenbus/Ring"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import type * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Dice from "./Dice.ts"
import * as Machine from "./Machine.ts"
import * as Model from "./Model.ts"

type Handler = Backend.Options<unknown, GrantTable | EventChannels.EventChannels | Scope.Scope>["handler"]

type Machine = Effect.Success<typeof Machine.make>

const inXen = (name: string, test: (machine: Machine) => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () =>
    Effect.suspend(() => {
      const seed = Math.floor(Math.random() * 2 ** 31)
      dice = Model.random(seed)
      return Ledger.checked(Effect.scoped(Effect.flatMap(Machine.make, test))).pipe(
        Effect.provide(TestXen.layer()),
        Effect.tapCause(() => Effect.logError(`seed ${seed}`))
      )
    }))

/** Other numbers in each test. */
let dice = Model.random(1)

const theirs = "/local/domain/3/device/dice/0"

/** Something done thousands of times, with nobody else's turn between. */
const storm = (work: (i: number) => Effect.Effect<void, unknown>) =>
  Effect.sync(() => {
    for (let i = 1000 + dice.below(1000); i > 0; i--) Effect.runSync(work(i))
  })

/** A few turns for all others. */
const turns = Effect.suspend(() => Effect.repeat(Effect.yieldNow, { times: dice.below(6) }))

/** A channel between domains 1, which listens, and 3. */
const pair = Effect.fnUntraced(function*(xen: Machine["xen"]) {
  const channel = yield* (yield* xen.eventChannels(1)).listen({ peer: 3 })
  const joined = yield* (yield* xen.eventChannels(3)).join({ peer: 1, port: channel.port })
  return { channel, joined }
})

/** Event channels that tell of each time that somebody who waited for a domain's signal goes on. */
const counting = (inner: EventChannels.EventChannels["Service"], woken: (peer: number) => void) => {
  const told = (channel: EventChannels.EventChannel): EventChannels.EventChannel => ({
    ...channel,
    wait: Effect.tap(channel.wait, () => Effect.sync(() => woken(channel.peer)))
  })
  return EventChannels.EventChannels.of({
    listen: (options) => Effect.map(inner.listen(options), told),
    join: (options) => Effect.map(inner.join(options), told)
  })
}

const handler = Dice.handler(() => {})

/** A backend of guests 3 and 4, both of which are there. */
const serving = Effect.fnUntraced(function*(machine: Machine, own: Handler = handler) {
  const wakes = new Map([[3, 0], [4, 0]])
  const backend = yield* machine.process(1)
  for (const frontend of [3, 4]) {
    yield* machine.process(frontend)
    yield* machine.toolstack(Toolstack.addDevice({ type: Dice.type, frontend, backend: 1 }))
  }
  const server = yield* backend.start(
    Effect.flatMap(EventChannels.EventChannels, (channels) =>
      Backend.serve({ type: Dice.type, handler: own, restarts: Schedule.forever }).pipe(
        Effect.provideService(EventChannels.EventChannels, counting(channels, (peer) => void wakes.set(peer, wakes.get(peer)! + 1))),
        Effect.provide(Logger.layer([]))
      ))
  )
  yield* Effect.addFinalizer(() => Fiber.interrupt(server))
  return { wakes, guest: yield* machine.process(3), other: yield* machine.process(4) }
})

const connected = Frontend.connect({ type: Dice.type, publish: Dice.publish })

const enough = { duration: "20 seconds", orElse: () => Effect.die(new Error("it is not served in 20 seconds")) } as const

/** Another guest asks and is answered, again and again. */
const served = Effect.fnUntraced(function*({ run }: Machine.Process, times: number) {
  for (let i = 0; i < times; i++) {
    assert.deepStrictEqual(yield* Effect.timeoutOrElse(run(Dice.once(i)), enough), [i, 2 * i])
  }
})

describe("storms of signals", () => {
  inXen("cost a handler one wake-up for each look; another guest is served meanwhile", (machine) =>
    Effect.gen(function*() {
      const { guest, other, wakes } = yield* serving(machine)
      const connection = yield* guest.run(connected)
      const { answered, requests } = connection.published
      yield* machine.settle
      const before = wakes.get(3)!
      const storms = 40
      let asked = 0
      const serves = yield* Effect.forkScoped(served(other, 5))
      for (let i = 0; i < storms; i++) {
        yield* storm(() => i % 3 === 0 ? answered.channel.notify : requests.channel.notify)
        yield* turns
        if (dice.below(4) > 0) continue
        assert.deepStrictEqual(yield* Dice.double(connection, i), [i, 2 * i])
        asked++
      }
      yield* Fiber.join(serves)
      yield* machine.settle
      // The first signal of a storm wakes who waits; all others are one, which comes when that one was taken.
      assert.isAtMost(wakes.get(3)! - before, 2 * storms + asked)
      assert.isAbove(wakes.get(3)! - before, 0)
      const after = [wakes.get(3), machine.operations()]
      yield* machine.settle
      assert.deepStrictEqual([wakes.get(3), machine.operations()], after)
    }))

  for (const side of ["front", "back"] as const) {
    inXen(`between any two steps of a ${side} cost it one wake-up for each look, and no slot is lost`, ({ xen }) =>
      Effect.gen(function*() {
        const { channel, joined } = yield* pair(xen)
        const memory = new Uint8Array(64 + 8 * 64)
        const front = Ring.front(memory, { slotSize: 64 })
        const back = Ring.back(memory, { slotSize: 64 })
        const [own, peer] = side === "front" ? [front, back] : [back, front]
        const counts = { storms: 0, given: 0, signals: 0, wakes: 0 }
        let isMoving = false
        /** What the peer does between two steps of ours: nothing, what it should, or a storm. */
        const move = () => {
          if (isMoving) return
          isMoving = true
          const kind = dice.below(60)
          if (kind === 0) {
            counts.storms++
            Effect.runSync(storm(() => joined.notify))
          } else if (kind < 30) {
            while (Model.answer(peer.take(new Uint8Array(64))) === true);
            if (Model.answer(peer.put([counts.given & 0xff])) === true) counts.given++
            if (Model.answer(peer.push()) === true) {
              counts.signals++
              Effect.runSync(joined.notify)
            }
          }
          isMoving = false
        }
        const step = <A>(work: () => Result.Result<A, RingError>) => Effect.fromResult(Model.watching(move, work))
        yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sync(move), Effect.yieldNow)))
        const slot = new Uint8Array(64)
        for (let seen = 0; seen < 1000;) {
          while (yield* step(() => own.take(slot))) assert.strictEqual(slot[0], seen++ & 0xff)
          while (yield* step(() => own.put([1])));
          yield* step(() => own.push())
          if (yield* step(() => own.finalCheck())) continue
          yield* channel.wait
          counts.wakes++
        }
        assert.isAbove(counts.storms, 3)
        assert.isAtMost(counts.wakes, 2 * counts.storms + counts.signals + 1)
      }))
  }
})

describe("storms of watches", () => {
  /** What both halves ask of xenstore and of all else, while a peer does something thousands of times, again and again. */
  const during = Effect.fnUntraced(function*(machine: Machine, other: Machine.Process, work: (i: number) => Effect.Effect<void, unknown>) {
    yield* machine.settle
    const before = machine.operations()
    const storms = 8
    for (let i = 0; i < storms; i++) {
      yield* storm(work)
      yield* turns
    }
    yield* machine.settle
    const asked = machine.operations() - before
    yield* served(other, 3)
    return asked / storms
  })

  inXen("of a guest's own nodes cost a backend no more than a look for each; another guest is served", (machine) =>
    Effect.gen(function*() {
      const { guest, other } = yield* serving(machine)
      const connection = yield* guest.run(connected)
      const store = yield* machine.xen.store(3)
      // The same state again, or one that is as good: the connection lasts.
      const state = yield* during(machine, other, (i) => store.write(`${theirs}/state`, i % 2 === 0 ? "4" : "7"))
      assert.isAtMost(state, 10)
      yield* store.write(`${theirs}/state`, "4")
      const below = yield* during(machine, other, (i) =>
        i % 2 === 0 ? store.write(`${theirs}/many/${i}`, "") : store.remove(`${theirs}/many`))
      assert.strictEqual(below, 0)
      assert.deepStrictEqual(yield* Dice.double(connection, 7), [7, 14])
    }))

  inXen("of states that end a connection are at most one end for each, and a device that comes back is served", (machine) =>
    Effect.gen(function*() {
      let begun = 0
      const { guest, other } = yield* serving(machine, (connection) =>
        Effect.andThen(Effect.sync(() => void begun++), handler(connection)))
      yield* Effect.scoped(guest.run(connected))
      const store = yield* machine.xen.store(3)
      const asked = yield* during(machine, other, (i) => store.write(`${theirs}/state`, String(i % 8)))
      assert.isAtMost(asked, 100)
      assert.isAtMost(begun, 40)
      yield* store.write(`${theirs}/state`, "6")
      yield* served(guest, 2)
    }))

  inXen("of a backend's nodes cost a frontend no more than a look for each", (machine) =>
    Effect.gen(function*() {
      const { other } = yield* serving(machine)
      yield* machine.process(2)
      const guest = yield* machine.process(5)
      yield* machine.toolstack(Toolstack.addDevice({ type: Dice.type, frontend: 5, backend: 2 }))
      const half = "/local/domain/2/backend/dice/5/0"
      const store = yield* machine.xen.store(2)
      const connecting = yield* Effect.forkScoped(guest.run(connected))
      for (const state of ["2", "4"]) {
        yield* store.write(`${half}/state`, state)
        yield* machine.settle
      }
      const connection = yield* Fiber.join(connecting)
      assert.isAtMost(yield* during(machine, other, (i) => store.write(`${half}/state`, i % 2 === 0 ? "4" : "8")), 20)
      yield* store.write(`${half}/state`, "4")
      const below = yield* during(machine, other, (i) =>
        i % 2 === 0 ? store.write(`${half}/many/${i}`, "") : store.remove(`${half}/many`))
      assert.strictEqual(below, 0)
      yield* store.write(`${half}/state`, "6")
      assert.strictEqual((yield* Effect.flip(connection.ended)).reason._tag, "PeerClosed")
    }))
})

describe("a thousand nodes", () => {
  /** A handler that looks at all that its guest has made, before it serves it. */
  const looking = (told: Array<number | string>) => (connection: Backend.Connection) =>
    connection.directory("many").pipe(
      Effect.flatMap((names) =>
        Effect.forEach(names, (name) => connection.directory(`many/${name}`)).pipe(
          Effect.map((inner) => told.push(names.length, inner.flat().length)))),
      Effect.tapError(({ reason }) => Effect.sync(() => told.push(reason._tag === "InvalidNode" ? reason.detail : reason._tag))),
      Effect.andThen(handler(connection))
    )

  inXen("are the quota of a guest, which is served with all of them", (machine) =>
    Effect.gen(function*() {
      const told: Array<number | string> = []
      const { guest, other } = yield* serving(machine, looking(told))
      const store = yield* machine.xen.store(3)
      // The names below one node have a quota, too.
      const nth = (i: number) => `${theirs}/many/${Math.floor(i / 100)}/${i % 100}`
      let made = 0
      const make = Effect.suspend(() => Effect.map(store.write(nth(made), ""), () => made++))
      const { reason } = yield* Effect.flip(Effect.forever(make))
      assert.deepInclude(reason, { _tag: "QuotaExceeded", quota: "nodes" })
      assert.isAbove(made, 950)
      // Room for what it publishes.
      for (let i = 0; i < 10; i++) yield* store.remove(nth(i))
      yield* served(guest, 1)
      yield* served(other, 1)
      assert.deepStrictEqual(told, [10, made - 10, 0, 0])
    }))

  for (const [count, said] of [[1024, [1024, 0]], [1025, ["there are 1025 nodes below it"]]] as const) {
    inXen(`and more, of a toolstack: ${count} below one are ${count === 1024 ? "read" : "refused, which ends that device alone"}`, (machine) =>
      Effect.gen(function*() {
        const told: Array<number | string> = []
        const { guest, other } = yield* serving(machine, looking(told))
        yield* machine.store.makeDirectory(`${theirs}/many`)
        yield* machine.store.setPermissions(`${theirs}/many`, { owner: 0, others: "read" })
        for (let i = 0; i < count; i++) yield* machine.store.makeDirectory(`${theirs}/many/${i}`)
        if (count === 1024) yield* served(guest, 1)
        else {
          const error = yield* Effect.flip(guest.run(Dice.once(1)))
          assert.deepInclude((error as ConnectionError).reason, { _tag: "PeerClosed" })
        }
        assert.deepStrictEqual(told, [...said])
        yield* served(other, 1)
      }))
  }
})
