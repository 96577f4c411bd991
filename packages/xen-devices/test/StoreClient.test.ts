import { assert, describe, it } from "@effect/vitest"
import * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { createServer, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Connection from "../src/internal/Connection.ts"
import * as Kernel from "../src/internal/Kernel.ts"
import * as StoreDriver from "../src/internal/StoreDriver.ts"
import * as Transports from "../src/internal/Transports.ts"
import * as StoreClient from "../src/StoreClient.ts"
import * as Wire from "../src/XenStoreWire.ts"
import * as FakeXenbus from "./FakeXenbus.ts"
import * as FakeXenStored from "./FakeXenStored.ts"

type Store = XenStore.XenStore["Service"]

/** The service over a fake device. */
const overDevice = (fake: ReturnType<typeof FakeXenbus.make>): Effect.Effect<Store, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        Connection.make(Transports.device(Kernel.loading("Reaching xenstore", () => fake.kernel), "/dev/xen/xenbus"))),
      (connection) => Effect.sync(() => connection.close(StoreClient.closed))
    ),
    (connection) => XenStore.make(StoreDriver.make(connection))
  )

/** The service over a device that takes one request at a time, and refuses all but the first, which `answer` refuses. */
const overFull = () => {
  let answer = () => {}
  let sent = 0
  const transport: Connection.Transport = {
    path: "/dev/xen/xenbus",
    payloadLimit: 4080,
    width: 1,
    send: (_, __, refused) => {
      const refuse = () => refused("ENOMEM")
      if (sent++ === 0) answer = refuse
      else refuse()
    },
    hold: () => {},
    close: () => {}
  }
  const connection = Connection.make(() => Result.succeed(transport))
  return { store: XenStore.make(StoreDriver.make(connection)), answer: Effect.sync(() => answer()) }
}

/** xenstored at a socket of its own; `sockets` are its connections. */
const serve = (store: FakeXenStored.FakeXenStored) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const directory = mkdtempSync(join(tmpdir(), "xenstored-"))
      const path = join(directory, "socket")
      const sockets = new Set<Socket>()
      const server = createServer((socket) => {
        sockets.add(socket)
        const session = store.open((message) => socket.write(Wire.encode(message)))
        const decoder = Wire.decoder()
        socket.on("data", (bytes) => void decoder.feed(bytes, session.receive))
        socket.on("close", session.close)
        socket.on("error", () => {})
      })
      await new Promise<void>((resolve) => server.listen(path, resolve))
      return { path, server, sockets, directory }
    }),
    ({ directory, server, sockets }) =>
      Effect.sync(() => {
        server.close()
        for (const socket of sockets) socket.destroy()
        rmSync(directory, { recursive: true })
      })
  )

const settled = Effect.promise(() => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve))))
const refusal = <A>(effect: Effect.Effect<A, XenStoreError>) =>
  Effect.matchEffect(effect, {
    onFailure: ({ reason }) => Effect.succeed(reason),
    onSuccess: (value) => Effect.die(new Error(`not refused: ${String(value)}`))
  })
const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

/** Both ways to xenstore, with what must hold of each at the end. */
const ways: ReadonlyArray<readonly [
  name: string,
  open: (store: FakeXenStored.FakeXenStored) => Effect.Effect<Store, never, Scope.Scope>
]> = [
  ["the device", (store) =>
    Effect.flatMap(
      Effect.acquireRelease(
        Effect.sync(() => FakeXenbus.make(store)),
        ({ errors, isHeld, isOpen }) => Effect.sync(() => assert.deepStrictEqual({ errors, open: isOpen(), held: isHeld() }, { errors: [], open: false, held: false }))
      ),
      overDevice
    )],
  ["the device, a byte at a time", (store) =>
    Effect.flatMap(
      Effect.acquireRelease(
        Effect.sync(() => FakeXenbus.make(store, { piece: 1 })),
        ({ errors }) => Effect.sync(() => assert.deepStrictEqual(errors, []))
      ),
      overDevice
    )],
  ["the socket", (store) => Effect.flatMap(serve(store), ({ path }) => StoreClient.make({ transport: "socket", socket: path }))]
]

