import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import * as DomainId from "@xen-shbuf/core/DomainId"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import type * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as GntDev from "../src/GntDev.ts"
import * as Abi from "../src/internal/Abi.ts"
import * as Devices from "../src/internal/Devices.ts"
import * as FakeKernel from "./FakeKernel.ts"

const EACCES = -13
const ENOMEM = -12

let directory: string
let gntallocLimit: string
let gntdevLimit: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "xen-shbuf-"))
  gntallocLimit = join(directory, "gntalloc")
  gntdevLimit = join(directory, "gntdev")
  writeFileSync(gntallocLimit, "1024\n")
  writeFileSync(gntdevLimit, "65536\n")
})
afterEach(() => rmSync(directory, { recursive: true }))

/** The service over a fake kernel. */
const table = (kernel: ReturnType<typeof FakeKernel.make>, options?: GntDev.Options) =>
  Effect.map(Devices.make(() => kernel.system, { gntallocLimit, gntdevLimit, ...options }), GrantTable.make)

const reasonOf = <A, R>(effect: Effect.Effect<A, GrantTableError.GrantTableError, R>) =>
  Effect.map(Effect.flip(effect), (error) => error.reason)

/** Lets the k-th typed array that the program makes fail, as in a process that is out of memory; counts them. */
const failingArrays = <A, E, R>(k: number, program: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const whole = { Uint8Array, Uint32Array }
    let made = 0
    const failing = <C extends new(...args: Array<never>) => object>(constructor: C): C =>
      new Proxy(constructor, {
        construct: (target, args, newTarget) => {
          if (made++ === k) throw new RangeError("Array buffer allocation failed")
          return Reflect.construct(target, args, newTarget)
        }
      })
    Object.assign(globalThis, { Uint8Array: failing(Uint8Array), Uint32Array: failing(Uint32Array) })
    return Effect.map(program, (result) => ({ result, made })).pipe(
      Effect.ensuring(Effect.sync(() => Object.assign(globalThis, whole)))
    )
  })

const peer = DomainId.DomainId.make(3)
const grant = (ref: number): GrantRef.Grant => ({ peer, ref: GrantRef.GrantRef.make(ref) })

const refs = (count: number) => Uint32Array.from({ length: count }, (_, i) => 100 + i)

describe("GntDev.share", () => {
  it.effect("is one ioctl and one mmap, undone in order: detach, end the mapping, DEALLOC", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make()
      const bytes = yield* Effect.scoped(Effect.gen(function*() {
        const xen = yield* table(kernel)
        const bytes = yield* Effect.scoped(Effect.gen(function*() {
          const shared = yield* xen.share({ peer: 3, pages: 5 })
          assert.deepStrictEqual([...shared.refs], [100, 101, 102, 103, 104])
          assert.strictEqual(shared.bytes.length, 5 * 4096)
          return shared.bytes
        }))
        assert.strictEqual(bytes.length, 0)
        assert.deepStrictEqual(kernel.held(), ["open /dev/xen/gntalloc"])
        // Whatever becomes of the references that it gave.
        yield* Effect.scoped(Effect.map(xen.share({ peer: 3, pages: 2, access: "read-only" }), ({ refs }) => refs.buffer.transfer(0)))
        return bytes
      }))
      assert.strictEqual(bytes.length, 0)
      assert.deepStrictEqual(kernel.calls, [
        "open /dev/xen/gntalloc",
        "ALLOC_GREF 5", "mmap 5", "view", "end 5", "DEALLOC_GREF 5",
        "ALLOC_GREF 2", "mmap 2", "view", "end 2", "DEALLOC_GREF 2",
        "close"
      ])
      assert.deepStrictEqual([kernel.held(), kernel.errors], [[], []])
    }))

  it.effect("refuses more than the limit without asking the kernel, and names the knob and the number", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make()
      const xen = yield* table(kernel)
      const alone = yield* reasonOf(xen.share({ peer: 3, pages: 2027 }))
      const named = { _tag: "OutOfGrants", limit: 1024, knob: { _tag: "File", path: gntallocLimit } } as const
      assert.deepInclude(alone, { ...named, requested: 2027, needed: 2027 })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* xen.share({ peer: 3, pages: 900 })
        const beside = yield* reasonOf(xen.share({ peer: 3, pages: 200 }))
        assert.deepInclude(beside, { ...named, requested: 200, needed: 1100 })
      }))
      yield* xen.share({ peer: 3, pages: 1024 })
      assert.strictEqual(kernel.calls.filter((call) => call.startsWith("ALLOC_GREF")).length, 2)
    }))

  it.effect("sees a limit that was raised meanwhile", () =>
    Effect.gen(function*() {
      const xen = yield* table(FakeKernel.make({ grants: () => 4096 }))
      yield* Effect.flip(xen.share({ peer: 3, pages: 2027 }))
      writeFileSync(gntallocLimit, "4096\n")
      const shared = yield* xen.share({ peer: 3, pages: 2027 })
      assert.strictEqual(shared.refs.length, 2027)
    }))

  it.effect("never fills the domain's grant table, after which some kernels share nothing more", () =>
    Effect.gen(function*() {
      writeFileSync(gntallocLimit, "100000\n")
      const rules = { grants: () => 100_000, references: 1000 }
      const guarded = FakeKernel.make(rules)
      const xen = yield* table(guarded, { grantTableSize: 1000 })
      const knob = { _tag: "Option", name: "grantTableSize" } as const
      assert.deepStrictEqual((yield* xen.limits).shared, { pages: 875, knob })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* xen.share({ peer: 3, pages: 800 })
        const reason = yield* reasonOf(xen.share({ peer: 3, pages: 76 }))
        assert.deepInclude(reason, { _tag: "OutOfGrants", requested: 76, limit: 875, knob, needed: 1002 })
        assert.include(reason.message, "raise the option grantTableSize to 1002, if the domain's grant table")
      }))
      yield* Effect.flip(xen.share({ peer: 3, pages: 1001 }))
      yield* Effect.scoped(xen.share({ peer: 3, pages: 875 }))
      const asked = guarded.calls.filter((call) => call.startsWith("ALLOC_GREF")).map((call) => Number(call.slice(10)))
      assert.deepStrictEqual([asked[0], asked.at(-1), Math.max(...asked)], [800, 875, 875])

      const told = yield* table(FakeKernel.make(rules), { grantTableSize: 1146 })
      yield* told.share({ peer: 3, pages: 1000 }).pipe(Effect.scoped)
      yield* Effect.flip(told.share({ peer: 3, pages: 1001 }))
      const afterwards = yield* reasonOf(told.share({ peer: 3, pages: 1 }))
      assert.strictEqual(afterwards._tag, "OutOfGrants", "the fake kernel has the flaw")
    }))

  it.effect("names the limit when others may have used it up, but not one as large as a grant table", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ grants: () => 10 })
      const xen = yield* table(kernel)
      const small = yield* reasonOf(xen.share({ peer: 3, pages: 100 }))
      assert.deepInclude(small, { _tag: "OutOfGrants", limit: 1024, knob: { _tag: "File", path: gntallocLimit }, needed: 1124 })
      writeFileSync(gntallocLimit, "100000\n")
      const large = yield* reasonOf(xen.share({ peer: 3, pages: 100 }))
      assert.strictEqual(large._tag, "OutOfGrants")
      assert.notProperty(large, "limit")
      rmSync(gntallocLimit)
      assert.notProperty(yield* reasonOf(xen.share({ peer: 3, pages: 100 })), "limit")
      writeFileSync(gntallocLimit, "1024\n")
      assert.deepStrictEqual(kernel.held(), ["open /dev/xen/gntalloc"])
    }))
})

