/**
 * Maps memory of devices and files side by side, and ends what is mapped so that nothing can reach pages that are gone.
 *
 * Plain synchronous functions, with failures as values: the ground for grant tables, real and in memory. They use the
 * system calls of this process unless others are given.
 *
 * @since 0.1.0
 */
import type { Access } from "@xen-shbuf/core/Access"
import * as Result from "effect/Result"
import * as SystemCalls from "./SystemCalls.ts"

const native = () => SystemCalls.withPagesOfXen(SystemCalls.native())

/**
 * A part of an open device or file; one `mmap` each. Offset and length are bytes, multiples of the page size.
 *
 * @category models
 * @since 0.1.0
 */
export interface Piece {
  /** The open file. */
  readonly fd: number
  /** Where the piece begins in it. */
  readonly offset: number
  /** How long it is. */
  readonly byteLength: number
}

/**
 * Pieces mapped side by side, in bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Region {
  /** Where it begins. */
  readonly address: bigint
  /** How long it is. */
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
  /** The errno's name. */
  readonly errno: string
  /** Which piece was refused, from 0. */
  readonly piece: number
}

/**
 * Maps the pieces as one region, all or nothing, by one `mmap` for each; of a device, which may refuse by itself, or of
 * files in memory. Writing to a read-only region kills the process.
 *
 * @category resource management
 * @since 0.1.0
 */
export const map = (
  pieces: ReadonlyArray<Piece>,
  access: Access,
  of: "device" | "memory" = "memory",
  system: SystemCalls.SystemCalls = native()
): Result.Result<Region, MapFailure> => {
  const protection = access === "read-write" ? SystemCalls.PROT_READ | SystemCalls.PROT_WRITE : SystemCalls.PROT_READ
  const [first] = pieces
  return first !== undefined && pieces.length === 1
    ? mapOne(system, first, protection)
    : mapSeveral(system, pieces, protection, of)
}

/** Detaches a buffer. False for one that is marked as untransferable: a release must not throw. */
const detach = (buffer: ArrayBuffer): boolean => {
  try {
    buffer.transfer(0)
    return true
  } catch {
    return false
  }
}

/**
 * Ends a region: detaches every view, and puts private memory in the place of its pages. Gives "moved" where somebody has
 * moved the buffer away, or has marked it as untransferable, so that views of it are left, which now show zeros.
 *
 * The addresses are not given back before V8 lets go of the buffer: work on another thread, such as compression, may
 * still use them, and so may who has moved the buffer. It takes as many system calls as `munmap` would; one more comes
 * when V8 has collected the buffer.
 *
 * @category resource management
 * @since 0.1.0
 */
export const unmap = (
  { address, buffer, byteLength }: Region,
  system: SystemCalls.SystemCalls = native()
): "moved" | undefined => {
  const isMoved = buffer.detached
  const hasEnded = !isMoved && detach(buffer)
  if (!replace(system, address, byteLength)) system.munmap(address, byteLength)
  else if (!isMoved) addresses.register(buffer, { system, address, byteLength })
  return hasEnded ? undefined : "moved"
}

/**
 * Puts private memory in the place of pages, zero and not yet there, which ends the mapping as `munmap` does.
 *
 * @category resource management
 * @since 0.2.0
 */
export const replace = (system: SystemCalls.SystemCalls, address: bigint, byteLength: number): boolean => {
  const flags = SystemCalls.MAP_FIXED | SystemCalls.MAP_PRIVATE | SystemCalls.MAP_ANONYMOUS | SystemCalls.MAP_NORESERVE
  return system.mmap(address, byteLength, system.lateAccess, flags, -1, 0) >= 0n
}

/** Gives addresses back when the buffer over them is gone. */
const addresses = new FinalizationRegistry<{
  readonly system: SystemCalls.SystemCalls
  readonly address: bigint
  readonly byteLength: number
}>(({ address, byteLength, system }) => {
  system.munmap(address, byteLength)
})

const mapOne = (system: SystemCalls.SystemCalls, piece: Piece, protection: number) => {
  const { byteLength, fd, offset } = piece
  const address = system.mmap(null, byteLength, protection, SystemCalls.MAP_SHARED, fd, offset)
  return address < 0n ? failed(address, 0) : finish(system, address, byteLength)
}

