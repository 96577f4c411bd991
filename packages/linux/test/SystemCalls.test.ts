import { assert, describe, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { readlinkSync } from "node:fs"
import * as SystemCalls from "../src/SystemCalls.ts"

const FIONREAD = 0x541b

describe("SystemCalls", () => {
  it("passes arrays by address, so that the kernel writes its answer into them", () => {
    const system = SystemCalls.native()
    const fd = system.memfd("test", SystemCalls.MFD_CLOEXEC)
    assert.strictEqual(system.ftruncate(fd, 8192), 0)
    for (const words of [1, 2000]) {
      const answer = new Uint32Array(words)
      assert.strictEqual(system.ioctl(fd, FIONREAD, answer), 0)
      assert.strictEqual(answer[0], 8192)
    }
    assert.strictEqual(system.close(fd), 0)
  })

  it("answers with the errno, negated, which has a name", () => {
    const system = SystemCalls.native()
    assert.strictEqual(SystemCalls.errnoName(system.open("/no/such/device", SystemCalls.O_RDWR | SystemCalls.O_CLOEXEC)), "ENOENT")
    assert.strictEqual(SystemCalls.errnoName(system.ioctl(-1, FIONREAD, new Uint32Array(1))), "EBADF")
    assert.strictEqual(SystemCalls.errnoName(system.mmap(null, 1, SystemCalls.PROT_READ, SystemCalls.MAP_SHARED, -1, 0)), "EBADF")
    assert.strictEqual(SystemCalls.errnoName(-4000), "errno 4000")
  })

  it("whoever starts a child goes on when the child runs its program, with nothing of ours mapped any more", () => {
    for (let i = 0; i < 20; i++) {
      const child = spawn("sleep", ["60"], { stdio: "ignore" })
      const program = readlinkSync(`/proc/${child.pid}/exe`)
      child.kill()
      assert.notStrictEqual(program, process.execPath)
    }
  })

  it("knows where an array's bytes are, small ones too", () => {
    const system = SystemCalls.native()
    const bytes = new Uint8Array(8)
    const sub = bytes.subarray(4)
    assert.strictEqual(system.addressOf(sub) - system.addressOf(bytes), 4n)
    sub[0] = 7
    assert.strictEqual(new Uint8Array(system.view(system.addressOf(bytes), 8))[4], 7)
  })
})
