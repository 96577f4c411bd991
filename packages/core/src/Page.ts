/**
 * Counts pages: Xen's are 4096 bytes, on every machine.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Bytes in a page.
 *
 * @category constants
 * @since 0.1.0
 */
export const size = 4096

/**
 * The largest number of pages in a buffer: the protocols carry its size in 32 bits, so 4 GiB.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxCount = 2 ** 32 / size

/**
 * The bounds of a PageCount in words, as error messages say them.
 *
 * @category constants
 * @since 0.1.0
 */
export const countExpected = "a number of pages: a whole number from 1 to 1048576 (4 GiB)"

/**
 * A number of pages, 1 to 1 048 576.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PageCount = Schema.Int.check(
  Schema.isBetween({ minimum: 1, maximum: maxCount }, { expected: countExpected })
).pipe(Schema.brand("PageCount"))

/**
 * A number of pages.
 *
 * @category models
 * @since 0.1.0
 */
export type PageCount = typeof PageCount.Type

/**
 * The bounds of a ByteLength in words, as error messages say them.
 *
 * @category constants
 * @since 0.1.0
 */
export const lengthExpected = "a size in bytes: a whole number from 1 to 4294967296 (4 GiB)"

/**
 * The size of a buffer in bytes, 1 to 2^32; it need not be a multiple of a page.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ByteLength = Schema.Int.check(
  Schema.isBetween({ minimum: 1, maximum: maxCount * size }, { expected: lengthExpected })
).pipe(Schema.brand("ByteLength"))

/**
 * The size of a buffer in bytes.
 *
 * @category models
 * @since 0.1.0
 */
export type ByteLength = typeof ByteLength.Type

/**
 * How many pages hold so many bytes.
 *
 * @category conversions
 * @since 0.1.0
 */
export const countFor = (byteLength: ByteLength): PageCount => Math.ceil(byteLength / size) as PageCount

/**
 * The bounds of a ShareCount in words, as error messages say them.
 *
 * @category constants
 * @since 0.1.0
 */
export const shareExpected = "a number of pages: a whole number from 1 to 1049602 (4 GiB and its page directory)"

/**
 * A number of pages to share at one time: a buffer of the largest size together with its page directory, 1026 pages.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ShareCount = Schema.Int.check(
  Schema.isBetween({ minimum: 1, maximum: maxCount + 1026 }, { expected: shareExpected })
).pipe(Schema.brand("ShareCount"))

/**
 * A number of pages to share at one time.
 *
 * @category models
 * @since 0.1.0
 */
export type ShareCount = typeof ShareCount.Type
