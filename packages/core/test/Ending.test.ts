import { assert, describe, it } from "@effect/vitest"
import * as Ending from "@xen-shbuf/core/Ending"
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

/** Shares plain memory, which ends with its scope, and remembers what is asked for at its end. */
const stub = () => {
  const armed: Array<GrantTable.UnmapNotification | undefined> = []
  const table = GrantTable.make({
    share: (request) =>
      Effect.sync(() => {
        const bytes = new Uint8Array(request.pages * 4096)
        return {
          refs: Uint32Array.from({ length: request.pages }, (_, i) => 8 + i),
          bytes,
          arm: (notification) => Result.succeed(void armed.push(notification)),
          release: () => void bytes.buffer.transfer(0)
        }
      }),
    map: () => Effect.die("not used"),
    read: () => Effect.die("not used"),
    copy: () => Effect.die("not used"),
    limits: Effect.die("not used")
  })
  /** `also` runs in the scope of the pages, after they were shared. */
  const alloc = (byteLength: number, also: Effect.Effect<void, never, Scope.Scope> = Effect.void) =>
    Effect.provideService(
      SharedBuffer.alloc({ peer: 1, byteLength }),
      GrantTable.GrantTable,
      { ...table, share: (options) => Effect.tap(table.share(options), also) }
    )
  return { armed, alloc }
}

const released = { _tag: "Released" } as const
const kept = { _tag: "Kept" } as const
const abandoned = { _tag: "Abandoned" } as const

