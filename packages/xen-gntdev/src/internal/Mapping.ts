/**
 * Maps pieces of files side by side, over any {@link Libc.Libc}, and ends what is mapped so that nothing can reach pages
 * that are gone.
 *
 * @internal
 */
import type { Access } from "@xen-shbuf/core/Access"
import * as Result from "effect/Result"
import * as Libc from "./Libc.ts"

/**
 * A part of an open device or file; one `mmap` each. Offset and length are bytes, multiples of the page size.
 */
export interface Piece {
  readonly fd: number
  readonly offset: number
  readonly byteLength: number
}

/**
 * Pieces mapped side by side, in bytes.
 */
export interface Region {
  readonly address: bigint
  readonly byteLength: number
  /** The whole region. Views made of it have length 0 once it is unmapped. */
  readonly buffer: ArrayBuffer
}

/**
 * Why nothing was mapped: the errno's name, such as "EINVAL", and which piece was refused (0 also for all together).
 */
export interface MapFailure {
  readonly errno: string
  readonly piece: number
}

/**
 * One `mmap` for each piece, all or nothing; of a device, which may refuse by itself, or of files in memory.
 */
export const map = (
  libc: Libc.Libc,
  pieces: ReadonlyArray<Piece>,
  access: Access,
  of: "device" | "memory"
): Result.Result<Region, MapFailure> => {
  const protection = access === "read-write" ? Libc.PROT_READ | Libc.PROT_WRITE : Libc.PROT_READ
  const [first] = pieces
  return first !== undefined && pieces.length === 1
    ? mapOne(libc, first, protection)
    : mapSeveral(libc, pieces, protection, of)
}

/**
 * Ends a region: detaches every view, and puts private memory in the place of its pages. Gives "moved" where somebody has
 * moved the buffer away, so that views of it are left, which now show zeros.
 *
 * The addresses are not given back before V8 lets go of the buffer: work on another thread, such as compression, may
 * still use them, and so may who has moved the buffer. It takes as many system calls as `munmap` would; one more comes
 * when V8 has collected the buffer.
 */
export const unmap = (libc: Libc.Libc, { address, buffer, byteLength }: Region): "moved" | undefined => {
  const isMoved = buffer.detached
  // A detached one can't be detached again, and a release must not throw.
  if (!isMoved) buffer.transfer(0)
  if (!replace(libc, address, byteLength)) libc.munmap(address, byteLength)
  else if (!isMoved) addresses.register(buffer, { libc, address, byteLength })
  return isMoved ? "moved" : undefined
}

/** Puts private memory in the place of pages, zero and not yet there, which ends the mapping as `munmap` does. */
export const replace = (libc: Libc.Libc, address: bigint, byteLength: number): boolean => {
  const flags = Libc.MAP_FIXED | Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE
  return libc.mmap(address, byteLength, libc.lateAccess, flags, -1, 0) >= 0n
}

/** Gives addresses back when the buffer over them is gone. */
const addresses = new FinalizationRegistry<{
  readonly libc: Libc.Libc
  readonly address: bigint
  readonly byteLength: number
}>(({ address, byteLength, libc }) => {
  libc.munmap(address, byteLength)
})

const mapOne = (libc: Libc.Libc, piece: Piece, protection: number) => {
  const { byteLength, fd, offset } = piece
  const address = libc.mmap(null, byteLength, protection, Libc.MAP_SHARED, fd, offset)
  return address < 0n ? failed(address, 0) : finish(libc, address, byteLength)
}

const reserving = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE

/** Refusals of Linux itself, before it asks a device, so that what stood in the place still does. */
const before = new Set(["EBADF", "EACCES", "ENODEV", "EOVERFLOW", "EPERM"])

const mapSeveral = (
  libc: Libc.Libc,
  pieces: ReadonlyArray<Piece>,
  protection: number,
  of: "device" | "memory"
): Result.Result<Region, MapFailure> => {
  const total = pieces.reduce((sum, piece) => sum + piece.byteLength, 0)
  const address = libc.mmap(null, total, Libc.PROT_NONE, reserving, -1, 0)
  if (address < 0n) return failed(address, 0)
  let done = 0
  for (const [index, { byteLength, fd, offset }] of pieces.entries()) {
    const at = address + BigInt(done)
    const mapped = libc.mmap(at, byteLength, protection, Libc.MAP_SHARED | Libc.MAP_FIXED, fd, offset)
    if (mapped < 0n) {
      const isUntouched = of === "memory" || before.has(Libc.errnoName(mapped))
      giveBack(libc, { address, byteLength: total }, done, byteLength, isUntouched)
      return failed(mapped, index)
    }
    done += byteLength
  }
  return finish(libc, address, total)
}

/** Gives back a reservation when the piece after the first `done` bytes was refused. */
const giveBack = (
  libc: Libc.Libc,
  { address, byteLength: total }: Omit<Region, "buffer">,
  done: number,
  byteLength: number,
  isUntouched: boolean
): void => {
  if (isUntouched) {
    libc.munmap(address, total)
    return
  }
  const at = address + BigInt(done)
  const after = done + byteLength
  if (done > 0) libc.munmap(address, done)
  if (after < total) libc.munmap(address + BigInt(after), total - after)
  // Where a device refuses, Linux has taken the reservation away already, and another thread may have the place by now.
  // So it is unmapped only if it was a hole until a moment ago.
  const again = libc.mmap(at, byteLength, Libc.PROT_NONE, reserving | Libc.MAP_FIXED_NOREPLACE, -1, 0)
  if (again >= 0n) libc.munmap(at, byteLength)
}

const finish = (libc: Libc.Libc, address: bigint, byteLength: number): Result.Result<Region, MapFailure> => {
  // A child between fork and exec would keep pages in use that are released meanwhile. A thread that starts a child
  // waits until the child has come that far, so only pages of other threads can meet one: those of workers, while the
  // main thread starts children. Advice only: without it they are released a little later.
  if (!libc.isMainThread) libc.madvise(address, byteLength, Libc.MADV_DONTFORK)
  // V8 counts a view as memory that it could free, and starts a major garbage collection with every 64 MiB of them: for
  // big regions that is most of the time of mapping. It doesn't count shared buffers, but those can't be detached.
  try {
    return Result.succeed({ address, byteLength, buffer: libc.view(address, byteLength) })
  } catch {
    // Some JavaScript engines allow no buffers over memory of others.
    libc.munmap(address, byteLength)
    return Result.fail({ errno: "ENOTSUP", piece: 0 })
  }
}

const failed = (result: bigint, piece: number): Result.Result<Region, MapFailure> =>
  Result.fail({ errno: Libc.errnoName(result), piece })
