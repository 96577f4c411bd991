/**
 * Calls Linux: the few system calls that devices and mapped memory need, through koffi and the C library.
 *
 * Plain synchronous functions with the kernel's own answers. This is the only module that calls anything outside of
 * JavaScript.
 *
 * @since 0.2.0
 */
import type * as Koffi from "koffi"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { constants } from "node:os"
import { isMainThread } from "node:worker_threads"

/**
 * System calls in the kernel's own convention: a result below 0 is an errno, negated. Tests put a fake kernel here.
 *
 * @category models
 * @since 0.2.0
 */
export interface SystemCalls {
  /** Whether the calls come from the thread that the process began with. */
  readonly isMainThread: boolean
  /** Bytes in a page of the kernel. */
  readonly pageSize: number
  /** What may be done with the memory in the place of pages that have ended: PROT_READ, and PROT_WRITE where it is free. */
  readonly lateAccess: number
  /** Opens a file, and gives its descriptor. */
  readonly open: (path: string, flags: number) => number
  /** Closes a descriptor. */
  readonly close: (fd: number) => number
  /** Asks a device for something of its own; the argument is read and written. */
  readonly ioctl: (fd: number, request: number, argument: Uint32Array) => number
  /** Reads as many bytes as there are, `into.length` at most; EAGAIN where there are none and the file does not block. */
  readonly read: (fd: number, into: Uint8Array) => number
  /** Writes bytes, and says how many. */
  readonly write: (fd: number, bytes: Uint8Array) => number
  /** Makes a pipe, and notes the end to read from and the one to write to. */
  readonly pipe: (ends: Int32Array, flags: number) => number
  /** Makes a descriptor stand for the file of another one. */
  readonly duplicate: (fd: number, onto: number, flags: number) => number
  /** 0 where Linux can tell when a file has something to read; EPERM where it can't. */
  readonly canWait: (fd: number) => number
  /** Maps a file or memory, and gives the address. */
  readonly mmap: (
    address: bigint | null,
    byteLength: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number
  ) => bigint
  /** Unmaps. */
  readonly munmap: (address: bigint, byteLength: number) => number
  /** Says how memory will be used. */
  readonly madvise: (address: bigint, byteLength: number, advice: number) => number
  /** Makes a file in memory, and gives its descriptor. */
  readonly memfd: (name: string, flags: number) => number
  /** Sets how long a file is. */
  readonly ftruncate: (fd: number, byteLength: number) => number
  /** Copies from `address` on; never called with an address that `mmap` did not give. */
  readonly memcpy: (into: Uint8Array, address: bigint, byteLength: number) => void
  /** Memory at `address` as a buffer that owns nothing; never called with an address that `mmap` did not give. */
  readonly view: (address: bigint, byteLength: number) => ArrayBuffer
  /** Where the bytes of an array are, for as long as the array lives. */
  readonly addressOf: (bytes: Uint8Array) => bigint
}

// All the same on x86_64 and arm64 (facts of the Linux ABI: fcntl.h, mman.h, memfd.h).

/**
 * Opens for reading and writing.
 *
 * @category constants
 * @since 0.2.0
 */
export const O_RDWR = 2

/**
 * Reads and writes answer EAGAIN in place of waiting.
 *
 * @category constants
 * @since 0.2.0
 */
export const O_NONBLOCK = 0o4000

/**
 * Programs that are started do not inherit the file.
 *
 * @category constants
 * @since 0.2.0
 */
export const O_CLOEXEC = 0o2000000

/**
 * Nothing may be done with the memory.
 *
 * @category constants
 * @since 0.2.0
 */
export const PROT_NONE = 0

/**
 * The memory may be read.
 *
 * @category constants
 * @since 0.2.0
 */
export const PROT_READ = 1

/**
 * The memory may be written to.
 *
 * @category constants
 * @since 0.2.0
 */
export const PROT_WRITE = 2

