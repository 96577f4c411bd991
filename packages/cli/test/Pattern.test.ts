import { assert, describe, it } from "@effect/vitest"
import * as Digest from "@xen-shbuf/cli/Digest"
import * as Pattern from "@xen-shbuf/cli/Pattern"
import * as TestCard from "@xen-shbuf/cli/TestCard"

const filled = (byteLength: number, pattern: Pattern.Pattern) => {
  const bytes = new Uint8Array(byteLength).fill(0xaa)
  Pattern.write(bytes, pattern)
  return bytes
}

describe("Pattern", () => {
  it("fills each page with its number, the last one cut short", () => {
    const bytes = filled(3 * 4096 + 6, { _tag: "Pages" })
    assert.deepStrictEqual([...bytes.subarray(4092, 4104)], [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0])
    assert.deepStrictEqual([...bytes.subarray(3 * 4096)], [3, 0, 0, 0, 3, 0])
  })

  it("fills with zeros", () => {
    assert.isTrue(filled(5, { _tag: "Zero" }).every((byte) => byte === 0))
  })

  it("makes noise that depends on its seed, 0 too", () => {
    const seeds = Array.from({ length: 100 }, (_, seed) => seed)
    assert.strictEqual(new Set(seeds.map((seed) => Digest.sha256(filled(64, { _tag: "Noise", seed })))).size, 100)
    const counts = new Uint32Array(256)
    for (const byte of filled(256 * 1000, { _tag: "Noise", seed: 0 })) counts[byte]!++
    assert.isTrue(counts.every((count) => count > 800 && count < 1200))
  })

  it("makes the same bytes everywhere", () => {
    // Two versions of the command that differ here can't compare what they see.
    assert.strictEqual(
      Digest.sha256(filled(4096, { _tag: "Noise", seed: 7 })),
      "fbc47ac84c7434f5f58c4f6d8757a4d1a41c514b1b792efacb41718841dcb5bc"
    )
    assert.strictEqual(
      Digest.sha256(TestCard.draw(1920, 1080)),
      "dd72c1507e11b4c77856ee2e186fdaf43fab6e0833d8fb2c8c24ca742db7637c"
    )
  })

  it("does not write outside of its buffer", () => {
    const around = new Uint8Array(24).fill(0xaa)
    Pattern.write(around.subarray(4, 19), { _tag: "Noise", seed: 1 })
    assert.deepStrictEqual([...around.subarray(0, 4), ...around.subarray(19)], Array.from({ length: 9 }, () => 0xaa))
  })
})

describe("TestCard", () => {
  it("draws pictures of any size", () => {
    for (const [width, height] of [[1, 1], [1, 700], [700, 1], [64, 64], [31, 17], [480, 1000]] as const) {
      assert.lengthOf(TestCard.draw(width, height), width * height * 4)
    }
  })

  it("changes its background where the next page of the directory begins", () => {
    const pixels = new Uint32Array(TestCard.draw(1920, 1080).buffer)
    const at = (x: number, y: number) => pixels[y * 1920 + x]
    // Page 1023 begins in line 545 at 1152; its first 1920 pixels are a line of their own.
    assert.strictEqual(at(1700, 545), 0xf4f1e8)
    assert.strictEqual(at(100, 546), 0xf4f1e8)
    assert.notStrictEqual(at(100, 545), 0xf4f1e8)
    assert.notStrictEqual(at(1700, 546), 0xf4f1e8)
  })
})
