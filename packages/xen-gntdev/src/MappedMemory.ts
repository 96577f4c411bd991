/**
 * Maps memory of devices and files into this process, and unmaps it so that no view is left dangling.
 *
 * Plain synchronous functions on Linux, with failures as values: the ground for grant tables, real and in memory.
 *
 * @since 0.1.0
 */
import type { Access } from "@xen-shbuf/core/Access"
import * as Result from "effect/Result"
import * as Libc from "./internal/Libc.ts"
import * as Mapping from "./internal/Mapping.ts"

/**
 * A part of an open device or file; one `mmap` each. Offset and length are bytes, multiples of the page size.
 *
 * @category models
 * @since 0.1.0
 */
export interface Piece {
  readonly fd: number
  readonly offset: number
  readonly byteLength: number
}

/**
 * Pieces mapped side by side, in bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Region {
  readonly address: bigint
  readonly byteLength: number
  /** The whole region. Views made of it have length 0 once it is unmapped. */
  readonly buffer: ArrayBuffer
}

/**
 * Why nothing was mapped: the errno's name, such as "EINVAL", and which piece was refused (0 also for all together).
 *
 * @category models
 * @since 0.1.0
 */
export interface MapFailure {
  readonly errno: string
  readonly piece: number
}

/**
 * Maps the pieces as one region, all or nothing, shared and never inherited by a forked child.
 * Writing to a read-only region kills the process.
 *
 * @category resource management
 * @since 0.1.0
 */
export const map = (
  pieces: ReadonlyArray<Piece>,
  access: Access
): Result.Result<Region, MapFailure> => Mapping.map(Libc.libc(), pieces, access)

/**
 * Detaches every view of the region, then unmaps it; once only.
 *
 * @category resource management
 * @since 0.1.0
 */
export const unmap = (region: Region): void => Mapping.unmap(Libc.libc(), region)

/**
 * Makes a file that lives in memory only, sparse and zero, closed on exec. Fails with the errno's name.
 *
 * @category resource management
 * @since 0.1.0
 */
export const memfd = (name: string, byteLength: number): Result.Result<number, string> => {
  const libc = Libc.libc()
  const fd = libc.memfd(name, Libc.MFD_CLOEXEC)
  if (fd < 0) return Result.fail(Libc.errnoName(fd))
  const sized = libc.ftruncate(fd, byteLength)
  if (sized >= 0) return Result.succeed(fd)
  libc.close(fd)
  return Result.fail(Libc.errnoName(sized))
}

/**
 * Closes a file descriptor; what is mapped of it stays mapped.
 *
 * @category resource management
 * @since 0.1.0
 */
export const close = (fd: number): void => {
  Libc.libc().close(fd)
}