/**
 * What is written is seen by all who map the same.
 *
 * @category constants
 * @since 0.2.0
 */
export const MAP_SHARED = 0x01

/**
 * What is written is seen by this process alone.
 *
 * @category constants
 * @since 0.2.0
 */
export const MAP_PRIVATE = 0x02

/**
 * Memory of no file, zero at first.
 *
 * @category constants
 * @since 0.2.0
 */
export const MAP_ANONYMOUS = 0x20

/**
 * Memory that is not counted before it is written to.
 *
 * @category constants
 * @since 0.2.0
 */
export const MAP_NORESERVE = 0x4000

/**
 * At the address given, in the place of what is mapped there.
 *
 * @category constants
 * @since 0.2.0
 */
export const MAP_FIXED = 0x10

/**
 * At the address given; EEXIST where something is mapped there.
 *
 * @category constants
 * @since 0.2.0
 */
export const MAP_FIXED_NOREPLACE = 0x100000

/**
 * A forked child does not have the memory.
 *
 * @category constants
 * @since 0.2.0
 */
export const MADV_DONTFORK = 10

/**
 * Programs that are started do not inherit the file in memory.
 *
 * @category constants
 * @since 0.2.0
 */
export const MFD_CLOEXEC = 1

// Of two names for one number, the kernel's own.
const { ENOTSUP: _, EWOULDBLOCK: __, ...named } = constants.errno

const errnoNames = new Map(Object.entries(named).map(([name, value]) => [value, name]))

/**
 * The name of a negated errno, such as "EINVAL" for -22.
 *
 * @category models
 * @since 0.2.0
 */
export const errnoName = (result: number | bigint): string => {
  const errno = -Number(result)
  return errnoNames.get(errno) ?? `errno ${errno}`
}

const mapFailed = 0xffff_ffff_ffff_ffffn

/** Whether Linux promises no more memory than it has: only then what may be written to counts before it is. */
const strictOvercommit = (): boolean => {
  try {
    return readFileSync("/proc/sys/vm/overcommit_memory", "utf8").trim() === "2"
  } catch {
    return false
  }
}

/** Closes and unmaps what a worker has left when it ends by itself: in one that is terminated nothing runs any more. */
const untilExit = (system: SystemCalls): SystemCalls => {
  const files = new Set<number>()
  const places = new Map<bigint, number>()
  const gone = (address: bigint, byteLength: number) => {
    for (const at of places.keys()) {
      if (at >= address && at < address + BigInt(byteLength)) places.delete(at)
    }
  }
  const opened = (fd: number) => {
    if (fd >= 0) files.add(fd)
    return fd
  }
  process.on("exit", () => {
    // In their place, as at any end: work on other threads may not be over yet.
    const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    for (const [address, byteLength] of places) system.mmap(address, byteLength, system.lateAccess, flags, -1, 0)
    for (const fd of files) system.close(fd)
  })
  return {
    ...system,
    open: (path, flags) => opened(system.open(path, flags)),
    memfd: (name, flags) => opened(system.memfd(name, flags)),
    close: (fd) => {
      files.delete(fd)
      return system.close(fd)
    },
    mmap: (wanted, byteLength, protection, flags, fd, offset) => {
      const address = system.mmap(wanted, byteLength, protection, flags, fd, offset)
      if (address < 0n) return address
      gone(address, byteLength)
      if (fd >= 0) places.set(address, byteLength)
      return address
    },
    munmap: (address, byteLength) => {
      gone(address, byteLength)
      return system.munmap(address, byteLength)
    }
  }
}

type Control = readonly [epoll: number, operation: number, fd: number, event: Uint8Array]

const EPOLL_CTL_ADD = 1

type Transfer = readonly [fd: number, bytes: Uint8Array, byteLength: number]

/** The file of a bundle that is CommonJS, where `import.meta` is empty; not there in a module. */
declare const __filename: string | undefined

