/**
 * Reads and writes memory that another domain may change at any moment.
 *
 * JavaScript's runtime takes the bytes of a typed array to stand still while it works on them. Here they don't: decoding
 * text from them, sorting them, or handing them to a native library can write past the end of the runtime's own memory,
 * with bytes of the peer's choice. So the bytes of a buffer are not a `Uint8Array` to the compiler, only what was seen to
 * be safe: reading and writing single elements, `set`, `slice`, `subarray` and `fill`. Everything else works on a copy.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaTransformation from "effect/SchemaTransformation"
import type { Access } from "./Access.ts"
import { text } from "./internal/text.ts"
import * as Utf8 from "./internal/utf8.ts"
import { memoryEnded } from "./internal/ended.ts"

/**
 * Memory that we may read. Elements are bytes, unless it is a view by {@link viewAs}.
 *
 * After the end of its scope its length is 0, an element is `undefined`, and `slice` and `set` throw a TypeError: the
 * functions of this module say more clearly what happened.
 *
 * @category models
 * @since 0.2.0
 */
export interface Readable<A = Uint8Array<ArrayBuffer>> {
  /** Elements, 0 after the end. */
  readonly length: number
  readonly [index: number]: number
  /** A private copy of the elements from `start` up to `end`. */
  slice(start?: number, end?: number): A
  /** The same memory from `start` up to `end`. */
  subarray(start?: number, end?: number): Readable<A>
}

/**
 * Memory that we may read and write.
 *
 * @category models
 * @since 0.2.0
 */
export interface Writable<A = Uint8Array<ArrayBuffer>> extends Readable<A> {
  [index: number]: number
  /** Copies elements into this memory, from its element `offset` on. */
  set(from: ArrayLike<number>, offset?: number): void
  /** Sets the elements from `start` up to `end`. */
  fill(value: number, start?: number, end?: number): this
  subarray(start?: number, end?: number): Writable<A>
}

/**
 * The memory of a mapping with this access.
 *
 * @category models
 * @since 0.2.0
 */
export type WithAccess<A extends Access> = A extends "read-write" ? Writable : Readable

/**
 * A part of some memory, in bytes: from `offset`, 0 unless given, `length` bytes, all the rest unless given.
 *
 * @category models
 * @since 0.2.0
 */
export interface Range {
  /** Where it begins, in bytes; 0 unless set. */
  readonly offset?: number | undefined
  /** How long it is, in bytes; all the rest unless set. */
  readonly length?: number | undefined
}

/**
 * A range is not in the memory: a part of it lies beyond the end, or it is not made of whole numbers from 0.
 *
 * @category errors
 * @since 0.2.0
 */
export class OutOfRange extends Schema.TaggedError<OutOfRange>()("OutOfRange", {
  /** As asked for, in words: perhaps not even a whole number. */
  offset: Schema.String,
  /** As asked for, in words. */
  length: Schema.String,
  /** Bytes that there are. */
  size: Schema.Int
}) {
  override get message() {
    return `${this.length} bytes at offset ${this.offset} do not lie in a memory of ${this.size} bytes.`
  }
}

/**
 * Tells whether the scope of a memory has ended.
 *
 * @category guards
 * @since 0.2.0
 */
export const hasEnded = (bytes: Readable<unknown>): boolean => unsafeBytes(bytes).buffer.detached

/** @internal */
export const outOfRange = (offset: number, length: number, size: number): OutOfRange =>
  new OutOfRange({ offset: text(offset), length: text(length), size })

/** Does something with a range once it is known to lie in memory that has not ended. */
const within = <A>(
  bytes: Readable,
  { length, offset = 0 }: Range,
  use: (offset: number, length: number) => A
): Effect.Effect<A, OutOfRange> =>
  Effect.suspend(() => {
    if (hasEnded(bytes)) return memoryEnded
    const size = bytes.length
    const count = length ?? size - offset
    const lies = Number.isInteger(offset) && Number.isInteger(count) && offset >= 0 && count >= 0 && offset + count <= size
    return lies
      ? Effect.succeed(use(offset, count))
      : Effect.fail(outOfRange(offset, count, size))
  })

/**
 * A private copy of the whole memory, or of a range. Dies after the end of its scope.
 *
 * @category reading
 * @since 0.2.0
 */
export const copy = (bytes: Readable, range: Range = {}): Effect.Effect<Uint8Array<ArrayBuffer>, OutOfRange> =>
  within(bytes, range, (offset, length) => bytes.slice(offset, offset + length))

/**
 * Copies as many bytes as `target` has, from `offset` on, 0 unless given. Dies after the end of the memory's scope.
 *
 * @category reading
 * @since 0.2.0
 */
export const copyInto = (bytes: Readable, target: Uint8Array, offset = 0): Effect.Effect<void, OutOfRange> =>
  within(bytes, { offset, length: target.length }, (offset, length) => {
    target.set(bytes.subarray(offset, offset + length))
  })

/**
 * Copies the whole memory, or a range, and decodes the copy: {@link Text}, {@link Uint32}, or any schema of bytes.
 * Dies after the end of the memory's scope.
 *
 * @category reading
 * @since 0.2.0
 */
