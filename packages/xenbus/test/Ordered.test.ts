import { assert, describe, it } from "@effect/vitest"
import * as Ordered from "@xen-shbuf/xenbus/Ordered"
import * as Schema from "effect/Schema"

const byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))

describe("Ordered", () => {
  it.prop("flags are set and cleared one by one, and nothing beside them changes", {
    before: Schema.Array(byte).check(Schema.isMinLength(1)),
    at: Schema.Natural,
    bits: byte
  }, ({ at, before, bits }) => {
    const place = at % before.length
    const memory = Uint8Array.of(0xee, ...before, 0xee)
    const flags = Ordered.flags(memory, 1, before.length)
    const around = () => [...memory.slice(0, place + 1), ...memory.slice(place + 2)]
    const rest = around()
    Ordered.raise(flags, place, bits)
    assert.strictEqual(Ordered.loadFlags(flags, place), before[place]! | bits)
    assert.strictEqual(Ordered.lower(flags, place, bits), bits !== 0)
    assert.strictEqual(Ordered.loadFlags(flags, place), before[place]! & ~bits)
    assert.isFalse(Ordered.lower(flags, place, bits))
    Ordered.storeFlags(flags, place, bits)
    assert.deepStrictEqual([memory[place + 1], around()], [bits, rest])
    assert.throws(() => Ordered.flags(memory, 1, memory.length), RangeError)
  })

  it("after the end of the memory's scope every use throws", () => {
    const memory = new Uint8Array(8)
    const [words, flags] = [Ordered.words(memory, 1), Ordered.flags(memory, 4, 1)]
    memory.buffer.transfer(0)
    for (const use of [
      () => Ordered.load(words, 0),
      () => Ordered.store(words, 0, 1),
      () => Ordered.loadFlags(flags, 0),
      () => Ordered.storeFlags(flags, 0, 1),
      () => Ordered.raise(flags, 0, 1),
      () => Ordered.lower(flags, 0, 1)
    ]) assert.throws(use, TypeError)
  })
})
