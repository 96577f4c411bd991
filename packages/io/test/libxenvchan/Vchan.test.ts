import { assert, describe, it } from "@effect/vitest"
import { type EventChannel, EventChannels } from "@xen-shbuf/core/EventChannels"
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Protocol from "@xen-shbuf/io/libxenvchan/Protocol"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import type { Vchan } from "@xen-shbuf/io/libxenvchan/Vchan"
import type { VchanError } from "@xen-shbuf/io/libxenvchan/VchanError"
import * as Exploration from "@xen-shbuf/testkit/Exploration"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { random, sameBytes, watching } from "../../../xenbus/test/Model.ts"

type Xen = TestXen.TestXen["Service"]

const [server, client] = [5, 7]
const path = `/local/domain/${server}/data/vchan`

/** A test in a Xen of its own, in which nothing may be left. */
const inXen = <E>(name: string, test: (xen: Xen) => Effect.Effect<void, E, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () =>
    Ledger.checked(Effect.scoped(Effect.flatMap(TestXen.TestXen, test))).pipe(Effect.provide(TestXen.layer())), 30_000)

type Sizes = Pick<Server.Options, "readSize" | "writeSize">

const listen = (sizes: Sizes = {}) =>
  Server.listen({ peer: client, path, ...sizes }).pipe(Effect.provide(TestXen.layerDomain(server)))

const connect = Client.connect({ peer: server, path }).pipe(Effect.provide(TestXen.layerDomain(client)))

/** Both ends, each in a scope of its own. */
const pair = Effect.fnUntraced(function*(sizes: Sizes = {}) {
  const scopes = { server: yield* Scope.fork(yield* Effect.scope), client: yield* Scope.fork(yield* Effect.scope) }
  const ends = {
    server: yield* Scope.provide(listen(sizes), scopes.server),
    client: yield* Scope.provide(connect, scopes.client)
  }
  yield* ends.server.connected
  return { ...ends, close: (side: "server" | "client") => Scope.close(scopes[side], Exit.void) }
})

const other = { server: "client", client: "server" } as const

/** So many bytes exactly, by reads of these sizes. */
const take = Effect.fnUntraced(function*(vchan: Vchan, count: number, most: () => number) {
  const all = new Uint8Array(count)
  for (let at = 0; at < count;) {
    const into = new Uint8Array(Math.min(Math.max(most(), 1), count - at))
    const n = yield* vchan.read(into)
    assert.isAbove(n, 0, "the end came too early")
    all.set(into.subarray(0, n), at)
    at += n
  }
  return all
})

const joined = (chunks: Iterable<Uint8Array>) => new Uint8Array(Buffer.concat([...chunks]))

const reason = <A, R>(effect: Effect.Effect<A, VchanError, R>) => Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

/** Starts an effect that is to wait. */
const waiting = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const fiber = yield* Effect.forkScoped(effect, { startImmediately: true })
  for (let i = 0; i < 20; i++) yield* Effect.yieldNow
  assert.isUndefined(fiber.pollUnsafe(), "it does not wait")
  return fiber
})

/** What is warned of from now on. */
const warnings = (lines: Array<string>) =>
  Logger.layer([
    Logger.make(({ logLevel, message }) => {
      if (logLevel === "Warn") lines.push(String(message))
    })
  ])

const orders = Schema.Literals([1, 1024, 2048, 4096, 5000, 65_536])

