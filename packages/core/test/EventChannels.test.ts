import { assert, describe, it } from "@effect/vitest"
import * as DomainId from "@xen-shbuf/core/DomainId"
import { ChannelGone, EventChannelError, NoSuchDomain, OutOfPorts } from "@xen-shbuf/core/EventChannelError"
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import * as Port from "@xen-shbuf/core/Port"
import { DeviceFailed } from "@xen-shbuf/core/Reason"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"

const port = Port.Port.make(9)
const gone = new ChannelGone({ port, detail: "saved and restored" })
const broken = new DeviceFailed({ device: "stub", call: "write", errno: "EIO" })

/** Opens one port, over and over, and remembers what is done to it. */
const stub = (overrides: Partial<EventChannels.Bound> = {}) => {
  const requests: Array<unknown> = []
  const calls: Array<string> = []
  const listeners: Array<EventChannels.Listener> = []
  const bind = (request: unknown, listener: EventChannels.Listener) =>
    Effect.sync((): EventChannels.Bound => {
      requests.push(request)
      listeners.push(listener)
      const call = (name: string) => Result.succeed(void calls.push(name))
      return {
        port,
        notify: () => call("notify"),
        unmask: () => call("unmask"),
        release: () => void calls.push("release"),
        ...overrides
      }
    })
  const channels = EventChannels.make({ listen: bind, join: bind })
  return { channels, calls, requests, signal: () => listeners.at(-1)!.signal(), listener: () => listeners.at(-1)! }
}

/** A channel, what was done to its port, and a way to signal it. */
const opened = Effect.fnUntraced(function*(overrides: Partial<EventChannels.Bound> = {}) {
  const { channels, ...others } = stub(overrides)
  return { ...others, channel: yield* channels.listen({ peer: 1 }) }
})

const waiting = (channel: EventChannels.EventChannel) =>
  Effect.forkChild(Effect.exit(channel.wait), { startImmediately: true })

const isDefect = (exit: Exit.Exit<unknown, unknown>, text: string) =>
  Exit.isFailure(exit) && Cause.hasDies(exit.cause) && String(Cause.squash(exit.cause)).includes(text)

const count = (calls: ReadonlyArray<string>, name: string) => calls.filter((call) => call === name).length

describe("EventChannels.make", () => {
  it.effect("refuses numbers outside of the field's bounds, in a sentence, before the driver sees them", () =>
    Effect.gen(function*() {
      const { channels, requests } = stub()
      for (const peer of [-1, 1.5, Number.NaN, Infinity, 0x7ff0, "1" as unknown as number]) {
        for (const open of [channels.listen({ peer }), channels.join({ peer, port: 1 })]) {
          const { message, reason } = yield* Effect.flip(Effect.scoped(open))
          assert.strictEqual(reason._tag, "InvalidInput")
          assert.include(message, "must be a domain id: a whole number from 0 to 32751")
        }
      }
      for (const port of [0, -1, 1.5, 2 ** 32, Number.NaN]) {
        const { message, operation } = yield* Effect.flip(Effect.scoped(channels.join({ peer: 1, port })))
        assert.strictEqual(operation, "join")
        assert.include(message, `port is ${port}, but must be a port of an event channel`)
      }
      assert.deepStrictEqual(requests, [])
      yield* Effect.scoped(Effect.all([channels.listen({ peer: 0x7fef }), channels.join({ peer: 0, port: 0xffff_ffff })]))
      assert.deepStrictEqual(requests, [{ peer: 0x7fef }, { peer: 0, port: 0xffff_ffff }])
    }))

  it.effect("opens spans where somebody traces", () =>
    Effect.gen(function*() {
      const names: Array<string> = []
      const tracer = Tracer.make({
        span: (options) => {
          names.push(options.name)
          return new Tracer.NativeSpan(options)
        }
      })
      const { channels } = stub()
      yield* Effect.all([channels.listen({ peer: 1 }), channels.join({ peer: 1, port: 2 })]).pipe(
        Effect.scoped,
        Effect.withTracer(tracer)
      )
      assert.deepStrictEqual(names, ["EventChannels.listen", "EventChannels.join"])
    }))

  it.effect("closes a port with its scope, once, also where it can't be told any more", () =>
    Effect.gen(function*() {
      const { calls, channels } = stub()
      const scope = yield* Scope.make()
      yield* Scope.provide(channels.listen({ peer: 1 }), scope)
      assert.deepStrictEqual(calls, [])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(calls, ["release"])
      assert.isTrue(isDefect(yield* Effect.exit(Scope.provide(channels.listen({ peer: 1 }), scope)), "scope has ended"))
      assert.deepStrictEqual(calls, ["release"])
    }))

  it.effect("an acquisition that is interrupted while the driver works leaves nothing", () =>
    Effect.gen(function*() {
      const calls: Array<string> = []
      let resume: (bound: Effect.Effect<EventChannels.Bound>) => void = () => {}
      const slow = () => Effect.callback<EventChannels.Bound>((done) => void (resume = done))
      const channels = EventChannels.make({ listen: slow, join: slow })
      const fiber = yield* Effect.forkChild(Effect.scoped(channels.listen({ peer: 1 })), { startImmediately: true })
      fiber.interruptUnsafe()
      const call = (name: string) => Result.succeed(void calls.push(name))
      resume(Effect.succeed({
        port,
        notify: () => call("notify"),
        unmask: () => call("unmask"),
        release: () => void call("release")
      }))
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.deepStrictEqual(calls, ["release"])
    }))

  it.effect("gives the driver's reasons for what it refuses", () =>
    Effect.gen(function*() {
      const refuse = (operation: "listen" | "join", reason: EventChannelError["reason"]) => () =>
        Effect.fail(new EventChannelError({ operation, reason }))
      const channels = EventChannels.make({
        listen: refuse("listen", new OutOfPorts({})),
        join: refuse("join", new NoSuchDomain({ peer: DomainId.DomainId.make(3) }))
      })
      assert.match((yield* Effect.flip(Effect.scoped(channels.listen({ peer: 1 })))).message, /max_event_channels/)
      assert.match((yield* Effect.flip(Effect.scoped(channels.join({ peer: 3, port: 1 })))).message, /no domain 3/)
    }))
})

