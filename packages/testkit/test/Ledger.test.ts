import { assert, describe, it } from "@effect/vitest"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { inspect } from "node:util"

const frontend = Effect.provide(TestXen.layerDomain(1))

const test = <E>(name: string, body: Effect.Effect<void, E, TestXen.TestXen | Scope.Scope>) =>
  it.effect(name, () => body.pipe(Effect.scoped, Effect.provide(TestXen.layer())))

/** A share and a mapping of it in a scope that only its owner closes. */
const leak = Effect.gen(function*() {
  const scope = yield* Scope.make()
  const buffer = yield* SharedBuffer.alloc({ peer: 2, byteLength: 10 * 4096 }).pipe(frontend, Scope.provide(scope))
  const peer = yield* (yield* TestXen.TestXen).domain(2)
  const mapping = yield* Scope.make()
  yield* peer.map({ peer: 1, refs: [buffer.directory], access: "read-only" }).pipe(Scope.provide(mapping))
  return { endShare: Scope.close(scope, Exit.void), endMapping: Scope.close(mapping, Exit.void) }
})

describe("Ledger", () => {
  test("is empty when everything is released", Effect.gen(function*() {
    const { endMapping, endShare } = yield* leak
    assert.deepStrictEqual((yield* Ledger.live).map(({ _tag, domain }) => [_tag, domain]), [
      ["Share", 1],
      ["Mapping", 2]
    ])
    yield* endMapping
    yield* Ledger.assertEmptyIn(2)
    assert.strictEqual((yield* Effect.flip(Ledger.assertEmptyIn(1))).leaks.length, 1)
    yield* endShare
    yield* Ledger.assertEmpty
  }))

  test("says what leaks, and which calls made it, at which line", Effect.gen(function*() {
    const { endShare } = yield* leak
    const { message } = yield* Effect.flip(Ledger.assertEmpty)
    assert.match(message, new RegExp([
      "^2 leaks:",
      "domain 1 shares 11 pages with domain 2, read-write \\(references 8, 9, 10, 11, 12, 13, 14, 15, …\\)",
      "    at GrantTable\\.share \\(.*SharedBuffer\\.ts:\\d+:\\d+\\)",
      "    at SharedBuffer\\.alloc \\(.*Ledger\\.test\\.ts:\\d+:\\d+\\)",
      "domain 2 maps 1 page of domain 1, read-only \\(references 18\\)",
      "    at GrantTable\\.map \\(.*Ledger\\.test\\.ts:\\d+:\\d+\\)"
    ].join("\n")))
    yield* endShare
    assert.include(
      (yield* Effect.flip(Ledger.assertEmptyIn(1))).message,
      "1 leak:\ndomain 1 has let go of 1 page that domain 2 still maps (references 18)\n"
    )
  }))

  test("names the spans of the caller", Effect.gen(function*() {
    const table = yield* (yield* TestXen.TestXen).domain(1)
    yield* table.share({ peer: 2, pages: 1 }).pipe(Effect.withSpan("Display.init"))
    const [held] = yield* Ledger.live
    assert.match(held!.madeBy.join("\n"), /^GrantTable\.share \(.*\nDisplay\.init \(.*Ledger\.test\.ts:\d+:\d+\)$/)
    // Also where it is printed.
    assert.include(inspect(held), "Display.init (")
  }))
})

describe("Ledger.checked", () => {
  test("lets a clean test pass, whatever was held before", Effect.gen(function*() {
    const table = yield* (yield* TestXen.TestXen).domain(1)
    yield* table.share({ peer: 2, pages: 1 })
    const pages = yield* Ledger.checked(Effect.map(table.share({ peer: 2, pages: 3 }), ({ refs }) => refs.length))
    assert.strictEqual(pages, 3)
  }))

  test("fails for what was made meanwhile and is still held", Effect.gen(function*() {
    yield* leak
    const error = yield* Effect.flip(Ledger.checked(leak))
    assert.deepStrictEqual(error._tag === "LeakError" && error.leaks.map(({ id }) => id), [3, 4])
  }))

  test("keeps the test's own failure beside the leak", Effect.gen(function*() {
    const exit = yield* Effect.exit(Ledger.checked(Effect.andThen(leak, Effect.fail("mine"))))
    assert.isTrue(Exit.isFailure(exit))
    const failures = Exit.isFailure(exit) ? exit.cause.reasons.filter(Cause.isFailReason).map(({ error }) => error) : []
    assert.strictEqual(failures[0], "mine")
    assert.strictEqual((failures[1] as Ledger.LeakError)._tag, "LeakError")
  }))

  test("sees what an interrupted test leaves", Effect.gen(function*() {
    const exit = yield* Effect.exit(Ledger.checked(Effect.andThen(leak, Effect.interrupt)))
    assert.isTrue(Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause) && Cause.hasFails(exit.cause))
  }))
})