const load = (): SystemCalls => {
  // Not an import: a machine without a koffi build for it can still import this package.
  const here = typeof __filename === "string" ? __filename : import.meta.url
  const koffi = createRequire(here)("koffi") as typeof Koffi
  const libc = koffi.load(null)
  const open = libc.func("int open(const char*, int)") as unknown as SystemCalls["open"]
  const close = libc.func("int close(int)") as unknown as SystemCalls["close"]
  const ioctl = libc.func("int ioctl(int, unsigned long, void*)") as unknown as SystemCalls["ioctl"]
  const mmap = libc.func("void *mmap(void*, size_t, int, int, int, int64_t)") as unknown as SystemCalls["mmap"]
  const munmap = libc.func("int munmap(void*, size_t)") as unknown as SystemCalls["munmap"]
  const madvise = libc.func("int madvise(void*, size_t, int)") as unknown as SystemCalls["madvise"]
  const memfd = libc.func("int memfd_create(const char*, unsigned int)") as unknown as SystemCalls["memfd"]
  const ftruncate = libc.func("int ftruncate(int, int64_t)") as unknown as SystemCalls["ftruncate"]
  const read = libc.func("long read(int, void*, size_t)") as unknown as (...args: Transfer) => number
  const write = libc.func("long write(int, void*, size_t)") as unknown as (...args: Transfer) => number
  const pipe = libc.func("int pipe2(int*, int)") as unknown as SystemCalls["pipe"]
  const duplicate = libc.func("int dup3(int, int, int)") as unknown as SystemCalls["duplicate"]
  const epollCreate = libc.func("int epoll_create1(int)") as unknown as (flags: number) => number
  const epollControl = libc.func("int epoll_ctl(int, int, int, void*)") as unknown as (...args: Control) => number
  const memcpy = libc.func("void *memcpy(void*, void*, size_t)")
  const pageSize = libc.func("int getpagesize()") as unknown as () => number
  // errno is only valid in the tick of the call.
  const checked = (result: number) => result < 0 ? -koffi.errno() : result
  const calls: SystemCalls = {
    isMainThread,
    pageSize: pageSize(),
    lateAccess: strictOvercommit() ? PROT_READ : PROT_READ | PROT_WRITE,
    open: (path, flags) => checked(open(path, flags)),
    close: (fd) => checked(close(fd)),
    ioctl: (fd, request, argument) => checked(ioctl(fd, request, argument)),
    read: (fd, into) => checked(read(fd, into, into.length)),
    write: (fd, bytes) => checked(write(fd, bytes, bytes.length)),
    pipe: (ends, flags) => checked(pipe(ends, flags)),
    duplicate: (fd, onto, flags) => checked(duplicate(fd, onto, flags)),
    canWait: (fd) => {
      const epoll = checked(epollCreate(O_CLOEXEC))
      if (epoll < 0) return epoll
      const answer = checked(epollControl(epoll, EPOLL_CTL_ADD, fd, new Uint8Array(16)))
      close(epoll)
      return answer
    },
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
  return isMainThread ? calls : untilExit(calls)
}

let loaded: SystemCalls | undefined

/**
 * The system calls of this process, loaded at the first use. Throws where koffi has no build for the machine.
 *
 * @category constructors
 * @since 0.2.0
 */
export const native = (): SystemCalls => loaded ??= load()

/** Bytes in a page of Xen's, on every machine. */
const xenPageSize = 4096

/**
 * The same, where the kernel has Xen's pages. Throws where it has bigger ones: gntalloc then gives each reference a page
 * of which Xen grants the first 4096 bytes only, and what is mapped side by side is not the buffer.
 *
 * @category guards
 * @since 0.2.0
 */
export const withPagesOfXen = (system: SystemCalls): SystemCalls => {
  if (system.pageSize === xenPageSize) return system
  throw new Error(
    `this kernel has pages of ${system.pageSize} bytes, and Xen's have ${xenPageSize}: boot one with pages of that size`
  )
}