describe("Ending", () => {
  it.effect("with the consent a buffer ends at once, and others in the scope live on", () =>
    Effect.gen(function*() {
      const { alloc } = stub()
      const [one, other] = [yield* alloc(10), yield* alloc(20)]
      const consent = yield* Deferred.make<string>()
      const end = one.end({ consent: Deferred.await(consent), within: "1 minute", otherwise: "keep" })
      const fiber = yield* Effect.forkChild(end)
      yield* TestClock.adjust("59 seconds")
      assert.deepStrictEqual([fiber.pollUnsafe(), one.bytes.length], [undefined, 10])
      yield* Deferred.succeed(consent, "gone")
      assert.deepStrictEqual(yield* Fiber.join(fiber), released)
      assert.deepStrictEqual([one.bytes.length, other.bytes.length], [0, 20])
      assert.deepStrictEqual(yield* one.end({ consent: Effect.void, within: 0, otherwise: "keep" }), released)
    }))

  it.effect("without it a buffer is kept, as often as you like, or abandoned", () =>
    Effect.gen(function*() {
      const { bytes, end } = yield* stub().alloc(10)
      const waiting = (otherwise: "keep" | "abandon") =>
        Effect.forkChild(end({ consent: Effect.never, within: "1 second", otherwise }), { startImmediately: true })
      for (let attempt = 0; attempt < 2; attempt++) {
        const fiber = yield* waiting("keep")
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(fiber), kept)
        assert.strictEqual(bytes.length, 10)
      }
      const fiber = yield* waiting("abandon")
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(bytes.length, 10)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(fiber), abandoned)
      assert.strictEqual(bytes.length, 0)
    }))

  it.effect("a failure of the consent, and an interruption, leave the buffer to its scope", () =>
    Effect.gen(function*() {
      const { alloc } = stub()
      const bytes = yield* Effect.scoped(Effect.gen(function*() {
        const { bytes, end } = yield* alloc(10)
        const options = { within: "1 minute", otherwise: "abandon" } as const
        assert.strictEqual(yield* Effect.flip(end({ ...options, consent: Effect.fail("cut off") })), "cut off")
        const fiber = yield* Effect.forkChild(end({ ...options, consent: Effect.never }), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        yield* TestClock.adjust("2 minutes")
        assert.strictEqual(bytes.length, 10)
        return bytes
      }))
      assert.strictEqual(bytes.length, 0)
    }))

  it.effect("a byte that the peer clears is its consent, after one interval more", () =>
    Effect.gen(function*() {
      const { bytes, end } = yield* stub().alloc(10)
      bytes[9] = 1
      const consent = Ending.byteCleared(bytes, 9, "1 second")
      const fiber = yield* Effect.forkChild(end({ consent, within: "1 minute", otherwise: "keep" }))
      yield* TestClock.adjust("5 seconds")
      bytes[9] = 0
      // The next look is a second after the last, and the release a second later.
      yield* TestClock.adjust("1500 millis")
      assert.strictEqual(bytes.length, 10)
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(yield* Fiber.join(fiber), released)
    }))

  it.effect("a notification's offset is the buffer's own, before its directory", () =>
    Effect.gen(function*() {
      const { alloc, armed } = stub()
      const { unmapNotify } = yield* alloc(4097)
      yield* unmapNotify({ clearByte: 0 })
      yield* unmapNotify({ clearByte: 4096, signalPort: 3 })
      yield* unmapNotify({ signalPort: 3 })
      yield* unmapNotify(undefined)
      assert.deepStrictEqual(armed, [
        { clearByte: 0, signalPort: undefined },
        { clearByte: 4096, signalPort: 3 },
        { clearByte: undefined, signalPort: 3 },
        undefined
      ])
      for (const clearByte of [-1, 4097]) {
        const { message } = yield* Effect.flip(unmapNotify({ clearByte }))
        assert.include(message, `clearByte is ${clearByte}, but must be an offset in these bytes: a whole number from 0 to 4096`)
      }
      assert.strictEqual(armed.length, 4)
    }))

  it.effect("whoever ends a buffer waits until it has ended, though another has begun to", () =>
    Effect.gen(function*() {
      for (const first of ["end", "scope"] as const) {
        const { alloc } = stub()
        const began = yield* Deferred.make<void>()
        const goOn = yield* Deferred.make<void>()
        const scope = yield* Scope.make()
        const other = yield* Scope.make()
        // The last finalizer of the buffer's own scope to be added is the first to run, and holds it up.
        const slow = Effect.addFinalizer(() => Effect.andThen(Deferred.succeed(began, undefined), Deferred.await(goOn)))
        const { bytes, end } = yield* alloc(10, slow).pipe(Scope.provide(scope))
        const ways: { readonly [way in "end" | "scope"]: Effect.Effect<unknown> } = {
          end: end({ consent: Effect.void, within: "1 minute", otherwise: "keep" }),
          scope: Scope.close(scope, Exit.void)
        }
        const one = yield* Effect.forkIn(ways[first], other)
        yield* Deferred.await(began)
        const two = yield* Effect.forkIn(ways[first === "end" ? "scope" : "end"], other, { startImmediately: true })
        yield* Effect.yieldNow
        assert.deepStrictEqual([one.pollUnsafe(), two.pollUnsafe(), bytes.length], [undefined, undefined, 10])
        yield* Deferred.succeed(goOn, undefined)
        yield* Effect.tap(Fiber.join(two), () => Effect.sync(() => assert.strictEqual(bytes.length, 0)))
        yield* Fiber.join(one)
        assert.strictEqual(bytes.length, 0)
      }
    }))

  it.effect("an interruption in the middle of an end waits until the buffer has ended", () =>
    Effect.gen(function*() {
      const { alloc } = stub()
      const began = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const slow = Effect.addFinalizer(() => Effect.andThen(Deferred.succeed(began, undefined), Deferred.await(goOn)))
      const { bytes, end } = yield* alloc(10, slow)
      const fiber = yield* Effect.forkChild(end({ consent: Effect.void, within: "1 minute", otherwise: "keep" }))
      yield* Deferred.await(began)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* Effect.yieldNow
      assert.deepStrictEqual([interrupting.pollUnsafe(), bytes.length], [undefined, 10])
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(interrupting)
      assert.strictEqual(bytes.length, 0)
    }))

  it.effect("a repeated end of what was abandoned waits in vain for a byte that is gone, or for the peer's word", () =>
    Effect.gen(function*() {
      const { bytes, end } = yield* stub().alloc(10)
      bytes[9] = 1
      const consent = Ending.byteCleared(bytes, 9)
      const outcomes: Array<Ending.Outcome> = []
      for (let attempt = 0; attempt < 2; attempt++) {
        const fiber = yield* Effect.forkChild(end({ consent, within: "1 second", otherwise: "abandon" }))
        yield* TestClock.adjust("1 second")
        outcomes.push(yield* Fiber.join(fiber))
      }
      assert.deepStrictEqual(outcomes, [abandoned, abandoned])
      assert.deepStrictEqual(yield* end({ consent: Effect.void, within: 0, otherwise: "keep" }), released)
    }))

  it.effect("a consent that can't be interrupted does not outlast its time, and ends by itself", () =>
    Effect.gen(function*() {
      const { bytes, end } = yield* stub().alloc(10)
      let ended = false
      const stubborn = Effect.uninterruptible(Effect.tap(Effect.sleep("1 hour"), () =>
        Effect.sync(() => {
          ended = true
        })))
      const fiber = yield* Effect.forkChild(end({ consent: stubborn, within: "1 second", otherwise: "keep" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([fiber.pollUnsafe()?._tag, ended, bytes.length], ["Success", false, 10])
      yield* TestClock.adjust("1 hour")
      assert.isTrue(ended)
    }))

  it.effect("a consent that comes too late is interrupted, and one that came is not", () =>
    Effect.gen(function*() {
      const { end } = yield* stub().alloc(10)
      const interrupted: Array<string> = []
      const consent = (name: string, consented: Effect.Effect<unknown>) =>
        Effect.onInterrupt(consented, () => Effect.sync(() => void interrupted.push(name)))
      const late = yield* Effect.forkChild(
        end({ consent: consent("late", Effect.never), within: "1 second", otherwise: "keep" })
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(late), kept)
      assert.deepStrictEqual(yield* end({ consent: consent("in time", Effect.void), within: "1 second", otherwise: "keep" }), released)
      assert.deepStrictEqual(interrupted, ["late"])
    }))

  it.effect("an interruption waits for what the consent has to put away, as any interruption does", () =>
    Effect.gen(function*() {
      const { end } = yield* stub().alloc(10)
      let putAway = false
      const consent = Effect.onInterrupt(Effect.never, () =>
        Effect.andThen(Effect.yieldNow, Effect.sync(() => {
          putAway = true
        })))
      const fiber = yield* Effect.forkChild(end({ consent, within: "1 hour", otherwise: "keep" }), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.isTrue(putAway)
    }))

  it.effect("a slip in what is to happen otherwise dies, and changes nothing", () =>
    Effect.gen(function*() {
      const { bytes, end } = yield* stub().alloc(10)
      const otherwise = "Keep" as "keep"
      const exit = yield* Effect.exit(end({ consent: Effect.void, within: "1 second", otherwise }))
      const text = Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
      assert.strictEqual(text, `TypeError: otherwise is "Keep", but must be "keep" or "abandon"`)
      assert.strictEqual(bytes.length, 10)
    }))

  it.effect("a byte that the memory does not have is the caller's mistake, not the end of the memory", () =>
    Effect.gen(function*() {
      const { bytes } = yield* stub().alloc(10)
      for (const offset of [10, 99_999, -1, 1.5, NaN]) {
        const error = yield* Effect.flip(Ending.byteCleared(bytes, offset))
        assert.strictEqual(error.message, `1 bytes at offset ${offset} do not lie in a memory of 10 bytes.`)
      }
    }))
})
