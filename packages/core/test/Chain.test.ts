import { assert, describe, it } from "@effect/vitest"
import * as Chain from "@xen-shbuf/core/Chain"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

const places = (least: number, most: number) =>
  Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 })))
    .check(Schema.isMinLength(least), Schema.isMaxLength(most))

/** The first reference that stood before, found by looking at every pair; what stood before counts in its order. */
const repeated = (links: ReadonlyArray<number>, refs: ReadonlyArray<number>) => {
  for (const [index, ref] of refs.entries()) {
    const linked = links.indexOf(ref)
    if (linked >= 0) return { index, ref, first: { part: "directory", page: linked } }
    if (refs.indexOf(ref) < index) return { index, ref, first: { part: "buffer", page: refs.indexOf(ref) } }
  }
  return undefined
}

describe("Chain.check", () => {
  it.effect.prop(
    "finds the first reference that is repeated, or that is a page of the directory, close together or far apart",
    { links: places(0, 4), refs: places(1, 40), stride: Schema.Literals([1, 3, 64, 70_000_000]) },
    ({ links, refs, stride }) =>
      Effect.sync(() => {
        const ref = (place: number) => 8 + place * stride
        const found = Chain.check(links.map(ref), Uint32Array.from(refs, ref))
        const expected = repeated(links.map(ref), refs.map(ref))
        if (expected === undefined) return assert.isTrue(Result.isSuccess(found))
        const reason = Result.isFailure(found) ? found.failure.reason : undefined
        assert.deepInclude<object | undefined>(reason, { _tag: "RepeatedRef", page: 0, ...expected })
      }),
    { arbitrary: { runs: 1000 } }
  )
})

describe("Chain.join", () => {
  it.each([1, 1023, 1024, 2500])("gives of %i references, copied page by page, what they are all at once", (count) => {
    const pages = Chain.pagesFor(count)
    const refs = Uint32Array.from({ length: count }, (_, i) => 8 + i)
    const links = Uint32Array.from({ length: pages }, (_, i) => 9000 + i)
    const bytes = new Uint8Array(pages * 4096)
    Chain.write(bytes, links, refs)
    const copies = Array.from(links, (_, page) => Chain.copy(bytes.subarray(page * 4096), page, count))
    assert.deepStrictEqual(copies.map((words) => words[0]), Array.from(links, (_, page) => links[page + 1] ?? 0))
    assert.deepStrictEqual(Chain.join(copies, count), Chain.refs(bytes, count))
    assert.deepStrictEqual(Chain.join(copies, count), refs)
  })
})
