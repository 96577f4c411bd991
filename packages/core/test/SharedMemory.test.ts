import { assert, describe, it } from "@effect/vitest"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { StringDecoder } from "node:string_decoder"
import { gzipSync } from "node:zlib"

const memory = (length: number): SharedMemory.Writable => Uint8Array.from({ length }, (_, i) => i * 7 + 1)

const moved = (bytes: SharedMemory.Writable) => {
  SharedMemory.unsafeBytes(bytes).buffer.transfer(0)
  return bytes
}

/** The sentence that an effect dies with. */
const dying = (effect: Effect.Effect<unknown, unknown>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    assert.isTrue(Exit.hasDies(exit))
    return Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
  })

describe("SharedMemory", () => {
  it.effect.prop(
    "a range is copied, into memory of its own or of the caller's, or written, and nothing around it",
    { size: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 300 })), a: Schema.Natural, b: Schema.Natural },
    ({ a, b, size }) =>
      Effect.gen(function*() {
        const bytes = memory(size)
        const all = bytes.slice()
        const offset = a % (size + 1)
        const length = b % (size - offset + 1)
        const copy = yield* SharedMemory.copy(bytes, { offset, length })
        assert.deepStrictEqual(copy, all.slice(offset, offset + length))
        copy.fill(0)
        assert.deepStrictEqual(bytes.slice(), all)
        const target = new Uint8Array(length)
        yield* SharedMemory.copyInto(bytes, target, offset)
        assert.deepStrictEqual(target, all.slice(offset, offset + length))
        assert.deepStrictEqual(yield* SharedMemory.copy(bytes, { offset }), all.slice(offset))
        yield* SharedMemory.write(bytes, new Uint8Array(length).fill(0xaa), offset)
        assert.deepStrictEqual(bytes.slice(), all.fill(0xaa, offset, offset + length))
      })
  )

  it.effect("a range that does not lie in the memory is refused, and says so", () =>
    Effect.gen(function*() {
      const bytes = memory(10)
      const before = bytes.slice()
      for (const [offset, length] of [[-1, 1], [0, 11], [10, 1], [11, 0], [0.5, 1], [0, 1.5], [NaN, 1], [0, NaN], [5, 6], [2 ** 53, 1]]) {
        const range = { offset, length } as { readonly offset: number; readonly length: number }
        const errors = [
          yield* Effect.flip(SharedMemory.copy(bytes, range)),
          yield* Effect.flip(SharedMemory.decode(bytes, SharedMemory.Text, range))
        ]
        for (const error of errors) {
          assert.deepInclude(error, { _tag: "OutOfRange", offset: `${offset}`, length: `${length}`, size: 10 })
          assert.strictEqual(error.message, `${length} bytes at offset ${offset} do not lie in a memory of 10 bytes.`)
        }
      }
      const tooBig = new Uint8Array(11)
      assert.deepInclude(yield* Effect.flip(SharedMemory.copyInto(bytes, tooBig)), { offset: "0", length: "11", size: 10 })
      assert.deepInclude(yield* Effect.flip(SharedMemory.write(bytes, tooBig)), { offset: "0", length: "11", size: 10 })
      assert.deepInclude(yield* Effect.flip(SharedMemory.write(bytes, [1], 10)), { offset: "10", length: "1", size: 10 })
      assert.deepStrictEqual(bytes.slice(), before)
    }))

  it.effect("what has ended, or was moved away, dies with one sentence, and is not mistaken for an empty memory", () =>
    Effect.gen(function*() {
      const bytes = moved(memory(10))
      assert.isTrue(SharedMemory.hasEnded(bytes))
      assert.isFalse(SharedMemory.hasEnded(new Uint8Array(0)))
      for (const effect of [
        SharedMemory.copy(bytes),
        SharedMemory.copy(bytes, { offset: 0, length: 0 }),
        SharedMemory.copyInto(bytes, new Uint8Array(0)),
        SharedMemory.decode(bytes, SharedMemory.Text),
        SharedMemory.write(bytes, [])
      ]) {
        assert.include(yield* dying(effect), "This memory has ended: its scope was left, or its buffer was moved away.")
      }
      assert.deepStrictEqual(yield* SharedMemory.copy(new Uint8Array(0)), new Uint8Array(0))
    }))

  it.effect("numbers and text are decoded from a copy, least significant byte first", () =>
    Effect.gen(function*() {
      const bytes: SharedMemory.Writable = Uint8Array.of(0xff, 0x01, 0x02, 0x03, 0x84, 0x05, 0x06, 0x07, 0x88)
      const at = <A>(schema: Schema.Codec<A, Uint8Array>, offset: number, length: number) =>
        SharedMemory.decode(bytes, schema, { offset, length })
      assert.strictEqual(yield* at(SharedMemory.Uint8, 0, 1), 0xff)
      assert.strictEqual(yield* at(SharedMemory.Uint16, 1, 2), 0x0201)
      assert.strictEqual(yield* at(SharedMemory.Uint32, 1, 4), 0x8403_0201)
      assert.strictEqual(yield* at(SharedMemory.Uint64, 1, 8), 0x8807_0605_8403_0201n)
      assert.strictEqual((yield* Effect.flip(at(SharedMemory.Uint32, 0, 3)))._tag, "SchemaError")
      // A byte order mark is a character as any other.
      yield* SharedMemory.write(bytes, new TextEncoder().encode("\u{feff}Grün"))
      assert.strictEqual(yield* at(SharedMemory.Text, 0, 8), "\u{feff}Grün")
      assert.strictEqual((yield* Effect.flip(at(SharedMemory.Text, 0, 6)))._tag, "SchemaError")
    }))

  it.effect.prop(
    "the schemas are total both ways",
    {
      text: Schema.String,
      word: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff })),
      long: Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: 0n, maximum: 2n ** 64n - 1n }))
    },
    ({ long, text, word }) =>
      Effect.gen(function*() {
        const through = <A>(schema: Schema.Codec<A, Uint8Array>, value: A) =>
          Effect.flatMap(Schema.encodeEffect(schema)(value), Schema.decodeEffect(schema))
        assert.strictEqual(yield* through(SharedMemory.Text, text.toWellFormed()), text.toWellFormed())
        assert.strictEqual(yield* through(SharedMemory.Uint32, word), word)
        assert.strictEqual(yield* through(SharedMemory.Uint16, word & 0xffff), word & 0xffff)
        assert.strictEqual(yield* through(SharedMemory.Uint8, word & 0xff), word & 0xff)
        assert.strictEqual(yield* through(SharedMemory.Uint64, long), long)
      })
  )

  it("a view of another type is the same memory, without what is no whole element", () => {
    const bytes = memory(11)
    const words = SharedMemory.viewAs(bytes, Uint32Array)
    assert.strictEqual(words.length, 2)
    words[1] = 0x0403_0201
    assert.deepStrictEqual([...bytes.slice(4, 8)], [1, 2, 3, 4])
    words.fill(0)
    assert.strictEqual(bytes[8], 57)
    assert.throws(() => SharedMemory.viewAs(bytes.subarray(1), Uint32Array), RangeError)
  })

  it("the compiler lets nothing at shared memory that takes it to stand still, or could move it away", () => {
    // Never run: each line is one that was seen to crash a process, or to outlive a scope, and must not compile.
    const refused = (bytes: SharedMemory.Writable, readable: SharedMemory.Readable, reader: ReadableStreamBYOBReader) => [
      // @ts-expect-error
      () => new TextDecoder().decode(bytes),
      // @ts-expect-error
      () => new StringDecoder().write(bytes),
      // @ts-expect-error
      () => Buffer.from(bytes.buffer),
      // @ts-expect-error
      () => bytes.sort(),
      // @ts-expect-error
      () => gzipSync(bytes),
      // @ts-expect-error
      () => crypto.getRandomValues(bytes),
      // @ts-expect-error
      () => crypto.subtle.digest("SHA-256", bytes),
      // @ts-expect-error
      () => new Blob([bytes]),
      // @ts-expect-error
      () => new Uint32Array(bytes.buffer),
      // @ts-expect-error
      () => structuredClone(bytes, { transfer: [bytes.buffer] }),
      // @ts-expect-error
      () => reader.read(bytes),
      // A mapping that is read-only: a write kills the process.
      // @ts-expect-error
      () => readable.set([1]),
      // @ts-expect-error
      () => readable.fill(1),
      // @ts-expect-error
      () => void (readable[0] = 1),
      // @ts-expect-error
      () => SharedMemory.write(readable, [1]),
      // @ts-expect-error
      () => void (SharedMemory.viewAs(readable, Uint32Array)[0] = 1),
      // @ts-expect-error
      () => void (readable.subarray(1)[0] = 1)
    ]
    assert.isFunction(refused)
    // What is safe, and compiles: copies, and single elements.
    const bytes = memory(4)
    const own = new Uint8Array(4)
    own.set(bytes)
    assert.deepStrictEqual([own, Uint8Array.from(bytes), new Uint8Array(bytes)], [bytes.slice(), bytes.slice(), bytes.slice()])
  })
})
