import { assert, describe, it } from "@effect/vitest"
import { ChannelGone } from "@xen-shbuf/core/EventChannelError"
import { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as Port from "@xen-shbuf/core/Port"
import * as XenStore from "@xen-shbuf/core/XenStore"
import { Conflict, QuotaExceeded } from "@xen-shbuf/core/XenStoreError"
import * as Exploration from "@xen-shbuf/testkit/Exploration"
import * as Faults from "@xen-shbuf/testkit/Faults"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

type Xen = TestXen.TestXen["Service"]

const inXen = <E>(name: string, test: (xen: Xen) => Effect.Effect<void, E, Scope.Scope | TestXen.TestXen>, within = 5000) =>
  it.live(name, () =>
    Effect.scoped(Effect.flatMap(TestXen.TestXen, test)).pipe(Effect.provide(TestXen.layer())), within)

describe("Faults of event channels", () => {
  inXen("strike the operation that they are planned for, and all are recorded", (xen) =>
    Effect.gen(function*() {
      const reason = new ChannelGone({ port: Port.Port.make(1), detail: "planned" })
      const plain = yield* xen.eventChannels(1)
      const plan = [Faults.failAt(2, reason), Faults.failAt(5, reason), Faults.failAt(6, reason)]
      const { channels, faults } = Faults.eventChannels(yield* xen.eventChannels(2), plan)
      const listening = yield* plain.listen({ peer: 2 })
      const joined = yield* channels.join({ peer: 1, port: listening.port })
      assert.deepInclude(yield* Effect.flip(joined.wait), { operation: "wait", reason })
      yield* joined.wait
      yield* joined.notify
      yield* listening.wait
      assert.deepInclude(yield* Effect.flip(joined.notify), { operation: "notify", reason })
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(joined.signals))).reason, reason)
      assert.deepStrictEqual(yield* faults.operations, ["join", "wait", "wait", "notify", "notify", "wait"])
      yield* faults.allFired
    }))
})

describe("Faults of xenstore", () => {
  inXen("strike inside of transactions and out of them, and nothing of a failed transaction happens", (xen) =>
    Effect.gen(function*() {
      const plain = yield* xen.store(1)
      const reason = new QuotaExceeded({ path: "data/b", quota: "nodes" })
      const { faults, store } = Faults.xenStore(plain, [Faults.failAt(3, reason), Faults.failAt(5, new Conflict({ attempts: 1 }))])
      const both = store.transaction((nodes) => Effect.andThen(nodes.write("data/a", "1"), nodes.write("data/b", "2")))
      assert.strictEqual((yield* Effect.flip(both)).reason, reason)
      assert.deepStrictEqual(yield* plain.directory("data"), [])
      yield* Effect.all([store.write("data/c", "3"), Effect.flip(both), both])
      assert.deepStrictEqual(yield* plain.directory("data"), ["c", "a", "b"])
      yield* Stream.runHead(store.watch("data"))
      const all = ["transaction", "write", "write", "write", "transaction", "transaction", "write", "write", "watch"]
      assert.deepStrictEqual<ReadonlyArray<string>>(yield* faults.operations, all)
      yield* faults.allFired
    }))

  inXen("an interruption after an operation leaves no transaction and no watch", (xen) =>
    Effect.gen(function*() {
      const plain = yield* xen.store(1)
      for (const at of [1, 2, 3]) {
        const { store } = Faults.xenStore(plain, [Faults.interruptAt(at, "after")])
        const program = Effect.andThen(
          store.transaction((nodes) => nodes.write("data/a", "1")),
          Stream.runDrain(store.watch("data"))
        )
        const exit = yield* Fiber.await(yield* Effect.forkChild(program))
        assert.isTrue(Exit.hasInterrupts(exit))
        yield* Ledger.assertEmpty
      }
    }))
})