describe("GntDev, what peers may have kept", () => {
  const raised = (kernel: ReturnType<typeof FakeKernel.make>, grantTableSize = 1000) => {
    writeFileSync(gntallocLimit, "100000\n")
    return table(kernel, { grantTableSize })
  }
  const cycle = (xen: GrantTable.GrantTable["Service"], pages: number) => Effect.scoped(xen.share({ peer: 3, pages }))

  it.effect("counts pages that were released and not seen again, until the table could be full", () =>
    Effect.gen(function*() {
      // The flaw of the fake kernel would ruin it for good.
      const kernel = FakeKernel.make({ grants: () => 100_000, references: 1000, keeps: () => true })
      const xen = yield* raised(kernel)
      let refused: GrantTableError.Reason | undefined
      for (let i = 0; i < 100 && refused === undefined; i++) {
        const exit = yield* Effect.result(cycle(xen, 100))
        if (Result.isFailure(exit)) refused = exit.failure.reason
      }
      assert.deepInclude(refused, { _tag: "OutOfGrants", requested: 100, limit: 875 })
      // It is not ruined: less is still to be had.
      assert.strictEqual((yield* xen.share({ peer: 3, pages: 10 })).refs.length, 10)
      assert.isBelow(kernel.calls.filter((call) => call.startsWith("ALLOC_GREF")).length, 20)
    }))

  it.effect("counts each of several that are held at the same time, however small", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ grants: () => 100_000, references: 1000, keeps: () => true })
      const xen = yield* raised(kernel)
      const two = Effect.scoped(Effect.andThen(xen.share({ peer: 3, pages: 1 }), xen.share({ peer: 3, pages: 1 })))
      let cycles = 0
      while (cycles < 600 && Result.isSuccess(yield* Effect.result(two))) cycles++
      assert.approximately(cycles, 437, 2)
    }))

  it.effect("refuses nobody who shares and lets go again and again, of any size, where peers keep nothing", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ grants: () => 100_000, references: 1000 })
      const xen = yield* raised(kernel)
      for (const pages of [1, 875, 1, 800, 400, 875, 3, 870]) yield* cycle(xen, pages)
      // Others take references away in between: those of the last release come again later, or never.
      const other = yield* raised(FakeKernel.make({ grants: () => 100_000, references: 1000 }))
      for (let i = 0; i < 20; i++) yield* cycle(other, 875 - i)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* xen.share({ peer: 3, pages: 500 })
        yield* cycle(xen, 375)
        yield* cycle(xen, 375)
        assert.strictEqual((yield* reasonOf(cycle(xen, 376)))._tag, "OutOfGrants")
      }))
      yield* cycle(xen, 875)
      assert.deepStrictEqual(kernel.held(), ["open /dev/xen/gntalloc"])
    }))

  it.effect("asks for no proof of references that came again by themselves", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ grants: () => 100_000, references: 1000 })
      const xen = yield* raised(kernel)
      yield* cycle(xen, 400)
      yield* xen.share({ peer: 3, pages: 400 })
      yield* xen.share({ peer: 3, pages: 400 })
      assert.strictEqual(kernel.calls.filter((call) => call.startsWith("ALLOC_GREF")).length, 3)
    }))

  it.effect("asks for the proof that references are free in the name of nobody", () =>
    Effect.gen(function*() {
      const domains: Array<number> = []
      const kernel = FakeKernel.make({ grants: () => 100_000, references: 1000 })
      const system = {
        ...kernel.system,
        ioctl: (fd: number, request: number, words: Uint32Array) => {
          if (request === Abi.ALLOC_GREF) domains.push(words[0]! & 0xffff)
          return kernel.system.ioctl(fd, request, words)
        }
      }
      writeFileSync(gntallocLimit, "100000\n")
      const driver = yield* Devices.make(() => system, { gntallocLimit, gntdevLimit, grantTableSize: 1000 })
      const xen = GrantTable.make(driver)
      yield* cycle(xen, 600)
      yield* cycle(xen, 600)
      assert.deepStrictEqual(domains, [3, 0x7ff4, 3])
    }))

  it.effect("counts what all layers of a process share, not each by itself", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ grants: () => 100_000, references: 1000 })
      const [one, other] = [yield* raised(kernel), yield* raised(kernel)]
      yield* Effect.scoped(Effect.gen(function*() {
        yield* one.share({ peer: 3, pages: 800 })
        const reason = yield* reasonOf(cycle(other, 100))
        assert.deepInclude(reason, { _tag: "OutOfGrants", limit: 875 })
        yield* cycle(other, 75)
      }))
      yield* cycle(other, 875)
    }))

  it.effect("takes no size of the grant table that can't be, from a program or from its environment", () =>
    Effect.gen(function*() {
      for (const grantTableSize of [NaN, -5, 0, 1.5, Infinity, 2 ** 30]) {
        const error = yield* Effect.flip(Effect.scoped(GntDev.make({ grantTableSize })))
        assert.include(error.message, `grantTableSize is ${grantTableSize}, but must be a number of references`)
        const layer = GntDev.layerConfig({ grantTableSize: Config.Number("SIZE") })
        const env = { SIZE: String(grantTableSize) }
        const provider = ConfigProvider.layer(ConfigProvider.fromEnv({ env }))
        const failed = yield* Effect.flip(
          Effect.provide(Effect.asVoid(GrantTable.GrantTable), Layer.provide(layer, provider))
        )
        assert.strictEqual(failed._tag, "ConfigError")
      }
    }))
})

