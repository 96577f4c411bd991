import { assert, describe, it } from "@effect/vitest"
import * as DomainId from "@xen-shbuf/core/DomainId"
import { InvalidInput } from "@xen-shbuf/core/Reason"
import * as XenStore from "@xen-shbuf/core/XenStore"
import { NotFound, QuotaExceeded, type Reason, StoreGone, XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as TestClock from "effect/testing/TestClock"

/** Keeps values by their paths as they come, remembers what it is asked, and can be told to find others faster. */
const stub = () => {
  const calls: Array<ReadonlyArray<unknown>> = []
  const values = new Map<string, Uint8Array>()
  const watches: Array<{ readonly changed: (path: string) => void; readonly ended: (reason: Reason) => void }> = []
  const state = { conflicts: 0, begun: 0 }
  const call = <A>(answer: A, ...what: ReadonlyArray<unknown>) => Effect.sync(() => (calls.push(what), answer))
  const missing = (path: string) => new XenStoreError({ operation: "read", reason: new NotFound({ path }) })
  const store = XenStore.make({
    read: (path, id) => {
      calls.push(["read", path, id])
      const value = values.get(path)
      return value === undefined ? Effect.fail(missing(path)) : Effect.succeed(value.slice())
    },
    write: (path, value, id) => Effect.sync(() => (values.set(path, value), void calls.push(["write", path, value, id]))),
    directory: (path, id) => call(["a"], "directory", path, id),
    makeDirectory: (path, id) => call(undefined, "makeDirectory", path, id),
    remove: (path, id) => call(undefined, "remove", path, id),
    permissions: (path, id) =>
      call({ owner: DomainId.DomainId.make(0), others: "none", domains: [] }, "permissions", path, id),
    setPermissions: (path, permissions, id) => call(undefined, "setPermissions", path, permissions, id),
    begin: () => Effect.sync(() => (calls.push(["begin"]), ++state.begun)),
    commit: (id) => Effect.sync(() => (calls.push(["commit", id]), state.conflicts-- <= 0)),
    abort: (id) => call(undefined, "abort", id),
    watch: (path, changed, ended) =>
      Effect.sync(() => {
        calls.push(["watch", path])
        watches.push({ changed, ended })
        changed(path)
        return { release: () => void calls.push(["unwatch", path]) }
      }),
    ownId: Effect.succeed(DomainId.DomainId.make(3))
  })
  return { store, calls, values, state, watch: () => watches.at(-1)! }
}

type Stub = ReturnType<typeof stub>

const names = ({ calls }: Stub) => calls.map(([name]) => name)

/** Each operation on this path. */
const everyOperation = (nodes: XenStore.Nodes, path: string): ReadonlyArray<Effect.Effect<unknown, XenStoreError>> => [
  nodes.read(path),
  nodes.readText(path),
  nodes.readSchema(path, XenStore.Decimal),
  nodes.write(path, "x"),
  nodes.directory(path),
  nodes.makeDirectory(path),
  nodes.remove(path),
  nodes.permissions(path),
  nodes.setPermissions(path, { owner: 0, others: "none" })
]

const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

const text = (value: string) => new TextEncoder().encode(value)

describe("XenStore.make", () => {
  it.effect("refuses what is no path, in a sentence, before the driver sees it", () =>
    Effect.gen(function*() {
      const { calls, store } = stub()
      const bad = [
        ...["", "//", "a//b", "/a/", "a/", "/ä", "a b", "a\0", "a\n", "a.b", ".", "~"],
        `/${"a".repeat(3072)}`,
        "a".repeat(2049),
        "a".repeat(100_000),
        "a\ud800",
        7 as unknown as string,
        undefined as unknown as string
      ]
      for (const path of bad) {
        const watching = Stream.runDrain(store.watch(path))
        for (const operation of [...everyOperation(store, path), watching]) {
          const { message, reason } = yield* Effect.flip(operation)
          assert.strictEqual(reason._tag, "InvalidInput")
          assert.include(message, "must be a path of xenstore")
          assert.isBelow(message.length, 500)
        }
      }
      assert.deepStrictEqual(calls, [])
      for (const path of ["/", "a", "/a/b-c_d@e", "a@/@b", `/${"a".repeat(3071)}`, "a".repeat(2048)]) {
        yield* store.directory(path)
      }
      assert.strictEqual(calls.length, 6)
    }))

  it.effect("what begins with @ can be watched, and nothing else", () =>
    Effect.gen(function*() {
      const { calls, store } = stub()
      for (const operation of everyOperation(store, "@releaseDomain")) {
        assert.include((yield* Effect.flip(operation)).message, "can only be watched")
      }
      assert.deepStrictEqual(calls, [])
      yield* Stream.runDrain(Stream.take(store.watch("@releaseDomain"), 1))
      assert.deepStrictEqual(calls, [["watch", "@releaseDomain"], ["unwatch", "@releaseDomain"]])
    }))

  it.effect("writes text as UTF-8 and bytes as a copy, whoever changes them meanwhile", () =>
    Effect.gen(function*() {
      const { store, values } = stub()
      const bytes = Uint8Array.of(0, 255, 10)
      const buffer = Buffer.from([1, 2, 3])
      yield* store.write("text", "größer\0")
      yield* store.write("bytes", bytes)
      yield* store.write("buffer", buffer)
      yield* store.write("empty", "")
      bytes.fill(7)
      buffer.fill(7)
      assert.deepStrictEqual(Object.fromEntries(values), {
        text: text("größer\0"),
        bytes: Uint8Array.of(0, 255, 10),
        buffer: Uint8Array.of(1, 2, 3),
        empty: new Uint8Array()
      })
      const moved = Uint8Array.of(1)
      moved.buffer.transfer()
      // What has no UTF-8, or is not there any more, would be another value without a word.
      for (const value of [1, null, undefined, [1], new ArrayBuffer(1), "a\ud800", "\udc00\ud800", moved]) {
        const error = yield* Effect.flip(store.write("a", value as unknown as string))
        assert.deepInclude(error.reason, { _tag: "InvalidInput", argument: "value" })
      }
    }))

  it.effect("checks permissions before the driver sees them", () =>
    Effect.gen(function*() {
      const { calls, store } = stub()
      const set = (permissions: object) =>
        Effect.map(
          Effect.flip(store.setPermissions("a", permissions as { owner: number; others: "none" })),
          ({ reason }) => reason instanceof InvalidInput ? reason.argument : assert.fail(reason._tag)
        )
      assert.strictEqual(yield* set({ owner: -1, others: "none" }), "owner")
      assert.strictEqual(yield* set({ owner: 1, others: "all" }), "others")
      const domains = [{ domain: 1, access: "read" }, { domain: 70_000, access: "read" }]
      assert.strictEqual(yield* set({ owner: 1, others: "none", domains }), "domains[1].domain")
      assert.strictEqual(
        yield* set({ owner: 1, others: "none", domains: [{ domain: 1, access: "r" }] }),
        "domains[0].access"
      )
      assert.deepStrictEqual(calls, [])
      yield* store.setPermissions("a", { owner: 1, others: "read" })
      assert.deepStrictEqual(calls, [["setPermissions", "a", { owner: 1, others: "read", domains: [] }, 0]])
    }))

  it.effect("opens spans where somebody traces", () =>
    Effect.gen(function*() {
      const spans: Array<string> = []
      const tracer = Tracer.make({
        span: (options) => {
          spans.push(options.name)
          return new Tracer.NativeSpan(options)
        }
      })
      const { store } = stub()
      yield* Effect.all([store.write("a", "1"), store.transaction(() => Effect.void), store.ownId]).pipe(
        Effect.withTracer(tracer)
      )
      assert.deepStrictEqual(spans, ["XenStore.write", "XenStore.transaction", "XenStore.ownId"])
    }))
})

describe("values of a peer", () => {
  it.effect("are text only where they are UTF-8, and what a schema makes of them", () =>
    Effect.gen(function*() {
      const { store, values } = stub()
      values.set("bad", Uint8Array.of(0xff, 0xfe)).set("good", text("7")).set("bom", text("\ufeff7"))
      const { message, reason } = yield* Effect.flip(store.readText("bad"))
      assert.strictEqual(reason._tag, "InvalidValue")
      assert.include(message, "The value of bad in xenstore can't be used: it is not UTF-8")
      assert.strictEqual(yield* store.readSchema("good", XenStore.Decimal), 7)
      assert.strictEqual(yield* store.readText("bom"), "\ufeff7")
      assert.strictEqual((yield* Effect.flip(store.readSchema("bom", XenStore.Decimal))).reason._tag, "InvalidValue")
      assert.isTrue(Option.isNone(yield* XenStore.ifPresent(store.readText("missing"))))
      assert.strictEqual((yield* Effect.flip(XenStore.ifPresent(store.readText("bad")))).reason._tag, "InvalidValue")
    }))

  it.effect("that are refused are told in few words, without what could disturb a terminal", () =>
    Effect.gen(function*() {
      const { store, values } = stub()
      const number = Schema.fromJsonString(Schema.Number)
      for (const value of ["x".repeat(4000), "\u001b[2J\n".repeat(500), "\ud83d\ude00".repeat(1000), `a${"\0".repeat(99)}`]) {
        values.set("a", text(value))
        for (const schema of [XenStore.Decimal, number]) {
          const { message } = yield* Effect.flip(store.readSchema("a", schema))
          assert.isBelow(message.length, 800)
          // eslint-disable-next-line no-control-regex
          assert.notMatch(message, /[\u0000-\u001f\u007f]/)
        }
      }
    }))

  it.prop("a number is decimal, below 2^32, and nothing but itself", { value: Schema.String }, ({ value }) => {
    const decoded = Schema.decodeUnknownOption(XenStore.Decimal)(value)
    assert.strictEqual(Option.isSome(decoded) && String(decoded.value) === value, Option.isSome(decoded))
  })

  it("numbers as people and peers write them", () => {
    const decode = Schema.decodeUnknownOption(XenStore.Decimal)
    for (const right of ["0", "7", "10", "4294967295"]) assert.deepStrictEqual(decode(right), Option.some(Number(right)))
    const wrong = ["", " 1", "1 ", "1\n", "+1", "-1", "01", "00", "0x10", "1e3", "1.0", "4294967296", "9".repeat(10), "٣", "NaN"]
    for (const value of wrong) assert.isTrue(Option.isNone(decode(value)), value)
    for (const value of [0, 1, 2 ** 32 - 1]) {
      assert.strictEqual(Schema.encodeSync(XenStore.Decimal)(value), String(value))
    }
    for (const value of [-1, 1.5, 2 ** 32, Number.NaN]) {
      assert.isTrue(Option.isNone(Schema.encodeOption(XenStore.Decimal)(value)), String(value))
    }
  })
})

describe("XenStore.transaction", () => {
  it.effect("gives its number to all that is done in it, and ends it when all is done", () =>
    Effect.gen(function*() {
      const self = stub()
      self.values.set("a", text("1"))
      const value = yield* self.store.transaction((nodes) =>
        Effect.as(Effect.all(everyOperation(nodes, "a").slice(3)), "done"))
      assert.strictEqual(value, "done")
      assert.deepStrictEqual(names(self), [
        "begin",
        "write",
        "directory",
        "makeDirectory",
        "remove",
        "permissions",
        "setPermissions",
        "commit"
      ])
      for (const call of self.calls.slice(1)) assert.strictEqual(call.at(-1), 1)
      yield* self.store.read("a")
      assert.deepStrictEqual(self.calls.at(-1), ["read", "a", 0])
    }))

  it.effect("runs again where others were faster, as often as it may, and no more", () =>
    Effect.gen(function*() {
      const self = stub()
      self.state.conflicts = 3
      let runs = 0
      const body = () => Effect.sync(() => ++runs)
      assert.strictEqual(yield* self.store.transaction(body), 4)
      for (const [options, attempts] of [[{ attempts: 2 }, 2], [{}, XenStore.defaultAttempts]] as const) {
        self.state.conflicts = 1000
        runs = 0
        const { message, operation, reason } = yield* Effect.flip(self.store.transaction(body, options))
        assert.deepInclude({ operation, runs, ...reason }, { operation: "transaction", _tag: "Conflict", attempts, runs: attempts })
        assert.include(message, `tried ${attempts} times`)
      }
      assert.strictEqual(names(self).filter((name) => name === "abort").length, 0)
    }))

  it.effect("lets others have their turn before it tries again", () =>
    Effect.gen(function*() {
      const self = stub()
      self.state.conflicts = Infinity
      const fiber = yield* Effect.forkChild(self.store.transaction(() => Effect.void, { attempts: 1_000_000 }))
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      self.state.conflicts = 0
      yield* Fiber.join(fiber)
      assert.isBelow(self.state.begun, 100)
    }))

  it.effect("is aborted, once, however its body ends, and the end is the body's own", () =>
    Effect.gen(function*() {
      const ends: ReadonlyArray<(nodes: XenStore.Nodes) => Effect.Effect<unknown, unknown>> = [
        () => Effect.fail("mine"),
        () => Effect.die("mine"),
        () => Effect.interrupt,
        () => {
          throw new Error("mine")
        },
        (nodes) => nodes.read("missing")
      ]
      for (const body of ends) {
        const self = stub()
        const exit = yield* Effect.exit(self.store.transaction(body))
        assert.isTrue(Exit.isFailure(exit))
        assert.deepStrictEqual(self.calls.filter(([name]) => name !== "read"), [["begin"], ["abort", 1]])
      }
    }))

  it.effect("is aborted when it is interrupted from outside, and not in the middle of its end", () =>
    Effect.gen(function*() {
      const self = stub()
      const fiber = yield* Effect.forkChild(self.store.transaction(() => Effect.never), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(names(self), ["begin", "abort"])
      const latch = yield* Deferred.make<boolean>()
      const driver = { begin: () => Effect.succeed(1), commit: () => Deferred.await(latch) } as unknown as XenStore.Driver
      const committing = yield* Effect.forkChild(
        XenStore.make(driver).transaction(() => Effect.succeed("written")),
        { startImmediately: true }
      )
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(committing), { startImmediately: true })
      yield* Effect.yieldNow
      assert.isUndefined(committing.pollUnsafe())
      yield* Deferred.succeed(latch, true)
      yield* Fiber.join(interrupting)
    }))

  it.effect("what it was given is dead when it has ended, whatever became of it, and while it is tried again", () =>
    Effect.gen(function*() {
      const self = stub()
      self.values.set("a", text("1"))
      self.state.conflicts = 1
      const kept: Array<XenStore.Nodes> = []
      const keep = (nodes: XenStore.Nodes) => Effect.sync(() => void kept.push(nodes))
      yield* self.store.transaction(keep)
      yield* Effect.exit(self.store.transaction((nodes) => Effect.andThen(keep(nodes), Effect.fail("mine"))))
      assert.strictEqual(kept.length, 3)
      const before = self.calls.length
      for (const nodes of kept) {
        for (const operation of everyOperation(nodes, "a")) {
          const exit = yield* Effect.exit(operation)
          assert.match(Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "", /transaction has ended/)
        }
      }
      assert.strictEqual(self.calls.length, before)
    }))

  it.effect("that can't begin runs no body, and bounds make sense", () =>
    Effect.gen(function*() {
      const reason = new QuotaExceeded({ path: "/", quota: "transactions" })
      const driver = { begin: () => Effect.fail(new XenStoreError({ operation: "transaction", reason })) } as unknown
      const body = () => Effect.die("it runs")
      const refusing = yield* start(Effect.flip(XenStore.make(driver as XenStore.Driver).transaction(body)))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(refusing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(refusing)).reason, reason)
      for (const attempts of [0, -1, 1.5, Number.NaN]) {
        const error = yield* Effect.flip(stub().store.transaction(body, { attempts }))
        assert.deepInclude(error.reason, { _tag: "InvalidInput", argument: "attempts" })
      }
    }))
})

