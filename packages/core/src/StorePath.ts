/**
 * Names a node of xenstore.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"

/**
 * The bounds in words, as error messages say them.
 *
 * @category constants
 * @since 0.2.0
 */
export const expected = "a path of xenstore: names of letters, digits, - _ and @, with one / between them and none at " +
  "the end, of 3072 characters at most from / on, and of 2048 relative to the own domain's"

const pattern = /^(?:\/|\/?[A-Za-z0-9\-_@]+(?:\/[A-Za-z0-9\-_@]+)*)$/

/** `XENSTORE_ABS_PATH_MAX` and `XENSTORE_REL_PATH_MAX` in `xen/include/public/io/xs_wire.h`. */
const longest = (path: string): number => path.startsWith("/") ? 3072 : 2048

/**
 * A path. One that does not begin with / is relative to the own domain's, `/local/domain/<id>`.
 *
 * @category schemas
 * @since 0.2.0
 */
export const StorePath = Schema.String.check(
  Schema.makeFilter((path: string) => path.length <= longest(path) && pattern.test(path), { expected })
).pipe(Schema.brand("StorePath"))

/**
 * A path.
 *
 * @category models
 * @since 0.2.0
 */
export type StorePath = typeof StorePath.Type

/**
 * The path of a domain's own nodes.
 *
 * @category constructors
 * @since 0.2.0
 */
export const ofDomain = (id: number): StorePath => `/local/domain/${id}` as StorePath

/**
 * What changes when a domain is created, and when one is gone: to be watched, never read.
 *
 * @category constants
 * @since 0.2.0
 */
export const special = {
  /** Changes when a domain has come. */
  introduceDomain: "@introduceDomain",
  /** Changes when a domain has gone. */
  releaseDomain: "@releaseDomain"
} as const