describe("GntDev, on kernels with bigger pages", () => {
  it.effect("refuses at the first use of either device, and names the size", () =>
    Effect.gen(function*() {
      for (const pageSize of [16_384, 65_536]) {
        const kernel = FakeKernel.make({ pageSize })
        const xen = yield* table(kernel)
        for (const use of [
          Effect.asVoid(xen.share({ peer: 3, pages: 1 })),
          Effect.asVoid(xen.map({ peer: 3, refs: [100] })),
          xen.read({ peer: 3, ref: 100 }, new Uint8Array(4))
        ]) {
          const reason = yield* reasonOf(Effect.scoped(use))
          assert.strictEqual(reason._tag, "Unsupported")
          assert.include(
            reason.message,
            `Sharing memory with other domains is not supported here: this kernel has pages of ${pageSize} bytes, and Xen's have 4096`
          )
        }
        assert.deepStrictEqual(kernel.calls, [])
      }
    }))
})

describe("GntDev.map", () => {
  it.effect("is one ioctl and one mmap, undone in order: detach, end the mapping, UNMAP", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make()
      yield* Effect.scoped(Effect.gen(function*() {
        const xen = yield* table(kernel)
        const bytes = yield* Effect.scoped(Effect.map(xen.map({ peer: 3, refs: refs(1023) }), ({ bytes }) => {
          assert.strictEqual(bytes.length, 1023 * 4096)
          return bytes
        }))
        assert.strictEqual(bytes.length, 0)
      }))
      assert.deepStrictEqual(kernel.calls, [
        "open /dev/xen/gntdev",
        "MAP_GRANT_REF 1023", "mmap 1023", "view", "end 1023", "UNMAP_GRANT_REF 1023",
        "close"
      ])
      assert.deepStrictEqual([kernel.held(), kernel.errors], [[], []])
    }))

  it.effect("splits what exceeds the module's limit, as one region", () =>
    Effect.gen(function*() {
      writeFileSync(gntdevLimit, "4\n")
      const kernel = FakeKernel.make({ perRequest: () => 4 })
      const xen = yield* table(kernel)
      yield* Effect.scoped(Effect.map(xen.map({ peer: 3, refs: refs(10) }), ({ bytes }) => {
        assert.strictEqual(bytes.length, 10 * 4096)
        assert.deepStrictEqual(kernel.held(), [
          "mapped 4", "mapped 4", "mapped 2",
          "noted 4", "noted 4", "noted 2", "open /dev/xen/gntdev"
        ])
      }))
      assert.deepStrictEqual([kernel.held(), kernel.errors], [["open /dev/xen/gntdev"], []])
    }))

  it.effect("sees a limit that was lowered meanwhile", () =>
    Effect.gen(function*() {
      let limit = 65_536
      const kernel = FakeKernel.make({ perRequest: () => limit })
      const xen = yield* table(kernel)
      yield* Effect.scoped(xen.map({ peer: 3, refs: refs(10) }))
      limit = 3
      writeFileSync(gntdevLimit, "3\n")
      const { bytes } = yield* xen.map({ peer: 3, refs: refs(10) })
      assert.strictEqual(bytes.length, 10 * 4096)
      assert.deepStrictEqual(kernel.errors, [])
    }))

  it.effect("opens gntdev again before its offsets reach 2 GiB", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make()
      const xen = yield* table(kernel)
      yield* Effect.scoped(xen.map({ peer: 3, refs: refs(600_000) }))
      // What was opened for that is closed when nothing is in it any more, and opened again.
      assert.strictEqual(kernel.fds(), 1)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* xen.map({ peer: 3, refs: refs(600_000) })
        assert.strictEqual(kernel.fds(), 2)
        yield* Effect.scoped(xen.map({ peer: 3, refs: refs(100) }))
        assert.strictEqual(kernel.fds(), 2)
      }))
      assert.deepStrictEqual([kernel.fds(), kernel.errors], [1, []])
    }))

  it.effect("closes every gntdev with its layer, and one that was opened in vain at once", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make()
      const layerScope = yield* Scope.make()
      const xen = yield* Scope.provide(table(kernel), layerScope)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* xen.map({ peer: 3, refs: refs(600_000) })
        assert.strictEqual(kernel.fds(), 2)
        yield* Scope.close(layerScope, Exit.void)
        assert.strictEqual(kernel.fds(), 0)
      }))
      let notes = 0
      const failing = FakeKernel.make({
        fail: (_, name) => name === "MAP_GRANT_REF" && ++notes > 8 ? ENOMEM : undefined
      })
      const other = yield* table(failing)
      assert.strictEqual((yield* reasonOf(other.map({ peer: 3, refs: refs(600_000) })))._tag, "DeviceFailed")
      assert.deepStrictEqual([failing.held(), failing.errors], [["open /dev/xen/gntdev"], []])
    }))

  it.effect("maps a page at a time where the module's limit is 0, and can't be", () =>
    Effect.gen(function*() {
      writeFileSync(gntdevLimit, "0\n")
      const kernel = FakeKernel.make({ perRequest: () => 0 })
      const reason = yield* reasonOf((yield* table(kernel)).map({ peer: 3, refs: refs(3) }))
      assert.deepInclude(reason, { _tag: "DeviceFailed", call: "MAP_GRANT_REF", errno: "EINVAL" })
      assert.deepStrictEqual(kernel.calls, ["open /dev/xen/gntdev", "MAP_GRANT_REF 1"])
    }))

  it.effect("searches for a refused grant only where Xen may have refused one", () =>
    Effect.gen(function*() {
      for (const fail of [0, 1]) {
        let mmaps = 0
        const kernel = FakeKernel.make({
          refuses: (ref) => ref === 102,
          fail: (_, name) => name === "mmap" && mmaps++ === fail ? ENOMEM : undefined
        })
        const reason = yield* reasonOf((yield* table(kernel)).map({ peer: 3, refs: refs(5) }))
        assert.deepInclude(reason, { _tag: "DeviceFailed", call: "mmap", errno: "ENOMEM" })
        assert.deepStrictEqual([mmaps, kernel.held(), kernel.errors], [fail + 1, ["open /dev/xen/gntdev"], []])
      }
    }))

  it.effect("reads a page that was granted for reading only, which it maps so", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ refuses: (_, writable) => writable })
      const xen = yield* table(kernel)
      const into = new Uint8Array(3)
      yield* xen.read({ peer: 3, ref: 0x105 }, into)
      assert.deepStrictEqual([...into], [5, 5, 5])
      assert.deepStrictEqual(kernel.held(), ["open /dev/xen/gntdev"])
    }))

  it.effect("gives back what it reserved for several pieces, whichever is refused, and by whom", () =>
    Effect.gen(function*() {
      writeFileSync(gntdevLimit, "4\n")
      for (const errno of [-9, ENOMEM, -22]) {
        for (const piece of [1, 2, 3]) {
          let mmaps = 0
          const kernel = FakeKernel.make({
            perRequest: () => 4,
            fail: (_, name) => name === "mmap" && mmaps++ === piece ? errno : undefined
          })
          const xen = yield* table(kernel)
          yield* Effect.exit(Effect.scoped(xen.map({ peer: 3, refs: refs(10) })))
          assert.deepStrictEqual([kernel.held(), kernel.errors], [["open /dev/xen/gntdev"], []], `${errno} ${piece}`)
        }
      }
    }))

  it.effect("names the first grant that is refused, at the cost of mapping each page about once more", () =>
    Effect.gen(function*() {
      writeFileSync(gntdevLimit, "8\n")
      const count = 21
      for (let first = 0; first < count; first++) {
        const kernel = FakeKernel.make({
          perRequest: () => 8,
          refuses: (ref) => ref === 100 + first || ref === 100 + count - 1
        })
        yield* Effect.scoped(Effect.gen(function*() {
          const xen = yield* table(kernel)
          const reason = yield* reasonOf(xen.map({ peer: 3, refs: refs(count) }))
          assert.deepInclude(reason, { _tag: "GrantRefused", index: first, access: "read-write" })
          assert.deepInclude(reason, { grant: grant(100 + first) })
          const noted = kernel.calls.filter((call) => call.startsWith("MAP_GRANT_REF"))
          const pages = noted.reduce((sum, call) => sum + Number(call.slice("MAP_GRANT_REF".length)), 0)
          assert.isAtMost(pages, count + 8 + 1)
          assert.deepStrictEqual([kernel.held(), kernel.errors], [["open /dev/xen/gntdev"], []])
        }))
      }
    }))

  it.effect("asks for the access that it was asked for", () =>
    Effect.gen(function*() {
      const refuses = (ref: number, writable: boolean) => ref === 108 || (writable && ref === 105)
      const xen = yield* table(FakeKernel.make({ refuses }))
      yield* xen.map({ peer: 3, refs: refs(8), access: "read-only" })
      const readWrite = yield* reasonOf(xen.map({ peer: 3, refs: refs(10) }))
      assert.deepInclude(readWrite, { _tag: "GrantRefused", index: 5, access: "read-write" })
      const readOnly = yield* reasonOf(xen.map({ peer: 3, refs: refs(10), access: "read-only" }))
      assert.deepInclude(readOnly, { _tag: "GrantRefused", index: 8, access: "read-only" })
    }))

  it.effect("says OutOfMappings when no grant is refused by itself", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ maptrack: 12 })
      const xen = yield* table(kernel)
      const reason = yield* reasonOf(xen.map({ peer: 3, refs: refs(20) }))
      assert.deepInclude(reason, { _tag: "OutOfMappings", peer, requested: 20 })
      yield* xen.map({ peer: 3, refs: refs(12) })
      assert.deepStrictEqual(kernel.errors, [])
    }))
})