const turns = Effect.forEach(Array.from({ length: 5 }), () => Effect.yieldNow, { discard: true })

describe("transactions of many fibers", () => {
  /** Says no to more than `most` at one time, as Xen does to a guest. */
  const bounded = (most: number) => {
    const state = { open: 0, top: 0 }
    const reason = new QuotaExceeded({ path: "/", quota: "transactions" })
    const driver = {
      begin: () =>
        Effect.suspend(() => {
          if (state.open >= most) return Effect.fail(new XenStoreError({ operation: "transaction", reason }))
          state.top = Math.max(state.top, ++state.open)
          return Effect.succeed(1)
        }),
      commit: () => Effect.sync(() => (state.open--, true)),
      abort: () => Effect.sync(() => void state.open--)
    }
    return { state, store: XenStore.make(driver as unknown as XenStore.Driver) }
  }

  it.effect("wait their turn, and who is interrupted gives his to the next", () =>
    Effect.gen(function*() {
      const { state, store } = bounded(10)
      const all = yield* Effect.forEach(Array.from({ length: 60 }), (_, i) =>
        start(i % 3 === 0 ? store.transaction(() => Effect.never) : store.transaction(() => turns)))
      for (let i = 0; i < 20; i++) yield* turns
      assert.deepStrictEqual(state, { open: 4, top: 4 })
      for (const i of all.keys()) if (i % 3 === 0) yield* Fiber.interrupt(all[i]!)
      for (const i of all.keys()) if (i % 3 !== 0) yield* Fiber.join(all[i]!)
      assert.deepStrictEqual(state, { open: 0, top: 4 })
    }))

  it.effect("do not wait for each other where one is inside of another, also when all are", () =>
    Effect.gen(function*() {
      const { state, store } = bounded(10)
      const nested = store.transaction(() => Effect.andThen(turns, store.transaction(() => Effect.as(turns, "inner"))))
      const all = yield* Effect.forEach(Array.from({ length: 40 }), () => nested, { concurrency: "unbounded" })
      assert.deepStrictEqual(all, Array.from({ length: 40 }, () => "inner"))
      assert.deepStrictEqual(state, { open: 0, top: 8 })
      // What goes on after the transaction that it was begun in is inside of none.
      const late = yield* store.transaction(() =>
        Effect.forkDetach(Effect.andThen(turns, Effect.forEach(Array.from({ length: 40 }), () => store.transaction(() => turns), {
          concurrency: "unbounded"
        }))))
      state.top = 0
      yield* Fiber.join(late)
      assert.deepStrictEqual(state, { open: 0, top: 4 })
    }))

  it.effect("wait for those of other programs, too", () =>
    Effect.gen(function*() {
      const { state, store } = bounded(10)
      state.open = 10
      const waiting = yield* start(store.transaction(() => Effect.succeed("mine")))
      const leaving = yield* start(store.transaction(() => Effect.succeed("mine")))
      yield* Fiber.interrupt(leaving)
      yield* TestClock.adjust("300 millis")
      assert.isUndefined(waiting.pollUnsafe())
      state.open--
      yield* TestClock.adjust("400 millis")
      assert.strictEqual(yield* Fiber.join(waiting), "mine")
      assert.strictEqual(state.open, 9)
    }))
})

