/**
 * What strace prints is read as the calls that it stands for.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Calls from "../src/xen/Calls.ts"

const trace = `access("/mark", 0) = -1 ENOENT (No such file or directory)
ioctl(19, 0x184705, 0x7ffd) = 0
mmap(NULL, 0x1000, 0x3, 0x1, 19, 0) = 0x7f0000001000
mmap(0x7f0000001000, 0x1000, 0x3, 0x4032, -1, 0) = 0x7f0000001000
ioctl(19, 0x104706, 0x7ffd) = 0
access("/mark", 0) = -1 ENOENT (No such file or directory)
munmap(0x7f0000001000, 0x1000) = 0
access("/mark", 0) = -1 ENOENT (No such file or directory)
mmap(NULL, 0x3000, 0x3, 0x22, -1, 0) = 0x7f0000002000
munmap(0x7f0000002000, 0x3000) = 0
munmap(0x7f0000004000, 0x1000) = 0
access("/mark", 0) = -1 ENOENT (No such file or directory)
`

describe("Calls", () => {
  it("tells memory in the place of pages from memory of C's own, and leaves out what is between operations", () => {
    assert.deepStrictEqual(Calls.parse(trace), [
      { ALLOC_GREF: 1, mmap: 1, "mmap in place": 1, DEALLOC_GREF: 1 },
      { "mmap memory": 1, "munmap memory": 1, munmap: 1 }
    ])
    // Arm64 has no access.
    const marked = trace.replaceAll("access(", "faccessat(-100, ")
    assert.deepStrictEqual(Calls.parse(marked), Calls.parse(trace))
  })
})