describe("GntDev, unmap notifications", () => {
  it.effect("gntalloc: one in the page of the byte, in place of one in another page, until the mapping ends and DEALLOC", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ ports: [7] })
      const xen = yield* table(kernel)
      let from = 0
      yield* Effect.scoped(Effect.gen(function*() {
        yield* xen.share({ peer: 3, pages: 5 })
        const { unmapNotify } = yield* xen.share({ peer: 3, pages: 3 })
        from = kernel.calls.length
        yield* unmapNotify({ clearByte: 1, signalPort: 7 })
        yield* unmapNotify({ clearByte: 4096 + 2 })
        yield* unmapNotify({ clearByte: 4096 + 3, signalPort: 7 })
      }))
      const start = 5 * 4096
      assert.deepStrictEqual(kernel.calls.slice(from), [
        `SET_UNMAP_NOTIFY ${start + 1} 3 7`,
        `SET_UNMAP_NOTIFY ${start + 4096 + 2} 1 0`, `SET_UNMAP_NOTIFY ${start} 0 0`,
        `SET_UNMAP_NOTIFY ${start + 4096 + 3} 3 7`,
        "end 3", "DEALLOC_GREF 3", `cleared ${start + 4096 + 3}`, "signalled 7",
        "end 5", "DEALLOC_GREF 5"
      ])
      assert.deepStrictEqual(kernel.errors, [])
    }))

  it.effect("gntdev: the byte's request clears it, and the last one to end sends the signal", () =>
    Effect.gen(function*() {
      writeFileSync(gntdevLimit, "4\n")
      const kernel = FakeKernel.make({ perRequest: () => 4, ports: [7] })
      const xen = yield* table(kernel)
      let from = 0
      yield* Effect.scoped(Effect.gen(function*() {
        const { unmapNotify } = yield* xen.map({ peer: 3, refs: refs(10) })
        from = kernel.calls.length
        yield* unmapNotify({ clearByte: 9 * 4096, signalPort: 7 })
        yield* unmapNotify({ clearByte: 4 * 4096 + 5, signalPort: 7 })
      }))
      assert.deepStrictEqual(kernel.calls.slice(from), [
        `SET_UNMAP_NOTIFY ${9 * 4096} 3 7`,
        `SET_UNMAP_NOTIFY ${8 * 4096} 2 7`, `SET_UNMAP_NOTIFY ${4 * 4096 + 5} 1 0`,
        "end 10",
        "UNMAP_GRANT_REF 4", "UNMAP_GRANT_REF 4", `cleared ${4 * 4096 + 5}`, "UNMAP_GRANT_REF 2", "signalled 7"
      ])
      assert.deepStrictEqual(kernel.errors, [])
    }))

  it.effect("are cancelled, and are not asked of the kernel where they make no sense", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ ports: [7] })
      const xen = yield* table(kernel)
      yield* Effect.scoped(Effect.gen(function*() {
        const shared = yield* xen.share({ peer: 3, pages: 2 })
        const mapped = yield* xen.map({ peer: 3, refs: refs(2) })
        const readOnly = yield* xen.map({ peer: 3, refs: refs(2), access: "read-only" })
        const from = kernel.calls.length
        const none = yield* reasonOf(readOnly.unmapNotify({ clearByte: 0 }))
        assert.deepInclude(none, { _tag: "InvalidInput", argument: "clearByte" })
        for (const { unmapNotify } of [shared, mapped, readOnly]) {
          yield* unmapNotify(undefined)
          yield* Effect.flip(unmapNotify({ clearByte: 8192 }))
        }
        assert.deepStrictEqual(kernel.calls.slice(from), [])
        yield* readOnly.unmapNotify({ signalPort: 7 })
        for (const { unmapNotify } of [shared, mapped, readOnly]) {
          yield* unmapNotify({ signalPort: 7 })
          yield* unmapNotify(undefined)
        }
      }))
      assert.deepStrictEqual(kernel.calls.filter((call) => /cleared|signalled/.test(call)), [])
      assert.deepStrictEqual(kernel.errors, [])
    }))

  it.effect("a port that is not open is refused by name, and the notification before stays", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make()
      const xen = yield* table(kernel)
      yield* Effect.scoped(Effect.gen(function*() {
        for (const { unmapNotify } of [
          yield* xen.share({ peer: 3, pages: 2 }),
          yield* xen.map({ peer: 3, refs: refs(2) })
        ]) {
          yield* unmapNotify({ clearByte: 4096 })
          const reason = yield* reasonOf(unmapNotify({ clearByte: 1, signalPort: 9 }))
          assert.deepInclude(reason, { _tag: "InvalidInput", argument: "signalPort", value: "9" })
        }
      }))
      const cleared = kernel.calls.filter((call) => call.startsWith("cleared"))
      assert.deepStrictEqual(cleared, ["cleared 4096", "cleared 4096"])
    }))

  it.effect("when one of several can't be armed, those before are again, and can still be cancelled", () =>
    Effect.gen(function*() {
      writeFileSync(gntdevLimit, "4\n")
      // Each place of the second arming, and the place of the first that it leaves.
      for (const failAt of [1, 2, 3]) {
        let sets = 0
        const kernel = FakeKernel.make({
          perRequest: () => 4,
          ports: [7],
          fail: (_, name) => name === "SET_UNMAP_NOTIFY" && sets++ === failAt ? ENOMEM : undefined
        })
        const xen = yield* table(kernel)
        yield* Effect.scoped(Effect.gen(function*() {
          const { unmapNotify } = yield* xen.map({ peer: 3, refs: refs(10) })
          yield* unmapNotify({ clearByte: 5 })
          const reason = yield* reasonOf(unmapNotify({ clearByte: 4 * 4096 + 5, signalPort: 7 }))
          assert.deepInclude(reason, { _tag: "DeviceFailed", call: "SET_UNMAP_NOTIFY" })
        }))
        assert.deepStrictEqual(kernel.calls.filter((call) => /cleared|signalled/.test(call)), ["cleared 5"], `${failAt}`)
        sets = -1000
        yield* Effect.scoped(Effect.gen(function*() {
          const { unmapNotify } = yield* xen.map({ peer: 3, refs: refs(10) })
          yield* unmapNotify({ clearByte: 5, signalPort: 7 })
          sets = failAt
          yield* Effect.exit(unmapNotify({ clearByte: 4 * 4096 + 5 }))
          sets = -1000
          yield* unmapNotify(undefined)
          kernel.calls.length = 0
        }))
        assert.deepStrictEqual(kernel.calls.filter((call) => /cleared|signalled/.test(call)), [], `${failAt}`)
      }
    }))

  it.effect("a place that was armed anew, or cancelled, before another could not be, has what it had before", () =>
    Effect.gen(function*() {
      writeFileSync(gntdevLimit, "4\n")
      for (const next of [{ clearByte: 6, signalPort: 7 }, undefined]) {
        // Two places are armed; of those that come then the second fails.
        let sets = 0
        const kernel = FakeKernel.make({
          perRequest: () => 4,
          ports: [7],
          fail: (_, name) => name === "SET_UNMAP_NOTIFY" && sets++ === 3 ? ENOMEM : undefined
        })
        const xen = yield* table(kernel)
        yield* Effect.scoped(Effect.gen(function*() {
          const { unmapNotify } = yield* xen.map({ peer: 3, refs: refs(10) })
          yield* unmapNotify({ clearByte: 5, signalPort: 7 })
          yield* reasonOf(unmapNotify(next))
        }))
        const ended = kernel.calls.filter((call) => /cleared|signalled/.test(call))
        assert.deepStrictEqual(ended, ["cleared 5", "signalled 7"])
      }
    }))

  it.effect("what the kernel refuses otherwise is a failure of the device", () =>
    Effect.gen(function*() {
      const xen = yield* table(FakeKernel.make({ fail: (_, name) => name === "SET_UNMAP_NOTIFY" ? -22 : undefined }))
      const { unmapNotify } = yield* xen.share({ peer: 3, pages: 2 })
      const reason = yield* reasonOf(unmapNotify({ clearByte: 1 }))
      assert.deepInclude(reason, { _tag: "DeviceFailed", call: "SET_UNMAP_NOTIFY", errno: "EINVAL" })
    }))

  it.effect("stay armed when the layer ends before the buffers, which can't be changed any more", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make()
      const layerScope = yield* Scope.make()
      const xen = yield* Scope.provide(table(kernel), layerScope)
      let from = 0
      yield* Effect.scoped(Effect.gen(function*() {
        const shared = yield* xen.share({ peer: 3, pages: 2 })
        const mapped = yield* xen.map({ peer: 3, refs: refs(1) })
        yield* shared.unmapNotify({ clearByte: 4096 })
        yield* mapped.unmapNotify({ clearByte: 1 })
        yield* Scope.close(layerScope, Exit.void)
        from = kernel.calls.length
        for (const { unmapNotify } of [shared, mapped]) {
          const reason = yield* reasonOf(unmapNotify(undefined))
          assert.deepInclude(reason, { _tag: "DeviceUnavailable", errno: "EBADF" })
        }
      }))
      assert.deepStrictEqual(kernel.calls.slice(from), ["end 1", "cleared 1", "end 2", "cleared 4096"])
      assert.deepStrictEqual(kernel.errors, [])
    }))
})