describe("an implementation that waits", () => {
  it.effect("can wait in a finalizer, and is interrupted elsewhere", () =>
    Effect.gen(function*() {
      const calls: Array<string> = []
      const waits = <A>(name: string, value: A) => (restore: XenStore.Restore) =>
        Effect.as(
          Effect.onInterrupt(restore(Effect.andThen(Effect.sync(() => void calls.push(name)), turns)), () =>
            Effect.sync(() => void calls.push(`no ${name}`))),
          value
        )
      const driver = {
        begin: waits("begin", 1),
        commit: (_: number, restore: XenStore.Restore) => waits("commit", true)(restore),
        abort: () => Effect.sync(() => void calls.push("abort")),
        watch: (path: string, changed: (path: string) => void, _: unknown, restore: XenStore.Restore) => {
          changed(path)
          return waits("watch", { release: () => void calls.push("unwatch") })(restore)
        }
      }
      const store = XenStore.make(driver as unknown as XenStore.Driver)
      const transaction = store.transaction(() => Effect.void)
      const watching = Stream.runDrain(Stream.take(store.watch("a"), 1))
      const late = yield* start(Effect.onInterrupt(Effect.never, () => Effect.orDie(Effect.andThen(transaction, watching))))
      yield* Fiber.interrupt(late)
      assert.deepStrictEqual(calls.splice(0), ["begin", "commit", "watch", "unwatch"])
      const ends: ReadonlyArray<readonly [turns: number, seen: Array<string>]> = [
        [2, ["begin", "no begin"]],
        [7, ["begin", "commit", "no commit"]]
      ]
      for (const [count, seen] of ends) {
        const fiber = yield* start(transaction)
        for (let i = 0; i < count; i++) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(calls.splice(0), seen)
      }
      yield* Fiber.interrupt(yield* start(watching))
      assert.deepStrictEqual(calls, ["watch", "no watch"])
    }))
})

