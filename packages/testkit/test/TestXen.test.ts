import { assert, describe, it } from "@effect/vitest"
import type { Access } from "@xen-shbuf/core/Access"
import * as DomainId from "@xen-shbuf/core/DomainId"
import * as Ending from "@xen-shbuf/core/Ending"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import { buffersMoved, GrantTable } from "@xen-shbuf/core/GrantTable"
import type * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { spawnSync } from "node:child_process"
import { readdirSync, readlinkSync } from "node:fs"

type Xen = TestXen.TestXen["Service"]

const test = <E>(name: string, body: (xen: Xen) => Effect.Effect<void, E, Scope.Scope>, limits?: TestXen.Capacity) =>
  it.effect(name, () => Effect.scoped(Effect.flatMap(TestXen.make(limits), body)))

/** Why an operation failed, with nothing of it held. */
const reason = <A>(operation: Effect.Effect<A, GrantTableError.GrantTableError, Scope.Scope>) =>
  Effect.map(Effect.flip(Effect.scoped(operation)), (error) => error.reason)

/** The refused index and the status, of a refusal. */
const refusal = <A>(operation: Effect.Effect<A, GrantTableError.GrantTableError, Scope.Scope>) =>
  Effect.map(reason(operation), (reason) => {
    if (reason._tag !== "GrantRefused") throw new Error(`not refused: ${reason.message}`)
    return [reason.index, reason.status] as const
  })

const general = [0, "GNTST_general_error"] as const

/** A resource in a scope of its own, to be ended before the test ends. */
const held = Effect.fnUntraced(function*<A, E>(acquire: Effect.Effect<A, E, Scope.Scope>) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const value = yield* Scope.provide(acquire, scope)
  return { ...value, end: Scope.close(scope, Exit.void) }
})

/** Domains 1 and 2, with a share of 1 for 2. */
const sharing = Effect.fnUntraced(function*(xen: Xen, pages: number, access?: Access) {
  const granter = yield* xen.domain(1)
  const mapper = yield* xen.domain(2)
  const shared = yield* held(granter.share({ peer: 2, pages, access }))
  return { granter, mapper, shared }
})

/** A program in a process of its own, that can have so many files open. */
const child = (program: string, files = 1024) => {
  const node = [process.execPath, "--input-type=module", "--eval", program]
  const limited = ["-c", `ulimit -n ${files}; exec "$@"`, "sh", ...node]
  return spawnSync("sh", limited, { cwd: import.meta.dirname, encoding: "utf8" })
}

/** That an error, or a holding, has these fields. */
const has = (actual: object | undefined, fields: object) => assert.deepInclude(actual, fields)

const grant = Schema.decodeSync(GrantRef.Grant)

const read = (domain: number, ref: number, length = 1) =>
  ({ _tag: "Read", grant: grant({ peer: domain, ref }), offset: 0, into: new Uint8Array(length) }) as const

const memfds = () =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes("memfd:xen-shbuf")
    } catch {
      return false
    }
  }).length

