import { assert, describe, it } from "@effect/vitest"
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import { GrantTableError, OutOfGrants } from "@xen-shbuf/core/GrantTableError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"

/** Answers every request with plain memory and remembers it. */
const stub = () => {
  const requests: Array<unknown> = []
  const remember = <A>(request: A) => Effect.sync(() => void requests.push(request))
  const bytes = (pages: number) => new Uint8Array(pages * 4096)
  const arm = (notification: unknown) => Result.succeed(void requests.push(notification))
  const release = () => {}
  const knob = { _tag: "File", path: "/limit" } as const
  const table = GrantTable.make({
    share: (request) =>
      request.pages > 1000
        ? Effect.fail(
          new GrantTableError({ operation: "share", reason: new OutOfGrants({ requested: request.pages, limit: 1000 }) })
        )
        : Effect.as(remember(request), {
          refs: Uint32Array.from({ length: request.pages }, (_, i) => 8 + i),
          bytes: bytes(request.pages),
          arm,
          release
        }),
    map: (request) => Effect.as(remember(request), { bytes: bytes(request.refs.length), arm, release }),
    read: remember,
    copy: remember,
    limits: Effect.succeed({
      shared: { pages: 1000, knob },
      mappedPerRequest: { pages: 65_536, knob }
    })
  })
  return { table, requests }
}

const refused = <A>(effect: Effect.Effect<A, GrantTableError, never>) =>
  Effect.map(Effect.flip(effect), (error) => ({ operation: error.operation, ...error.reason, text: error.message }))