describe.each(ways)("StoreClient over %s", (_, open) => {
  const test = (
    name: string,
    body: (store: Store, fake: FakeXenStored.FakeXenStored) => Effect.Effect<void, XenStoreError, Scope.Scope>,
    options?: Parameters<typeof FakeXenStored.make>[0]
  ) =>
    it.live(name, () =>
      Effect.gen(function*() {
        const fake = FakeXenStored.make(options)
        yield* Effect.scoped(Effect.flatMap(open(fake), (store) => body(store, fake)))
        yield* settled
        assert.deepStrictEqual(fake.held(), { watches: 0, transactions: 0 })
      }))

  test("reads what was written, as bytes, text and number", (store) =>
    Effect.gen(function*() {
      yield* store.write("data/a", "17")
      assert.strictEqual(yield* store.readText("data/a"), "17")
      assert.strictEqual(yield* store.readSchema("/local/domain/0/data/a", XenStore.Decimal), 17)
      const bytes = Uint8Array.of(0, 1, 255, 0)
      yield* store.write("data/b", bytes)
      assert.deepStrictEqual([...yield* store.read("data/b")], [...bytes])
      yield* store.write("data/c", "")
      assert.strictEqual((yield* store.read("data/c")).length, 0)
      assert.deepStrictEqual([...yield* store.directory("data")], ["a", "b", "c"])
      assert.deepStrictEqual(yield* store.directory("data/c"), [])
    }))

  test("makes and removes nodes, and tells what is not there", (store) =>
    Effect.gen(function*() {
      yield* store.makeDirectory("a/b")
      yield* store.makeDirectory("a/b")
      yield* store.remove("a")
      yield* store.remove("a")
      assert.deepInclude(yield* refusal(store.read("a/b")), { _tag: "NotFound", path: "a/b" })
      assert.strictEqual((yield* refusal(store.remove("x/y/z")))._tag, "NotFound")
      assert.strictEqual((yield* refusal(store.directory("x")))._tag, "NotFound")
    }))

  test("sets permissions, and tells them", (store) =>
    Effect.gen(function*() {
      yield* store.write("p", "")
      const permissions = { owner: 3, others: "none", domains: [{ domain: 0, access: "read" }, { domain: 7, access: "both" }] } as const
      yield* store.setPermissions("p", permissions)
      assert.deepEqual(yield* store.permissions("p"), permissions as never)
      yield* store.setPermissions("p", { owner: 0, others: "write" })
      assert.deepEqual(yield* store.permissions("p"), { owner: 0, others: "write", domains: [] } as never)
    }))

  test("tells which domain we are", (store, fake) =>
    Effect.gen(function*() {
      assert.strictEqual((yield* refusal(store.ownId))._tag, "NotFound")
      fake.write("/local/domain/0/domid", "42")
      assert.strictEqual(yield* store.ownId, 42)
      fake.write("/local/domain/0/domid", "42x")
      assert.strictEqual((yield* refusal(store.ownId))._tag, "InvalidValue")
    }))

  test("lists more names than fit into a message, all of one time", (store, fake) =>
    Effect.gen(function*() {
      const names = Array.from({ length: 1000 }, (_, i) => `a-rather-long-name-${i}`)
      for (const name of names) fake.write(`/many/${name}`, "")
      assert.deepStrictEqual([...yield* store.directory("/many")], names)
      // Somebody else takes away a name that was told already: then it is begun anew.
      fake.requests.length = 0
      const listing = yield* start(store.directory("/many"))
      while (fake.requests.filter((one) => one.startsWith("DIRECTORY_PART")).length < 2) yield* settled
      fake.remove(`/many/${names[0]}`)
      assert.deepStrictEqual([...yield* Fiber.join(listing)], names.slice(1))
    }))

  test("answers many at once, each its own", (store) =>
    Effect.gen(function*() {
      const keys = Array.from({ length: 200 }, (_, i) => i)
      yield* Effect.forEach(keys, (i) => store.write(`k/${i}`, `value ${i}`), { concurrency: "unbounded" })
      const read = yield* Effect.forEach(keys, (i) => store.readText(`k/${i}`), { concurrency: "unbounded" })
      assert.deepStrictEqual(read, keys.map((i) => `value ${i}`))
    }))

  test("runs a transaction again where others were faster, and leaves none open", (store, fake) =>
    Effect.gen(function*() {
      let tries = 0
      const done = yield* store.transaction((nodes) =>
        Effect.gen(function*() {
          yield* nodes.write("t/a", "1")
          yield* nodes.write("t/b", "2")
          if (++tries < 3) fake.write("/local/domain/0/t", String(tries))
          assert.strictEqual((yield* refusal(store.read("t/a")))._tag, "NotFound")
          return tries
        }))
      assert.strictEqual(done, 3)
      assert.strictEqual(yield* store.readText("t/b"), "2")
      const conflict = yield* refusal(store.transaction((nodes) => Effect.map(nodes.write("t/a", "x"), () => fake.write("/local/domain/0/t/a", "z")), { attempts: 2 }))
      assert.deepInclude(conflict, { _tag: "Conflict", attempts: 2 })
      yield* Effect.exit(store.transaction((nodes) => Effect.andThen(nodes.write("t/a", "y"), Effect.die("no"))))
      assert.strictEqual(yield* store.readText("t/a"), "z")
      yield* settled
      assert.strictEqual(fake.held().transactions, 0)
    }))

  test("tells changes at a path and below it, and ends with its stream", (store, fake) =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const first = yield* Deferred.make<void>()
      const all = yield* Deferred.make<void>()
      const watching = yield* start(Stream.runForEach(store.watch("w"), (path) =>
        Effect.suspend(() => {
          seen.push(path)
          if (seen.length === 1) return Deferred.succeed(first, undefined)
          return path === "w/x/y" ? Deferred.succeed(all, undefined) : Effect.void
        })))
      yield* Deferred.await(first)
      fake.write("/local/domain/0/other", "")
      fake.write("/local/domain/0/w", "")
      fake.write("/local/domain/0/w/x/y", "")
      yield* Deferred.await(all)
      assert.deepStrictEqual(seen, ["w", "w", "w/x/y"])
      yield* Fiber.interrupt(watching)
      // Requests keep their order, so the watch is gone when this is answered.
      yield* store.write("last", "")
      assert.strictEqual(fake.held().watches, 0)
    }))

  test("has a hundred watches on one connection", (store, fake) =>
    Effect.gen(function*() {
      const paths = Array.from({ length: 100 }, (_, i) => `/many/${i}`)
      yield* Effect.forEach(paths, (path) =>
        Effect.gen(function*() {
          const first = yield* Stream.runHead(Stream.drop(store.watch(path), 0))
          assert.strictEqual((first as { readonly value?: string }).value, path)
        }), { concurrency: "unbounded" })
      yield* store.write("last", "")
      assert.strictEqual(fake.held().watches, 0)
    }))

  test("names the quota that is used up", (store) =>
    Effect.gen(function*() {
      const one = yield* start(Stream.runDrain(store.watch("/a")))
      yield* store.write("x", "")
      const second = yield* refusal(Stream.runDrain(store.watch("/b")))
      assert.deepInclude(second, { _tag: "QuotaExceeded", quota: "watches", path: "/b" })
      yield* Fiber.interrupt(one)
      assert.deepInclude(yield* refusal(store.write("a/b/c/d/e", "")), { _tag: "QuotaExceeded", quota: "nodes" })
      assert.deepInclude(yield* refusal(store.write("a/b/c/d/e", new Uint8Array(3000))), { _tag: "QuotaExceeded", quota: "size" })
    }), { watchQuota: 1, nodeQuota: 5 })

  test("calls a full directory too many nodes", (store) =>
    Effect.gen(function*() {
      yield* store.makeDirectory("full/one")
      assert.deepInclude(yield* refusal(store.makeDirectory("full/another")), { _tag: "QuotaExceeded", quota: "nodes" })
    }), { sizeQuota: 10 })

  test("says so where a list is another one each time", (store, fake) =>
    Effect.gen(function*() {
      for (let i = 0; i < 1000; i++) fake.write(`/many/a-rather-long-name-${i}`, "")
      fake.requests.length = 0
      const listing = yield* start(refusal(store.directory("/many")))
      let seen = 0
      while (listing.pollUnsafe() === undefined) {
        const parts = fake.requests.filter((one) => one.startsWith("DIRECTORY_PART")).length
        if (parts > seen) fake.write(`/many/new-${seen = parts}`, "")
        yield* Effect.yieldNow
      }
      const reason = yield* Fiber.join(listing)
      assert.deepInclude(reason, { _tag: "Conflict", attempts: 16, path: "/many" })
      assert.include(reason.message, "The names below /many were listed 16 times")
    }))

  test("refuses what is too long for a message, before it is sent", (store, fake) =>
    Effect.gen(function*() {
      yield* store.write("a", new Uint8Array(4000))
      const sent = fake.requests.length
      assert.deepInclude(yield* refusal(store.write("a", new Uint8Array(4095))), { _tag: "TooLong", byteLength: 4097 })
      assert.strictEqual(fake.requests.length, sent)
    }))
})