describe("memory", () => {
  test("pages are zero at first, and both sides see every write", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 3)
      assert.strictEqual(shared.bytes.length, 3 * 4096)
      assert.isTrue(shared.bytes.slice().every((byte) => byte === 0))
      const { bytes } = yield* mapper.map({ peer: 1, refs: shared.refs })
      shared.bytes[4096] = 1
      bytes[8192] = 2
      assert.deepStrictEqual([bytes[4096], shared.bytes[8192]], [1, 2])
    }))

  test("grants map in any order and repeated, over several shares, and all of it aliases", (xen) =>
    Effect.gen(function*() {
      const { granter, mapper, shared } = yield* sharing(xen, 4)
      const other = yield* granter.share({ peer: 2, pages: 2 })
      const [a, b, c, d] = shared.refs as unknown as [number, number, number, number]
      const refs = [d, c, b, a, other.refs[1]!, a, b, c, other.refs[0]!, a]
      const first = (yield* mapper.map({ peer: 1, refs })).bytes
      const second = (yield* mapper.map({ peer: 1, refs: [a], access: "read-only" })).bytes
      for (let page = 0; page < 4; page++) shared.bytes[page * 4096] = page + 1
      other.bytes.set([5], 0)
      other.bytes.set([6], 4096)
      assert.deepStrictEqual(refs.map((_, page) => first[page * 4096]), [4, 3, 2, 1, 6, 1, 2, 3, 5, 1])
      first[9 * 4096 + 7] = 9
      assert.deepStrictEqual([first[3 * 4096 + 7], first[5 * 4096 + 7], second[7], shared.bytes[7]], [9, 9, 9, 9])
    }))

  test("each view ends alone, at its own release", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 1)
      const one = yield* held(mapper.map({ peer: 1, refs: shared.refs }))
      const two = yield* held(mapper.map({ peer: 1, refs: shared.refs }))
      const part = one.bytes.subarray(8, 16)
      yield* one.end
      assert.deepStrictEqual([one.bytes.length, part.length, two.bytes.length], [0, 0, 4096])
      shared.bytes[0] = 7
      assert.strictEqual(two.bytes[0], 7)
      yield* shared.end
      assert.deepStrictEqual([shared.bytes.length, two.bytes[0]], [0, 7])
      yield* two.end
      assert.strictEqual(two.bytes.length, 0)
    }))

  test("what was written is not there when the references are granted again", (xen) =>
    Effect.gen(function*() {
      const { granter, shared } = yield* sharing(xen, 8)
      shared.bytes.fill(0xaa)
      const before = [...shared.refs]
      yield* shared.end
      const again = yield* granter.share({ peer: 2, pages: 8 })
      assert.sameMembers([...again.refs], before)
      assert.isTrue(again.bytes.slice().every((byte) => byte === 0))
    }))

  it("a write to a read-only mapping kills the process", () => {
    const write = (access: string) =>
      child(`
        import * as TestXen from "@xen-shbuf/testkit/TestXen"
        import * as Effect from "effect/Effect"
        await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
          const xen = yield* TestXen.make()
          const { refs } = yield* (yield* xen.domain(1)).share({ peer: 2, pages: 1 })
          const { bytes } = yield* (yield* xen.domain(2)).map({ peer: 1, refs, access: "${access}" })
          console.log("read", bytes[0])
          bytes[0] = 1
          console.log("wrote")
        })))
      `)
    const writable = write("read-write")
    assert.deepStrictEqual([writable.signal, writable.stdout], [null, "read 0\nwrote\n"], writable.stderr)
    const readOnly = write("read-only")
    assert.deepStrictEqual([readOnly.signal, readOnly.stdout], ["SIGSEGV", "read 0\n"], readOnly.stderr)
  }, 60_000)

  test("a share may have more pages than the protocols' largest buffer, with its directory", (xen) =>
    Effect.gen(function*() {
      const pages = 1_048_576 + 1026
      const { mapper, shared } = yield* sharing(xen, pages)
      const refs = shared.refs.subarray(pages - 1_048_576)
      const { bytes } = yield* mapper.map({ peer: 1, refs })
      assert.strictEqual(bytes.length, 2 ** 32)
      bytes[2 ** 32 - 1] = 5
      assert.strictEqual(shared.bytes[shared.bytes.length - 1], 5)
    }), { sharedPages: 2_000_000, grantRefs: 2_000_000, mappedPages: 2_000_000 })
})