const reserving = SystemCalls.MAP_PRIVATE | SystemCalls.MAP_ANONYMOUS | SystemCalls.MAP_NORESERVE

/** Refusals of Linux itself, before it asks a device, so that what stood in the place still does. */
const before = new Set(["EBADF", "EACCES", "ENODEV", "EOVERFLOW", "EPERM"])

const mapSeveral = (
  system: SystemCalls.SystemCalls,
  pieces: ReadonlyArray<Piece>,
  protection: number,
  of: "device" | "memory"
): Result.Result<Region, MapFailure> => {
  const total = pieces.reduce((sum, piece) => sum + piece.byteLength, 0)
  const address = system.mmap(null, total, SystemCalls.PROT_NONE, reserving, -1, 0)
  if (address < 0n) return failed(address, 0)
  let done = 0
  for (const [index, { byteLength, fd, offset }] of pieces.entries()) {
    const at = address + BigInt(done)
    const mapped = system.mmap(at, byteLength, protection, SystemCalls.MAP_SHARED | SystemCalls.MAP_FIXED, fd, offset)
    if (mapped < 0n) {
      const isUntouched = of === "memory" || before.has(SystemCalls.errnoName(mapped))
      giveBack(system, { address, byteLength: total }, done, byteLength, isUntouched)
      return failed(mapped, index)
    }
    done += byteLength
  }
  return finish(system, address, total)
}

/** Gives back a reservation when the piece after the first `done` bytes was refused. */
const giveBack = (
  system: SystemCalls.SystemCalls,
  { address, byteLength: total }: Omit<Region, "buffer">,
  done: number,
  byteLength: number,
  isUntouched: boolean
): void => {
  if (isUntouched) {
    system.munmap(address, total)
    return
  }
  const at = address + BigInt(done)
  const after = done + byteLength
  if (done > 0) system.munmap(address, done)
  if (after < total) system.munmap(address + BigInt(after), total - after)
  // Where a device refuses, Linux has taken the reservation away already, and another thread may have the place by now.
  // So it is unmapped only if it was a hole until a moment ago.
  const again = system.mmap(at, byteLength, SystemCalls.PROT_NONE, reserving | SystemCalls.MAP_FIXED_NOREPLACE, -1, 0)
  if (again >= 0n) system.munmap(at, byteLength)
}

const finish = (system: SystemCalls.SystemCalls, address: bigint, byteLength: number): Result.Result<Region, MapFailure> => {
  // A child between fork and exec would keep pages in use that are released meanwhile. A thread that starts a child
  // waits until the child has come that far, so only pages of other threads can meet one: those of workers, while the
  // main thread starts children. Advice only: without it they are released a little later.
  if (!system.isMainThread) system.madvise(address, byteLength, SystemCalls.MADV_DONTFORK)
  // V8 counts a view as memory that it could free, and starts a major garbage collection with every 64 MiB of them: for
  // big regions that is most of the time of mapping. It doesn't count shared buffers, but those can't be detached.
  try {
    return Result.succeed({ address, byteLength, buffer: system.view(address, byteLength) })
  } catch {
    // Some JavaScript engines allow no buffers over memory that is not their own.
    system.munmap(address, byteLength)
    return Result.fail({ errno: "ENOTSUP", piece: 0 })
  }
}

const failed = (result: bigint, piece: number): Result.Result<Region, MapFailure> =>
  Result.fail({ errno: SystemCalls.errnoName(result), piece })

/**
 * Makes a file that lives in memory only, sparse and zero, closed on exec. Fails with the errno's name.
 *
 * @category resource management
 * @since 0.1.0
 */
export const memfd = (name: string, byteLength: number): Result.Result<number, string> => {
  const { close, ftruncate, memfd } = native()
  const fd = memfd(name, SystemCalls.MFD_CLOEXEC)
  if (fd < 0) return Result.fail(SystemCalls.errnoName(fd))
  const sized = ftruncate(fd, byteLength)
  if (sized >= 0) return Result.succeed(fd)
  close(fd)
  return Result.fail(SystemCalls.errnoName(sized))
}

/**
 * Closes a file descriptor; what is mapped of it stays mapped.
 *
 * @category resource management
 * @since 0.1.0
 */
export const close = (fd: number): void => {
  native().close(fd)
}
