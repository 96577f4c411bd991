/**
 * Maps memory of files that live in memory into this process, and unmaps it so that no view is left dangling.
 *
 * Plain synchronous functions on Linux, with failures as values: the ground for grant tables, real and in memory.
 *
 * @since 0.1.0
 */
import type { Access } from "@xen-shbuf/core/Access"
import * as Result from "effect/Result"
import * as Libc from "./internal/Libc.ts"
import * as Mapping from "./internal/Mapping.ts"

const libc = () => Libc.checked(Libc.libc())

/**
 * A part of an open device or file; one `mmap` each. Offset and length are bytes, multiples of the page size.
 *
 * @category models
 * @since 0.1.0
 */
export type Piece = Mapping.Piece

/**
 * Pieces mapped side by side, in bytes.
 *
 * @category models
 * @since 0.1.0
 */
export type Region = Mapping.Region

/**
 * Why nothing was mapped: the errno's name, such as "EINVAL", and which piece was refused (0 also for all together).
 *
 * @category models
 * @since 0.1.0
 */
export type MapFailure = Mapping.MapFailure

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
): Result.Result<Region, MapFailure> => Mapping.map(libc(), pieces, access, "memory")

/**
 * Ends a region, once only: detaches every view, and puts private memory in the place of its pages, whose addresses go
 * back when V8 lets go of the buffer. Gives "moved" where somebody has moved the buffer away (`transfer`, a byte stream,
 * `postMessage`): what is left of it shows zeros from now on, and its addresses stay taken.
 *
 * @category resource management
 * @since 0.1.0
 */
export const unmap = (region: Region): "moved" | undefined => Mapping.unmap(libc(), region)

/**
 * Makes a file that lives in memory only, sparse and zero, closed on exec. Fails with the errno's name.
 *
 * @category resource management
 * @since 0.1.0
 */
export const memfd = (name: string, byteLength: number): Result.Result<number, string> => {
  const { close, ftruncate, memfd } = libc()
  const fd = memfd(name, Libc.MFD_CLOEXEC)
  if (fd < 0) return Result.fail(Libc.errnoName(fd))
  const sized = ftruncate(fd, byteLength)
  if (sized >= 0) return Result.succeed(fd)
  close(fd)
  return Result.fail(Libc.errnoName(sized))
}

/**
 * Closes a file descriptor; what is mapped of it stays mapped.
 *
 * @category resource management
 * @since 0.1.0
 */
export const close = (fd: number): void => {
  libc().close(fd)
}