describe("refusals", () => {
  test("no pages, and no domain of that id: InvalidInput", (xen) =>
    Effect.gen(function*() {
      const table = yield* xen.domain(1)
      assert.strictEqual((yield* reason(table.share({ peer: 2, pages: 0 })))._tag, "InvalidInput")
      assert.strictEqual((yield* reason(table.map({ peer: 2, refs: [] })))._tag, "InvalidInput")
      assert.strictEqual((yield* reason(table.map({ peer: 0x7ff0, refs: [8] })))._tag, "InvalidInput")
    }))

  test("a number that can't be is a mistake of the test: it dies with one sentence", (xen) =>
    Effect.gen(function*() {
      const said = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.map(Effect.exit(effect), (exit) => Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "nothing")
      const id = (id: number) => `RangeError: TestXen: id is ${id}, but must be ${DomainId.expected}.`
      assert.strictEqual(yield* said(xen.domain(0x7ff0)), id(0x7ff0))
      assert.strictEqual(yield* said(xen.destroy(-5)), id(-5))
      assert.strictEqual(yield* said(xen.killProcess(1.5)), id(1.5))
      const inDomain = Effect.provide(GrantTable, Layer.provide(TestXen.layerDomain(-5), TestXen.layer()))
      assert.strictEqual(yield* said(inDomain), id(-5))
      for (const pages of [NaN, -1, 1.5, 2 ** 33]) {
        for (const name of ["sharedPages", "grantRefs", "mappedPages", "ports"] as const) {
          const sentence = `RangeError: TestXen: ${name} is ${pages}, but must be a number of pages, references or ports`
          assert.include(yield* said(Effect.scoped(TestXen.make({ [name]: pages }))), sentence)
          assert.include(yield* said(xen.domain(7, { [name]: pages })), sentence)
        }
        assert.include(yield* said(xen.setSharedPages(1, pages)), `TestXen: sharedPages is ${pages}, but must be`)
      }
      yield* xen.domain(7, { sharedPages: 0, grantRefs: 8, mappedPages: 0 })
    }))

  it.effect("a domain that is sought in the wrong one of two hypervisors is told so", () =>
    Effect.gen(function*() {
      const inDomain = (id: number) => Effect.provide(TestXen.layerDomain(id))
      const sharing = Effect.flatMap(SharedBuffer.alloc({ peer: 0, byteLength: 1 }), ({ directory }) =>
        // The mistake: a layer for each half is a hypervisor for each.
        PeerBuffer.map({ peer: 5, directory, byteLength: 1 }).pipe(inDomain(0), Effect.provide(TestXen.layer())))
      const error = yield* Effect.flip(Effect.scoped(sharing.pipe(inDomain(5), Effect.provide(TestXen.layer()))))
      assert.include(error.message, "GNTST_bad_domain")
      assert.include(error.message, "another TestXen of this program has a domain of that id")
      yield* Effect.scoped(Effect.gen(function*() {
        // One after the other: the first has ended when the second looks.
        const frame = yield* SharedBuffer.alloc({ peer: 0, byteLength: 1 }).pipe(inDomain(5), Effect.provide(TestXen.layer()))
        assert.strictEqual(frame.bytes.length, 0)
        const looking = PeerBuffer.map({ peer: 5, directory: frame.directory, byteLength: 1 })
        const error = yield* Effect.flip(looking.pipe(inDomain(0), Effect.provide(TestXen.layer())))
        assert.include(error.message, "or had it and has ended before what it shared: provide one TestXen.layer()")
      }))
      const alone = Effect.scoped(PeerBuffer.map({ peer: 5, directory: 8, byteLength: 1 }))
      const unknown = yield* Effect.flip(alone.pipe(inDomain(0), Effect.provide(TestXen.layer())))
      assert.include(unknown.message, "Compare the reference with what the peer published.")
    }))

  test("each cause has Xen's status", (xen) =>
    Effect.gen(function*() {
      const { granter, mapper, shared } = yield* sharing(xen, 2)
      const readOnly = yield* granter.share({ peer: 2, pages: 1, access: "read-only" })
      const stranger = yield* xen.domain(3)
      const { refs } = shared
      const ended = yield* Effect.scoped(granter.share({ peer: 2, pages: 1 }))
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 9, refs })), [0, "GNTST_bad_domain"])
      const beyond = [refs[0]!, 32_768]
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: beyond })), [1, "GNTST_bad_gntref"])
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: [32_767] })), general)
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: ended.refs })), general)
      assert.deepStrictEqual(yield* refusal(stranger.map({ peer: 1, refs })), general)
      assert.deepStrictEqual(yield* refusal(granter.map({ peer: 1, refs })), general)
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: readOnly.refs })), general)
      yield* mapper.map({ peer: 1, refs: readOnly.refs, access: "read-only" })
      const error = yield* reason(mapper.map({ peer: 1, refs: readOnly.refs }))
      has(error, { _tag: "GrantRefused", index: 0, access: "read-write" })
      has(error, { grant: { peer: 1, ref: readOnly.refs[0] } })
    }))

  test("a refused request undoes what it pinned", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 3)
      const refs = [...shared.refs, shared.refs[0]!, 31_000]
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs })), [4, "GNTST_general_error"])
      assert.deepStrictEqual(yield* xen.activeGrants, [])
      assert.strictEqual((yield* xen.holdings).length, 1)
    }))

  test("one grant has 128 read-only and 128 read-write maps, not more", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 1)
      const ref = shared.refs[0]!
      const times = (count: number) => new Uint32Array(count).fill(ref)
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: times(129) })), [128, "GNTST_general_error"])
      const many = yield* held(mapper.map({ peer: 1, refs: times(127) }))
      const last = yield* held(mapper.map({ peer: 1, refs: [ref] }))
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: [ref] })), general)
      yield* mapper.map({ peer: 1, refs: times(128), access: "read-only" })
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: [ref], access: "read-only" })), general)
      assert.deepStrictEqual(yield* xen.activeGrants, [
        { domain: 1, ref, peer: 2, access: "read-write", readers: 128, writers: 128 }
      ])
      last.bytes[0] = 3
      assert.isTrue(many.bytes.slice().every((byte, i) => byte === (i % 4096 === 0 ? 3 : 0)))
      yield* last.end
      yield* mapper.map({ peer: 1, refs: [ref] })
    }))

  test("a domain can map its own pages, if it granted them to itself", (xen) =>
    Effect.gen(function*() {
      const table = yield* xen.domain(0)
      const shared = yield* table.share({ peer: 0, pages: 2 })
      const { bytes } = yield* table.map({ peer: 0, refs: shared.refs })
      shared.bytes[4096] = 1
      assert.strictEqual(bytes[4096], 1)
    }))
})