describe("EventChannel", () => {
  it.effect("a signal that came before is taken at once; the port is silent until then", () =>
    Effect.gen(function*() {
      const { calls, channel, signal } = yield* opened()
      signal()
      assert.deepStrictEqual(calls, [])
      yield* channel.wait
      assert.deepStrictEqual(calls, ["unmask"])
      const fiber = yield* waiting(channel)
      yield* Effect.yieldNow
      assert.isUndefined(fiber.pollUnsafe())
      signal()
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(calls, ["unmask", "unmask"])
    }))

  it.effect("a storm is one signal, and takes one wake-up", () =>
    Effect.gen(function*() {
      const { calls, channel, signal } = yield* opened()
      for (let i = 0; i < 10_000; i++) signal()
      yield* channel.wait
      assert.strictEqual(count(calls, "unmask"), 1)
      const fiber = yield* waiting(channel)
      yield* Effect.yieldNow
      assert.isUndefined(fiber.pollUnsafe())
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("one signal wakes all who wait, and the port is unmasked once", () =>
    Effect.gen(function*() {
      const { calls, channel, signal } = yield* opened()
      const fibers = yield* Effect.all(Array.from({ length: 5 }, () => waiting(channel)))
      signal()
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(yield* Fiber.join(fiber)))
      assert.strictEqual(count(calls, "unmask"), 1)
    }))

  it.effect("a signal for one who was interrupted meanwhile is left to the next", () =>
    Effect.gen(function*() {
      const { calls, channel, signal } = yield* opened()
      const fiber = yield* Effect.forkChild(channel.wait, { startImmediately: true })
      // Woken, but it has not had its turn yet.
      signal()
      fiber.interruptUnsafe()
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
      assert.strictEqual(count(calls, "unmask"), 0)
      yield* channel.wait
      assert.strictEqual(count(calls, "unmask"), 1)
    }))

  it.effect("waiting is interrupted at once, and leaves nobody to be woken", () =>
    Effect.gen(function*() {
      const { calls, channel, signal } = yield* opened()
      const fiber = yield* waiting(channel)
      yield* Fiber.interrupt(fiber)
      signal()
      assert.deepStrictEqual(calls, [])
      yield* channel.wait
    }))

  it.effect("who has waited is forgotten, woken or interrupted", () =>
    Effect.gen(function*() {
      const { channel, signal } = yield* opened()
      const wait = Effect.fnUntraced(function*(interrupt: boolean) {
        const fiber = yield* Effect.forkChild(channel.wait, { startImmediately: true })
        if (interrupt) yield* Fiber.interrupt(fiber)
        else {
          signal()
          yield* Fiber.join(fiber)
        }
        return new WeakRef(fiber)
      })
      const refs = yield* Effect.all([wait(true), wait(false), wait(true)])
      // The engine keeps what was looked at in this turn.
      yield* Effect.promise(() => new Promise((done) => setImmediate(done)))
      globalThis.gc!()
      assert.deepStrictEqual(refs.map((ref) => ref.deref()), [undefined, undefined, undefined])
      yield* channel.notify
    }))

  it.effect("a signal that comes between taking and unmasking, or with it, is not lost", () =>
    Effect.gen(function*() {
      let left = 3
      const state: { signal: () => void } = { signal: () => {} }
      const { channel, signal } = yield* opened({
        unmask: () => {
          if (left-- > 0) state.signal()
          return Result.succeed(undefined)
        }
      })
      state.signal = signal
      signal()
      for (let i = 0; i < 4; i++) yield* channel.wait
      const fiber = yield* waiting(channel)
      yield* Effect.yieldNow
      assert.isUndefined(fiber.pollUnsafe())
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("a signal, or an end, that comes before the port was handed over is not lost", () =>
    Effect.gen(function*() {
      const bound = { port, notify: () => Result.void, unmask: () => Result.void, release: () => {} }
      const channels = EventChannels.make({
        listen: (_, listener) => Effect.sync(() => (listener.signal(), bound)),
        join: (_, listener) => Effect.sync(() => (listener.end(gone), bound))
      })
      yield* (yield* channels.listen({ peer: 1 })).wait
      const ended = yield* channels.join({ peer: 1, port: 1 })
      assert.strictEqual((yield* Effect.flip(ended.wait)).reason, gone)
    }))

  it.effect("after its end each operation fails with the reason, whoever waited too, and the driver is not asked", () =>
    Effect.gen(function*() {
      const { calls, channel, listener } = yield* opened()
      const fibers = yield* Effect.all(Array.from({ length: 3 }, () => waiting(channel)))
      listener().end(gone)
      listener().end(broken)
      listener().signal()
      const answers = yield* Effect.all(fibers.map((fiber) => Fiber.join(fiber)))
      for (const exit of answers) assert.isTrue(Exit.isFailure(exit) && Cause.hasFails(exit.cause))
      for (const operation of ["wait", "notify"] as const) {
        const error = yield* Effect.flip(channel[operation])
        assert.deepStrictEqual([error.operation, error.reason], [operation, gone])
      }
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(channel.signals))).reason, gone)
      assert.deepStrictEqual(calls, [])
    }))

  it.effect("outside of its scope each operation is a defect, before the driver is asked, also after an end", () =>
    Effect.gen(function*() {
      for (const endsBefore of [false, true]) {
        const { calls, channel, fiber, listener } = yield* Effect.scoped(Effect.gen(function*() {
          const all = yield* opened()
          const fiber = yield* Effect.forkDetach(Effect.exit(all.channel.wait), { startImmediately: true })
          if (endsBefore) all.listener().end(gone)
          return { ...all, fiber }
        }))
        const exit = yield* Fiber.join(fiber)
        assert.isTrue(isDefect(exit, "scope was left") || endsBefore)
        listener().signal()
        for (const operation of [channel.wait, channel.notify, Stream.runDrain(channel.signals)]) {
          assert.isTrue(isDefect(yield* Effect.exit(operation), "scope was left"))
        }
        assert.deepStrictEqual(calls, ["release"])
      }
    }))

  it.effect("a driver that fails to notify or to unmask is told", () =>
    Effect.gen(function*() {
      const fail = () => Result.fail(broken)
      const { channel, signal } = yield* opened({ notify: fail, unmask: fail })
      assert.deepInclude(yield* Effect.flip(channel.notify), { operation: "notify", reason: broken })
      signal()
      assert.deepInclude(yield* Effect.flip(channel.wait), { operation: "wait", reason: broken })
    }))

  it.effect("as a stream it has an element for each signal that is taken", () =>
    Effect.gen(function*() {
      const { calls, channel, signal } = yield* opened()
      signal()
      let seen = 0
      yield* Stream.runForEach(Stream.take(channel.signals, 5), () =>
        Effect.sync(() => {
          seen++
          signal()
          signal()
        }))
      assert.deepStrictEqual([seen, count(calls, "unmask")], [5, 5])
    }))
})