describe("StoreClient with a slow xenstored", () => {
  const slow = (
    name: string,
    body: (
      store: Store,
      fake: ReturnType<typeof FakeXenbus.make>,
      stored: FakeXenStored.FakeXenStored
    ) => Effect.Effect<void, XenStoreError, Scope.Scope>
  ) =>
    it.live(name, () =>
      Effect.gen(function*() {
        const stored = FakeXenStored.make()
        stored.write("/local/domain/0/a", "A")
        stored.write("/local/domain/0/b", "B")
        const fake = FakeXenbus.make(stored, { isSlow: true })
        yield* Effect.scoped(Effect.flatMap(overDevice(fake), (store) => body(store, fake, stored)))
        yield* settled
        assert.deepStrictEqual(fake.errors, [])
        assert.isFalse(fake.isOpen())
        assert.deepStrictEqual(stored.held(), { watches: 0, transactions: 0 })
      }))

  /** Answers all that is asked, until nothing is asked any more. */
  const answerAll = (fake: ReturnType<typeof FakeXenbus.make>) =>
    Effect.gen(function*() {
      yield* settled
      while (fake.waiting() > 0) {
        fake.answer()
        yield* settled
      }
    })

  slow("throws away the answer to a request that was interrupted; the next one waits for it", (store, fake, stored) =>
    Effect.gen(function*() {
      const first = yield* start(store.readText("a"))
      const second = yield* start(store.readText("b"))
      const third = yield* start(store.readText("a"))
      assert.isTrue(fake.isHeld())
      yield* Fiber.interrupt(first)
      yield* Fiber.interrupt(third)
      assert.strictEqual(fake.waiting(), 1)
      assert.deepStrictEqual(stored.requests, [])
      yield* answerAll(fake)
      assert.strictEqual(yield* Fiber.join(second), "B")
      // The third was never sent.
      assert.deepStrictEqual(stored.requests, ["READ a", "READ b"])
      assert.isFalse(fake.isHeld())
    }))

  slow("aborts a transaction that was interrupted while it began", (store, fake, stored) =>
    Effect.gen(function*() {
      const fiber = yield* start(store.transaction((nodes) => nodes.write("a", "x")))
      yield* Fiber.interrupt(fiber)
      yield* answerAll(fake)
      assert.deepStrictEqual(stored.requests, ["TRANSACTION_START ", "TRANSACTION_END F"])
      assert.deepStrictEqual(stored.held().transactions, 0)
    }))

  slow("ends a transaction that was interrupted before its commit was sent", (store, fake, stored) =>
    Effect.gen(function*() {
      const fiber = yield* start(store.transaction(() => Effect.void))
      yield* settled
      // The commit stands behind this one in the queue.
      const other = yield* start(store.readText("a"))
      fake.answer()
      yield* settled
      yield* Fiber.interrupt(fiber)
      yield* answerAll(fake)
      yield* Fiber.join(other)
      assert.include(stored.requests, "TRANSACTION_END F")
      assert.notInclude(stored.requests, "TRANSACTION_END T")
    }))

  slow("leaves a commit that was sent to xenstore, which ends it", (store, fake, stored) =>
    Effect.gen(function*() {
      const fiber = yield* start(store.transaction(() => Effect.void))
      yield* settled
      fake.answer()
      yield* settled
      assert.strictEqual(fake.waiting(), 1)
      yield* Fiber.interrupt(fiber)
      yield* answerAll(fake)
      assert.deepStrictEqual(stored.requests, ["TRANSACTION_START ", "TRANSACTION_END T"])
    }))

  slow("waits for xenstore in a finalizer, and can be interrupted again only after it", (store, fake, stored) =>
    Effect.gen(function*() {
      const fiber = yield* start(Effect.onInterrupt(Effect.never, () =>
        Effect.orDie(store.transaction((nodes) => nodes.write("a", "last")))))
      const interrupting = yield* start(Fiber.interrupt(fiber))
      yield* start(Fiber.interrupt(fiber))
      yield* answerAll(fake)
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(stored.requests, ["TRANSACTION_START ", "WRITE a", "TRANSACTION_END T"])
    }))

  slow("ends a watch that was interrupted while it was set", (store, fake, stored) =>
    Effect.gen(function*() {
      const fiber = yield* start(Stream.runDrain(store.watch("a")))
      yield* settled
      yield* Fiber.interrupt(fiber)
      yield* answerAll(fake)
      assert.deepStrictEqual(stored.requests, ["WATCH a", "UNWATCH a"])
      assert.isFalse(fake.isHeld())
    }))

  slow("closes the device only after a write that waits is over", (store, fake) =>
    Effect.gen(function*() {
      const fiber = yield* start(Stream.runDrain(store.watch("a")))
      yield* settled
      fake.answer()
      yield* Fiber.interrupt(fiber)
    }))

  it.live("tells everybody who waits that the connection is gone, and all who come later", () =>
    Effect.scoped(Effect.gen(function*() {
      const fake = FakeXenbus.make(FakeXenStored.make(), { isSlow: true })
      const store = yield* overDevice(fake)
      const waiting = yield* start(refusal(store.read("a")))
      const queued = yield* start(refusal(store.read("b")))
      fake.break("EIO")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "StoreGone")
      assert.strictEqual((yield* Fiber.join(queued))._tag, "StoreGone")
      assert.strictEqual((yield* refusal(store.read("c")))._tag, "StoreGone")
      assert.isFalse(fake.isOpen())
    })))
})