describe("limits", () => {
  test("references: from 8 on, the last one given back is the first to be handed out", (xen) =>
    Effect.gen(function*() {
      const { granter, shared } = yield* sharing(xen, 4)
      assert.deepStrictEqual([...shared.refs], [8, 9, 10, 11])
      shared.refs.fill(0)
      yield* shared.end
      const again = yield* granter.share({ peer: 2, pages: 5 })
      assert.deepStrictEqual([...again.refs], [11, 10, 9, 8, 12])
    }))

  test("shared pages: 1024 for the whole domain, until its administrator says otherwise", (xen) =>
    Effect.gen(function*() {
      const granter = yield* xen.domain(1)
      const first = yield* held(granter.share({ peer: 2, pages: 1000 }))
      const knob = { _tag: "File", path: "/sys/module/xen_gntalloc/parameters/limit" } as const
      has(yield* reason(granter.share({ peer: 3, pages: 25 })), {
        _tag: "OutOfGrants",
        requested: 25,
        limit: 1024,
        knob,
        needed: 1025
      })
      yield* Effect.scoped(granter.share({ peer: 3, pages: 24 }))
      assert.strictEqual((yield* xen.holdings).length, 1)
      yield* xen.setSharedPages(1, 1025)
      assert.deepStrictEqual(yield* granter.limits, {
        shared: { pages: 1025, knob },
        mappedPerRequest: { pages: 65_536, knob: { _tag: "File", path: "/sys/module/xen_gntdev/parameters/limit" } }
      })
      yield* granter.share({ peer: 3, pages: 25 })
      yield* first.end
      yield* granter.share({ peer: 2, pages: 1000 })
      yield* (yield* xen.domain(2)).share({ peer: 1, pages: 1024 })
    }))

  test("a full grant table: no knob, and nothing held", (xen) =>
    Effect.gen(function*() {
      const { granter, mapper, shared } = yield* sharing(xen, 5)
      const refused = yield* reason(granter.share({ peer: 2, pages: 4 }))
      assert.strictEqual(refused._tag, "OutOfGrants")
      assert.notProperty(refused, "knob")
      yield* granter.share({ peer: 2, pages: 3 })
      assert.strictEqual(yield* xen.framesInUse, 8)
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: [16] })), [0, "GNTST_bad_gntref"])
      yield* mapper.map({ peer: 1, refs: [15] })
      yield* shared.end
      yield* granter.share({ peer: 2, pages: 5 })
    }), { grantRefs: 16 })

  test("maptrack: a domain maps so many pages and not more", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 4)
      const first = yield* held(mapper.map({ peer: 1, refs: shared.refs.subarray(0, 3) }))
      has(yield* reason(mapper.map({ peer: 1, refs: shared.refs.subarray(2) })), {
        _tag: "OutOfMappings",
        peer: 1,
        requested: 2
      })
      yield* Effect.scoped(mapper.map({ peer: 1, refs: shared.refs.subarray(3) }))
      yield* first.end
      yield* mapper.map({ peer: 1, refs: shared.refs })
    }), { mappedPages: 4 })

  test("a domain has the limits that it was created with", (xen) =>
    Effect.gen(function*() {
      yield* xen.domain(1, { sharedPages: 2 })
      const same = yield* xen.domain(1)
      assert.strictEqual((yield* same.limits).shared!.pages, 2)
      yield* same.share({ peer: 2, pages: 2 })
      assert.strictEqual((yield* reason(same.share({ peer: 2, pages: 1 })))._tag, "OutOfGrants")
      yield* xen.destroy(1)
      assert.strictEqual((yield* (yield* xen.domain(1)).limits).shared!.pages, 1024)
    }))
})

