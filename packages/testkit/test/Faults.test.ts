import { assert, describe, it } from "@effect/vitest"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as Reason from "@xen-shbuf/core/Reason"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Faults from "@xen-shbuf/testkit/Faults"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { readFileSync } from "node:fs"

const reason = new Reason.DeviceFailed({ device: "/dev/xen/gntdev", call: "mmap", errno: "ENOMEM" })

const test = <E>(name: string, body: Effect.Effect<void, E, TestXen.TestXen | Scope.Scope>) =>
  it.effect(name, () => body.pipe(Effect.scoped, Effect.provide(TestXen.layer())))

/** The table of domain 1 with faults. */
const faulty = (plan: Faults.Plan) =>
  Effect.gen(function*() {
    const table = yield* (yield* TestXen.TestXen).domain(1)
    return Faults.make(table, plan)
  })

const share = (table: GrantTable["Service"]) => Effect.asVoid(table.share({ peer: 2, pages: 1 }))

describe("Faults", () => {
  it("a fault at an operation that can't be is a mistake of the test, and throws", () => {
    for (const at of [0, -1, NaN, 1.5, Infinity]) {
      for (const fault of [() => Faults.failAt(at, reason), () => Faults.delayAt(at, 1), () => Faults.interruptAt(at, "after")]) {
        assert.throws(fault, RangeError, `the number of an operation is ${at}, but must be a whole number from 1`)
      }
    }
  })

  it.effect("an interruption ends the fiber that the program has of its own, as the guide shows it", () =>
    Effect.gen(function*() {
      const faulty = Layer.provide(Faults.layer([Faults.interruptAt(1, "before")]), TestXen.layerDomain(1))
      const program = Effect.asVoid(SharedBuffer.alloc({ peer: 2, byteLength: 1 }))
      const fiber = yield* Effect.forkChild(program.pipe(Effect.provide(faulty)))
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.hasInterrupts(exit))
      const guide = readFileSync(new URL("../../../docs/testing.md", import.meta.url), "utf8")
      const here = readFileSync(import.meta.filename, "utf8").split("\n").map((line) => line.trim())
      for (const line of guide.split("\n").filter((line) => /const (fiber|exit) = yield/.test(line))) assert.include(here, line)
    }).pipe(Effect.scoped, Effect.provide(TestXen.layer())))

  test("tells which faults of a plan did not take effect", Effect.gen(function*() {
    const { faults, table } = yield* faulty([Faults.failAt(1, reason), Faults.delayAt(1, 0), Faults.failAt(99, reason)])
    yield* Effect.flip(share(table))
    const { message } = yield* Effect.flip(faults.allFired)
    const list = "Delay at 1, Fail at 99"
    assert.strictEqual(message, `Of the planned faults these did not take effect: ${list}. There were 1 operations.`)
    const other = yield* faulty([Faults.failAt(1, reason)])
    yield* Effect.flip(share(other.table))
    yield* other.faults.allFired
    // An operation that fails is not one that has succeeded.
    const late = yield* faulty([Faults.interruptAt(1, "after")])
    yield* Effect.flip(Effect.scoped(late.table.map({ peer: 9, refs: [8] })))
    assert.include((yield* Effect.flip(late.faults.allFired)).message, "Interrupt at 1")
  }))

  test("records the operations, whoever calls and however they end", Effect.gen(function*() {
    const { faults, table } = yield* faulty([])
    const twice = share(table)
    yield* twice
    yield* twice
    yield* Effect.exit(Effect.scoped(table.map({ peer: 9, refs: [8] })))
    yield* table.copy([])
    yield* table.limits
    assert.deepStrictEqual(yield* faults.operations, ["share", "share", "map", "copy", "limits"])
  }))

  it.effect("any service can go wrong by plan, with operations and reasons of its own", () =>
    Effect.gen(function*() {
      const plan = [Faults.failAt(2, "full" as const), Faults.interruptAt(3, "after")]
      const { decorate, journal } = Faults.decorator(plan, (operation: "read" | "write", reason) => `${operation}: ${reason}`)
      yield* decorate("read", Effect.void)
      assert.strictEqual(yield* Effect.flip(decorate("write", Effect.void)), "write: full")
      assert.strictEqual((yield* Effect.flip(journal.allFired)).message.includes("Interrupt at 3"), true)
      const exit = yield* Fiber.await(yield* Effect.forkChild(decorate("read", Effect.void)))
      assert.isTrue(Exit.hasInterrupts(exit))
      assert.deepStrictEqual(yield* journal.operations, ["read", "write", "read"])
      yield* journal.allFired
    }))

  test("an unmap notification is an operation like others", Effect.gen(function*() {
    const { faults, table } = yield* faulty([Faults.failAt(3, reason)])
    const shared = yield* table.share({ peer: 1, pages: 1 })
    const mapped = yield* table.map({ peer: 1, refs: shared.refs })
    const error = yield* Effect.flip(shared.unmapNotify({ clearByte: 0 }))
    assert.deepStrictEqual([error.operation, error.reason], ["unmapNotify", reason])
    yield* mapped.unmapNotify({ clearByte: 0 })
    assert.deepStrictEqual(yield* faults.operations, ["share", "map", "unmapNotify", "unmapNotify"])
  }))

  test("fails the n-th operation, and no other", Effect.gen(function*() {
    const { table } = yield* faulty([Faults.failAt(2, reason), Faults.failAt(4, reason)])
    yield* share(table)
    const error = yield* Effect.flip(share(table))
    assert.deepStrictEqual([error._tag, error.operation, error.reason], ["GrantTableError", "share", reason])
    assert.strictEqual((yield* Ledger.live).length, 1)
    yield* table.limits
    assert.strictEqual((yield* Effect.flip(table.limits)).operation, "limits")
  }))

  test("delays the n-th operation on the clock of the test", Effect.gen(function*() {
    const { table } = yield* faulty([Faults.delayAt(1, "1 hour"), Faults.failAt(1, reason)])
    const fiber = yield* Effect.forkChild(Effect.flip(share(table)))
    yield* TestClock.adjust("59 minutes")
    assert.strictEqual(fiber.pollUnsafe(), undefined)
    yield* TestClock.adjust("1 minute")
    assert.strictEqual((yield* Fiber.join(fiber)).reason, reason)
  }))

  for (const when of ["before", "after"] as const) {
    test(`interrupts the caller ${when} the n-th operation`, Effect.gen(function*() {
      const { table } = yield* faulty([Faults.interruptAt(2, when)])
      let reached = 0
      const held: Array<number> = []
      const note = Effect.map(Ledger.live, (live) => void held.push(live.length))
      const fiber = yield* Effect.forkChild(
        Effect.forEach([1, 2, 3], () => Effect.andThen(share(table), Effect.sync(() => reached++))).pipe(
          Effect.onInterrupt(() => note),
          Effect.scoped
        )
      )
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.deepStrictEqual([reached, held], [1, [when === "before" ? 1 : 2]])
      yield* Ledger.assertEmpty
    }))

    test(`an uninterruptible caller goes on when interrupted ${when} an operation`, Effect.gen(function*() {
      const { table } = yield* faulty([Faults.interruptAt(1, when)])
      let reached = false
      const caller = Effect.uninterruptible(Effect.andThen(share(table), Effect.sync(() => {
        reached = true
      })))
      const exit = yield* Fiber.await(yield* Effect.forkChild(Effect.scoped(Effect.andThen(caller, Effect.never))))
      assert.isTrue(reached && Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      yield* Ledger.assertEmpty
    }))
  }

  test("at each operation of a buffer each fault: no leak, and the error is the injected one", Effect.gen(function*() {
    const xen = yield* TestXen.TestXen
    const { directory } = yield* SharedBuffer.alloc({ peer: 2, byteLength: 1500 * 4096 }).pipe(
      Effect.provideService(GrantTable, yield* xen.domain(1, { sharedPages: 2000 }))
    )
    const backend = yield* xen.domain(2)
    const run = (plan: Faults.Plan) => {
      const { faults, table } = Faults.make(backend, plan)
      return Ledger.checked(PeerBuffer.map({ peer: 1, directory, byteLength: 1500 * 4096 })).pipe(
        Effect.provideService(GrantTable, table),
        Effect.asVoid,
        Effect.forkChild,
        Effect.flatMap(Fiber.await),
        Effect.flatMap((exit) => Effect.map(faults.operations, (operations) => ({ exit, operations })))
      )
    }
    const { exit, operations } = yield* run([])
    assert.isTrue(Exit.isSuccess(exit))
    assert.deepStrictEqual(operations, ["read", "read", "map"])
    for (let at = 1; at <= operations.length; at++) {
      const failed = yield* run([Faults.failAt(at, reason)])
      assert.strictEqual(failed.operations.length, at)
      const error = yield* Effect.flip(failed.exit)
      assert.isTrue(error._tag === "GrantTableError" && error.reason === reason)
      for (const when of ["before", "after"] as const) {
        const { exit } = yield* run([Faults.interruptAt(at, when)])
        assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      }
    }
  }))

  it.effect("the layer decorates the table that it is given", () =>
    Effect.gen(function*() {
      const table = yield* GrantTable
      yield* share(table)
      assert.strictEqual((yield* Effect.flip(share(table))).reason, reason)
      assert.deepStrictEqual(yield* (yield* Faults.Faults).operations, ["share", "share"])
    }).pipe(
      Effect.scoped,
      Effect.provide(Faults.layer([Faults.failAt(2, reason)]).pipe(
        Layer.provide(TestXen.layerDomain(1)),
        Layer.provide(TestXen.layer())
      ))
    ))
})