describe("StoreClient with a xenstored that breaks the rules", () => {
  const reply = (fields: Partial<Wire.Message>) => Wire.encode({ type: 2, request: 1, transaction: 0, payload: new Uint8Array(0), ...fields })
  const tooLong = reply({})
  new DataView(tooLong.buffer).setUint32(12, 4097, true)
  const cases: ReadonlyArray<readonly [name: string, bytes: Uint8Array]> = [
    ["answers to nobody", reply({ request: 77 })],
    ["another kind of answer", reply({ type: Wire.types.WRITE })],
    ["a kind that there is none of", reply({ type: 0xffff_ffff })],
    ["a message that is too long", tooLong],
    ["an event without a token", reply({ type: Wire.types.WATCH_EVENT, payload: Wire.strings("/a") })],
    ["an event without an end", reply({ type: Wire.types.WATCH_EVENT, payload: Uint8Array.of(47, 0, 49) })]
  ]
  for (const [name, bytes] of cases) {
    it.live(`ends the connection for ${name}`, () =>
      Effect.scoped(Effect.gen(function*() {
        const fake = FakeXenbus.make(FakeXenStored.make(), { isSlow: true })
        const store = yield* overDevice(fake)
        const waiting = yield* start(refusal(store.read("a")))
        fake.inject(bytes)
        assert.strictEqual((yield* Fiber.join(waiting))._tag, "StoreGone")
        assert.isFalse(fake.isOpen())
      })))
  }

  const nonsense: ReadonlyArray<readonly [name: string, payload: Uint8Array, ask: (store: Store) => Effect.Effect<unknown, XenStoreError>]> = [
    ["names without an end", Uint8Array.of(65), (store) => store.directory("a")],
    ["an empty name", Uint8Array.of(65, 0, 0, 66, 0), (store) => store.directory("a")],
    ["a name with a slash", Wire.strings("a/b"), (store) => store.directory("a")],
    ["no owner", new Uint8Array(0), (store) => store.permissions("a")],
    ["an access that there is none of", Wire.strings("x0"), (store) => store.permissions("a")],
    ["an owner that is no domain", Wire.strings("n65536"), (store) => store.permissions("a")],
    ["a transaction 0", Wire.strings("0"), (store) => store.transaction(() => Effect.void)],
    ["a transaction of words", Wire.strings("one"), (store) => store.transaction(() => Effect.void)]
  ]
  for (const [name, payload, ask] of nonsense) {
    it.live(`refuses ${name}, and goes on`, () =>
      Effect.scoped(Effect.gen(function*() {
        const stored = FakeXenStored.make()
        stored.write("/local/domain/0/a", "A")
        let isFirst = true
        const fake = FakeXenbus.make(stored, {
          twist: (message) => {
            const twisted = isFirst ? { ...message, type: message.type === 16 ? 1 : message.type, payload } : message
            isFirst = false
            return [Wire.encode(twisted)]
          }
        })
        const store = yield* overDevice(fake)
        assert.strictEqual((yield* refusal(ask(store)))._tag, "InvalidValue")
        assert.strictEqual(yield* store.readText("a"), "A")
      })))
  }

  it.live("wakes a watch for a path that it did not ask for, with its own", () =>
    Effect.scoped(Effect.gen(function*() {
      const fake = FakeXenbus.make(FakeXenStored.make())
      const store = yield* overDevice(fake)
      const paths = yield* start(Stream.runCollect(Stream.take(store.watch("/a"), 2)))
      yield* settled
      yield* settled
      fake.inject(reply({ type: Wire.types.WATCH_EVENT, payload: Wire.strings("/etc/passwd", "1") }))
      fake.inject(reply({ type: Wire.types.WATCH_EVENT, payload: Wire.strings("/a/b", "no token of ours") }))
      assert.deepStrictEqual([...yield* Fiber.join(paths)], ["/a", "/a"])
    })))
})

