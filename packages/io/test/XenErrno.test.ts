import * as XenErrno from "@xen-shbuf/io/XenErrno"
import { assert, describe, it } from "vitest"
import * as Oracle from "./Oracle.ts"

describe("XenErrno", () => {
  it("has the numbers of Xen's header", () => {
    const ours = Object.entries(XenErrno.XenErrno).map(([name, number]): [string, number] => [`XEN_${name}`, number])
    assert.deepStrictEqual(ours, Array.from(Oracle.names).filter(([name]) => name.startsWith("XEN_")))
  })

  it("names every number, negated or not, and no other", () => {
    for (const [name, number] of Object.entries(XenErrno.XenErrno)) {
      assert.strictEqual(XenErrno.nameOf(number), name)
      assert.strictEqual(XenErrno.nameOf(-number), name)
    }
    assert.strictEqual(XenErrno.nameOf(0), undefined)
    assert.strictEqual(XenErrno.nameOf(4096), undefined)
  })
})
