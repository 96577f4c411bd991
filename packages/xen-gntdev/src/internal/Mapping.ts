/**
 * Maps pieces of files side by side, over any {@link Libc.Libc}.
 *
 * @internal
 */
import type { Access } from "@xen-shbuf/core/Access"
import * as Result from "effect/Result"
import type { MapFailure, Piece, Region } from "../MappedMemory.ts"
import * as Libc from "./Libc.ts"

/**
 * One `mmap` for each piece, all or nothing.
 */
export const map = (
  libc: Libc.Libc,
  pieces: ReadonlyArray<Piece>,
  access: Access
): Result.Result<Region, MapFailure> => {
  const protection = access === "read-write" ? Libc.PROT_READ | Libc.PROT_WRITE : Libc.PROT_READ
  const [first] = pieces
  return first !== undefined && pieces.length === 1
    ? mapOne(libc, first, protection)
    : mapSeveral(libc, pieces, protection)
}

/**
 * Detaches every view of the region, then unmaps it.
 */
export const unmap = (libc: Libc.Libc, region: Region): void => {
  // A detached one can't be detached again, and a release must not throw.
  if (!region.buffer.detached) region.buffer.transfer(0)
  libc.munmap(region.address, region.byteLength)
}

const mapOne = (libc: Libc.Libc, piece: Piece, protection: number) => {
  const { byteLength, fd, offset } = piece
  const address = libc.mmap(null, byteLength, protection, Libc.MAP_SHARED, fd, offset)
  return address < 0n ? failed(address, 0) : finish(libc, address, byteLength)
}

const mapSeveral = (libc: Libc.Libc, pieces: ReadonlyArray<Piece>, protection: number) => {
  const total = pieces.reduce((sum, piece) => sum + piece.byteLength, 0)
  const flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE
  const address = libc.mmap(null, total, Libc.PROT_NONE, flags, -1, 0)
  if (address < 0n) return failed(address, 0)
  let done = 0
  for (const [index, { byteLength, fd, offset }] of pieces.entries()) {
    const at = address + BigInt(done)
    const mapped = libc.mmap(at, byteLength, protection, Libc.MAP_SHARED | Libc.MAP_FIXED, fd, offset)
    if (mapped < 0n) {
      // Where a device refuses, Linux has taken the reservation away already and another thread may have the place by
      // now, so this place is left alone. Where Linux itself refused, it stays reserved: addresses, not memory.
      const after = done + byteLength
      if (done > 0) libc.munmap(address, done)
      if (after < total) libc.munmap(address + BigInt(after), total - after)
      return failed(mapped, index)
    }
    done += byteLength
  }
  return finish(libc, address, total)
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
