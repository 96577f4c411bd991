import { assert, describe, it } from "@effect/vitest"
import * as Runs from "@xen-shbuf/cli/Runs"

const text = (...values: ReadonlyArray<number>) => Runs.fromArray(values).map(Runs.format).join(" ")

describe("Runs", () => {
  it("shortens what rises, falls or stays", () => {
    assert.strictEqual(text(57, 58, 59, 60), "57..60 (4)")
    assert.strictEqual(text(60, 59, 58), "60..58 (3)")
    assert.strictEqual(text(0, 0, 0), "0 (3 times)")
  })

  it("leaves alone what does none of these", () => {
    assert.strictEqual(text(), "")
    assert.strictEqual(text(8), "8")
    assert.strictEqual(text(8, 10, 12), "8 10 12")
    assert.strictEqual(text(8, 9, 0, 0, 7, 3), "8..9 (2) 0 (2 times) 7 3")
    assert.strictEqual(text(1, 2, 3, 2, 1), "1..3 (3) 2..1 (2)")
  })

  it("keeps every value", () => {
    const values = Array.from({ length: 500 }, (_, i) => Math.imul(i, 0x9e37_79b1) >>> 30)
    const back = Runs.fromArray(values).flatMap(({ count, first, last }) =>
      Array.from({ length: count }, (_, i) => first + i * Math.sign(last - first))
    )
    assert.deepStrictEqual(back, values)
  })
})