export const decode = <A, RD>(
  bytes: Readable,
  schema: Schema.ConstraintCodec<A, Uint8Array, RD, unknown>,
  range: Range = {}
): Effect.Effect<A, OutOfRange | Schema.SchemaError, RD> =>
  Effect.flatMap(copy(bytes, range), Schema.decodeEffect(schema))

/**
 * Copies `from` into the memory, from `offset` on, 0 unless given. Dies after the end of the memory's scope.
 *
 * @category writing
 * @since 0.2.0
 */
export const write = (bytes: Writable, from: ArrayLike<number>, offset = 0): Effect.Effect<void, OutOfRange> =>
  within(bytes, { offset, length: from.length }, (offset) => bytes.set(from, offset))

/** The constructors of typed arrays whose elements are numbers of more than a byte. */
type Elements = Uint16Array<ArrayBuffer> | Int16Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer> |
  Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>

/**
 * The same memory as elements of another type, such as pixels of 32 bits: `viewAs(frame.bytes, Uint32Array)`. Bytes that
 * are no whole element are left out. Throws a RangeError where the memory begins at no multiple of an element's size.
 *
 * @category views
 * @since 0.2.0
 */
export const viewAs: {
  <A extends Elements>(bytes: Writable, type: ElementsConstructor<A>): Writable<A>
  <A extends Elements>(bytes: Readable, type: ElementsConstructor<A>): Readable<A>
} = <A extends Elements>(bytes: Readable, type: ElementsConstructor<A>) => {
  const { buffer, byteLength, byteOffset } = unsafeBytes(bytes)
  return new type(buffer, byteOffset, Math.floor(byteLength / type.BYTES_PER_ELEMENT)) as Readable<unknown> as Writable<A>
}

/**
 * Makes a typed array over a part of a buffer.
 *
 * @category models
 * @since 0.2.0
 */
export interface ElementsConstructor<A> {
  /** Bytes in an element. */
  readonly BYTES_PER_ELEMENT: number
  new(buffer: ArrayBuffer, byteOffset: number, length: number): A
}

/**
 * The typed array that the memory is. What the runtime does with it while the peer writes may crash the process, and so
 * may what moves its buffer away or works on it beyond its scope; writing to a read-only mapping kills the process.
 * Only for functions that are known to read and write element by element.
 *
 * @category unsafe
 * @since 0.2.0
 */
export const unsafeBytes = (bytes: Readable<unknown>): Uint8Array<ArrayBuffer> => bytes as unknown as Uint8Array<ArrayBuffer>

/**
 * Bytes as text in UTF-8, and text as bytes; bytes that are no UTF-8 are refused.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Text: Schema.Codec<string, Uint8Array> = Schema.Uint8Array.pipe(Schema.decodeTo(
  Schema.String,
  SchemaTransformation.transformEffect({
    decode: (bytes: Uint8Array) =>
      Effect.fromResult(Result.mapError(Utf8.decode(bytes), () => new SchemaIssue.InvalidValue())),
    encode: (text: string) => Effect.succeed(Utf8.encode(text))
  })
))

/** A number in so many bytes, least significant first, as all of Xen's protocols have them. */
const number = <A>(
  size: number,
  schema: Schema.Codec<A>,
  get: (view: DataView) => A,
  set: (view: DataView, value: A) => void
): Schema.Codec<A, Uint8Array> =>
  Schema.Uint8Array.check(
    Schema.makeFilter((bytes: Uint8Array) => bytes.length === size, { expected: `${size} bytes` })
  ).pipe(Schema.decodeTo(
    schema,
    SchemaTransformation.transform<A, Uint8Array>({
      decode: ({ buffer, byteLength, byteOffset }) => get(new DataView(buffer, byteOffset, byteLength)),
      encode: (value) => {
        const bytes = new Uint8Array(size)
        set(new DataView(bytes.buffer), value)
        return bytes
      }
    })
  ))

const whole = (bits: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** bits - 1 }))

/**
 * One byte as a number.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Uint8: Schema.Codec<number, Uint8Array> = number(
  1,
  whole(8),
  (view) => view.getUint8(0),
  (view, value) => view.setUint8(0, value)
)

/**
 * Two bytes as a number, least significant first.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Uint16: Schema.Codec<number, Uint8Array> = number(
  2,
  whole(16),
  (view) => view.getUint16(0, true),
  (view, value) => view.setUint16(0, value, true)
)

/**
 * Four bytes as a number, least significant first.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Uint32: Schema.Codec<number, Uint8Array> = number(
  4,
  whole(32),
  (view) => view.getUint32(0, true),
  (view, value) => view.setUint32(0, value, true)
)

/**
 * Eight bytes as a number, least significant first.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Uint64: Schema.Codec<bigint, Uint8Array> = number(
  8,
  Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: 0n, maximum: 2n ** 64n - 1n })),
  (view) => view.getBigUint64(0, true),
  (view, value) => view.setBigUint64(0, value, true)
)
