import { assert, describe, it } from "@effect/vitest"
import type * as EventChannels from "@xen-shbuf/core/EventChannels"
import * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"

type Xen = TestXen.TestXen["Service"]

const inXen = <E>(name: string, test: (xen: Xen) => Effect.Effect<void, E, Scope.Scope>) =>
  it.effect(name, () => Effect.provide(Effect.scoped(Effect.flatMap(TestXen.TestXen, test)), TestXen.layer()))

/** Whether a signal can be taken without waiting. */
const hasSignal = (channel: EventChannels.EventChannel) =>
  Effect.flatMap(Effect.forkChild(channel.wait, { startImmediately: true }), (fiber) => {
    const isDone = fiber.pollUnsafe() !== undefined
    return Effect.as(Fiber.interrupt(fiber), isDone)
  })

/** A channel between two domains, with the signal of joining taken. */
const pair = Effect.fnUntraced(function*(xen: Xen, a: number, b: number) {
  const listening = yield* (yield* xen.eventChannels(a)).listen({ peer: b })
  const joined = yield* (yield* xen.eventChannels(b)).join({ peer: a, port: listening.port })
  yield* joined.wait
  return { listening, joined }
})

const reason = <A>(effect: Effect.Effect<A, { readonly reason: { readonly _tag: string } }>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

describe("event channels in memory", () => {
  inXen("signals coalesce until they are taken, and none is lost after that", (xen) =>
    Effect.gen(function*() {
      const { joined, listening } = yield* pair(xen, 1, 2)
      assert.isFalse(yield* hasSignal(listening))
      for (let i = 0; i < 5; i++) yield* joined.notify
      assert.isTrue(yield* hasSignal(listening))
      assert.isTrue(yield* hasSignal(listening), "what came while the port was silent")
      assert.isFalse(yield* hasSignal(listening))
      yield* listening.notify
      yield* joined.wait
    }))

  inXen("a port waits for its domain alone, and for the next one when the first has gone", (xen) =>
    Effect.gen(function*() {
      const listening = yield* (yield* xen.eventChannels(1)).listen({ peer: 2 })
      const second = yield* xen.eventChannels(2)
      const port = { peer: 1, port: listening.port }
      assert.strictEqual(yield* reason(Effect.scoped((yield* xen.eventChannels(3)).join(port))), "PortRefused")
      assert.strictEqual(yield* reason(Effect.scoped(second.join({ peer: 9, port: 1 }))), "NoSuchDomain")
      yield* Effect.scoped(Effect.andThen(second.join(port), Effect.gen(function*() {
        assert.strictEqual(yield* reason(Effect.scoped(second.join(port))), "PortRefused")
      })))
      // Nobody hears.
      yield* listening.notify
      const again = yield* second.join(port)
      yield* again.wait
      yield* again.notify
      yield* listening.wait
    }))

  inXen("a domain has so many ports, the lowest first, and its end is told", (xen) =>
    Effect.gen(function*() {
      const channels = yield* xen.eventChannels(1, { ports: 2 })
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(channels.listen({ peer: 0 }), scope)
      const second = yield* channels.listen({ peer: 0 })
      assert.deepStrictEqual([first.port, second.port] as ReadonlyArray<number>, [1, 2])
      assert.strictEqual(yield* reason(Effect.scoped(channels.listen({ peer: 0 }))), "OutOfPorts")
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(Number((yield* channels.listen({ peer: 0 })).port), 1)
      const waiting = yield* Effect.forkChild(reason(second.wait), { startImmediately: true })
      yield* xen.destroy(1)
      assert.strictEqual(yield* Fiber.join(waiting), "ChannelGone")
      assert.strictEqual(yield* reason(second.notify), "ChannelGone")
      assert.strictEqual(yield* reason(Effect.scoped(channels.listen({ peer: 0 }))), "DeviceUnavailable")
    }))

  inXen("a notification signals over its port, which stays for it", (xen) =>
    Effect.gen(function*() {
      const { joined, listening } = yield* pair(xen, 1, 2)
      const table = yield* xen.domain(2)
      const scope = yield* Scope.make()
      const shared = yield* Scope.provide(table.share({ peer: 1, pages: 1 }), scope)
      yield* shared.unmapNotify({ signalPort: joined.port })
      yield* Scope.close(scope, Exit.void)
      yield* listening.wait
      const other = yield* table.share({ peer: 1, pages: 1 })
      yield* other.unmapNotify({ signalPort: joined.port })
      yield* xen.killProcess(2)
      yield* listening.wait
    }))
})

describe("xenstore in memory", () => {
  inXen("nodes have owners, permissions and what they inherit", (xen) =>
    Effect.gen(function*() {
      const [dom0, guest, other] = [yield* xen.store(0), yield* xen.store(1), yield* xen.store(2)]
      yield* guest.write("data/greeting", "hello")
      assert.strictEqual(yield* dom0.readText("/local/domain/1/data/greeting"), "hello")
      assert.strictEqual(yield* reason(other.read("/local/domain/1/data/greeting")), "AccessDenied")
      assert.strictEqual(yield* reason(guest.write("device/vbd/0", "x")), "AccessDenied")
      yield* guest.setPermissions("data/greeting", { owner: 1, others: "none", domains: [{ domain: 2, access: "read" }] })
      assert.strictEqual(yield* other.readText("/local/domain/1/data/greeting"), "hello")
      assert.strictEqual(yield* reason(other.write("/local/domain/1/data/greeting", "bye")), "AccessDenied")
      assert.strictEqual(yield* reason(guest.setPermissions("data/greeting", { owner: 2, others: "none" })), "AccessDenied")
      assert.strictEqual(yield* reason(guest.read("data/none")), "NotFound")
      assert.deepStrictEqual(yield* guest.directory("data"), ["greeting"])
      yield* guest.remove("data/greeting")
      yield* guest.remove("data/greeting")
      assert.strictEqual(yield* reason(guest.remove("data/none/below")), "NotFound")
      assert.strictEqual(Number(yield* guest.ownId), 1)
    }))

  inXen("a transaction happens as a whole, or again, or not at all", (xen) =>
    Effect.gen(function*() {
      const [dom0, guest] = [yield* xen.store(0), yield* xen.store(1)]
      yield* guest.write("data/a", "1")
      let tries = 0
      const sum = yield* guest.transaction((nodes) =>
        Effect.gen(function*() {
          const a = yield* nodes.readSchema("data/a", XenStore.Decimal)
          if (++tries < 3) yield* dom0.write("/local/domain/1/data/a", String(a + 1))
          yield* nodes.write("data/b", String(a))
          return a
        })
      )
      assert.deepStrictEqual([sum, tries, yield* guest.readText("data/b")], [3, 3, "3"])
      const stubborn = guest.transaction((nodes) =>
        Effect.gen(function*() {
          yield* nodes.read("data/a")
          yield* dom0.write("/local/domain/1/data/a", "9")
          yield* nodes.write("data/c", "never")
        }), { attempts: 4 })
      assert.strictEqual(yield* reason(stubborn), "Conflict")
      yield* Effect.exit(guest.transaction((nodes) => Effect.andThen(nodes.write("data/c", "never"), Effect.fail("no"))))
      assert.strictEqual(yield* reason(guest.read("data/c")), "NotFound")
      // Others' doing elsewhere is no conflict.
      yield* guest.transaction((nodes) => Effect.andThen(dom0.write("/tool/x", "1"), nodes.write("data/c", "1")), { attempts: 1 })
    }))

  inXen("who may not write where a node is missing is denied, and does not learn that it is", (xen) =>
    Effect.gen(function*() {
      const [guest, other] = [yield* xen.store(1), yield* xen.store(2)]
      yield* guest.write("data/open/x", "")
      yield* guest.setPermissions("data/open", { owner: 1, others: "read" })
      const there = "/local/domain/1/data/open"
      assert.strictEqual(yield* reason(other.read(`${there}/none`)), "NotFound")
      assert.strictEqual(yield* reason(other.remove(`${there}/none`)), "AccessDenied")
      assert.strictEqual(yield* reason(other.remove(`${there}/none/below`)), "AccessDenied")
      assert.strictEqual(yield* reason(other.write(`${there}/none`, "")), "AccessDenied")
      assert.strictEqual(yield* reason(other.setPermissions(`${there}/none`, { owner: 2, others: "none" })), "AccessDenied")
      assert.strictEqual(yield* reason(other.read("/local/domain/1/data/none")), "AccessDenied")
    }))

  inXen("two who make nodes in one directory are in each other's way, and so are two who remove them", (xen) =>
    Effect.gen(function*() {
      const [dom0, guest] = [yield* xen.store(0), yield* xen.store(1)]
      yield* guest.write("data/d/x", "")
      const once = (inside: (nodes: XenStore.Nodes) => Effect.Effect<unknown, XenStoreError>, meanwhile: Effect.Effect<void, XenStoreError>) =>
        reason(guest.transaction((nodes) => Effect.andThen(inside(nodes), meanwhile), { attempts: 1 }))
      const there = "/local/domain/1/data/d"
      assert.strictEqual(yield* once((nodes) => nodes.write("data/d/a", ""), dom0.write(`${there}/b`, "")), "Conflict")
      assert.strictEqual(yield* once((nodes) => nodes.write("data/d/a/b/c", ""), dom0.remove(`${there}/b`)), "Conflict")
      assert.strictEqual(yield* once((nodes) => nodes.remove("data/d/x"), dom0.write(`${there}/b`, "")), "Conflict")
      // A node that is there stands for itself.
      yield* guest.transaction((nodes) => Effect.andThen(nodes.write("data/d/x", "1"), dom0.write(`${there}/c`, "")), { attempts: 1 })
      assert.deepStrictEqual(yield* guest.directory("data/d"), ["x", "b", "c"])
    }))

  inXen("a watch tells who can read the node, before or after, or the one above it, and dom0 alone of domains", (xen) =>
    Effect.gen(function*() {
      const [guest, other] = [yield* xen.store(1), yield* xen.store(2)]
      const there = "/local/domain/1/data/w"
      yield* guest.write("data/w/x", "")
      const seen: Array<string> = []
      for (const path of [there, "@introduceDomain", "@releaseDomain"]) {
        yield* Effect.forkScoped(Stream.runForEach(other.watch(path), (told) => Effect.sync(() => seen.push(told))), {
          startImmediately: true
        })
      }
      const taken = Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 5 }), Effect.sync(() => seen.splice(0)))
      yield* taken
      yield* guest.write("data/w/x", "1")
      assert.deepStrictEqual(yield* taken, [], "it can read neither")
      yield* guest.setPermissions("data/w", { owner: 1, others: "read" })
      assert.deepStrictEqual(yield* taken, [there], "it can read now")
      yield* guest.setPermissions("data/w/x", { owner: 1, others: "none" })
      yield* guest.write("data/w/x", "2")
      assert.deepStrictEqual(yield* taken, [`${there}/x`], "it can read the list that the node is in")
      yield* guest.setPermissions("data/w", { owner: 1, others: "none" })
      assert.deepStrictEqual(yield* taken, [there], "it could read until now")
      yield* guest.remove("data/w")
      yield* xen.store(9)
      yield* xen.destroy(9)
      assert.deepStrictEqual(yield* taken, [])
    }))

  inXen("a watch tells at once, then each path once, and of what went with one above", (xen) =>
    Effect.gen(function*() {
      const [dom0, guest] = [yield* xen.store(0), yield* xen.store(1)]
      const seen: Array<string> = []
      const watching = yield* Effect.forkChild(
        Stream.runForEach(guest.watch("data", { paths: 3 }), (path) => Effect.sync(() => seen.push(path))),
        { startImmediately: true }
      )
      const taken = Effect.sync(() => seen.splice(0))
      yield* Effect.yieldNow
      assert.deepStrictEqual(yield* taken, ["data"])
      for (const value of ["1", "2", "3"]) yield* dom0.write("/local/domain/1/data/x/y", value)
      yield* Effect.repeat(Effect.yieldNow, { times: 5 })
      assert.deepStrictEqual([...new Set(yield* taken)], ["data/x/y"])
      yield* guest.transaction((nodes) =>
        Effect.forEach([1, 2, 3, 4, 5], (i) => nodes.write(`data/${i}`, ""), { discard: true }))
      yield* Effect.repeat(Effect.yieldNow, { times: 5 })
      assert.deepStrictEqual(yield* taken, ["data"], "more than three different paths are all")
      yield* Fiber.interrupt(watching)
      const exact = yield* Effect.forkChild(Stream.runCollect(Stream.take(guest.watch("data/x/y"), 2)), { startImmediately: true })
      yield* Effect.yieldNow
      yield* guest.remove("data/x")
      assert.deepStrictEqual(yield* Fiber.join(exact), ["data/x/y", "data/x/y"])
    }))

  inXen("domains that come and go are told, and a domain's nodes and watches go with it", (xen) =>
    Effect.gen(function*() {
      const dom0 = yield* xen.store(0)
      const gone = yield* Effect.forkChild(Stream.runCollect(Stream.take(dom0.watch("@releaseDomain"), 2)), { startImmediately: true })
      const guest = yield* xen.store(5)
      const waiting = yield* Effect.forkChild(reason(Stream.runDrain(guest.watch("data"))), { startImmediately: true })
      yield* Effect.yieldNow
      yield* xen.destroy(5)
      assert.strictEqual((yield* Fiber.join(gone)).length, 2)
      assert.strictEqual(yield* Fiber.join(waiting), "StoreGone")
      assert.strictEqual(yield* reason(dom0.read("/local/domain/5")), "NotFound")
      assert.strictEqual(yield* reason(guest.read("data")), "DeviceUnavailable")
    }))

  inXen("a guest has so many nodes, watches, transactions and bytes", (xen) =>
    Effect.gen(function*() {
      const guest = yield* xen.store(1)
      assert.strictEqual(yield* reason(guest.write("data/big", "x".repeat(2100))), "QuotaExceeded")
      assert.strictEqual(yield* reason(guest.write("data/big", "x".repeat(4090))), "TooLong")
      const many = Effect.forEach(Array.from({ length: 1100 }, (_, i) => `data/${i % 40}/${i}`), (path) => guest.write(path, ""))
      assert.strictEqual(yield* reason(many), "QuotaExceeded")
      // In the words of the real one, which are guessed.
      const other = yield* xen.store(2)
      const full = Effect.forEach(Array.from({ length: 40 }, (_, i) => `data/${"x".repeat(96)}${i}`), (path) => other.makeDirectory(path))
      assert.deepInclude((yield* Effect.flip(full)).reason, { _tag: "QuotaExceeded", quota: "nodes" })
      assert.deepInclude((yield* Effect.flip(other.write("data/big", "x".repeat(2100)))).reason, { quota: "size" })
      const watches = Effect.forEach(Array.from({ length: 129 }), () => Stream.runDrain(guest.watch("data")), {
        concurrency: "unbounded"
      })
      assert.strictEqual(yield* reason(watches), "QuotaExceeded")
      const nested = (depth: number): Effect.Effect<unknown, { readonly reason: { readonly _tag: string } }> =>
        guest.transaction(() => depth === 0 ? Effect.void : nested(depth - 1))
      yield* nested(9)
      // It waits for a while, as others may end theirs.
      const tooMany = yield* Effect.forkChild(reason(nested(10)), { startImmediately: true })
      while (tooMany.pollUnsafe() === undefined) yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(tooMany), "QuotaExceeded")
    }))

})

