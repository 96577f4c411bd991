import { assert, describe, it } from "@effect/vitest"
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { constants } from "node:os"
import * as Driver from "../src/internal/EvtChnDriver.ts"
import * as Kernel from "../src/internal/Kernel.ts"
import * as FakeEvtChn from "./FakeEvtChn.ts"

const service = (fake: ReturnType<typeof FakeEvtChn.make>) =>
  Effect.map(
    Driver.make(Kernel.loading("Signalling other domains", () => fake.kernel), FakeEvtChn.path),
    EventChannels.make
  )

/** After everything that is ready was told, and everybody who was woken has gone on. */
const settled = Effect.promise(() => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve))))

const refusal = (effect: Effect.Effect<unknown, EventChannelError, Scope.Scope>) =>
  Effect.map(Effect.flip(Effect.scoped(effect)), ({ reason }) => reason)

describe("EvtChn", () => {
  it.effect("opens nothing before it is used, and holds nothing after its scope", () =>
    Effect.gen(function*() {
      const fake = FakeEvtChn.make()
      yield* Effect.scoped(Effect.gen(function*() {
        const channels = yield* service(fake)
        assert.deepStrictEqual(fake.calls, [])
        yield* Effect.scoped(Effect.gen(function*() {
          const first = yield* channels.listen({ peer: 3 })
          const second = yield* channels.listen({ peer: 4 })
          assert.notStrictEqual(first.port, second.port)
          assert.deepStrictEqual(fake.held(), ["open", "port 1", "port 2"])
        }))
        assert.deepStrictEqual(fake.held(), ["open"])
      }))
      assert.deepStrictEqual(fake.held(), [])
      assert.deepStrictEqual(fake.errors, [])
    }))

  it.effect("carries signals between two ends, one for each time that somebody looks", () =>
    Effect.scoped(Effect.gen(function*() {
      const fake = FakeEvtChn.make()
      const channels = yield* service(fake)
      const listening = yield* channels.listen({ peer: 0 })
      const joined = yield* channels.join({ peer: 0, port: listening.port })
      // Who joins is signalled by that.
      yield* joined.wait
      for (let n = 0; n < 5; n++) yield* joined.notify
      yield* listening.wait
      // Those that came before we looked are one more at most.
      yield* listening.wait
      const waiting = yield* Effect.forkChild(listening.wait, { startImmediately: true })
      yield* settled
      assert.isUndefined(waiting.pollUnsafe())
      yield* joined.notify
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(fake.errors, [])
    })))

  it.effect("lets the next signal come only when the last one was taken", () =>
    Effect.scoped(Effect.gen(function*() {
      const fake = FakeEvtChn.make()
      const channels = yield* service(fake)
      const channel = yield* channels.listen({ peer: 3 })
      fake.joinBy(channel.port, 9)
      yield* settled
      for (let n = 0; n < 1000; n++) fake.raise(channel.port)
      yield* settled
      assert.deepStrictEqual(fake.calls.filter((call) => /^(read|write)/.test(call)), ["read 1"])
      yield* channel.wait
      yield* settled
      assert.deepStrictEqual(fake.calls.filter((call) => /^(read|write)/.test(call)), ["read 1", "write 1", "read 1"])
      yield* Stream.runDrain(Stream.take(channel.signals, 1))
      yield* channel.notify
      assert.deepStrictEqual(fake.signalled, [9])
    })))

  it.effect("reads many ports at once, and passes each to its own", () =>
    Effect.scoped(Effect.gen(function*() {
      const fake = FakeEvtChn.make({ ports: 4096 })
      const channels = yield* service(fake)
      const all = yield* Effect.forEach(Array.from({ length: 3000 }), () => channels.listen({ peer: 3 }))
      for (const { port } of all) fake.raise(port)
      yield* Effect.forEach(all, ({ wait }) => wait, { concurrency: "unbounded" })
      assert.strictEqual(fake.calls.filter((call) => call.startsWith("read")).length, 3)
    })))

  it.effect("ignores a port that has been closed since it was signalled", () =>
    Effect.scoped(Effect.gen(function*() {
      const fake = FakeEvtChn.make()
      const channels = yield* service(fake)
      const kept = yield* channels.listen({ peer: 3 })
      yield* Effect.scoped(Effect.gen(function*() {
        fake.raise((yield* channels.listen({ peer: 3 })).port)
        fake.raise(kept.port)
      }))
      yield* kept.wait
      assert.deepStrictEqual(fake.errors, [])
    })))

  it.effect("goes on after more signals than the device keeps: all channels look once", () =>
    Effect.scoped(Effect.gen(function*() {
      const fake = FakeEvtChn.make({ ring: 2 })
      const channels = yield* service(fake)
      const all = yield* Effect.forEach(Array.from({ length: 5 }), () => channels.listen({ peer: 3 }))
      for (const { port } of all) fake.raise(port)
      yield* Effect.forEach(all, ({ wait }) => wait)
      assert.include(fake.calls, "RESET")
      // None of them is left masked.
      for (const { port, wait } of all) {
        fake.raise(port)
        yield* wait
      }
    })))

  it.effect("ends all channels where the device can't be read any more, and reads anew for the next one", () =>
    Effect.scoped(Effect.gen(function*() {
      let broken = false
      const fake = FakeEvtChn.make({ fail: (_, name) => broken && name === "wait" ? -constants.errno.EPERM : undefined })
      const channels = yield* service(fake)
      const { wait } = yield* channels.listen({ peer: 3 })
      const waiting = yield* Effect.forkChild(wait, { startImmediately: true })
      fake.stop("EIO")
      assert.deepInclude(yield* refusal(Fiber.join(waiting)), { _tag: "DeviceFailed", errno: "EIO" })
      broken = true
      assert.deepInclude(yield* refusal(channels.listen({ peer: 3 })), { _tag: "DeviceFailed", errno: "EPERM" })
      broken = false
      const next = yield* channels.listen({ peer: 3 })
      fake.raise(next.port)
      yield* next.wait
    })))

  it.effect("wakes who waits when the channel's scope ends, and is deaf from then on", () =>
    Effect.gen(function*() {
      const fake = FakeEvtChn.make()
      const scope = yield* Scope.make()
      const channels = yield* Scope.provide(service(fake), scope)
      const own = yield* Scope.make()
      const channel = yield* Scope.provide(channels.listen({ peer: 3 }), own)
      const waiting = yield* Effect.forkChild(channel.wait, { startImmediately: true })
      fake.raise(channel.port)
      yield* Scope.close(own, Exit.void)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(waiting)))
      yield* settled
      yield* Scope.close(scope, Exit.void)
      const reason = yield* refusal(channels.listen({ peer: 3 }))
      assert.strictEqual(reason._tag, "DeviceUnavailable")
      assert.deepStrictEqual(fake.held(), [])
      assert.deepStrictEqual(fake.errors, [])
    }))

  it.effect("ends its channels with its own scope, and reaches for no file of another's that has the number by now", () =>
    Effect.scoped(Effect.gen(function*() {
      const fake = FakeEvtChn.make()
      const scope = yield* Scope.make()
      const channels = yield* Scope.provide(service(fake), scope)
      const one = yield* channels.listen({ peer: 3 })
      const signalled = yield* channels.listen({ peer: 3 })
      const waiting = yield* Effect.forkChild(one.wait, { startImmediately: true })
      fake.raise(signalled.port)
      yield* settled
      yield* Scope.close(scope, Exit.void)
      const ends = [Fiber.join(waiting), one.wait, one.notify, signalled.wait, signalled.notify]
      for (const end of ends) assert.strictEqual((yield* refusal(end))._tag, "DeviceUnavailable")
      yield* Effect.addFinalizer(() => Effect.sync(() => {
        assert.deepStrictEqual(fake.held(), [])
      }))
      return fake
    })).pipe(Effect.map(({ errors }) => {
      assert.deepStrictEqual(errors, [])
    })))

  it.effect("keeps the process alive while somebody waits, and not before or after", () =>
    Effect.scoped(Effect.gen(function*() {
      const fake = FakeEvtChn.make()
      const channels = yield* service(fake)
      const one = yield* channels.listen({ peer: 3 })
      const other = yield* channels.listen({ peer: 3 })
      assert.isFalse(fake.isHeld())
      const waiting = yield* Effect.forkChild(one.wait, { startImmediately: true })
      const more = yield* Effect.forkChild(other.wait, { startImmediately: true })
      assert.isTrue(fake.isHeld())
      yield* Fiber.interrupt(waiting)
      assert.isTrue(fake.isHeld())
      fake.raise(other.port)
      yield* Fiber.join(more)
      // Those who are woken go on while the others are told.
      yield* settled
      assert.isFalse(fake.isHeld())
      const last = yield* Effect.forkChild(Effect.scoped(Effect.flatMap(channels.listen({ peer: 3 }), ({ wait }) => wait)), {
        startImmediately: true
      })
      assert.isTrue(fake.isHeld())
      yield* Fiber.interrupt(last)
      assert.isFalse(fake.isHeld())
    })))

  it.effect("says why it was refused", () =>
    Effect.scoped(Effect.gen(function*() {
      const fake = FakeEvtChn.make({ ports: 2, allows: (domain) => domain !== 5 })
      const channels = yield* service(fake)
      fake.offer(3, 20)
      assert.strictEqual((yield* refusal(channels.join({ peer: 200, port: 20 })))._tag, "NoSuchDomain")
      assert.strictEqual((yield* refusal(channels.join({ peer: 3, port: 21 })))._tag, "PortRefused")
      assert.strictEqual((yield* refusal(channels.join({ peer: 5, port: 20 })))._tag, "PortRefused")
      assert.strictEqual((yield* refusal(channels.listen({ peer: 200 })))._tag, "NoSuchDomain")
      assert.include((yield* refusal(channels.listen({ peer: 5 }))).message, "SILO")
      yield* channels.join({ peer: 3, port: 20 })
      assert.strictEqual((yield* refusal(channels.join({ peer: 3, port: 20 })))._tag, "PortRefused")
      const channel = yield* channels.listen({ peer: 3 })
      assert.strictEqual((yield* refusal(channels.listen({ peer: 3 })))._tag, "OutOfPorts")
      fake.lose(channel.port)
      assert.strictEqual((yield* refusal(channel.notify))._tag, "ChannelGone")
      // Its end must not be refused as well.
      fake.errors.length = 0
    })))

  it.effect("says what to do where the device is missing, or not for us", () =>
    Effect.gen(function*() {
      const missing = yield* refusal(Effect.flatMap(service(FakeEvtChn.make({ openFails: "ENOENT" })), (channels) => channels.listen({ peer: 3 })))
      assert.include(missing.message, "modprobe xen-evtchn")
      const denied = yield* refusal(Effect.flatMap(service(FakeEvtChn.make({ openFails: "EACCES" })), (channels) => channels.listen({ peer: 3 })))
      assert.include(denied.message, "xen/evtchn")
    }))

  it.effect("holds nothing after any call that fails", () =>
    Effect.gen(function*() {
      const program = (fake: ReturnType<typeof FakeEvtChn.make>) =>
        Effect.scoped(Effect.gen(function*() {
          const channels = yield* service(fake)
          const listening = yield* channels.listen({ peer: 0 })
          const joined = yield* channels.join({ peer: 0, port: listening.port })
          yield* joined.notify
          yield* listening.wait
        }))
      const whole = FakeEvtChn.make()
      yield* program(whole)
      assert.isAbove(whole.fallible(), 4)
      for (let n = 0; n < whole.fallible(); n++) {
        const fake = FakeEvtChn.make({ fail: (call) => call === n ? -constants.errno.ENOMEM : undefined })
        const exit = yield* Effect.exit(program(fake))
        assert.isTrue(Exit.isFailure(exit), `call ${n} failed, and nobody was told`)
        assert.deepStrictEqual(fake.held(), [])
        assert.deepStrictEqual(fake.errors, [])
      }
    }))
})
