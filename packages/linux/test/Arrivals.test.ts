import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { spawnSync } from "node:child_process"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { Worker } from "node:worker_threads"
import * as Arrivals from "../src/Arrivals.ts"
import * as SystemCalls from "../src/SystemCalls.ts"

const system = SystemCalls.native()
const arrivals = Arrivals.make(system)
const flags = SystemCalls.O_CLOEXEC | SystemCalls.O_NONBLOCK

/** What stands for a device, where its kind does not matter. */
const pipe = () => {
  const ends = new Int32Array(2)
  assert.strictEqual(system.pipe(ends, flags), 0)
  return { from: ends[0]!, to: ends[1]! }
}

const opened = () => readdirSync("/proc/self/fd").length

/** A new turn of the event loop, after everything that is ready was told. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

describe("Arrivals", () => {
  it("tells what has come, in pieces of the buffer, until it is closed; the device stays open", async () => {
    const { from, to } = pipe()
    const before = opened()
    const heard: Array<string> = []
    const told = Promise.withResolvers<void>()
    const buffer = new Uint8Array(4)
    const reading = Result.getOrThrow(arrivals.read(from, buffer, {
      data: (bytes) => {
        heard.push(Buffer.from(bytes).toString())
        if (heard.join("").length === 10) told.resolve()
      },
      end: (errno) => told.reject(new Error(errno))
    }))
    reading.hold(true)
    assert.strictEqual(opened(), before + 1)
    system.write(to, Buffer.from("0123456789"))
    await told.promise
    assert.deepStrictEqual(heard, ["0123", "4567", "89"])
    reading.close()
    assert.strictEqual(opened(), before)
    system.write(to, Buffer.from("more"))
    await turn()
    await turn()
    assert.strictEqual(heard.length, 3)
    const rest = new Uint8Array(8)
    assert.strictEqual(system.read(from, rest), 4)
    system.close(from)
    system.close(to)
  })

  it("reads a character device that Node refuses", async () => {
    const fd = system.open("/dev/ptmx", SystemCalls.O_RDWR | flags)
    const told = Promise.withResolvers<string>()
    const reading = Result.getOrThrow(arrivals.read(fd, new Uint8Array(64), {
      data: (bytes) => told.resolve(Buffer.from(bytes).toString()),
      end: (errno) => told.reject(new Error(errno))
    }))
    reading.hold(true)
    // The terminal's other side echoes what is typed at this one.
    system.write(fd, Buffer.from("hello"))
    assert.strictEqual(await told.promise, "hello")
    reading.close()
    system.close(fd)
  })

  it("says that the other end is closed, once", async () => {
    const { from, to } = pipe()
    const told = Promise.withResolvers<string>()
    const reading = Result.getOrThrow(arrivals.read(from, new Uint8Array(4), { data: () => {}, end: told.resolve }))
    reading.hold(true)
    system.close(to)
    assert.strictEqual(await told.promise, "EOF")
    reading.close()
    system.close(from)
  })

  it("refuses what can't be waited for, and what is not open, and leaves nothing open", () => {
    const before = opened()
    const listener = { data: () => {}, end: () => {} }
    const nothing = system.open("/dev/null", SystemCalls.O_RDWR | flags)
    assert.deepStrictEqual(arrivals.read(nothing, new Uint8Array(4), listener), Result.fail("EPERM"))
    system.close(nothing)
    assert.deepStrictEqual(arrivals.read(9999, new Uint8Array(4), listener), Result.fail("EBADF"))
    assert.strictEqual(opened(), before)
  })

  it("writes what may take its time, and says how it went", async () => {
    const { from, to } = pipe()
    const written = (fd: number) => new Promise<number>((resolve) => arrivals.write(fd, Buffer.from("abc"), resolve))
    assert.strictEqual(await written(to), 3)
    assert.strictEqual(SystemCalls.errnoName(await written(from)), "EBADF")
    system.close(from)
    system.close(to)
  })

  it("keeps a process alive only while it is held", () => {
    const program = join(import.meta.dirname, "fixtures/waiting.ts")
    assert.strictEqual(spawnSync(process.execPath, [program, "free"], { encoding: "utf8" }).stdout, "")
    assert.strictEqual(spawnSync(process.execPath, [program, "held"], { encoding: "utf8" }).stdout, "tick\n")
  })

  it("works in a worker, and closes what is read when the worker is ended, whatever it does", async () => {
    const before = opened()
    const worker = new Worker(join(import.meta.dirname, "fixtures/waitingWorker.ts"))
    const next = () => new Promise<unknown>((resolve) => worker.once("message", resolve))
    assert.strictEqual(await next(), "abc")
    await worker.terminate()
    // The two ends of its pipe are no concern of ours: nothing of it runs any more that could close them.
    assert.isAtMost(opened(), before + 2)
  })
})