describe("XenStore.watch", () => {
  /** Takes so many changes, one by one, and does something after each. */
  const taking = (self: Stub, count: number, after: (path: string) => void, paths?: number) =>
    Stream.runCollect(
      self.store.watch("w", { paths }).pipe(Stream.tap((path) => Effect.sync(() => after(path))), Stream.take(count))
    )

  it.effect("tells the watched path first, then what changes, each path once until it is taken", () =>
    Effect.gen(function*() {
      const self = stub()
      let first = true
      const told = yield* taking(self, 4, () => {
        if (!first) return
        first = false
        for (let i = 0; i < 1000; i++) for (const path of ["w/a", "w/b", "w"]) self.watch().changed(path)
      })
      assert.deepStrictEqual(told, ["w", "w/a", "w/b", "w"])
      assert.deepStrictEqual(self.calls, [["watch", "w"], ["unwatch", "w"]])
    }))

  it.effect("keeps no more paths than it may: then it tells the watched one alone", () =>
    Effect.gen(function*() {
      const self = stub()
      let first = true
      const told = yield* taking(self, 3, () => {
        const many = Array.from({ length: first ? 100_000 : 0 }, (_, i) => `w/${i}`)
        first = false
        for (const path of many.length > 0 ? many : ["w/last"]) self.watch().changed(path)
      }, 8)
      assert.deepStrictEqual(told, ["w", "w", "w/last"])
    }))

  it.effect("goes on after a wait, and ends with what ended it, after what was left to tell", () =>
    Effect.gen(function*() {
      const self = stub()
      const seen: Array<string> = []
      const watching = Stream.runForEach(self.store.watch("w"), (path) => Effect.sync(() => void seen.push(path)))
      const fiber = yield* Effect.forkChild(Effect.flip(watching), { startImmediately: true })
      yield* Effect.yieldNow
      self.watch().changed("w/a")
      yield* Effect.yieldNow
      assert.deepStrictEqual(seen, ["w", "w/a"])
      const reason = new StoreGone({ detail: "restarted" })
      self.watch().changed("w/b")
      self.watch().ended(reason)
      self.watch().ended(new StoreGone({ detail: "again" }))
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual([error.operation, error.reason], ["watch", reason])
      assert.deepStrictEqual(seen, ["w", "w/a", "w/b"])
      assert.deepStrictEqual(names(self), ["watch", "unwatch"])
    }))

  it.effect("is set for each run of the stream, and ends with it, also while it waits", () =>
    Effect.gen(function*() {
      const self = stub()
      const changes = self.store.watch("w")
      assert.deepStrictEqual(self.calls, [])
      for (let i = 0; i < 2; i++) {
        const fiber = yield* Effect.forkChild(Stream.runDrain(changes), { startImmediately: true })
        yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
      }
      yield* Effect.exit(Stream.runForEach(changes, () => Effect.fail("mine")))
      assert.deepStrictEqual(names(self), ["watch", "unwatch", "watch", "unwatch", "watch", "unwatch"])
    }))

  it.effect("that is refused fails, and releases nothing; bounds make sense", () =>
    Effect.gen(function*() {
      const reason = new QuotaExceeded({ path: "w", quota: "watches" })
      const driver = { watch: () => Effect.fail(new XenStoreError({ operation: "watch", reason })) } as unknown
      const refused = yield* Effect.flip(Stream.runDrain(XenStore.make(driver as XenStore.Driver).watch("w")))
      assert.strictEqual(refused.reason, reason)
      for (const paths of [0, -1, 0.5, Number.NaN]) {
        const error = yield* Effect.flip(Stream.runDrain(stub().store.watch("w", { paths })))
        assert.deepInclude(error.reason, { _tag: "InvalidInput", argument: "paths" })
      }
    }))

  it.effect.prop(
    "whatever changes in which order, nothing is forgotten and nothing is kept twice",
    { most: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5 })), steps: Schema.Array(Schema.Literals(["a", "b", "c", "d", "e", "f", "take"])) },
    ({ most, steps }) =>
      Effect.gen(function*() {
        const self = stub()
        /** What was changed since it was told last. */
        const open = new Set<string>()
        const pull = yield* Stream.toPull(self.store.watch("all", { paths: most }))
        const take = Effect.gen(function*() {
          const batch = yield* pull
          assert.isAtMost(batch.length, most)
          assert.strictEqual(new Set(batch).size, batch.length)
          if (batch.includes("all")) open.clear()
          for (const path of batch) open.delete(path)
          assert.strictEqual(open.size, 0)
        })
        yield* take
        for (const step of [...steps, "a", "take"]) {
          if (step !== "take") {
            open.add(step)
            self.watch().changed(step)
          } else if (open.size > 0) yield* take
        }
      }).pipe(Effect.scoped)
  )
})