describe("release", () => {
  test("a buffer that was moved away shows zeros, and it is told and counted", (xen) =>
    Effect.gen(function*() {
      const { granter, mapper } = yield* sharing(xen, 1)
      const said: Array<unknown> = []
      const logger = Logger.layer([Logger.make(({ message }) => void said.push(message))])
      const before = (yield* Metric.value(buffersMoved)).count
      const moved = yield* Effect.scoped(Effect.gen(function*() {
        const shared = yield* granter.share({ peer: 2, pages: 1 })
        const mapped = yield* mapper.map({ peer: 1, refs: shared.refs })
        shared.bytes.fill(7)
        return [shared.bytes, mapped.bytes].map((bytes) => new Uint8Array(SharedMemory.unsafeBytes(bytes).buffer.transfer()))
      })).pipe(Effect.provide(logger))
      assert.deepStrictEqual(moved.map((bytes) => [bytes.length, bytes[0], bytes[4095]]), [[4096, 0, 0], [4096, 0, 0]])
      assert.lengthOf(said, 2)
      assert.include(String(said[0]), "was moved away before its end")
      assert.strictEqual((yield* Metric.value(buffersMoved)).count - before, 2)
      assert.strictEqual(yield* xen.framesInUse, 1)
    }))

  test("a grant in use stays, is not handed out again, and can even be mapped anew by its peer", (xen) =>
    Effect.gen(function*() {
      const { granter, mapper, shared } = yield* sharing(xen, 3)
      const [, used] = shared.refs as unknown as [number, number]
      const mapped = yield* held(mapper.map({ peer: 1, refs: [used] }))
      mapped.bytes[0] = 1
      yield* shared.end
      assert.strictEqual(shared.bytes.length, 0)
      assert.strictEqual(yield* xen.framesInUse, 1)
      has((yield* xen.holdings)[0], { _tag: "Deferred", domain: 1, peer: 2, refs: [used] })

      const others = yield* granter.share({ peer: 2, pages: 1024 })
      assert.notInclude([...others.refs], used)
      assert.isTrue(others.bytes.slice().every((byte) => byte === 0))
      const stranger = yield* xen.domain(3)
      assert.deepStrictEqual(yield* refusal(stranger.map({ peer: 1, refs: [used] })), general)

      const anew = yield* held(mapper.map({ peer: 1, refs: [used], access: "read-only" }))
      yield* mapped.end
      assert.strictEqual(anew.bytes[0], 1)
      assert.deepStrictEqual(yield* xen.activeGrants, [
        { domain: 1, ref: used, peer: 2, access: "read-write", readers: 1, writers: 0 }
      ])
      yield* anew.end
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: [used] })), general)
      assert.strictEqual(yield* xen.framesInUse, 1024)
    }))

  test("references given back by a share in use are another's: each holding lists its own", (xen) =>
    Effect.gen(function*() {
      const { granter, mapper, shared } = yield* sharing(xen, 2)
      yield* mapper.map({ peer: 1, refs: [9] })
      yield* shared.end
      const other = yield* granter.share({ peer: 2, pages: 1 })
      yield* mapper.map({ peer: 1, refs: other.refs })
      assert.deepStrictEqual((yield* xen.activeGrants).map(({ ref }) => ref), [8, 9])
      assert.deepStrictEqual((yield* xen.holdings).filter((held) => "refs" in held).map(({ _tag, refs }) => [_tag, refs]), [
        ["Deferred", [9]],
        ["Mapping", [9]],
        ["Share", [8]],
        ["Mapping", [8]]
      ])
    }))

  it.effect("the hypervisor's end leaves no view and no file, whatever scopes are open", () =>
    Effect.gen(function*() {
      const before = memfds()
      const hypervisor = yield* held(TestXen.make())
      const { mapper, shared } = yield* sharing(hypervisor, 2)
      const mapped = yield* mapper.map({ peer: 1, refs: shared.refs })
      yield* hypervisor.destroy(1)
      const other = yield* (yield* hypervisor.domain(3)).share({ peer: 1, pages: 1 })
      assert.strictEqual(memfds(), before + 2)
      yield* hypervisor.end
      assert.deepStrictEqual([shared, mapped, other].map(({ bytes }) => bytes.length), [0, 0, 0])
      assert.strictEqual(memfds(), before)
    }))

  test("memory is given back when the last page of a share is", (xen) =>
    Effect.gen(function*() {
      const before = memfds()
      const { mapper, shared } = yield* sharing(xen, 2)
      const mapped = yield* held(mapper.map({ peer: 1, refs: shared.refs.subarray(1) }))
      yield* shared.end
      assert.strictEqual(memfds(), before + 1)
      yield* mapped.end
      assert.strictEqual(memfds(), before)
    }))
})

describe("unmap notifications", () => {
  test("the byte is cleared in the page that has it, whatever the order of the request", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 3)
      shared.bytes.fill(7)
      const [a, b, c] = shared.refs as unknown as [number, number, number]
      const mapped = yield* held(mapper.map({ peer: 1, refs: [c, a, b, a] }))
      yield* mapped.unmapNotify({ clearByte: 2 * 4096 + 5 })
      yield* mapped.end
      assert.deepStrictEqual([...shared.bytes.slice().keys()].filter((at) => shared.bytes[at] !== 7), [4096 + 5])
    }))

  test("of a mapping whose owner let go, or is dead, the byte is still cleared for others", (xen) =>
    Effect.gen(function*() {
      for (const end of [(shared: { end: Effect.Effect<void> }) => shared.end, () => xen.destroy(1)]) {
        const { mapper, shared } = yield* sharing(xen, 1)
        shared.bytes.fill(7)
        const mapped = yield* held(mapper.map({ peer: 1, refs: shared.refs }))
        const other = yield* held(mapper.map({ peer: 1, refs: shared.refs }))
        yield* mapped.unmapNotify({ clearByte: 3 })
        yield* end(shared)
        yield* mapped.end
        assert.deepStrictEqual([...other.bytes.slice(2, 5)], [7, 0, 7])
        yield* other.end
        assert.strictEqual(yield* xen.framesInUse, 0)
      }
    }))

  test("signals are those of a domain, over ports that it has opened", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 1)
      const mapped = yield* held(mapper.map({ peer: 1, refs: shared.refs, access: "read-only" }))
      const [first, second] = [yield* xen.bindPort(1), yield* xen.bindPort(1)]
      has(yield* reason(mapped.unmapNotify({ signalPort: first })), { _tag: "InvalidInput", argument: "signalPort" })
      const theirs = yield* xen.bindPort(2)
      yield* mapped.unmapNotify({ signalPort: theirs })
      yield* shared.unmapNotify({ signalPort: second })
      yield* mapped.end
      assert.deepStrictEqual([yield* xen.signals(1), yield* xen.signals(2)], [[], [theirs]])
      yield* shared.end
      assert.deepStrictEqual([yield* xen.signals(1), yield* xen.signals(2)], [[second], [theirs]])
    }))
})

