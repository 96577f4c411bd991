import { assert, describe, it } from "@effect/vitest"
import * as Ring from "@xen-shbuf/xenbus/Ring"
import { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Schema from "effect/Schema"
import * as Model from "./Model.ts"

describe("The error of a ring", () => {
  it("says what, and where", () => {
    const memory = new Uint8Array(4096)
    const back = Ring.back(memory, { slotSize: 64 })
    const words = new Uint32Array(memory.buffer)
    words[0] = 33
    const error = Model.answer(back.take(new Uint8Array(64)))
    assert.instanceOf(error, RingError)
    assert.strictEqual(error.message, "The peer's req_prod is 33 (0x21), but can't be beyond 32 (0x20); it was 0 (0x0) before.")
    words[0] = 0
    assert.strictEqual(Model.answer(back.take(new Uint8Array(64))), error)
    const front = Ring.front(memory, { slotSize: 64 })
    words[2] = 0xffff_ffff
    const other = Model.answer(front.finalCheck())
    assert.instanceOf(other, RingError)
    assert.strictEqual(
      other.message,
      "The peer's rsp_prod is 4294967295 (0xffffffff), but was 0 (0x0) before: it ran backwards."
    )
  })

  it.prop("goes through JSON whole", { error: RingError }, ({ error }) => {
    const json = Schema.toCodecJson(RingError)
    const back = Schema.decodeUnknownSync(json)(JSON.parse(JSON.stringify(Schema.encodeUnknownSync(json)(error))))
    assert.deepStrictEqual(back, error)
    assert.strictEqual(back.message, error.message)
  })
})
