import { assert, describe, it } from "@effect/vitest"
import * as NodePermissions from "@xen-shbuf/core/NodePermissions"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Wire from "../src/XenStoreWire.ts"

const Word = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff }))
const Byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
const Bytes = Schema.Array(Byte).check(Schema.isMaxLength(100))
const Message = Schema.Struct({ type: Word, request: Word, transaction: Word, payload: Bytes })
const Sizes = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 40 }))).check(Schema.isMinLength(1))
const Name = Schema.String.check(Schema.isPattern(/^[a-z0-9@_-]{1,9}$/))

/** In pieces of these sizes, again and again. */
const pieces = (bytes: Uint8Array, sizes: ReadonlyArray<number>) => {
  const all: Array<Uint8Array> = []
  for (let at = 0, i = 0; at < bytes.length; at += sizes[i++ % sizes.length]!) {
    all.push(bytes.subarray(at, at + sizes[i % sizes.length]!))
  }
  return all
}

/** Feeds it all, through one buffer that is used again, as a device does. */
const decodeAll = (all: ReadonlyArray<Uint8Array>) => {
  const decoder = Wire.decoder()
  const messages: Array<Wire.Message> = []
  const buffer = new Uint8Array(64 * 1024)
  for (const piece of all) {
    buffer.fill(0xee)
    buffer.set(piece)
    const fed = decoder.feed(buffer.subarray(0, piece.length), (message) => messages.push(message))
    if (Result.isFailure(fed)) return Result.fail(fed.failure)
  }
  return Result.succeed(messages)
}

describe("XenStoreWire", () => {
  it("lays a message out as xs_wire.h does", () => {
    const bytes = Wire.encode({ type: Wire.types.WRITE, request: 0x01020304, transaction: 0xfffefdfc, payload: Wire.pathAndValue("a", Uint8Array.of(7)) })
    assert.deepStrictEqual([...bytes], [11, 0, 0, 0, 4, 3, 2, 1, 0xfc, 0xfd, 0xfe, 0xff, 3, 0, 0, 0, 97, 0, 7])
  })

  it.effect.prop(
    "takes messages out of pieces of any size as they were put in",
    { messages: Schema.Array(Message), sizes: Sizes },
    ({ messages, sizes }) =>
      Effect.sync(() => {
        const bytes = Buffer.concat(messages.map((one) => Wire.encode({ ...one, payload: Uint8Array.from(one.payload) })))
        const decoded = Result.getOrThrow(decodeAll(pieces(bytes, sizes)))
        assert.deepStrictEqual(decoded.map((one) => ({ ...one, payload: [...one.payload] })), messages.map((one) => ({ ...one, payload: [...one.payload] })))
      }),
    { arbitrary: { runs: 500 } }
  )

  it.effect.prop("never takes more than a message can have, whatever comes", { bytes: Schema.Array(Byte), sizes: Sizes }, ({ bytes, sizes }) =>
    Effect.sync(() => {
      const decoded = decodeAll(pieces(Uint8Array.from(bytes), sizes))
      if (Result.isFailure(decoded)) return assert.match(decoded.failure, /^a message of \d+ bytes/)
      for (const { payload } of decoded.success) assert.isAtMost(payload.length, Wire.payloadLimit)
    }), { arbitrary: { runs: 2000 } })

  it.effect.prop(
    "answers any payload with a value or a few words, for every kind of answer",
    { payload: Schema.Array(Schema.Literals([0, 0, 0, 0x30, 0x31, 0x61, 0x6e, 0x72, 0x2f, 0xff])) },
    ({ payload }) =>
      Effect.sync(() => {
        const bytes = Uint8Array.from(payload)
        for (const decode of [Wire.names, Wire.part, Wire.permissions, Wire.transactionId, Wire.watchEvent]) {
          const decoded: Result.Result<unknown, string> = decode(bytes)
          if (Result.isFailure(decoded)) assert.isAtMost(decoded.failure.length, 60)
        }
        assert.match(Wire.error(bytes), /^[A-Z0-9]+$/)
      }),
    { arbitrary: { runs: 2000 } }
  )

  it.effect.prop("lists names as they were", { names: Schema.Array(Name) }, ({ names }) =>
    Effect.sync(() => {
      assert.deepStrictEqual(Result.getOrThrow(Wire.names(Wire.strings(...names))), [...names])
      const part = Result.getOrThrow(Wire.part(Wire.strings("7", ...names, "")))
      const byteLength = Wire.strings(...names).length
      assert.deepStrictEqual(part, { generation: "7", names: [...names], byteLength, isLast: true })
      if (names.length > 0) assert.isFalse(Result.getOrThrow(Wire.part(Wire.strings("7", ...names))).isLast)
    }))

  it.effect.prop("codes permissions both ways", { permissions: NodePermissions.Permissions }, ({ permissions }) =>
    Effect.sync(() => {
      const decoded = Wire.permissions(Wire.strings(...Wire.permissionStrings(permissions)))
      assert.deepEqual(Result.getOrThrow(decoded), permissions)
    }))

  it("takes only numbers that there can be", () => {
    const id = (text: string) => Result.isSuccess(Wire.transactionId(Wire.strings(text)))
    assert.isTrue(id("1") && id("4294967295"))
    for (const text of ["", "0", "01", "-1", "4294967296", "1e3", " 1", "0x10"]) assert.isFalse(id(text), text)
  })

  it("has a word for an error that can't be", () => {
    assert.strictEqual(Wire.error(Wire.strings("ENOENT")), "ENOENT")
    for (const text of ["", "enoent", "E", "A".repeat(99), "ENO ENT"]) assert.strictEqual(Wire.error(Wire.strings(text)), "EIO")
  })
})
