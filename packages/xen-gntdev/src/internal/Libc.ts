/**
 * Calls the C library through koffi: the few system calls that grants and mappings need.
 *
 * @internal
 */
import type * as Koffi from "koffi"
import { createRequire } from "node:module"
import { constants } from "node:os"
import { isMainThread } from "node:worker_threads"

/**
 * System calls in the kernel's own convention: a result below 0 is an errno, negated. Tests put a fake kernel here.
 */
export interface Libc {
  /** Whether the calls come from the thread that the process began with. */
  readonly isMainThread: boolean
  readonly open: (path: string, flags: number) => number
  readonly close: (fd: number) => number
  readonly ioctl: (fd: number, request: number, argument: Uint32Array) => number
  readonly mmap: (
    address: bigint | null,
    byteLength: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number
  ) => bigint
  readonly munmap: (address: bigint, byteLength: number) => number
  readonly madvise: (address: bigint, byteLength: number, advice: number) => number
  readonly memfd: (name: string, flags: number) => number
  readonly ftruncate: (fd: number, byteLength: number) => number
  /** Copies from `address` on; never called with an address that `mmap` did not give. */
  readonly memcpy: (into: Uint8Array, address: bigint, byteLength: number) => void
  /** Memory at `address` as a buffer that owns nothing; never called with an address that `mmap` did not give. */
  readonly view: (address: bigint, byteLength: number) => ArrayBuffer
  /** Where the bytes of an array are, for as long as the array lives. */
  readonly addressOf: (bytes: Uint8Array) => bigint
}

// The same on x86_64 and arm64 (facts of the Linux ABI: fcntl.h, mman.h, memfd.h).
export const O_RDWR = 2
export const O_CLOEXEC = 0o2000000
export const PROT_NONE = 0
export const PROT_READ = 1
export const PROT_WRITE = 2
export const MAP_SHARED = 0x01
export const MAP_PRIVATE = 0x02
export const MAP_ANONYMOUS = 0x20
export const MAP_NORESERVE = 0x4000
export const MAP_FIXED = 0x10
export const MADV_DONTFORK = 10
export const MFD_CLOEXEC = 1

const errnoNames = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]))

/**
 * The name of a negated errno, such as "EINVAL" for -22.
 */
export const errnoName = (result: number | bigint): string => {
  const errno = -Number(result)
  return errnoNames.get(errno) ?? `errno ${errno}`
}

const mapFailed = 0xffff_ffff_ffff_ffffn

const load = (): Libc => {
  // Not an import: a machine without a koffi build for it can still import this package.
  const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi
  const libc = koffi.load(null)
  const open = libc.func("int open(const char*, int)") as unknown as Libc["open"]
  const close = libc.func("int close(int)") as unknown as Libc["close"]
  const ioctl = libc.func("int ioctl(int, unsigned long, void*)") as unknown as Libc["ioctl"]
  const mmap = libc.func("void *mmap(void*, size_t, int, int, int, int64_t)") as unknown as Libc["mmap"]
  const munmap = libc.func("int munmap(void*, size_t)") as unknown as Libc["munmap"]
  const madvise = libc.func("int madvise(void*, size_t, int)") as unknown as Libc["madvise"]
  const memfd = libc.func("int memfd_create(const char*, unsigned int)") as unknown as Libc["memfd"]
  const ftruncate = libc.func("int ftruncate(int, int64_t)") as unknown as Libc["ftruncate"]
  const memcpy = libc.func("void *memcpy(void*, void*, size_t)")
  // errno is only valid in the tick of the call.
  const checked = (result: number) => result < 0 ? -koffi.errno() : result
  return {
    isMainThread,
    open: (path, flags) => checked(open(path, flags)),
    close: (fd) => checked(close(fd)),
    ioctl: (fd, request, argument) => checked(ioctl(fd, request, argument)),
    mmap: (address, byteLength, protection, flags, fd, offset) => {
      const mapped = mmap(address, byteLength, protection, flags, fd, offset)
      return mapped === mapFailed ? BigInt(-koffi.errno()) : mapped
    },
    munmap: (address, byteLength) => checked(munmap(address, byteLength)),
    madvise: (address, byteLength, advice) => checked(madvise(address, byteLength, advice)),
    memfd: (name, flags) => checked(memfd(name, flags)),
    ftruncate: (fd, byteLength) => checked(ftruncate(fd, byteLength)),
    memcpy: (into, address, byteLength) => {
      memcpy(into, address, byteLength)
    },
    view: (address, byteLength) => koffi.view(address, byteLength),
    addressOf: (bytes) => koffi.address(bytes)
  }
}

let loaded: Libc | undefined

/**
 * The C library of this process, loaded at the first call. Throws where koffi has no build for the machine.
 */
export const libc = (): Libc => loaded ??= load()
