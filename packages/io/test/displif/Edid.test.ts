import { assert, describe, it } from "@effect/vitest"
import * as Edid from "@xen-shbuf/io/displif/Edid"
import * as Schema from "effect/Schema"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** What Linux reads of a block: its checks, and the preferred mode. */
const read = (edid: Uint8Array) => {
  assert.strictEqual(edid.length, 128)
  assert.deepStrictEqual(Array.from(edid.subarray(0, 8)), [0, 255, 255, 255, 255, 255, 255, 0])
  assert.strictEqual(edid.reduce((sum, byte) => sum + byte, 0) % 256, 0)
  const timing = edid.subarray(54)
  return {
    clock: timing[0]! | timing[1]! << 8,
    width: timing[2]! | timing[4]! >> 4 << 8,
    height: timing[5]! | timing[7]! >> 4 << 8,
    name: String.fromCharCode(...edid.subarray(77, 90)).replace(/\n.*/s, "")
  }
}

describe("Edid", () => {
  it.prop("prefers the resolution, at its frame rate, where EDID has numbers for it", {
    width: between(1, 5000),
    height: between(1, 5000),
    frameRate: between(1, 240)
  }, ({ frameRate, height, width }) => {
    const edid = Edid.make({ width, height, frameRate, name: "a long name for it" })
    const clock = Math.round((width + 160) * (height + 30) * frameRate / 10_000)
    assert.strictEqual(edid === undefined, width > 4095 || height > 4095 || clock > 0xffff)
    if (edid !== undefined) assert.deepStrictEqual(read(edid), { clock, width, height, name: "a long name f" })
  })

  // `edid-decode --check` of v4l-utils finds nothing wrong with the blocks of 800×600, 1920×1080 and 3840×2160.
  it("has a size and a maker", () => {
    const edid = Edid.make({ width: 1920, height: 1080, maker: "ABC" })!
    assert.deepStrictEqual(Array.from(edid.subarray(21, 23)), [51, 29])
    assert.deepStrictEqual(Array.from(edid.subarray(8, 10)), [0x04, 0x43])
    assert.strictEqual(read(edid).name, "xen-shbuf")
  })
})