describe("death of a process", () => {
  test("everything that it holds ends, its notifications come, and its domain goes on", (xen) =>
    Effect.gen(function*() {
      const { granter, mapper, shared } = yield* sharing(xen, 1)
      const lent = yield* mapper.share({ peer: 1, pages: 1 })
      const mapped = yield* held(mapper.map({ peer: 1, refs: shared.refs }))
      const borrowed = yield* granter.map({ peer: 2, refs: lent.refs })
      shared.bytes.fill(7)
      lent.bytes.fill(7)
      yield* mapped.unmapNotify({ clearByte: 1, signalPort: yield* xen.bindPort(2) })
      yield* lent.unmapNotify({ clearByte: 2 })
      yield* xen.killProcess(2)
      assert.deepStrictEqual([mapped.bytes.length, lent.bytes.length], [0, 0])
      assert.deepStrictEqual([...shared.bytes.slice(0, 3)], [7, 0, 7])
      assert.deepStrictEqual([...borrowed.bytes.slice(0, 4)], [7, 7, 0, 7])
      assert.deepStrictEqual(yield* xen.signals(2), [1])
      assert.deepStrictEqual((yield* xen.holdings).map(({ _tag, domain }) => [_tag, domain]), [
        ["Share", 1],
        ["Deferred", 2],
        ["Mapping", 1]
      ])
      shared.bytes[1] = 9
      yield* mapped.end
      assert.deepStrictEqual([shared.bytes[1], yield* xen.signals(2)], [9, [1]])

      const anew = yield* mapper.map({ peer: 1, refs: shared.refs })
      assert.strictEqual(anew.bytes[1], 9)
      const again = yield* mapper.share({ peer: 1, pages: 1 })
      assert.notInclude([...lent.refs], again.refs[0])
    }))

  test("of the sharing side: its peer keeps the pages, and nobody gets their references meanwhile", (xen) =>
    Effect.gen(function*() {
      const { granter, mapper, shared } = yield* sharing(xen, 2)
      const mapped = yield* held(mapper.map({ peer: 1, refs: shared.refs }))
      mapped.bytes.fill(7)
      yield* xen.killProcess(1)
      assert.isTrue(mapped.bytes.slice().every((byte) => byte === 7))
      const next = yield* granter.share({ peer: 2, pages: 8 })
      assert.deepStrictEqual([...next.refs].filter((ref) => shared.refs.includes(ref)), [])
      yield* mapped.end
      assert.strictEqual(yield* xen.framesInUse, 8)
      yield* xen.killProcess(3)
    }))

  test("a domain that is destroyed notifies nobody", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 1)
      const mapped = yield* mapper.map({ peer: 1, refs: shared.refs })
      const watcher = yield* (yield* xen.domain(1)).share({ peer: 2, pages: 1 })
      const borrowed = yield* mapper.map({ peer: 1, refs: watcher.refs })
      shared.bytes.fill(7)
      watcher.bytes.fill(7)
      yield* mapped.unmapNotify({ clearByte: 0, signalPort: yield* xen.bindPort(2) })
      yield* watcher.unmapNotify({ clearByte: 0, signalPort: yield* xen.bindPort(1) })
      yield* xen.destroy(2)
      assert.deepStrictEqual([shared.bytes[0], borrowed.bytes.length], [7, 0])
      const again = yield* (yield* xen.domain(2)).map({ peer: 1, refs: watcher.refs })
      yield* xen.destroy(1)
      assert.strictEqual(again.bytes[0], 7)
      assert.deepStrictEqual([yield* xen.signals(1), yield* xen.signals(2)], [[], []])
    }))

  test("of a backend: its frontend learns it from a byte, and the buffer ends", (xen) =>
    Effect.gen(function*() {
      const size = 10
      const frame = yield* SharedBuffer.alloc({ peer: 2, byteLength: size + 1 }).pipe(
        Effect.provideService(GrantTable, yield* xen.domain(1))
      )
      frame.bytes[size] = 1
      const theirs = yield* PeerBuffer.map({ peer: 1, directory: frame.directory, byteLength: size + 1 }).pipe(
        Effect.provideService(GrantTable, yield* xen.domain(2))
      )
      yield* theirs.unmapNotify({ clearByte: size })
      const consent = Ending.byteCleared(frame.bytes, size)
      const fiber = yield* Effect.forkChild(frame.end({ consent, within: "5 seconds", otherwise: "abandon" }))
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(frame.bytes.length, size + 1)
      yield* xen.killProcess(2)
      yield* TestClock.adjust("20 millis")
      assert.deepStrictEqual(yield* Fiber.join(fiber), { _tag: "Released" })
      assert.deepStrictEqual(yield* xen.holdings, [])
    }))

  test("a buffer that its process's death has ended is released as any other", (xen) =>
    Effect.gen(function*() {
      const frontend = yield* xen.domain(1)
      const buffer = yield* SharedBuffer.alloc({ peer: 2, byteLength: 10 }).pipe(
        Effect.provideService(GrantTable, frontend)
      )
      yield* xen.killProcess(1)
      assert.deepStrictEqual(yield* xen.holdings, [])
      const exit = yield* Effect.exit(buffer.unmapNotify(undefined))
      assert.isTrue(Exit.hasDies(exit))
      const ending = yield* buffer.end({ consent: Effect.void, within: "1 second", otherwise: "keep" })
      assert.deepStrictEqual(ending, { _tag: "Released" })
    }))
})

