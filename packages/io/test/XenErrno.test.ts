import * as XenErrno from "@xen-shbuf/io/XenErrno"
import { assert, it } from "vitest"

it("names every number, negated or not, and no other", () => {
  for (const [name, number] of Object.entries(XenErrno.XenErrno)) {
    assert.strictEqual(XenErrno.nameOf(number), name)
    assert.strictEqual(XenErrno.nameOf(-number), name)
  }
  assert.strictEqual(XenErrno.nameOf(0), undefined)
  assert.strictEqual(XenErrno.nameOf(4096), undefined)
})
