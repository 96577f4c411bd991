/**
 * What `strace -c` counts is read, with and without errors in a line, and what is rare is left out.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Served from "../src/xen/Served.ts"

const table = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.03    0.093000         232       400           ioctl
 20.00    0.030000         150       200        10 read
  9.97    0.015000         150        15           mmap
  9.00    0.014000          70       200           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.152000         186       815        10 total
`

describe("Served", () => {
  it("reads how often each system call is made for a flip", () => {
    assert.deepStrictEqual(Served.parse(table, 200), { ioctl: 2, read: 1, write: 1 })
  })
})