describe("death of a domain", () => {
  test("of the mapper: its views end, its pins go", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 2)
      const mapped = yield* held(mapper.map({ peer: 1, refs: shared.refs }))
      yield* xen.destroy(2)
      assert.deepStrictEqual([mapped.bytes.length, shared.bytes.length], [0, 8192])
      assert.deepStrictEqual(yield* xen.activeGrants, [])
      yield* mapped.end
      yield* shared.end
      assert.strictEqual(yield* xen.framesInUse, 0)
    }))

  test("of the granter: peers keep what they have mapped, and can map no more", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 2)
      const [first, second] = shared.refs as unknown as [number, number]
      shared.bytes[0] = 1
      const mapped = yield* held(mapper.map({ peer: 1, refs: [first] }))
      yield* xen.destroy(1)
      assert.deepStrictEqual([shared.bytes.length, mapped.bytes[0]], [0, 1])
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: [first] })), general)
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: [second] })), general)
      assert.deepStrictEqual(yield* refusal(mapper.copy([read(1, first)])), [0, "GNTST_bad_domain"])
      assert.strictEqual(yield* xen.framesInUse, 1)
      has((yield* xen.holdings)[0], { _tag: "Deferred", domain: 1, refs: [first] })
      yield* shared.end
      assert.strictEqual(yield* xen.framesInUse, 1)
      yield* mapped.end
      assert.strictEqual(yield* xen.framesInUse, 0)
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: [first] })), [0, "GNTST_bad_domain"])
    }))

  test("of one that shares nothing: it is unknown at once", (xen) =>
    Effect.gen(function*() {
      const mapper = yield* xen.domain(2)
      yield* xen.domain(1)
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: [8] })), general)
      yield* xen.destroy(1)
      assert.deepStrictEqual(yield* refusal(mapper.map({ peer: 1, refs: [8] })), [0, "GNTST_bad_domain"])
      yield* xen.destroy(77)
    }))

  test("its table answers DeviceUnavailable, and its id can be used again", (xen) =>
    Effect.gen(function*() {
      const { granter, mapper, shared } = yield* sharing(xen, 1)
      const mapped = yield* held(mapper.map({ peer: 1, refs: shared.refs }))
      yield* xen.destroy(1)
      yield* xen.destroy(1)
      assert.strictEqual((yield* reason(granter.share({ peer: 2, pages: 1 })))._tag, "DeviceUnavailable")
      assert.strictEqual((yield* reason(granter.map({ peer: 2, refs: [8] })))._tag, "DeviceUnavailable")
      assert.strictEqual((yield* reason(granter.copy([])))._tag, "DeviceUnavailable")
      assert.strictEqual((yield* reason(granter.limits))._tag, "DeviceUnavailable")

      const restarted = yield* xen.domain(1)
      const anew = yield* restarted.share({ peer: 2, pages: 1 })
      assert.strictEqual(anew.refs[0], shared.refs[0])
      const remapped = yield* mapper.map({ peer: 1, refs: anew.refs })
      anew.bytes[0] = 5
      assert.deepStrictEqual([remapped.bytes[0], mapped.bytes[0]], [5, 0])
      yield* shared.end
      yield* mapped.end
      assert.deepStrictEqual([anew.bytes[0], remapped.bytes[0]], [5, 5])
      assert.strictEqual(yield* xen.framesInUse, 1)
    }))
})

describe("copy", () => {
  test("reads and writes pieces of granted pages", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 2)
      const [first, second] = shared.refs as unknown as [number, number]
      shared.bytes.set([1, 2, 3, 4], 4096)
      const into = new Uint8Array(3)
      yield* mapper.copy([
        { _tag: "Read", grant: grant({ peer: 1, ref: second }), offset: 1, into },
        { _tag: "Write", grant: grant({ peer: 1, ref: first }), offset: 4094, from: Uint8Array.of(8, 9) }
      ])
      assert.deepStrictEqual([...into], [2, 3, 4])
      assert.deepStrictEqual([...shared.bytes.slice(4094, 4097)], [8, 9, 1])
      assert.deepStrictEqual(yield* xen.activeGrants, [])
    }))

  test("is refused for the causes that a mapping is, segment by segment", (xen) =>
    Effect.gen(function*() {
      const { granter, mapper, shared } = yield* sharing(xen, 1, "read-only")
      const stranger = yield* xen.domain(3)
      const [ref] = shared.refs as unknown as [number]
      const write = { _tag: "Write", grant: grant({ peer: 1, ref }), offset: 0, from: Uint8Array.of(1) } as const
      shared.bytes[0] = 7
      const before = read(1, ref)
      const after = read(1, ref)
      const segments = [before, write, after, read(9, 8)]
      assert.deepStrictEqual(yield* refusal(mapper.copy(segments)), [1, "GNTST_general_error"])
      assert.deepStrictEqual([shared.bytes[0], before.into[0], after.into[0]], [7, 7, 7])
      assert.deepStrictEqual(yield* refusal(mapper.copy([read(9, ref)])), [0, "GNTST_bad_domain"])
      assert.deepStrictEqual(yield* refusal(mapper.copy([read(1, 40_000)])), [0, "GNTST_bad_gntref"])
      assert.deepStrictEqual(yield* refusal(mapper.copy([read(1, 999)])), general)
      assert.deepStrictEqual(yield* refusal(stranger.copy([read(1, ref)])), general)
      assert.deepStrictEqual(yield* refusal(granter.copy([read(1, ref)])), general)
      yield* mapper.copy([read(9, 40_000, 0)])
      assert.strictEqual((yield* reason(mapper.copy([{ ...read(1, ref, 2), offset: 4095 }])))._tag, "InvalidInput")
    }))

  test("a grant with 128 maps can't be copied either", (xen) =>
    Effect.gen(function*() {
      const { mapper, shared } = yield* sharing(xen, 1)
      const [ref] = shared.refs as unknown as [number]
      yield* mapper.map({ peer: 1, refs: new Uint32Array(128).fill(ref), access: "read-only" })
      assert.deepStrictEqual(yield* refusal(mapper.copy([read(1, ref)])), general)
      yield* mapper.copy([{ _tag: "Write", grant: grant({ peer: 1, ref }), offset: 0, from: Uint8Array.of(1) }])
    }))
})

