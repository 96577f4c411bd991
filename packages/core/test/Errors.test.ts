import { assert, describe, it } from "@effect/vitest"
import * as DomainId from "@xen-shbuf/core/DomainId"
import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import * as DirectoryError from "@xen-shbuf/core/DirectoryError"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as PageDirectory from "@xen-shbuf/core/PageDirectory"
import * as XenStoreError from "@xen-shbuf/core/XenStoreError"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

/** To text that another program can read, and back. */
const through = <A, E>(schema: Schema.Codec<A, E>, value: A): A => {
  const json = Schema.toCodecJson(schema)
  return Schema.decodeUnknownSync(json)(JSON.parse(JSON.stringify(Schema.encodeUnknownSync(json)(value))))
}

describe("errors", () => {
  it.effect.prop("of a grant table go through JSON whole", [GrantTableError.GrantTableError], ([error]) =>
    Effect.sync(() => {
      const back = through(GrantTableError.GrantTableError, error)
      assert.deepStrictEqual(back, error)
      assert.strictEqual(back.message, error.message)
    }))

  it.effect.prop("of event channels go through JSON whole", [EventChannelError.EventChannelError], ([error]) =>
    Effect.sync(() => {
      const back = through(EventChannelError.EventChannelError, error)
      assert.deepStrictEqual(back, error)
      assert.strictEqual(back.message, error.message)
    }))

  it.effect.prop("of xenstore go through JSON whole", [XenStoreError.XenStoreError], ([error]) =>
    Effect.sync(() => {
      const back = through(XenStoreError.XenStoreError, error)
      assert.deepStrictEqual(back, error)
      assert.strictEqual(back.message, error.message)
    }))

  it.effect.prop("of a directory go through JSON whole", [DirectoryError.DirectoryError], ([error]) =>
    Effect.sync(() => {
      const back = through(DirectoryError.DirectoryError, error)
      assert.deepStrictEqual(back, error)
      assert.strictEqual(back.message, error.message)
    }))

  it("a refusal without a cause names Xen's policy, where neither side is known to be dom0", () => {
    const refused = (domain: number, fields: { readonly status?: string } = {}) =>
      new GrantTableError.GrantRefused({ grant: { peer: DomainId.DomainId.make(domain), ref: GrantRef.GrantRef.make(8) }, index: 0, access: "read-only", ...fields }).message
    assert.include(refused(5), "xsm=dummy")
    assert.notInclude(refused(0), "xsm")
    assert.notInclude(refused(5, { status: "GNTST_bad_gntref" }), "xsm")
  })

  it("a count that is not even a number is told in words, which plain JSON keeps too", () => {
    const directory = Result.getOrThrow(PageDirectory.fromRefs([8], Uint32Array.of(9)))
    const result = PageDirectory.toRefs(directory, 8, Number.NaN)
    const { reason } = Result.isFailure(result) ? result.failure : assert.fail("it succeeds")
    assert.deepInclude(JSON.parse(JSON.stringify(reason)), { _tag: "WrongCount", refs: "NaN", pages: 1 })
    assert.match(reason.message, /^NaN references don't fit a directory of 1 pages/)
  })
})