describe("The ledger of services", () => {
  inXen("says which ports, watches and transactions are left, and who made them", (xen) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const channels = yield* xen.eventChannels(1)
      const store = yield* xen.store(2)
      yield* Scope.provide(channels.listen({ peer: 2 }), scope)
      const watching = yield* Effect.forkChild(Stream.runDrain(store.watch("data")), { startImmediately: true })
      const open = yield* Effect.forkChild(store.transaction(() => Effect.never), { startImmediately: true })
      yield* xen.bindPort(1)
      assert.match((yield* Effect.flip(Ledger.assertEmpty)).message, new RegExp([
        "^3 leaks:",
        "domain 1 has port 1 open, kept for domain 2",
        "    at EventChannels\\.listen \\(.*ServiceFaults\\.test\\.ts:\\d+:\\d+\\)",
        "domain 2 watches data",
        "domain 2 has begun a transaction of xenstore",
        "    at XenStore\\.transaction \\(.*ServiceFaults\\.test\\.ts:\\d+:\\d+\\)$"
      ].join("\n")))
      const joined = yield* Effect.scoped(Effect.andThen((yield* xen.eventChannels(2)).join({ peer: 1, port: 1 }), xen.holdings))
      assert.deepStrictEqual(joined.map((held) => "isJoined" in held && [held.domain, held.port, held.isJoined]), [
        [1, 1, true],
        false,
        false,
        [2, 1, true]
      ])
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.interrupt(watching)
      yield* Fiber.interrupt(open)
      yield* Ledger.assertEmpty
    }))

  inXen("a process that is killed leaves nothing of it", (xen) =>
    Effect.gen(function*() {
      yield* (yield* xen.eventChannels(1)).listen({ peer: 2 })
      const store = yield* xen.store(1)
      yield* Effect.forkChild(Effect.exit(Stream.runDrain(store.watch("data"))), { startImmediately: true })
      yield* Effect.forkChild(Effect.exit(store.transaction(() => Effect.never)), { startImmediately: true })
      assert.lengthOf(yield* Ledger.live, 3)
      yield* xen.killProcess(1)
      yield* Ledger.assertEmpty
    }))

  inXen("tells all nodes of xenstore, whoever they belong to", (xen) =>
    Effect.gen(function*() {
      const before = yield* xen.nodes
      const store = yield* xen.store(3)
      yield* store.write("data/a/b", "1")
      const made = (yield* xen.nodes).filter((path) => !before.includes(path))
      assert.includeMembers([...made], ["/local/domain/3", "/local/domain/3/data/a", "/local/domain/3/data/a/b"])
    }))
})

type Services = GrantTable | EventChannels | XenStore.XenStore

const there = "/local/domain/1/data/explored"

/** What a device does, in short: one side shares and publishes, the other finds it and joins; each signals the other. */
const device = (xen: Xen, forget: "nothing" | "nodes" | "port" = "nothing") => (stage: Exploration.Stage<Services>) =>
  Effect.gen(function*() {
    const frontend = Effect.gen(function*() {
      const store = yield* XenStore.XenStore
      const { refs } = yield* (yield* GrantTable).share({ peer: 2, pages: 1 })
      const listen = (yield* EventChannels).listen({ peer: 2 })
      const channel = forget === "port" ? yield* Scope.provide(listen, yield* Scope.make()) : yield* listen
      // Not the explored one: what fails to remove leaves nodes.
      const remove = Effect.orDie(Effect.flatMap(xen.store(1), (store) => store.remove("data/explored")))
      if (forget !== "nodes") yield* Effect.addFinalizer(() => remove)
      const domains = [{ domain: 2, access: "read" }] as const
      yield* store.transaction((nodes) =>
        Effect.gen(function*() {
          yield* nodes.makeDirectory("data/explored")
          yield* nodes.setPermissions("data/explored", { owner: yield* store.ownId, others: "none", domains })
          yield* nodes.write("data/explored/ref", String(refs[0]))
          yield* nodes.write("data/explored/port", String(channel.port))
        })
      )
      return channel
    })
    const backend = Effect.gen(function*() {
      const store = yield* XenStore.XenStore
      yield* Stream.runHead(store.watch(there))
      yield* store.directory(there)
      yield* store.permissions(there)
      const ref = yield* store.readSchema(`${there}/ref`, XenStore.Decimal)
      yield* (yield* GrantTable).map({ peer: 1, refs: [ref] })
      const port = yield* store.readSchema(`${there}/port`, XenStore.Decimal)
      return yield* (yield* EventChannels).join({ peer: 1, port })
    })
    const ours = yield* stage.runIn(1)(frontend)
    const theirs = yield* stage.runIn(2)(backend)
    yield* theirs.wait
    const waiting = yield* Effect.forkChild(ours.wait, { startImmediately: true })
    yield* theirs.notify
    yield* Fiber.join(waiting)
    yield* ours.notify
    yield* theirs.wait
  })

const subjects = [Exploration.grantTable, Exploration.eventChannels, Exploration.xenStore]

describe("Exploration of all services", () => {
  inXen("a device that shares, publishes, joins and signals leaves nothing, whatever goes wrong at which step", (xen) =>
    Effect.gen(function*() {
      const report = yield* Exploration.exploreServices(subjects, [1, 2], device(xen))
      assert.isAbove(report.failures, 70)
      assert.isAbove(report.interruptions, 200)
    }), 60_000)

  for (const [forget, said] of [["nodes", "there are other nodes in xenstore than before: /local/domain/1/data/explored"], ["port", "has port 1 open"]] as const) {
    inXen(`one that forgets its ${forget} is found out`, (xen) =>
      Effect.gen(function*() {
        const { message } = yield* Effect.flip(Exploration.exploreServices(subjects, [1, 2], device(xen, forget)))
        assert.include(message, said)
      }))
  }
})