describe("GntDev.copy", () => {
  it.effect("is off unless asked for", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make()
      const xen = yield* table(kernel)
      const reason = yield* reasonOf(
        xen.copy([{ _tag: "Read", grant: grant(100), offset: 0, into: new Uint8Array(4) }])
      )
      assert.deepInclude(reason, { _tag: "Unsupported", feature: "Grant copy" })
      assert.deepStrictEqual(kernel.calls, [])
    }))

  it.effect("is one ioctl for all segments, and names the one that was refused", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ refuses: (ref, writable) => writable && ref === 102 })
      const xen = yield* table(kernel, { grantCopy: true })
      const into = new Uint8Array(4)
      yield* xen.copy([
        { _tag: "Read", grant: grant(101), offset: 0, into: into.subarray(0, 2) },
        { _tag: "Read", grant: grant(102), offset: 9, into: into.subarray(2) }
      ])
      assert.deepStrictEqual([...into], [101, 101, 102, 102])
      assert.deepStrictEqual(kernel.calls, ["open /dev/xen/gntdev", "GRANT_COPY 2"])
      const refused = yield* reasonOf(xen.copy([
        { _tag: "Write", grant: grant(101), offset: 0, from: into },
        { _tag: "Write", grant: grant(102), offset: 0, from: into }
      ]))
      assert.deepInclude(refused, { _tag: "GrantRefused", index: 1, access: "read-write" })
      assert.deepInclude(refused, { grant: grant(102), status: "GNTST_general_error" })
    }))
})