describe("GrantTable.make", () => {
  it.effect("refuses numbers outside of the field's bounds, in a sentence, before the driver sees them", () =>
    Effect.gen(function*() {
      const { requests, table } = stub()
      const share = (peer: number, pages: number) => refused(Effect.scoped(table.share({ peer, pages })))
      const map = (peer: number, refs: ReadonlyArray<number>) => refused(Effect.scoped(table.map({ peer, refs })))
      for (const peer of [-1, 1.5, Number.NaN, Infinity, 0x7ff0, 0x7fff, 65_536]) {
        for (const error of [yield* share(peer, 1), yield* map(peer, [8])]) {
          assert.strictEqual(error._tag, "InvalidInput")
          assert.include(error.text, `is ${peer}, but must be a domain id: a whole number from 0 to 32751`)
        }
      }
      for (const pages of [0, -1, 0.5, Number.NaN, 1_048_576 + 1027, 2 ** 32]) {
        assert.include((yield* share(1, pages)).text, `pages is ${pages}, but must be a number of pages: a whole number`)
      }
      for (const ref of [0, 1, 7, 0xffff_ffff, -1, 8.5, Number.NaN, 2 ** 32 + 8]) {
        assert.include((yield* map(1, [8, ref])).text, `refs[1] is ${ref}, but must be a grant reference`)
      }
      assert.include((yield* map(1, [])).text, "refs.length is 0, but must be a number of pages")
      const tooMany = { length: 1_048_577 } as ArrayLike<number>
      assert.include((yield* refused(Effect.scoped(table.map({ peer: 1, refs: tooMany })))).text, "refs.length is 1048577")
      assert.include(
        (yield* refused(Effect.scoped(table.share({ peer: 1, pages: 1, access: "rw" as "read-only" })))).text,
        `access is "rw", but must be "read-write" or "read-only"`
      )
      for (const access of ["rw", "Read-Write", "", null, 1]) {
        const error = yield* refused(Effect.scoped(table.map({ peer: 1, refs: [8], access: access as "read-only" })))
        assert.deepInclude(error, { _tag: "InvalidInput", argument: "access" })
      }
      const grant = { peer: 1, ref: 8 } as GrantTable.CopySegment["grant"]
      for (const offset of [-1, 0.5, 4090, 4096]) {
        const error = yield* refused(table.copy([{ _tag: "Read", grant, offset, into: new Uint8Array(7) }]))
        assert.include(error.text, `7 bytes at offset ${offset}`)
      }
      assert.deepStrictEqual(requests, [])
    }))

  it.effect("hands checked requests to the driver, read-write by default, with a private copy of the references", () =>
    Effect.gen(function*() {
      const { requests, table } = stub()
      const refs = [0xffff_fffe, 8, 8]
      // Such as a view of shared pages, which the peer writes to.
      const words = Uint32Array.from(refs)
      yield* Effect.scoped(Effect.all([
        table.share({ peer: 0x7fef, pages: 2 }),
        table.map({ peer: 0, refs, access: "read-only" }),
        table.map({ peer: 0, refs: words })
      ]))
      refs[0] = words[0] = 0
      assert.deepStrictEqual(requests, [
        { peer: 0x7fef, pages: 2, access: "read-write" },
        { peer: 0, refs: Uint32Array.of(0xffff_fffe, 8, 8), access: "read-only" },
        { peer: 0, refs: Uint32Array.of(0xffff_fffe, 8, 8), access: "read-write" }
      ])
    }))

  it.effect("refuses notifications that are outside of the pages, before the driver sees them", () =>
    Effect.gen(function*() {
      const { requests, table } = stub()
      const [shared, mapped, readOnly] = yield* Effect.scoped(Effect.all([
        table.share({ peer: 1, pages: 2, access: "read-only" }),
        table.map({ peer: 1, refs: [8, 9] }),
        table.map({ peer: 1, refs: [8, 9], access: "read-only" })
      ]))
      requests.length = 0
      const text = (pages: { readonly unmapNotify: GrantTable.UnmapNotify }, notification: GrantTable.UnmapNotification) =>
        Effect.map(refused(pages.unmapNotify(notification)), ({ _tag, operation, text }) => {
          assert.deepStrictEqual([_tag, operation], ["InvalidInput", "unmapNotify"])
          return text
        })
      for (const pages of [shared, mapped, readOnly]) {
        for (const clearByte of [-1, 0.5, 8192, Number.NaN, Infinity]) {
          const said = yield* text(pages, { clearByte })
          const expected = "an offset in these bytes: a whole number from 0 to 8191"
          assert.include(said, `clearByte is ${clearByte}, but must be ${expected}`)
        }
        for (const signalPort of [0, -1, 1.5, 2 ** 32, Number.NaN]) {
          const said = yield* text(pages, { signalPort })
          assert.include(said, `signalPort is ${signalPort}, but must be a port of an event channel`)
        }
        for (const empty of [{}, { clearByte: undefined, signalPort: undefined }]) {
          assert.include(yield* text(pages, empty), "clearByte is undefined, but must be an offset in these bytes, if")
        }
      }
      const said = yield* text(readOnly, { clearByte: 0, signalPort: 1 })
      assert.include(said, "clearByte is 0, but must be left out for a read-only mapping")
      assert.deepStrictEqual(requests, [])
      // What the peer may do with pages of ours does not matter: we may always write.
      const right = [{ clearByte: 8191, signalPort: 0xffff_ffff }, { signalPort: 1 }, undefined]
      for (const notification of right) {
        yield* shared.unmapNotify(notification)
        yield* mapped.unmapNotify(notification)
      }
      yield* readOnly.unmapNotify({ signalPort: 7 })
      yield* readOnly.unmapNotify(undefined)
      const given = (one: GrantTable.UnmapNotification | undefined) =>
        one && { clearByte: undefined, signalPort: undefined, ...one }
      assert.deepStrictEqual(requests, [...right.flatMap((one) => [one, one]), { signalPort: 7 }, undefined].map(given))
      SharedMemory.unsafeBytes(shared.bytes).buffer.transfer(0)
      assert.isTrue(Exit.hasDies(yield* Effect.exit(shared.unmapNotify({ clearByte: 0 }))))
    }))

  it.effect("reads at most a page, of a grant that there can be", () =>
    Effect.gen(function*() {
      const { requests, table } = stub()
      const read = (peer: number, ref: number, length: number) => table.read({ peer, ref }, new Uint8Array(length))
      for (const [argument, effect] of [
        ["peer", read(0x7ff0, 8, 1)],
        ["ref", read(3, 7, 1)],
        ["ref", read(3, 8.5, 1)],
        ["into.length", read(3, 8, 4097)]
      ] as const) {
        const error = yield* refused(effect)
        assert.deepInclude(error, { operation: "read", _tag: "InvalidInput", argument })
      }
      assert.deepStrictEqual(requests, [])
      yield* read(3, 8, 4096)
      assert.deepStrictEqual(requests, [{ peer: 3, ref: 8 }])
    }))

  it.effect("opens one span an operation and counts grants, pages and refusals", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const { table } = stub()
      const before = {
        shared: (yield* Metric.value(GrantTable.grantsShared)).count,
        mapped: (yield* Metric.value(GrantTable.pagesMapped)).count
      }
      const refusals = Metric.withAttributes(GrantTable.refusals, { reason: "OutOfGrants" })
      const refusedBefore = (yield* Metric.value(refusals)).count
      yield* Effect.scoped(Effect.gen(function*() {
        yield* table.share({ peer: 3, pages: 5 })
        const mapped = yield* table.map({ peer: 4, refs: [8, 9] })
        yield* Effect.flip(table.share({ peer: 3, pages: 1001 }))
        yield* mapped.unmapNotify({ clearByte: 5 })
        yield* table.limits
      })).pipe(Effect.withTracer(tracer))
      assert.deepStrictEqual(spans.map((span) => span.name), [
        "GrantTable.share",
        "GrantTable.map",
        "GrantTable.share",
        "GrantTable.unmapNotify",
        "GrantTable.limits"
      ])
      assert.deepStrictEqual(Object.fromEntries(spans[0]!.attributes), { peer: 3, pages: 5, access: "read-write" })
      assert.strictEqual((yield* Metric.value(GrantTable.grantsShared)).count - before.shared, 5)
      assert.strictEqual((yield* Metric.value(GrantTable.pagesMapped)).count - before.mapped, 2)
      assert.strictEqual((yield* Metric.value(refusals)).count - refusedBefore, 1)
    }))

  // Reading the clock is a system call in many Xen domains, and every span reads it four times.
  it.effect("reads no clock where nobody traces", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let readings = 0
      const counting: Clock.Clock = Object.assign(Object.create(clock), {
        currentTimeNanosUnsafe: () => {
          readings++
          return clock.currentTimeNanosUnsafe()
        }
      })
      const { table } = stub()
      const cycle = Effect.scoped(Effect.andThen(
        table.share({ peer: 3, pages: 5 }),
        SharedBuffer.alloc({ peer: 3, byteLength: 5 })
      )).pipe(Effect.provideService(GrantTable.GrantTable, table), Effect.provideService(Clock.Clock, counting))
      yield* cycle
      assert.strictEqual(readings, 0)
      yield* Effect.withTracer(cycle, Tracer.make({ span: (options) => new Tracer.NativeSpan(options) }))
      assert.isAbove(readings, 0)
    }))

  it.effect("says of any value that it is not the right one, even of what can't be made a string, or a number of another kind", () =>
    Effect.gen(function*() {
      const { requests, table } = stub()
      const odd: ReadonlyArray<readonly [unknown, string]> = [
        [Object.create(null), "peer is of type object, but must be"],
        [{ toString: () => { throw new Error("no") } }, "peer is of type object, but must be"],
        [Symbol("5"), "peer is Symbol(5), but must be"],
        [5n, "peer is the bigint 5, but must be"],
        ["5", `peer is "5", but must be`],
        [null, "peer is null, but must be"],
        [undefined, "peer is undefined, but must be"]
      ]
      for (const [peer, expected] of odd) {
        const error = yield* refused(Effect.scoped(table.share({ peer: peer as number, pages: 1 })))
        assert.include(error.text, expected)
      }
      assert.deepStrictEqual(requests, [])
    }))

  it.effect("evaluates arguments when the effect runs: a getter that throws is a defect of it, never an exception", () =>
    Effect.gen(function*() {
      const { table } = stub()
      const thrown = new Error("a getter")
      const bad = (name: string) =>
        Object.defineProperty({ peer: 1, pages: 1, refs: [8], ref: 8, byteLength: 1, directory: 8 }, name, {
          get: () => {
            throw thrown
          }
        })
      const shared = yield* table.share({ peer: 1, pages: 1 })
      const provided = Effect.provideService(GrantTable.GrantTable, table)
      for (const effect of [
        table.share(bad("peer")),
        table.map(bad("peer")),
        table.map(bad("refs")),
        table.read(bad("ref"), new Uint8Array(4)),
        shared.unmapNotify(bad("clearByte") as {}),
        provided(SharedBuffer.alloc(bad("byteLength"))),
        provided(SharedBuffer.allocByBackend(bad("byteLength"))),
        provided(PeerBuffer.map(bad("peer"))),
        provided(PeerBuffer.allocForFrontend(bad("peer"))),
        provided(PeerBuffer.walk(bad("peer")))
      ]) {
        const exit = yield* Effect.exit(effect)
        assert.strictEqual(Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined, thrown)
      }
    }))

  it.effect("copies into and out of arrays of bytes only: what is none is refused before the driver sees it", () =>
    Effect.gen(function*() {
      const { requests, table } = stub()
      const grant = { peer: 1, ref: 8 } as GrantTable.CopySegment["grant"]
      for (const none of [[0, 0, 0, 0], new Float64Array(1), { length: 4 }, "text", undefined]) {
        const array = none as Uint8Array
        for (const effect of [
          table.read(grant, array),
          table.copy([{ _tag: "Read", grant, offset: 0, into: array }]),
          table.copy([{ _tag: "Write", grant, offset: 0, from: array }])
        ]) {
          const error = yield* refused(effect)
          assert.strictEqual(error._tag, "InvalidInput")
          assert.match(error.text, /(into|from) is .*, but must be a Uint8Array\.$/)
        }
      }
      assert.deepStrictEqual(requests, [])
    }))

  it.effect("a scope that has ended acquires nothing, and says so in one sentence", () =>
    Effect.gen(function*() {
      const { requests, table } = stub()
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      const at = { peer: 1, directory: 8, byteLength: 1 }
      const inScope = (effect: Effect.Effect<unknown, unknown, GrantTable.GrantTable | Scope.Scope>) =>
        Effect.provideService(Scope.provide(effect, scope), GrantTable.GrantTable, table)
      for (const effect of [
        inScope(table.share({ peer: 1, pages: 1 })),
        inScope(table.map({ peer: 1, refs: [8] })),
        inScope(SharedBuffer.alloc(at)),
        inScope(SharedBuffer.allocByBackend(at)),
        inScope(PeerBuffer.allocForFrontend(at))
      ]) {
        const exit = yield* Effect.exit(effect)
        assert.strictEqual(
          Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "",
          "Error: The scope has ended: nothing can be acquired in it any more."
        )
      }
      assert.deepStrictEqual(requests, [])
    }))
})