describe("StoreClient's way to xenstore", () => {
  it.live("says so to everybody who waits, however many, where the kernel takes no request any more", () =>
    Effect.gen(function*() {
      const { answer, store } = overFull()
      const all = yield* start(Effect.forEach(
        Array.from({ length: 20_000 }),
        () => refusal(store.read("a")),
        { concurrency: "unbounded" }
      ))
      yield* settled
      yield* answer
      const reasons = yield* Fiber.join(all)
      assert.isTrue(reasons.every(({ _tag }) => _tag === "DeviceFailed"))
    }))

  it.live("is closed with its scope", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const fake = FakeXenbus.make(FakeXenStored.make())
      const store = yield* Scope.provide(overDevice(fake), scope)
      yield* store.write("a", "")
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(fake.isOpen())
      assert.deepInclude(yield* refusal(store.read("a")), { _tag: "DeviceUnavailable", errno: "EBADF" })
    }))

  it.live("tells what to do where there is no device", () =>
    Effect.scoped(Effect.gen(function*() {
      const store = yield* overDevice(FakeXenbus.make(FakeXenStored.make(), { openFails: true }))
      assert.include((yield* refusal(store.read("a"))).message, "start xenstored")
    })))

  it.live("tells what to do where there is no socket, and finds it when there is one", () =>
    Effect.scoped(Effect.gen(function*() {
      const stored = FakeXenStored.make()
      stored.write("/a", "A")
      const none = yield* StoreClient.make({ transport: "socket", socket: "/no/such/socket" })
      assert.deepInclude(yield* refusal(none.read("a")), { _tag: "DeviceUnavailable", errno: "ENOENT" })
      const { path } = yield* serve(stored)
      const late = yield* StoreClient.make({ transport: "socket", socket: `${path}-later` })
      assert.strictEqual((yield* refusal(late.read("/a")))._tag, "DeviceUnavailable")
      const server = createServer((socket) => {
        const session = stored.open((message) => socket.write(Wire.encode(message)))
        const decoder = Wire.decoder()
        socket.on("data", (bytes) => void decoder.feed(bytes, session.receive))
        socket.on("error", () => {})
        server.close()
      })
      yield* Effect.promise(() => new Promise<void>((resolve) => server.listen(`${path}-later`, resolve)))
      assert.strictEqual(yield* late.readText("/a"), "A")
    })))

  it.live("ends where xenstored closes the socket, in the middle of a message, too", () =>
    Effect.scoped(Effect.gen(function*() {
      const stored = FakeXenStored.make()
      const { path, sockets } = yield* serve(stored)
      const store = yield* StoreClient.make({ socket: path })
      yield* store.write("a", "")
      const watching = yield* start(refusal(Stream.runDrain(store.watch("a"))))
      yield* store.write("b", "")
      for (const socket of sockets) socket.end(Uint8Array.of(2, 0, 0))
      assert.strictEqual((yield* Fiber.join(watching))._tag, "StoreGone")
      assert.strictEqual((yield* refusal(store.read("a")))._tag, "StoreGone")
    })))

  it.live.skipIf(existsSync(StoreClient.defaultPaths.socket) || existsSync(StoreClient.defaultPaths.xenbus))(
    "is the device where there is no socket",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const store = yield* StoreClient.make()
        assert.deepInclude(yield* refusal(store.read("a")), { _tag: "DeviceUnavailable", device: "/dev/xen/xenbus" })
      }))
  )
})