describe("GntDev, whatever fails", () => {
  const run = (kernel: ReturnType<typeof FakeKernel.make>) =>
    Effect.scoped(Effect.gen(function*() {
      const xen = yield* table(kernel)
      const before = () => kernel.held().filter((held) => !held.startsWith("open"))
      const exit = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
        const shared = yield* xen.share({ peer: 3, pages: 5 })
        const mapped = yield* xen.map({ peer: 3, refs: refs(10) })
        for (const { unmapNotify } of [shared, mapped]) {
          yield* unmapNotify({ clearByte: 0, signalPort: 7 })
          yield* unmapNotify({ clearByte: 4 * 4096 })
          yield* unmapNotify(undefined)
        }
      })))
      assert.deepStrictEqual(before(), [])
      const refused = yield* Effect.exit(Effect.scoped(Effect.asVoid(xen.map({ peer: 3, refs: refs(12) }))))
      assert.deepStrictEqual(before(), [])
      return [exit, refused]
    }))

  it.effect("holds nothing, whichever call fails", () =>
    Effect.gen(function*() {
      writeFileSync(gntdevLimit, "4\n")
      // The twelfth grant is refused, so that locating it is among the calls.
      const rules = { perRequest: () => 4, refuses: (ref: number) => ref === 111, ports: [7] }
      const flawless = FakeKernel.make(rules)
      const [exit, refused] = yield* run(flawless)
      assert.isTrue(Exit.isSuccess(exit!))
      assert.isTrue(Exit.isFailure(refused!))
      assert.isAbove(flawless.fallible(), 30)
      for (let k = 0; k < flawless.fallible(); k++) {
        for (const errno of [ENOMEM, -22]) {
          let hit = "nothing"
          const kernel = FakeKernel.make({
            ...rules,
            fail: (call, name) => {
              if (call !== k) return undefined
              hit = name
              return errno
            }
          })
          const exits = yield* run(kernel)
          assert.deepStrictEqual([kernel.held(), kernel.errors], [[], []], `call ${k}, ${hit}`)
          for (const exit of exits) {
            if (Exit.isFailure(exit)) assert.isFalse(Exit.hasDies(exit), `call ${k}, ${hit}`)
          }
        }
      }
    }))

  it.effect("holds nothing, whichever array can't be made for want of memory", () =>
    Effect.gen(function*() {
      writeFileSync(gntdevLimit, "4\n")
      const rules = { perRequest: () => 4, refuses: (ref: number) => ref === 111, ports: [7] }
      const references = refs(10)
      const flawless = yield* failingArrays(Infinity, run(FakeKernel.make(rules)))
      assert.isAbove(flawless.made, 12)
      for (let k = 0; k < flawless.made; k++) {
        const kernel = FakeKernel.make(rules)
        yield* failingArrays(k, Effect.exit(run(kernel)))
        assert.deepStrictEqual([kernel.held(), kernel.errors], [[], []], `array ${k}`)
        // Nor is it counted as shared.
        const xen = yield* table(kernel)
        yield* Effect.scoped(xen.share({ peer: 3, pages: 1024 }))
        yield* Effect.scoped(xen.read({ peer: 3, ref: references[0]! }, new Uint8Array(4)))
      }
    }))

  it.effect("unmaps where there is nothing to put in the place of the pages", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make({ failEnd: ENOMEM })
      const xen = yield* table(kernel)
      yield* Effect.scoped(xen.map({ peer: 3, refs: refs(3) }))
      assert.include(kernel.calls, "munmap 3")
      assert.deepStrictEqual([kernel.held(), kernel.errors], [["open /dev/xen/gntdev"], []])
    }))

  it.effect("says which device and why, and opens it when the cause is gone", () =>
    Effect.gen(function*() {
      let errno: number | undefined = EACCES
      const xen = yield* table(FakeKernel.make({ fail: (_, name) => name === "open" ? errno : undefined }))
      const reason = yield* reasonOf(xen.map({ peer: 3, refs: refs(1) }))
      assert.deepInclude(reason, { _tag: "DeviceUnavailable", device: "/dev/xen/gntdev", errno: "EACCES" })
      assert.include(reason.message, "Run as root")
      errno = undefined
      yield* xen.map({ peer: 3, refs: refs(1) })
    }))

  it.effect("says Unsupported where the C library can't be called", () =>
    Effect.gen(function*() {
      const driver = yield* Devices.make(() => {
        throw new Error("no build for this machine")
      })
      const reason = yield* reasonOf(GrantTable.make(driver).share({ peer: 3, pages: 1 }))
      assert.deepInclude(reason, { _tag: "Unsupported", detail: "no build for this machine" })
    }))

  it.effect("an interrupt releases what the fiber holds", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make()
      const xen = yield* table(kernel)
      const fiber = yield* Effect.forkChild(
        Effect.scoped(Effect.gen(function*() {
          yield* xen.share({ peer: 3, pages: 5 })
          yield* xen.map({ peer: 3, refs: refs(10) })
          assert.strictEqual(kernel.held().length, 6)
          return yield* Effect.never
        })),
        { startImmediately: true }
      )
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(kernel.held(), ["open /dev/xen/gntalloc", "open /dev/xen/gntdev"])
    }))

  it.effect("a buffer that outlives the layer is unmapped, and no closed descriptor is touched", () =>
    Effect.gen(function*() {
      const kernel = FakeKernel.make()
      const layerScope = yield* Scope.make()
      const xen = yield* Scope.provide(table(kernel), layerScope)
      const bytes = yield* Effect.scoped(Effect.gen(function*() {
        const shared = yield* xen.share({ peer: 3, pages: 5 })
        const mapped = yield* xen.map({ peer: 3, refs: refs(10) })
        yield* Scope.close(layerScope, Exit.void)
        return [shared.bytes, mapped.bytes]
      }))
      assert.deepStrictEqual(bytes.map(({ length }) => length), [0, 0])
      assert.deepStrictEqual([kernel.held(), kernel.errors], [[], []])
      const reason = yield* reasonOf(Effect.scoped(xen.share({ peer: 3, pages: 1 })))
      assert.deepInclude(reason, { _tag: "DeviceUnavailable", errno: "EBADF" })
    }))
})

