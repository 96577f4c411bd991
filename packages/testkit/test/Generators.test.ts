import { assert, describe, it } from "@effect/vitest"
import * as Chain from "@xen-shbuf/core/Chain"
import * as DomainId from "@xen-shbuf/core/DomainId"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import * as PageDirectory from "@xen-shbuf/core/PageDirectory"
import * as Generators from "@xen-shbuf/testkit/Generators"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

const decode = Schema.decodeSync(PageDirectory.FromBytes)

/** The smallest counterexample that is found. */
const shrunk = <A>(arbitrary: Arbitrary.Arbitrary<A>, property: (value: A) => boolean) =>
  Effect.map(Arbitrary.checkEffect(arbitrary, property, { runs: 300, seed: 1 }), (result) => {
    assert(result._tag === "Falsified")
    return result.shrunkInput
  })

describe("Generators", () => {
  it.prop("ids and references are inside of their bounds, invalid references outside", {
    id: Generators.domainId,
    ref: Generators.grantRef,
    invalid: Generators.invalidRef
  }, ({ id, invalid, ref }) => {
    assert.isTrue(Schema.is(DomainId.DomainId)(id))
    assert.isTrue(GrantRef.isGrantRef(ref))
    assert.isFalse(GrantRef.isGrantRef(invalid))
  })

  it.effect("sizes reach every boundary, never pass the maximum, and shrink to the smallest", () =>
    Effect.gen(function*() {
      const all = yield* Arbitrary.sampleEffect(Generators.pageCount(), { count: 2000, seed: 1 })
      for (const pages of [1, 2, 1022, 1023, 1024, 2045, 2046, 2047]) assert.include(all, pages)
      const some = yield* Arbitrary.sampleEffect(Generators.pageCount({ maximum: 1023 }), { count: 500, seed: 1 })
      assert.strictEqual(Math.max(...some), 1023)
      assert.strictEqual(yield* shrunk(Generators.pageCount(), (pages) => pages < 1000), 1022)
      assert.strictEqual(yield* shrunk(Generators.byteLength(), (length) => length <= 4096), 8192)
      assert.deepStrictEqual([...Generators.byteLengths({ maximum: 2 })], [1, 4095, 4096, 4097])
      assert.include(Generators.byteLengths(), 2047 * 4096 - 1)
    }))

  it.prop("shuffling keeps the items, bytes depend on the seed only", { seed: Generators.seed }, ({ seed }) => {
    const items = Array.from({ length: 20 }, (_, i) => i)
    assert.sameMembers(Generators.shuffled(seed, items), items)
    assert.deepStrictEqual(Generators.bytes(seed, 7), Generators.bytes(seed, 4096).subarray(0, 7))
    assert.notDeepEqual(Generators.bytes(seed, 4096), Generators.bytes(seed, 8192).subarray(4096))
  })

  it.prop("a sound directory lists its references", { directory: Generators.directory() }, ({ directory }) => {
    const { links, refs } = directory
    const read = PageDirectory.toRefs(decode(Generators.layOut(directory)), links[0]!, refs.length)
    assert.deepStrictEqual(Result.getOrThrow(read), refs)
  })

  it.prop("a damaged one is refused for the reason it says", {
    directory: Generators.directory({ maximum: 1 }),
    hostile: Generators.hostile()
  }, ({ directory: { refs: [first] }, hostile: { damage, pages } }) => {
    const links = Chain.pagesFor(pages)
    const all = Uint32Array.from({ length: links + pages }, (_, i) => 8 + (first! + i) % 0x7fff_ffff)
    const { bytes, reason } = Generators.damaged({ links: all.slice(0, links), refs: all.slice(links) }, damage)
    const read = PageDirectory.toRefs(decode(bytes), all[0]!, pages)
    assert(Result.isFailure(read))
    assert.deepStrictEqual({ ...read.failure.reason }, { ...reason })
  }, { arbitrary: { runs: 500 } })

  it.effect("every kind of damage is found, and shrinks", () =>
    Effect.gen(function*() {
      for (const kind of Object.keys(Generators.Damage.cases)) {
        const { damage } = yield* shrunk(Generators.hostile(), ({ damage }) => damage._tag !== kind)
        const words = Object.values(damage).filter((value) => typeof value === "number")
        assert.isTrue(words.every((word) => word <= 8 || word > 0xffff_fff0), JSON.stringify(damage))
      }
    }))
})
