import { assert, describe, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { readlinkSync } from "node:fs"
import * as Libc from "../src/internal/Libc.ts"

const FIONREAD = 0x541b

describe("Libc", () => {
  it("passes arrays by address, so that the kernel writes its answer into them", () => {
    const libc = Libc.libc()
    const fd = libc.memfd("test", Libc.MFD_CLOEXEC)
    assert.strictEqual(libc.ftruncate(fd, 8192), 0)
    for (const words of [1, 2000]) {
      const answer = new Uint32Array(words)
      assert.strictEqual(libc.ioctl(fd, FIONREAD, answer), 0)
      assert.strictEqual(answer[0], 8192)
    }
    assert.strictEqual(libc.close(fd), 0)
  })

  it("answers with the errno, negated, which has a name", () => {
    const libc = Libc.libc()
    assert.strictEqual(Libc.errnoName(libc.open("/no/such/device", Libc.O_RDWR | Libc.O_CLOEXEC)), "ENOENT")
    assert.strictEqual(Libc.errnoName(libc.ioctl(-1, FIONREAD, new Uint32Array(1))), "EBADF")
    assert.strictEqual(Libc.errnoName(libc.mmap(null, 1, Libc.PROT_READ, Libc.MAP_SHARED, -1, 0)), "EBADF")
    assert.strictEqual(Libc.errnoName(-4000), "errno 4000")
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
    const libc = Libc.libc()
    const bytes = new Uint8Array(8)
    const sub = bytes.subarray(4)
    assert.strictEqual(libc.addressOf(sub) - libc.addressOf(bytes), 4n)
    sub[0] = 7
    assert.strictEqual(new Uint8Array(libc.view(libc.addressOf(bytes), 8))[4], 7)
  })
})
