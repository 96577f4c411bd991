import { afterEach, assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { execFileSync, spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as MappedMemory from "../src/MappedMemory.ts"

const page = 4096
const open: Array<number> = []
const memfd = (byteLength: number) => {
  const fd = Result.getOrThrow(MappedMemory.memfd("test", byteLength))
  open.push(fd)
  return fd
}
afterEach(() => {
  for (const fd of open.splice(0)) MappedMemory.close(fd)
})

const map = (fd: number, offsets: ReadonlyArray<number>, byteLength = page) =>
  MappedMemory.map(offsets.map((offset) => ({ fd, offset, byteLength })), "read-write")

/** All address ranges of this process. */
const areas = () => readFileSync("/proc/self/maps", "utf8").split("\n").length

/** What five workers leave that end in this way. */
const left = (way: string) =>
  JSON.parse(execFileSync(process.execPath, [join(import.meta.dirname, "fixtures", "workers.ts"), way], { encoding: "utf8" }))

/** Address ranges of our memory files in this process. */
const mappings = () =>
  readFileSync("/proc/self/maps", "utf8").split("\n").filter((line) => line.includes("memfd:test")).length

describe("MappedMemory", () => {
  it("children of the main thread have mappings until they run their program, those of other threads never do", () => {
    const program = join(import.meta.dirname, "fixtures", "inherited.ts")
    const node = (...args: ReadonlyArray<string>) => execFileSync(process.execPath, args, { encoding: "utf8" }).trim()
    assert.strictEqual(node(program), "true")
    const inWorker = `new (require("node:worker_threads").Worker)(${JSON.stringify(program)})`
    assert.strictEqual(node("-e", inWorker), "false")
  })

  it("maps pieces in any order and repeated, aliasing at once, each view dying alone", () => {
    const fd = memfd(4 * page)
    const several = Result.getOrThrow(map(fd, [3 * page, page, page, 0]))
    const one = Result.getOrThrow(map(fd, [page]))
    const bytes = new Uint8Array(several.buffer)
    const sub = bytes.subarray(page, 2 * page)
    const other = new Uint8Array(one.buffer)
    bytes[page] = 5
    assert.deepStrictEqual([bytes[2 * page], other[0], bytes[0]], [5, 5, 0])
    other[1] = 6
    assert.strictEqual(sub[1], 6)
    MappedMemory.unmap(several)
    assert.deepStrictEqual([bytes.length, sub.length, several.buffer.byteLength], [0, 0, 0])
    assert.strictEqual(other[0], 5)
    MappedMemory.unmap(one)
    assert.strictEqual(mappings(), 0)
  })

  it("maps 4 GiB, at offsets beyond it too", () => {
    const fd = memfd(2 ** 33)
    const region = Result.getOrThrow(MappedMemory.map([
      { fd, offset: 2 ** 32, byteLength: 2 ** 32 - page },
      { fd, offset: 0, byteLength: page }
    ], "read-write"))
    assert.strictEqual(region.buffer.byteLength, 2 ** 32)
    const bytes = new Uint8Array(region.buffer)
    bytes[2 ** 32 - 1] = 7
    bytes[2 ** 31] = 8
    const last = Result.getOrThrow(map(fd, [0]))
    const middle = Result.getOrThrow(map(fd, [2 ** 32 + 2 ** 31]))
    assert.strictEqual(new Uint8Array(last.buffer)[page - 1], 7)
    assert.strictEqual(new Uint8Array(middle.buffer)[0], 8)
    for (const each of [region, last, middle]) MappedMemory.unmap(each)
    assert.strictEqual(mappings(), 0)
  })

  it("maps all or nothing, and says which piece was refused", () => {
    const fd = memfd(3 * page)
    const piece = (fd: number, offset: number) => ({ fd, offset, byteLength: page })
    for (const refused of [0, 1, 2]) {
      const pieces = [0, 1, 2].map((i) => piece(i === refused ? -1 : fd, i * page))
      assert.deepStrictEqual(
        MappedMemory.map(pieces, "read-write"),
        Result.fail({ errno: "EBADF", piece: refused })
      )
    }
    assert.deepStrictEqual(MappedMemory.map([piece(fd, 1)], "read-only"), Result.fail({ errno: "EINVAL", piece: 0 }))
    assert.deepStrictEqual(MappedMemory.map([], "read-only"), Result.fail({ errno: "EINVAL", piece: 0 }))
    assert.strictEqual(mappings(), 0)
  })

  it("ends a region whose buffer was detached by someone else, and says so", () => {
    const region = Result.getOrThrow(map(memfd(page), [0]))
    region.buffer.transfer(0)
    assert.strictEqual(MappedMemory.unmap(region), "moved")
    assert.strictEqual(mappings(), 0)
    assert.isUndefined(MappedMemory.unmap(Result.getOrThrow(map(memfd(page), [0]))))
  })

  it("whoever moved a buffer away, or still works on it, finds zeros in place of the pages, and the process lives", () => {
    const { signal, status, stderr, stdout } = spawnSync(
      process.execPath,
      [join(import.meta.dirname, "fixtures", "late.ts")],
      { encoding: "utf8" }
    )
    assert.deepStrictEqual([status, signal], [0, null], stderr)
    const moved = ["moved", 0, 64 * page, 0, 0]
    assert.deepStrictEqual(JSON.parse(stdout), {
      transfer: moved,
      transferToFixedLength: moved,
      structuredClone: ["DataCloneError", "not moved"],
      "a byte stream": moved,
      "a BYOB reader": moved,
      gzip: "survived",
      randomFill: "survived",
      CompressionStream: "survived",
      "in the file": true
    })
  })

  it("a buffer that is marked as untransferable shows zeros after its end", () => {
    // At its own end Node detaches all such buffers, and aborts where it can't.
    const { stderr, stdout } = spawnSync(process.execPath, [join(import.meta.dirname, "fixtures", "marked.ts")], { encoding: "utf8" })
    assert.strictEqual(stdout.trim(), JSON.stringify(["moved", 64 * page, -1]), stderr)
  })

  it("the addresses of what has ended do not pile up, even while V8 has no time to give them back", () => {
    const fd = memfd(page)
    const before = areas()
    for (let i = 0; i < 20_000; i++) MappedMemory.unmap(Result.getOrThrow(map(fd, [0])))
    assert.isBelow(areas() - before, 2000)
    assert.strictEqual(mappings(), 0)
  })

  it("several pieces that are refused leave no reservation", () => {
    const fd = memfd(3 * page)
    const before = areas()
    for (let i = 0; i < 3000; i++) {
      const bad = i % 2 === 0 ? { fd: -1, offset: page, byteLength: page } : { fd, offset: 1, byteLength: page }
      const pieces = [{ fd, offset: 0, byteLength: page }, bad, { fd, offset: 0, byteLength: page }]
      assert.isTrue(Result.isFailure(MappedMemory.map(pieces, "read-write")))
    }
    // V8 takes some for itself meanwhile.
    assert.isBelow(areas() - before, 300)
    assert.strictEqual(mappings(), 0)
  })

  it.each(["end", "exit", "throw"])("a worker leaves nothing behind, however it ends by itself: %s", (way) => {
    assert.deepStrictEqual(left(way), { files: 0, mappings: 0 })
  })

  it("a worker that is terminated leaves what it had: nothing of it runs any more that could release it", () => {
    assert.deepStrictEqual(left("terminate"), { files: 5, mappings: 10 })
  })

  it("says why a memory file can't be made", () => {
    assert.deepStrictEqual(MappedMemory.memfd("test", -1), Result.fail("EINVAL"))
  })
})