describe("layers", () => {
  it.effect("layerDomain is the grant table of one domain of the hypervisor", () =>
    Effect.gen(function*() {
      const shared = yield* Effect.scoped(Effect.gen(function*() {
        const table = yield* GrantTable
        const peer = yield* (yield* TestXen.TestXen).domain(6)
        const shared = yield* table.share({ peer: 6, pages: 1 })
        const { bytes } = yield* peer.map({ peer: 5, refs: shared.refs })
        shared.bytes[0] = 4
        assert.strictEqual(bytes[0], 4)
        assert.strictEqual((yield* reason(table.share({ peer: 6, pages: 2 })))._tag, "OutOfGrants")
        return shared
      })).pipe(
        Effect.provide(Layer.provideMerge(TestXen.layerDomain(5, { sharedPages: 2 }), TestXen.layer()))
      )
      assert.strictEqual(shared.bytes.length, 0)
    }))

  it("importing the testkit loads no test runner", () => {
    const { stderr, stdout } = child(`
      import { registerHooks } from "node:module"
      const loaded = []
      registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) })
      for (const name of ["", "/TestXen", "/Ledger", "/Faults"]) await import("@xen-shbuf/testkit" + name)
      console.log(loaded.join("\\n"))
    `)
    assert.include(stdout, "/testkit/src/Faults.ts", stderr)
    assert.notInclude(stdout, "vitest")
  }, 60_000)

  it("running out of files is a failure of the device, and nothing of the request is held", () => {
    const { stderr, stdout } = child(`
      import * as TestXen from "@xen-shbuf/testkit/TestXen"
      import * as Effect from "effect/Effect"
      await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
        const xen = yield* TestXen.make()
        const table = yield* xen.domain(1)
        const shares = Effect.forever(table.share({ peer: 2, pages: 1 }))
        const error = yield* Effect.flip(Effect.scoped(shares))
        console.log(error.reason._tag, error.reason.errno, yield* xen.framesInUse)
        yield* table.share({ peer: 2, pages: 1 })
      })))
    `, 64)
    assert.strictEqual(stdout, "DeviceFailed EMFILE 0\n", stderr)
  }, 60_000)

  /** Makes a hypervisor in a process whose C library answers otherwise, or is not there. */
  const without = (what: string) =>
    child(`
      import { createRequire } from "node:module"
      const koffi = createRequire(${JSON.stringify(import.meta.resolve("@xen-shbuf/linux/MappedMemory"))})("koffi")
      const { load } = koffi
      const answers = (name, answer) => {
        koffi.load = (path) => {
          const library = load(path)
          return { func: (prototype) => prototype.includes(name) ? answer : library.func(prototype) }
        }
      }
      ${what}
      const TestXen = await import("@xen-shbuf/testkit/TestXen")
      const Effect = await import("effect/Effect")
      await Effect.runPromise(Effect.scoped(TestXen.make()))
    `)

  it.each([
    ["koffi", `koffi.load = () => { throw new Error("no koffi for this machine") }`, "no koffi for this machine"],
    ["pages of 4096 bytes", `answers("getpagesize", () => 16_384)`, "this kernel has pages of 16384 bytes"],
    ["memfd_create", `answers("memfd_create", () => { koffi.errno(38); return -1 })`, "memfd_create fails with ENOSYS"],
    ["Linux", `Object.defineProperty(process, "platform", { value: "darwin" })
      koffi.load = () => { throw new Error("no such symbol") }`, "it runs darwin, not Linux"]
  ])("a machine without %s is told in one sentence that this is missing", (_, what, said) => {
    const { stderr, status } = without(what)
    assert.strictEqual(status, 1)
    assert.include(stderr, `TestXen needs real memory pages of 4096 bytes, which this machine does not give: ${said}`)
  }, 60_000)
})