describe("GntDev.layer", () => {
  const nowhere = () => ({ gntalloc: join(directory, "none"), gntallocLimit, gntdevLimit })

  it.effect("opens nothing until it is used, then says what is missing", () =>
    Effect.gen(function*() {
      const xen = yield* GrantTable.GrantTable
      const limits = yield* xen.limits
      assert.deepStrictEqual(limits, {
        shared: { pages: 1024, knob: { _tag: "File", path: gntallocLimit } },
        mappedPerRequest: { pages: 65_536, knob: { _tag: "File", path: gntdevLimit } }
      })
      const reason = yield* reasonOf(Effect.scoped(xen.share({ peer: 3, pages: 1 })))
      assert.deepInclude(reason, { _tag: "DeviceUnavailable", errno: "ENOENT" })
      assert.include(reason.message, "modprobe xen-gntalloc")
    }).pipe((test) => Effect.suspend(() => Effect.provide(test, GntDev.layer(nowhere())))))

  it.effect("takes its options from the configuration", () =>
    Effect.gen(function*() {
      const device = join(directory, "from-config")
      const layer = GntDev.layerConfig({ gntalloc: Config.String("GNTALLOC") })
      const reason = yield* reasonOf(
        Effect.scoped(Effect.gen(function*() {
          const xen = yield* GrantTable.GrantTable
          yield* xen.share({ peer: 3, pages: 1 })
        })).pipe(Effect.provide(layer), Effect.catchTag("ConfigError", Effect.die))
      ).pipe(Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { GNTALLOC: device } }))))
      assert.deepInclude(reason, { _tag: "DeviceUnavailable", device })
    }))

  it.effect("of two limits one that can't be read is left out: a frontend needs no gntdev, a backend no gntalloc", () =>
    Effect.gen(function*() {
      const xen = yield* table(FakeKernel.make())
      const whole = yield* xen.limits
      assert.sameMembers(Object.keys(whole), ["shared", "mappedPerRequest"])
      rmSync(gntdevLimit)
      assert.deepStrictEqual(yield* xen.limits, { shared: whole.shared! })
      rmSync(gntallocLimit)
      const reason = yield* reasonOf(xen.limits)
      assert.deepInclude(reason, { _tag: "DeviceUnavailable", device: gntallocLimit, errno: "ENOENT" })
      writeFileSync(gntallocLimit, "many")
      assert.deepInclude(yield* reasonOf(xen.limits), { _tag: "DeviceUnavailable", errno: "EINVAL" })
      writeFileSync(gntdevLimit, "65536")
      assert.deepStrictEqual(yield* xen.limits, { mappedPerRequest: whole.mappedPerRequest! })
    }))
})
