import { assert, describe, it } from "@effect/vitest"
import * as Chain from "@xen-shbuf/core/Chain"
import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import * as PageDirectory from "@xen-shbuf/core/PageDirectory"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as TestSchema from "effect/testing/TestSchema"
import { readdirSync, readFileSync } from "node:fs"

const encode = Schema.encodeSync(PageDirectory.FromBytes)
const decode = Schema.decodeSync(PageDirectory.FromBytes)

/** `count` references that differ, in the order of a free list: not ascending. */
const distinct = (count: number, from = 8) => Uint32Array.from({ length: count }, (_, i) => from + count - 1 - i)

const build = (count: number) => {
  const links = Array.from({ length: Chain.pagesFor(count) }, (_, i) => 0x8000_0000 + i)
  const refs = distinct(count)
  return { links, refs, directory: Result.getOrThrow(PageDirectory.fromRefs(links, refs)) }
}

/** The reason's fields, its tag and its sentence. */
const reason = (result: Result.Result<unknown, DirectoryError>): Readonly<Record<string, unknown>> => {
  if (Result.isSuccess(result)) return assert.fail("expected a DirectoryError")
  const { _tag, message, ...fields } = result.failure.reason
  return { ...fields, _tag, message }
}

describe("PageDirectory", () => {
  for (const count of [1, 2, 1022, 1023, 1024, 2046, 2047, 65_535, 1_048_576]) {
    it(`round trip: ${count} references`, () => {
      const { directory, links, refs } = build(count)
      const bytes = encode(directory)
      assert.strictEqual(bytes.length, links.length * 4096)
      const back = Result.getOrThrow(PageDirectory.toRefs(decode(bytes), links[0]!, count))
      assert.isTrue(Buffer.from(back.buffer).equals(Buffer.from(refs.buffer)))
      assert.isTrue(Buffer.from(encode(decode(bytes))).equals(Buffer.from(bytes)))
    })
  }

  it("0 references, more than 1 048 576, and a wrong number of pages are refused", () => {
    for (const [links, count] of [[0, 0], [1, 0], [1, 1024], [2, 1023], [1026, 1_048_577]] as const) {
      const from = PageDirectory.fromRefs(Array.from({ length: links }, (_, i) => 8 + i), distinct(count, 5000))
      assert.strictEqual(reason(from)["_tag"], "WrongCount")
    }
    const { directory } = build(1023)
    for (const count of [0, -1, 1.5, 1024, 1_048_577, Number.NaN]) {
      assert.strictEqual(reason(PageDirectory.toRefs(directory, 0x8000_0000, count))["_tag"], "WrongCount", `${count}`)
    }
  })

  // Worked out by hand from the documented layout: u32 next, then u32 refs, little-endian, zeros behind.
  it("one page of three references, byte for byte", () => {
    const directory = Result.getOrThrow(PageDirectory.fromRefs([0x0102_0304], Uint32Array.of(8, 0x11, 0xffff_fffe)))
    const expected = new Uint8Array(4096)
    expected.set([0, 0, 0, 0, 8, 0, 0, 0, 0x11, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff])
    assert.deepStrictEqual(encode(directory), expected)
  })

  it("1024 references take two pages: the first links to the second and is full", () => {
    const refs = Uint32Array.from({ length: 1024 }, (_, i) => 1000 + i)
    const bytes = encode(Result.getOrThrow(PageDirectory.fromRefs([0x0a, 0x0b0c], refs)))
    assert.deepStrictEqual([...bytes.subarray(0, 8)], [0x0c, 0x0b, 0, 0, 0xe8, 3, 0, 0])
    assert.deepStrictEqual([...bytes.subarray(4092, 4104)], [0xe6, 7, 0, 0, 0, 0, 0, 0, 0xe7, 7, 0, 0])
    assert.isTrue(bytes.subarray(4104).every((byte) => byte === 0))
  })

  // Bytes of Linux 6.1's display and sound drivers on a real Xen. A file's name: the guest or the driver, so many references,
  // its first page's.
  const kernel = new URL("fixtures/", import.meta.url)
  for (const name of readdirSync(kernel)) {
    it(`what Linux's kernel made: ${name}`, () => {
      const [count = 0, first = 0] = name.match(/\d+/g)!.map(Number)
      const bytes = new Uint8Array(Buffer.from(readFileSync(new URL(name, kernel), "utf8").replaceAll("\n", ""), "hex"))
      const pages = bytes.length / 4096
      const directory = decode(bytes)
      const links = [first, ...Array.from({ length: pages - 1 }, (_, page) => PageDirectory.next(directory, page))]
      assert.strictEqual(pages, count === 0 ? 1 : Chain.pagesFor(count))
      if (count === 0) return assert.deepStrictEqual(encode(PageDirectory.fromLinks(links)), bytes)
      const refs = Result.getOrThrow(PageDirectory.toRefs(directory, first, count))
      assert.strictEqual(new Set([...links, ...refs]).size, pages + count)
      assert.deepStrictEqual(encode(Result.getOrThrow(PageDirectory.fromRefs(links, refs))), bytes)
    })
  }

  it("an empty directory for the backend has links only", () => {
    const bytes = encode(PageDirectory.fromLinks([8, 9]))
    assert.deepStrictEqual([...bytes.subarray(0, 4)], [9, 0, 0, 0])
    assert.isTrue(bytes.subarray(4).every((byte) => byte === 0))
  })

  it.effect("bytes to directory and back are the same bytes", () =>
    new TestSchema.Asserts(PageDirectory.FromBytes).verifyRoundTripEffect({ runs: 200 }))

  it("only whole pages decode, one to 1026, and the copy is private", () => {
    for (const length of [0, 1, 4095, 4097, 1027 * 4096]) {
      const result = Schema.decodeUnknownResult(PageDirectory.FromBytes)(new Uint8Array(length))
      assert.include(Result.isFailure(result) ? result.failure.message : "", "1 to 1026 whole pages of 4096 bytes")
    }
    const shared = encode(build(5).directory)
    // A Buffer is a Uint8Array whose slice() does not copy.
    const [directory, fromBuffer] = [decode(shared), decode(Buffer.from(shared.buffer))]
    shared.fill(0xff)
    assert.strictEqual(PageDirectory.next(directory, 0), 0)
    assert.strictEqual(PageDirectory.next(fromBuffer, 0), 0)
    const out = encode(directory)
    out.fill(0xff)
    assert.strictEqual(PageDirectory.next(directory, 0), 0)
  })

  it("directories that were made one after the other have nothing in common, and nobody else has their memory", () => {
    const fill = (pages: number, byte: number) => new Uint8Array(pages * 4096).fill(byte)
    const sizes = [1, 2, 1, 3, 1, 1, 2, 1, 8, 1, 2, 2, 1, 1]
    const made = sizes.map((pages, i) => ({ pages, byte: i + 1, directory: decode(fill(pages, i + 1)) }))
    const blank = PageDirectory.fromLinks([8])
    for (const { byte, directory, pages } of made) {
      const bytes = encode(directory)
      assert.deepStrictEqual(bytes, fill(pages, byte))
      assert.deepStrictEqual([bytes.byteOffset, bytes.buffer.byteLength], [0, pages * 4096])
      assert.strictEqual(PageDirectory.next(directory, pages - 1), byte * 0x01010101)
      bytes.fill(0xff)
      PageDirectory.slots(directory, 1023).fill(0xff)
      assert.deepStrictEqual(encode(directory), fill(pages, byte))
    }
    assert.deepStrictEqual(encode(blank), fill(1, 0))
  })

  it.each([1, 1023, 1024, 2047])("write lays out %d references as encoding does, and nothing more", (count) => {
    const { directory, links, refs } = build(count)
    const bytes = encode(directory)
    const target = new Uint8Array(4096 + bytes.length + 1)
    Chain.write(target.subarray(4096), links, refs)
    assert.deepStrictEqual(target.subarray(4096, -1), bytes)
    assert.isTrue(target.subarray(0, 4096).every((byte) => byte === 0))
    assert.strictEqual(target.at(-1), 0)
    assert.throws(() => Chain.write(new Uint8Array(4), links, refs), RangeError)
  })

  it.each([1, 1023, 1024, 2047])("writeRefs fills in the pages of %d references, and leaves their links", (count) => {
    const { directory, refs } = build(count)
    const bytes = encode(directory)
    for (let page = 0; page < directory.pages; page++) {
      const target = new Uint8Array(3 * 4096).fill(0xff)
      Chain.writeRefs(target.subarray(4096), page, refs)
      assert.deepStrictEqual(target.slice(4100, 8192), bytes.slice(page * 4096 + 4, (page + 1) * 4096))
      assert.isTrue([target.subarray(0, 4100), target.subarray(8192)].every((rest) => rest.every((byte) => byte === 0xff)))
    }
  })

  it("linkIn reads what next does", () => {
    const links = [8, 0xffff_fffe, 0x0123_4567]
    const directory = PageDirectory.fromLinks(links)
    const bytes = encode(directory)
    for (const page of [0, 1, 2]) {
      const own = bytes.subarray(page * 4096, (page + 1) * 4096)
      assert.strictEqual(Chain.link(own), PageDirectory.next(directory, page))
      assert.strictEqual(Chain.link(own), links[page + 1] ?? 0)
    }
  })

  it("single pages join to the chain that they came from", () => {
    const bytes = encode(build(2047).directory)
    const parts = [0, 4096, 8192].map((at) => decode(bytes.subarray(at, at + 4096)))
    assert.deepStrictEqual(encode(PageDirectory.concat(parts)), bytes)
    assert.deepStrictEqual(encode(PageDirectory.concat(parts.slice(0, 1))), bytes.subarray(0, 4096).slice())
  })

  it("decodes bytes at any alignment", () => {
    const { directory, refs } = build(20)
    const odd = new Uint8Array(4099)
    odd.set(encode(directory), 3)
    assert.deepStrictEqual(PageDirectory.slots(decode(odd.subarray(3)), 20), refs)
  })

  describe("a hostile chain", () => {
    const damaged = (count: number, damage: (words: Uint32Array) => void) => {
      const { directory, links } = build(count)
      const bytes = encode(directory)
      damage(new Uint32Array(bytes.buffer))
      return PageDirectory.toRefs(decode(bytes), links[0]!, count)
    }
    const page = (n: number) => n * 1024

    it.each([
      ["ends early", 2046, { pages: 1, expected: 2 }, "TooShort", (w: Uint32Array): void => void (w[page(0)] = 0)],
      ["goes on", 2046, { expected: 2, next: 99 }, "TooLong", (w: Uint32Array): void => void (w[page(1)] = 99)],
      ["goes on to a reserved reference", 5, { expected: 1, next: 3 }, "TooLong", (w: Uint32Array): void => void (w[0] = 3)],
      [
        "links to itself",
        2046,
        { page: 0, ref: 0x8000_0000, firstPage: 0 },
        "Cyclic",
        (w: Uint32Array): void => void (w[page(0)] = 0x8000_0000)
      ],
      [
        "closes a circle at its end",
        3000,
        { page: 2, ref: 0x8000_0001, firstPage: 1 },
        "Cyclic",
        (w: Uint32Array): void => void (w[page(2)] = 0x8000_0001)
      ],
      ["links to a reserved reference", 2046, { to: 1, word: 7 }, "InvalidLink", (w: Uint32Array): void => void (w[0] = 7)],
      [
        "links to 0xFFFFFFFF",
        2046,
        { to: 1, word: 0xffff_ffff },
        "InvalidLink",
        (w: Uint32Array): void => void (w[0] = 0xffff_ffff)
      ],
      ["has a zero", 1030, { page: 1, index: 1023, word: 0 }, "InvalidRef", (w: Uint32Array): void => void (w[page(1) + 1] = 0)],
      ["has a reserved reference", 9, { page: 0, index: 8, word: 7 }, "InvalidRef", (w: Uint32Array): void => void (w[9] = 7)],
      [
        "has 0xFFFFFFFF",
        9,
        { page: 0, index: 0, word: 0xffff_ffff },
        "InvalidRef",
        (w: Uint32Array): void => void (w[1] = 0xffff_ffff)
      ],
      [
        "repeats a reference",
        1030,
        { page: 1, index: 1024, ref: distinct(1030)[2]!, first: { part: "buffer", page: 2 } },
        "RepeatedRef",
        (w: Uint32Array): void => void (w[page(1) + 2] = w[3]!)
      ],
      [
        "lists a page of the directory",
        1030,
        { page: 0, index: 4, ref: 0x8000_0001, first: { part: "directory", page: 1 } },
        "RepeatedRef",
        (w: Uint32Array): void => void (w[5] = 0x8000_0001)
      ]
    ])("%s", (_, count, expected, tag, damage) => {
      const found = reason(damaged(count, damage))
      assert.strictEqual(found["_tag"], tag)
      assert.deepInclude(found, expected)
      assert.isAbove(String(found["message"]).length, 30)
    })

    it("words beyond the count don't matter", () => {
      assert.isTrue(Result.isSuccess(damaged(5, (w) => void w.fill(0xffff_ffff, 6))))
    })
  })

  it.effect.prop(
    "a repeated reference is found wherever it stands, however far apart the references are",
    [Schema.Literals([1, 1000, 4_000_000]), Schema.Natural, Schema.Natural],
    ([stride, a, b]) =>
      Effect.sync(() => {
        const refs = Uint32Array.from({ length: 1030 }, (_, i) => 8 + (1029 - i) * stride)
        assert.isTrue(Result.isSuccess(Chain.check([4], refs)))
        const [first, index] = [a % 1030, b % 1030].toSorted((x, y) => x - y) as [number, number]
        if (first === index) return
        refs[index] = refs[first]!
        assert.deepInclude(reason(Chain.check([4], refs)), {
          _tag: "RepeatedRef",
          index,
          first: { part: "buffer", page: first }
        })
        // A repeated link is no repeated reference, and hides none.
        assert.deepInclude(reason(Chain.check([4, 4], refs)), { _tag: "RepeatedRef", index })
        assert.deepInclude(reason(Chain.check([4, refs[1029]!], Uint32Array.from(new Set(refs)))), {
          first: { part: "directory", page: 1 }
        })
      })
  )

  it.effect("a million references that all collide are refused at once", () =>
    Effect.sync(() => {
      const refs = new Uint32Array(1_048_576).fill(4711)
      const links = Array.from({ length: 1026 }, (_, i) => 0x8000_0000 + i)
      assert.strictEqual(reason(PageDirectory.fromRefs(links, refs))["_tag"], "RepeatedRef")
    }))
})