describe.each([["another id", 8], ["the id it had", 1]])("a domain that is restored under %s", (_, as) => {
  inXen("finds transactions in conflict and its nodes made anew, and its watches tell so", (xen) =>
    Effect.gen(function*() {
      const [dom0, guest] = [yield* xen.store(0), yield* xen.store(1)]
      yield* guest.write("data/mine", "1")
      const told = yield* Effect.forkChild(Stream.runCollect(Stream.take(guest.watch("data"), 3)), { startImmediately: true })
      yield* Effect.yieldNow
      let tries = 0
      yield* guest.transaction((nodes) =>
        Effect.gen(function*() {
          if (++tries > 1) return yield* nodes.write("data/x", "")
          yield* xen.suspendAndResume(1, { as })
          // As xenstored says of a transaction that it does not know.
          assert.strictEqual(yield* reason(nodes.write("data/x", "")), "NotFound")
        }))
      assert.strictEqual(tries, 2)
      assert.strictEqual(yield* guest.ownId, as)
      assert.deepStrictEqual([...yield* dom0.directory("/local/domain")].sort(), ["0", String(as)])
      assert.strictEqual(yield* dom0.readText(`/local/domain/${as}/domid`), String(as))
      assert.strictEqual(yield* reason(guest.read("data/mine")), "NotFound")
      assert.strictEqual(yield* reason(guest.read("/local/domain/2/domid")), "AccessDenied")
      // What is given relative to the domain is watched where it is now.
      yield* guest.write("data/x", "2")
      assert.deepStrictEqual(yield* Fiber.join(told), ["data", "data", "data/x"])
    }))

  inXen("finds its channels dead, and nobody tells", (xen) =>
    Effect.gen(function*() {
      const { joined, listening } = yield* pair(xen, 0, 1)
      yield* xen.suspendAndResume(1, { as })
      yield* listening.notify
      yield* joined.notify
      assert.isFalse(yield* hasSignal(joined))
      const held = (yield* xen.holdings).filter(({ domain }) => domain !== 0)
      assert.isEmpty(held)
      // Its ports are others' now, and the end of an old one is none of theirs.
      const next = yield* pair(xen, 0, as)
      assert.strictEqual(next.joined.port, joined.port)
    }))

  inXen("finds its pages and mappings gone; peers keep what they have mapped, and map nothing of it anew", (xen) =>
    Effect.gen(function*() {
      const [dom0, guest] = [yield* xen.domain(0), yield* xen.domain(1)]
      const shared = yield* guest.share({ peer: 0, pages: 2 })
      const theirs = yield* dom0.share({ peer: 1, pages: 1 })
      const scope = yield* Scope.make()
      const mapped = yield* Scope.provide(dom0.map({ peer: 1, refs: [shared.refs[0]!] }), scope)
      const ours = yield* guest.map({ peer: 0, refs: theirs.refs })
      shared.bytes[0] = 1
      yield* xen.suspendAndResume(1, { as })
      mapped.bytes[0] = 7
      assert.deepStrictEqual([shared.bytes[0], ours.bytes[0], shared.bytes.length, ours.bytes.length], [1, 0xff, 8192, 4096])
      for (const peer of [1, as]) {
        for (const ref of shared.refs) assert.strictEqual(yield* reason(Effect.scoped(dom0.map({ peer, refs: [ref] }))), "GrantRefused")
      }
      assert.deepStrictEqual((yield* xen.activeGrants).map(({ domain, peer }) => [domain, peer]), [[1, 0]])
      // Linux keeps the references of who has not released them.
      const anew = yield* guest.share({ peer: 0, pages: 2 })
      assert.isFalse([...anew.refs].some((ref) => shared.refs.includes(ref)))
      assert.strictEqual(yield* xen.framesInUse, 4)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* xen.framesInUse, 3)
    }))

  inXen("has nothing of its old life when it is destroyed, or restored again", (xen) =>
    Effect.gen(function*() {
      const guest = yield* xen.domain(1)
      const { refs } = yield* guest.share({ peer: 0, pages: 1 })
      yield* Effect.flatMap(xen.domain(0), (dom0) => dom0.map({ peer: 1, refs }))
      yield* xen.suspendAndResume(1, { as })
      yield* xen.suspendAndResume(as, { as: 1 })
      yield* guest.share({ peer: 0, pages: 1 })
      yield* xen.destroy(1)
      assert.strictEqual(yield* reason(Effect.scoped(guest.share({ peer: 0, pages: 1 }))), "DeviceUnavailable")
      assert.strictEqual(yield* xen.framesInUse, 1)
    }))
})

inXen("a domain can't be restored as another that is there", (xen) =>
  Effect.gen(function*() {
    yield* xen.domain(2)
    const exit = yield* Effect.exit(xen.suspendAndResume(1, { as: 2 }))
    assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
  }))
