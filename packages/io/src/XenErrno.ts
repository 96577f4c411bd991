/**
 * The numbers of errors that device protocols pass on the wire, as `xen/include/public/errno.h` has them: the same on
 * every system, whatever its own numbers are.
 *
 * @since 0.2.0
 */

/**
 * The numbers by name. A response has 0, or one of them negated.
 *
 * @category constants
 * @since 0.2.0
 */
export const XenErrno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  ENOEXEC: 8,
  EBADF: 9,
  ECHILD: 10,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  EDOM: 33,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ENODATA: 61,
  ETIME: 62,
  EBADMSG: 74,
  EOVERFLOW: 75,
  EILSEQ: 84,
  ENOTSOCK: 88,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENOBUFS: 105,
  EISCONN: 106,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111
} as const

/**
 * The name of an error.
 *
 * @category models
 * @since 0.2.0
 */
export type XenErrno = keyof typeof XenErrno

const names: ReadonlyMap<number, XenErrno> = new Map(
  Object.entries(XenErrno).map(([name, number]) => [number, name as XenErrno])
)

/**
 * The name of a number, negated or not; undefined for one that the header does not have, 0 among them.
 *
 * @category conversions
 * @since 0.2.0
 */
export const nameOf = (number: number): XenErrno | undefined => names.get(Math.abs(number))
