import { afterEach, assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { execFileSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Device from "../src/Device.ts"
import * as SystemCalls from "../src/SystemCalls.ts"

const scratch = mkdtempSync(join(tmpdir(), "xen-shbuf-device-"))
const open: Array<number> = []
const system = SystemCalls.native()
afterEach(() => {
  for (const fd of open.splice(0)) system.close(fd)
  rmSync(scratch, { recursive: true, force: true })
})

const path = join(scratch, "device")
const device = { path, module: "xen-nothing" }

/** A pipe in the place of a device: what is written to it is read from it. */
const pipe = () => {
  mkdirSync(scratch, { recursive: true })
  execFileSync("mkfifo", [path])
  const fd = Result.getOrThrow(Device.open(system, device, SystemCalls.O_NONBLOCK))
  open.push(fd)
  return fd
}

describe("Device", () => {
  it("reads what is there, nothing where there is nothing yet, and never more than there is room for", () => {
    const fd = pipe()
    const into = new Uint8Array(8)
    assert.deepStrictEqual(Device.read(system, path, fd, into), Result.succeed(0))
    assert.deepStrictEqual(Device.write(system, path, fd, Uint8Array.of(0, 1, 2, 3, 4, 5).subarray(1)), Result.succeed(5))
    assert.deepStrictEqual(Device.read(system, path, fd, into.subarray(2, 5)), Result.succeed(3))
    assert.deepStrictEqual([...into], [0, 0, 1, 2, 3, 0, 0, 0])
    assert.deepStrictEqual(Device.read(system, path, fd, into), Result.succeed(2))
    assert.deepStrictEqual([...into], [4, 5, 1, 2, 3, 0, 0, 0])
  })

  it("writes as much as is taken, and nothing to what is full", () => {
    const fd = pipe()
    const bytes = new Uint8Array(2 ** 20)
    const taken = Result.getOrThrow(Device.write(system, path, fd, bytes))
    assert.isAbove(taken, 0)
    assert.isBelow(taken, bytes.length)
    while (Result.getOrThrow(Device.write(system, path, fd, bytes.subarray(0, 4096))) > 0);
    assert.deepStrictEqual(Device.write(system, path, fd, Uint8Array.of(1)), Result.succeed(0))
  })

  it("begins again after a signal", () => {
    let calls = 0
    const interrupted = { ...system, read: () => ++calls < 3 ? -4 : 7 }
    assert.deepStrictEqual(Device.read(interrupted, path, 3, new Uint8Array(8)), Result.succeed(7))
    assert.strictEqual(calls, 3)
  })

  it("says which call on which device failed", () => {
    const failure = Result.getOrThrow(Result.flip(Device.read(system, path, -1, new Uint8Array(1))))
    assert.deepInclude(failure, { _tag: "DeviceFailed", device: path, call: "read", errno: "EBADF" })
    const written = Result.getOrThrow(Result.flip(Device.write(system, path, -1, new Uint8Array(1))))
    assert.deepInclude(written, { _tag: "DeviceFailed", device: path, call: "write", errno: "EBADF" })
  })

  it("says what an administrator can do about one that can't be opened", () => {
    const reason = Result.getOrThrow(Result.flip(Device.open(system, { path: "/dev/xen/none", module: "xen-none" })))
    assert.deepInclude(reason, { _tag: "DeviceUnavailable", device: "/dev/xen/none", errno: "ENOENT" })
    assert.include(reason.remedy, "modprobe xen-none")
    const remedy = (errno: string) => Device.remedy({ path: "/dev/xen/evtchn", module: "xen-evtchn" }, errno)
    assert.include(remedy("EACCES"), `KERNEL=="xen/evtchn"`)
    assert.include(remedy("EMFILE"), "ulimit -n")
    assert.include(remedy("EIO"), "dmesg")
  })

  it("programs that are started do not inherit it", () => {
    mkdirSync(scratch, { recursive: true })
    writeFileSync(path, "")
    const fd = Result.getOrThrow(Device.open(system, device))
    open.push(fd)
    assert.notInclude(execFileSync("ls", ["-l", "/proc/self/fd"], { encoding: "utf8" }), path)
  })
})