describe("libxenvchan in memory", () => {
  inXen("a write or read that is interrupted, at whatever step, leaves nobody waiting for its signal", () =>
    Effect.gen(function*() {
      const enough = { duration: "10 seconds", orElse: () => Effect.die(new Error("it waits for ever")) } as const
      for (const way of ["write", "long write", "read"] as const) {
        const interruptions = yield* Exploration.interruptEach((disturbed) =>
          Effect.scoped(Effect.gen(function*() {
            const ends = yield* pair({ readSize: 1024, writeSize: 1024 })
            if (way !== "read") {
              const reading = yield* waiting(ends.client.read(new Uint8Array(100)))
              const length = way === "write" ? 3 : ends.server.writeSize + 3
              // What is longer than the ring waits, unless it was interrupted before.
              yield* Effect.timeoutOption(disturbed(ends.server.write(new Uint8Array(length))), 5)
              yield* ends.server.write(Uint8Array.of(4))
              assert.isAbove(yield* Effect.timeoutOrElse(Fiber.join(reading), enough), 0)
            } else {
              yield* ends.server.write(new Uint8Array(ends.server.writeSize))
              const writing = yield* waiting(ends.server.write(new Uint8Array(10)))
              yield* disturbed(ends.client.read(new Uint8Array(500)))
              yield* ends.client.read(new Uint8Array(100))
              yield* Effect.timeoutOrElse(Fiber.join(writing), enough)
            }
          })))
        assert.isAbove(interruptions, 4)
      }
    }))

  it.effect.prop("bytes go both ways at once, in their order, whatever the sizes of rings, writes and reads", {
    readSize: orders,
    writeSize: orders,
    seed: Schema.Natural
  }, ({ readSize, seed, writeSize }) =>
    Effect.gen(function*() {
      const ends = yield* pair({ readSize, writeSize })
      const { below, bytes } = random(seed)
      const most = () => below(3) === 0 ? below(8) : below(9000)
      const one = (side: "server" | "client") => {
        const sent = bytes(below(20_000))
        const write = Effect.gen(function*() {
          for (let at = 0; at < sent.length;) {
            const end = Math.min(at + most(), sent.length)
            yield* ends[side].write(sent.slice(at, end))
            at = end
          }
          yield* ends[side].drained
        })
        const read = Effect.map(take(ends[other[side]], sent.length, most), (got) => sameBytes(got, sent, "what came"))
        return Effect.all([write, read], { concurrency: "unbounded" })
      }
      yield* Effect.all([one("server"), one("client")], { concurrency: "unbounded" })
    }).pipe(Effect.scoped, Effect.provide(TestXen.layer())), { arbitrary: { runs: 60 }, timeout: 60_000 })

  inXen("a stream takes what a sink was given, and ends when the peer closes", () =>
    Effect.gen(function*() {
      const { bytes } = random(1)
      const chunks = Array.from({ length: 200 }, (_, i) => bytes(i * 17 % 3000))
      const { client, close, server } = yield* pair({ readSize: 4096 })
      const [, got] = yield* Effect.all([
        Stream.fromIterable(chunks).pipe(Stream.run(client.sink), Effect.andThen(close("client"))),
        Stream.runCollect(server.stream)
      ], { concurrency: "unbounded" })
      sameBytes(joined(got), joined(chunks), "the stream")
      assert.strictEqual(yield* server.read(new Uint8Array(1)), 0)
    }))

  for (const side of ["server", "client"] as const) {
    inXen(`what the ${side} wrote before it closed is read, then comes the end`, () =>
      Effect.gen(function*() {
        const ends = yield* pair({ readSize: 2000, writeSize: 1000 })
        const peer = ends[other[side]]
        yield* ends[side].write(Uint8Array.of(1, 2, 3))
        const closed = yield* waiting(peer.closed)
        const drained = yield* waiting(Effect.andThen(peer.write(Uint8Array.of(9)), reason(peer.drained)))
        yield* ends.close(side)
        yield* Fiber.join(closed)
        assert.strictEqual(yield* Fiber.join(drained), "PeerClosed")
        assert.strictEqual(yield* reason(peer.write(Uint8Array.of(4))), "PeerClosed")
        assert.deepStrictEqual(joined(yield* Stream.runCollect(peer.stream)), Uint8Array.of(1, 2, 3))
        assert.strictEqual(yield* peer.read(new Uint8Array(8)), 0)
      }))

    inXen(`kill -9 of the ${side}: whoever reads, or waits for room, is told`, (xen) =>
      Effect.gen(function*() {
        const ends = yield* pair({ readSize: 4096, writeSize: 4096 })
        const peer = ends[other[side]]
        const reading = yield* waiting(peer.read(new Uint8Array(8)))
        const writing = yield* waiting(reason(peer.write(new Uint8Array(5000))))
        yield* xen.killProcess(side === "server" ? server : client)
        assert.strictEqual(yield* Fiber.join(reading), 0)
        assert.strictEqual(yield* Fiber.join(writing), "PeerClosed")
        // Both begin anew, where the dead server's nodes may still be.
        yield* ends.close("client")
        yield* ends.close("server")
        const again = yield* pair()
        yield* again.client.write(Uint8Array.of(5))
        assert.deepStrictEqual(yield* take(again.server, 1, () => 1), Uint8Array.of(5))
      }))
  }

  inXen("a client waits for its server, also where one was killed and left its nodes behind", (xen) =>
    Effect.gen(function*() {
      const first = yield* waiting(Effect.scoped(Effect.flatMap(connect, (vchan) => vchan.write(Uint8Array.of(1)))))
      const dead = yield* Scope.make()
      yield* Scope.provide(listen(), dead)
      yield* Fiber.join(first)
      yield* xen.killProcess(server)
      const second = yield* waiting(connect)
      const vchan = yield* listen()
      yield* Fiber.join(second)
      yield* vchan.connected
      yield* Scope.close(dead, Exit.void)
      // The end of the dead one's scope leaves alone what the new one has published.
      const store = yield* xen.store(client)
      assert.match(yield* store.readText(`${path}/ring-ref`), /^[0-9]+$/)
    }))

  inXen("what a killed server has left is gone before the next one has a port", (xen) =>
    Effect.gen(function*() {
      const dead = yield* Scope.make()
      yield* Scope.provide(listen(), dead)
      yield* xen.killProcess(server)
      const store = yield* xen.store(server)
      assert.strictEqual((yield* store.directory(path)).length, 2)
      const seen: Array<number> = []
      const watched = Effect.updateService(EventChannels, (channels) => ({
        ...channels,
        listen: (options: { readonly peer: number }) =>
          store.directory(path).pipe(
            Effect.orDie,
            Effect.map((names) => void seen.push(names.length)),
            Effect.andThen(channels.listen(options))
          )
      }))
      yield* Server.listen({ peer: client, path }).pipe(watched, Effect.provide(TestXen.layerDomain(server)))
      assert.deepStrictEqual(seen, [0])
      assert.strictEqual((yield* store.directory(path)).length, 2)
      yield* Scope.close(dead, Exit.void)
    }))

  inXen("the server publishes for the client alone, all at once, and takes back what it published", (xen) =>
    Effect.gen(function*() {
      const [store, dom0] = [yield* xen.store(server), yield* xen.store(0)]
      const names = Effect.orElseSucceed(store.directory(path), () => undefined)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* listen()
        assert.deepStrictEqual([...(yield* names)!].sort(), ["event-channel", "ring-ref"])
        for (const name of yield* store.directory(path)) {
          const { domains, others, owner } = yield* dom0.permissions(`${path}/${name}`)
          assert.deepStrictEqual([Number(owner), others], [server, "none"])
          assert.deepStrictEqual(domains.map(({ access, domain }) => [Number(domain), access]), [[client, "read"]])
        }
      }))
      assert.isUndefined(yield* names)
      yield* store.write(`${path}/mine`, "1")
      yield* Effect.scoped(listen())
      assert.deepStrictEqual(yield* names, ["mine"])
      // Whoever publishes there meanwhile keeps it.
      yield* Effect.scoped(Effect.andThen(listen(), store.write(`${path}/ring-ref`, "123")))
      assert.deepStrictEqual([...(yield* names)!].sort(), ["event-channel", "mine", "ring-ref"])
    }))

  inXen("pages and references are those of C's library, and rings that fit lie in the page", (xen) =>
    Effect.gen(function*() {
      for (const [readSize, writeSize, pages] of [[1, 1, 1], [2048, 1024, 1], [2048, 4096, 2], [65_536, 5000, 19]] as const) {
        yield* Effect.scoped(Effect.gen(function*() {
          const ends = yield* pair({ readSize, writeSize })
          const held = yield* xen.holdings
          const shares = held.filter((held) => "refs" in held).filter(({ _tag }) => _tag === "Share")
          assert.strictEqual(shares.reduce((sum, { refs }) => sum + refs.length, 0), pages)
          // What the client only reads is mapped so.
          const access = held.filter((held) => "refs" in held).filter(({ _tag }) => _tag === "Mapping").map(({ access }) => access)
          assert.strictEqual(access.filter((access) => access === "read-only").length, writeSize > 2048 ? 1 : 0)
          assert.deepStrictEqual(
            [ends.client.readSize, ends.client.writeSize],
            [ends.server.writeSize, ends.server.readSize]
          )
          yield* ends.close("client")
          yield* ends.close("server")
        }))
      }
    }))

  inXen("the end of the server's whole domain is told to its client, once all is read", (xen) =>
    Effect.gen(function*() {
      const ends = yield* pair()
      yield* ends.server.write(Uint8Array.of(1))
      const closed = yield* waiting(reason(ends.client.closed))
      yield* xen.destroy(server)
      assert.strictEqual(yield* Fiber.join(closed), "PeerGone")
      assert.deepStrictEqual(yield* take(ends.client, 1, () => 1), Uint8Array.of(1))
      assert.strictEqual(yield* reason(ends.client.read(new Uint8Array(1))), "PeerGone")
      assert.strictEqual(yield* reason(ends.client.write(new Uint8Array(1))), "PeerGone")
    }))

  inXen("the end of the client's whole domain is told to a server in dom0", (xen) =>
    Effect.gen(function*() {
      const vchan = yield* Server.listen({ peer: client, path: "/tool/vchan" }).pipe(Effect.provide(TestXen.layerDomain(0)))
      yield* xen.store(client)
      const connected = yield* waiting(vchan.connected)
      const joining = Client.connect({ peer: 0, path: "/tool/vchan" }).pipe(Effect.provide(TestXen.layerDomain(client)))
      yield* joining
      yield* Fiber.join(connected)
      const reading = yield* waiting(reason(vchan.read(new Uint8Array(1))))
      yield* xen.destroy(client)
      assert.strictEqual(yield* Fiber.join(reading), "PeerGone")
    }))

  inXen("nodes that are removed while the server goes on change nothing", (xen) =>
    Effect.gen(function*() {
      const ends = yield* pair()
      const store = yield* xen.store(server)
      const reading = yield* waiting(ends.client.read(new Uint8Array(1)))
      yield* store.remove(path)
      for (let i = 0; i < 50; i++) yield* Effect.yieldNow
      yield* ends.server.write(Uint8Array.of(1))
      assert.strictEqual(yield* Fiber.join(reading), 1)
    }))

  for (const [name, as] of [["another id", 9], ["the id it had", server]] as const) {
    inXen(`a server whose domain is restored under ${name} is told, whatever it waits for, and offers the next`, (xen) =>
      Effect.gen(function*() {
        const guest = yield* Layer.build(TestXen.layerDomain(server))
        const before = yield* Scope.fork(yield* Effect.scope)
        const offer = Server.listen({ peer: client, path: "data/vchan", readSize: 1024, writeSize: 1024 })
        const vchan = yield* offer.pipe(Scope.provide(before), Effect.provide(guest))
        const theirs = yield* connect
        yield* vchan.write(new Uint8Array(vchan.writeSize))
        const uses = [vchan.read(new Uint8Array(1)), vchan.write(Uint8Array.of(1)), vchan.drained, vchan.closed]
        const waits = yield* Effect.forEach(uses, (use) => waiting(reason(use)))
        // Its client hears of it in xenstore, and what it has mapped is no server's any more.
        const told = yield* waiting(reason(theirs.closed))
        yield* xen.suspendAndResume(server, { as })
        assert.deepStrictEqual(yield* Fiber.joinAll(waits), ["Suspended", "Suspended", "Suspended", "Suspended"])
        assert.strictEqual(yield* Fiber.join(told), "PeerGone")
        // The end of the old one comes late, and is no end of the new one.
        const next = yield* Effect.provide(offer, guest)
        const again = yield* Client.connect({ peer: as, path: `/local/domain/${as}/data/vchan` }).pipe(
          Effect.provide(TestXen.layerDomain(client))
        )
        const warned: Array<string> = []
        yield* Scope.close(before, Exit.void).pipe(Effect.provide(warnings(warned)))
        assert.isEmpty(warned)
        yield* again.write(Uint8Array.of(3))
        assert.strictEqual(yield* next.read(new Uint8Array(1)), 1)
        const dom0 = yield* xen.store(0)
        assert.lengthOf(yield* dom0.directory(`/local/domain/${as}/data/vchan`), 2)
      }))
  }

  inXen("what a server whose domain was restored had published is another's, and is left alone", (xen) =>
    Effect.gen(function*() {
      const scope = yield* Scope.fork(yield* Effect.scope)
      const vchan = yield* Scope.provide(listen(), scope)
      yield* xen.suspendAndResume(server, { as: 9 })
      assert.strictEqual(yield* reason(vchan.connected), "Suspended")
      const other = yield* listen()
      const warned: Array<string> = []
      yield* Scope.close(scope, Exit.void).pipe(Effect.provide(warnings(warned)))
      assert.isEmpty(warned)
      yield* connect
      yield* other.connected
    }))

  inXen("a client whose domain is restored is told, whatever it waits for", (xen) =>
    Effect.gen(function*() {
      const ends = yield* pair({ readSize: 1024, writeSize: 1024 })
      yield* ends.client.write(new Uint8Array(ends.client.writeSize))
      const uses = [ends.client.read(new Uint8Array(1)), ends.client.write(Uint8Array.of(1)), ends.client.drained, ends.client.closed]
      const waits = yield* Effect.forEach(uses, (use) => waiting(reason(use)))
      yield* xen.suspendAndResume(client, { as: 9 })
      assert.deepStrictEqual(yield* Fiber.joinAll(waits), ["Suspended", "Suspended", "Suspended", "Suspended"])
      const over = yield* Effect.flip(ends.client.write(Uint8Array.of(1)))
      assert.strictEqual(over.reason._tag === "Suspended" && over.reason.path, "domid")
    }))

  inXen("a watch that tells once more, and nodes that others remove, are no restore", (xen) =>
    Effect.gen(function*() {
      const ends = yield* pair()
      const reading = yield* waiting(ends.server.read(new Uint8Array(1)))
      const dom0 = yield* xen.store(0)
      for (const id of [server, client]) yield* dom0.write(`/local/domain/${id}/domid`, String(id))
      for (let i = 0; i < 50; i++) yield* Effect.yieldNow
      yield* dom0.remove(path)
      for (let i = 0; i < 50; i++) yield* Effect.yieldNow
      yield* ends.client.write(Uint8Array.of(1))
      assert.strictEqual(yield* Fiber.join(reading), 1)
    }))

  inXen("writes of several fibers do not mix", () =>
    Effect.gen(function*() {
      const { client, server } = yield* pair({ readSize: 1024 })
      const writers = Array.from({ length: 8 }, (_, i) =>
        Effect.repeat(client.write(new Uint8Array(700 + 311 * i).fill(i)), { times: 5 }))
      const total = writers.reduce((sum, _, i) => sum + 6 * (700 + 311 * i), 0)
      const [, got] = yield* Effect.all([
        Effect.all(writers, { concurrency: "unbounded" }),
        take(server, total, () => 400)
      ], { concurrency: "unbounded" })
      for (let at = 0; at < total;) {
        const length = 700 + 311 * got[at]!
        assert.isTrue(got.subarray(at, at + length).every((byte) => byte === got[at]), `at ${at}`)
        at += length
      }
    }))

  inXen("waiting is interruptible, loses nothing, and the next one waits on", () =>
    Effect.gen(function*() {
      const { client, server } = yield* pair({ readSize: 1024, writeSize: 1024 })
      for (let i = 0; i < 3; i++) {
        yield* Effect.flatMap(waiting(server.read(new Uint8Array(9))), Fiber.interrupt)
        yield* Effect.flatMap(waiting(client.connected.pipe(Effect.andThen(client.closed))), Fiber.interrupt)
      }
      const big = yield* waiting(client.write(new Uint8Array(5000)))
      yield* Fiber.interrupt(big)
      const reading = yield* waiting(Effect.andThen(take(server, 1024, () => 4096), server.read(new Uint8Array(9))))
      yield* client.write(Uint8Array.of(7))
      assert.strictEqual(yield* Fiber.join(reading), 1)
    }))

  inXen("after the end of its scope nothing can be done with an end, and whoever waited is not left waiting", () =>
    Effect.gen(function*() {
      const ends = yield* pair()
      const reading = yield* waiting(Effect.exit(ends.server.read(new Uint8Array(1))))
      yield* ends.close("server")
      const uses = [
        ends.server.read(new Uint8Array(1)),
        ends.server.write(new Uint8Array(1)),
        ends.server.drained,
        ends.server.closed,
        ends.server.connected
      ]
      const exits: Array<Exit.Exit<unknown, VchanError>> = [yield* Fiber.join(reading)]
      for (const use of uses) exits.push(yield* Effect.exit(use))
      for (const exit of exits) {
        assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.every(({ _tag }) => _tag === "Die"))
      }
    }))

  inXen("bytes that come just before the peer closes, while we look, are read", (xen) =>
    Effect.gen(function*() {
      const ends = yield* pair({ readSize: 1024 })
      const ref = Number(yield* (yield* xen.store(client)).readText(`${path}/ring-ref`))
      const { bytes } = yield* (yield* xen.domain(client)).map({ peer: server, refs: [ref] })
      let isFirst = true
      const into = new Uint8Array(2)
      const read = watching((event, at) => {
        if (event !== "loaded" || at !== 1 || !isFirst) return
        isFirst = false
        bytes[2048] = 9
        bytes[4] = 1
        bytes[Protocol.liveOffset.client] = 0
      }, () => Effect.runSyncExit(ends.server.read(into)))
      assert.deepStrictEqual([read, into[0]], [Exit.succeed(1), 9])
      assert.strictEqual(yield* ends.server.read(into), 0)
    }))

  inXen("a peer that breaks the rules ends its vchan alone, both directions of it", (xen) =>
    Effect.gen(function*() {
      const ends = yield* pair()
      const table = yield* xen.domain(client)
      const store = yield* xen.store(client)
      const ref = Number(yield* store.readText(`${path}/ring-ref`))
      const { bytes } = yield* table.map({ peer: server, refs: [ref] })
      const writing = yield* waiting(reason(ends.server.write(new Uint8Array(70_000))))
      bytes.set([0xff, 0xff, 0xff, 0x7f], 4)
      const said = yield* Effect.flip(ends.server.read(new Uint8Array(1)))
      assert.deepInclude({ ...said.reason }, { _tag: "TooFar", index: "left.prod", value: 0x7fff_ffff })
      assert.strictEqual(yield* Fiber.join(writing), "TooFar")
      assert.strictEqual(yield* reason(ends.server.write(new Uint8Array(1))), "TooFar")
      assert.strictEqual(yield* reason(ends.server.drained), "TooFar")
    }))

  inXen("what a server publishes is checked before it is used", (xen) =>
    Effect.gen(function*() {
      const store = yield* xen.store(server)
      const table = yield* xen.domain(server)
      const channels = yield* xen.eventChannels(server)
      const { bytes, refs } = yield* table.share({ peer: client, pages: 1 })
      const channel = yield* channels.listen({ peer: client })
      const publish = Effect.fnUntraced(function*(ref: string, port: string) {
        for (const [name, value] of [["ring-ref", ref], ["event-channel", port]] as const) {
          yield* store.write(`${path}/${name}`, value)
          const domains = [{ domain: client, access: "read" as const }]
          yield* store.setPermissions(`${path}/${name}`, { owner: server, others: "none", domains })
        }
      })
      const refused = reason(Effect.scoped(connect))
      for (const [ref, port] of [["7", "1"], ["-1", "1"], ["", "1"], ["8 ", "1"], ["8", "0"], ["9e9", "1"], ["4294967295", "1"]] as const) {
        yield* publish(ref, port)
        assert.strictEqual(yield* refused, "InvalidValue", `${ref} and ${port}`)
      }
      yield* publish(String(refs[0]), String(channel.port))
      assert.strictEqual(yield* refused, "InvalidOrders")
      Protocol.server(bytes, { left: 10, right: 12 }, Uint32Array.of(refs[0]!, 3))
      assert.strictEqual(yield* refused, "InvalidRingRef")
      Protocol.server(bytes, { left: 10, right: 11 }, refs, { left: 0, right: 0 })
      bytes.set([0, 16], 4)
      assert.strictEqual(yield* refused, "Backwards")
      // A server that says that it has ended, or whose rings are gone, may come again.
      Protocol.server(bytes, { left: 10, right: 11 }, refs)
      bytes[Protocol.liveOffset.server] = 0
      yield* Effect.flatMap(waiting(connect), Fiber.interrupt)
      Protocol.server(bytes, { left: 10, right: 12 }, Uint32Array.of(refs[0]!, 5000))
      yield* Effect.flatMap(waiting(connect), Fiber.interrupt)
      assert.strictEqual(bytes[Protocol.liveOffset.client], 2, "nobody was there")
    }))

  inXen("what fails, or waits, between two steps holds nothing, though its scope goes on", (xen) =>
    Effect.gen(function*() {
      const ports = Effect.scoped(Effect.map(
        Effect.flatMap(xen.eventChannels(server), (channels) => channels.listen({ peer: client })),
        ({ port }) => Number(port)
      ))
      const lowest = yield* ports
      const denied = Server.listen({ peer: client, path: "/local/domain/0/vchan" }).pipe(
        Effect.provide(TestXen.layerDomain(server))
      )
      assert.strictEqual(yield* reason(denied), "AccessDenied")
      assert.lengthOf(yield* xen.holdings, 0)
      assert.strictEqual(yield* ports, lowest)
      // A page that is no vchan's, and one whose rings are gone.
      const store = yield* xen.store(server)
      const { bytes, refs } = yield* (yield* xen.domain(server)).share({ peer: client, pages: 1 })
      const { port } = yield* (yield* xen.eventChannels(server)).listen({ peer: client })
      for (const [name, value] of [["ring-ref", refs[0]], ["event-channel", port]] as const) {
        yield* store.write(`${path}/${name}`, String(value))
        const domains = [{ domain: client, access: "read" as const }]
        yield* store.setPermissions(`${path}/${name}`, { owner: server, others: "none", domains })
      }
      const mapped = Effect.map(xen.holdings, (all) => all.filter(({ _tag }) => _tag === "Mapping").length)
      assert.strictEqual(yield* reason(connect), "InvalidOrders")
      assert.strictEqual(yield* mapped, 0)
      Protocol.server(bytes, { left: 10, right: 12 }, Uint32Array.of(refs[0]!, 5000))
      const waits = yield* waiting(connect)
      assert.strictEqual(yield* mapped, 0)
      yield* Fiber.interrupt(waits)
    }))

  inXen("a storm of signals costs an end that waits a look or two, and one that does not wait nothing", () =>
    Effect.gen(function*() {
      let looks = 0
      const counted = Effect.updateService(EventChannels, (channels) => ({
        ...channels,
        listen: (options: { readonly peer: number }) =>
          Effect.map(channels.listen(options), (channel) => ({
            ...channel,
            wait: Effect.tap(channel.wait, () => Effect.sync(() => looks++))
          }))
      }))
      const ports: Array<EventChannel> = []
      const lent = Effect.updateService(EventChannels, (channels) => ({
        ...channels,
        join: (options: { readonly peer: number; readonly port: number }) =>
          Effect.tap(channels.join(options), (channel) => Effect.sync(() => ports.push(channel)))
      }))
      const end = yield* Server.listen({ peer: client, path, readSize: 1024 }).pipe(counted, Effect.provide(TestXen.layerDomain(server)))
      const peer = yield* Client.connect({ peer: server, path }).pipe(lent, Effect.provide(TestXen.layerDomain(client)))
      yield* end.connected
      const { below, bytes } = random(Math.floor(Math.random() * 2 ** 31))
      /** Thousands of signals, with nobody else's turn between, then a few turns. */
      const storm = Effect.suspend(() => {
        for (let i = 1000 + below(2000); i > 0; i--) Effect.runSync(ports[0]!.notify)
        return Effect.repeat(Effect.yieldNow, { times: below(6) })
      })
      const storms = 40
      const asleep = looks
      for (let i = 0; i < storms; i++) yield* storm
      assert.isAtMost(looks - asleep, 2)
      const sent = bytes(5000)
      const reading = yield* waiting(take(end, sent.length, () => below(2000)))
      const before = looks
      for (let i = 0; i < storms; i++) yield* storm
      assert.isAtMost(looks - before, 2 * storms + 2)
      assert.isUndefined(reading.pollUnsafe())
      const writing = yield* Effect.forkScoped(peer.write(sent))
      for (let i = 0; i < storms; i++) yield* storm
      yield* Fiber.join(writing)
      sameBytes(yield* Fiber.join(reading), sent, "what came in a storm")
    }))

  inXen("what the caller asks for is checked", () =>
    Effect.gen(function*() {
      for (const sizes of [{ readSize: 0 }, { writeSize: 2 ** 20 + 1 }, { readSize: 1.5 }, { writeSize: NaN }]) {
        assert.strictEqual(yield* reason(Effect.scoped(listen(sizes))), "InvalidInput")
      }
      const bad = Server.listen({ peer: client, path: "no//path" }).pipe(Effect.provide(TestXen.layerDomain(server)))
      assert.strictEqual(yield* reason(Effect.scoped(bad)), "InvalidInput")
      const nobody = Client.connect({ peer: -1, path }).pipe(Effect.provide(TestXen.layerDomain(client)))
      yield* listen()
      assert.strictEqual(yield* reason(Effect.scoped(nobody)), "InvalidInput")
    }))
})
