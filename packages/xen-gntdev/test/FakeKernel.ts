/**
 * A kernel that keeps books: gntalloc and gntdev behind the interface of the system calls, with the rules that the real
 * ones have, a record of every call, and a failure wherever a test wants one.
 */
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Abi from "../src/internal/Abi.ts"
import { EBADF, EEXIST, EINVAL, ENOENT, ENOTTY, type FakeFile, indexIn, type Mapping, page } from "./FakeFile.ts"
import * as FakeGntAlloc from "./FakeGntAlloc.ts"
import * as FakeGntDev from "./FakeGntDev.ts"

/** A notification: whether the page or the note that has it is still there, and what is to happen when it isn't. */
interface Armed {
  readonly isThere: () => boolean
  readonly byte: number | undefined
  readonly port: number | undefined
}

export interface Rules extends FakeGntAlloc.Rules, FakeGntDev.Rules {
  /** Whether the calls come from a worker thread. */
  readonly worker?: boolean
  /** Bytes in a page of the kernel. */
  readonly pageSize?: number
  /** The errno for memory in the place of pages that end, if there is none. */
  readonly failEnd?: number
  /** Ports that are bound. */
  readonly ports?: ReadonlyArray<number>
  /** The errno for a call, by its number among those that can fail, from 0; undefined where it works. */
  readonly fail?: (call: number, name: string) => number | undefined
}

export const make = (rules: Rules = {}) => {
  const { fail = () => undefined, ports = [], worker = false } = rules
  const files = new Map<number, FakeFile>()
  const mappings = new Map<bigint, Mapping>()
  const calls: Array<string> = []
  const errors: Array<string> = []
  const buffers = new Map<bigint, Uint8Array>()
  const armed = new Map<string, Armed>()
  let nextFd = 10
  let nextAddress = 0x7000_0000_0000n
  let fallible = 0

  /** Notes an acquiring call; releases never fail. */
  const failing = (name: string, detail: string | number = "") => {
    calls.push(`${name} ${detail}`.trim())
    return fail(fallible++, name)
  }
  const wrong = (what: string, errno: number) => {
    errors.push(what)
    return errno
  }
  const mappingOf = (of: object) => [...mappings.values()].find((mapping) => mapping.of === of)
  const kernel = { wrong, mappingOf }
  const devices = new Map([
    ["/dev/xen/gntalloc", FakeGntAlloc.make("/dev/xen/gntalloc", kernel, rules)],
    ["/dev/xen/gntdev", FakeGntDev.make("/dev/xen/gntdev", kernel, rules, (address) => buffers.get(address)!)]
  ])

  /** Does what was to happen at the end of pages that are gone. */
  const notify = () => {
    for (const [place, { byte, isThere, port }] of armed) {
      if (isThere()) continue
      armed.delete(place)
      if (byte !== undefined) calls.push(`cleared ${byte}`)
      if (port !== undefined) calls.push(`signalled ${port}`)
    }
  }

  const setNotify = (file: FakeFile, fd: number, words: Uint32Array): number => {
    const at = indexIn(words)
    const [action, port] = [words[2]!, words[3]!]
    const found = file.place(at)
    if (found === undefined) return wrong("SET_UNMAP_NOTIFY of nothing", ENOENT)
    if ((action & 1) !== 0 && !found.isClearable) return wrong("clearing a byte of what can't be written to", EINVAL)
    if (action > 3 || ((action & 2) !== 0 && !ports.includes(port))) return EINVAL
    const place = `${fd} ${found.name}`
    armed.delete(place)
    if (action !== 0) {
      armed.set(place, {
        isThere: () => (files.get(fd) === file && file.has(found.of)) || mappingOf(found.of) !== undefined,
        byte: (action & 1) === 0 ? undefined : at,
        port: (action & 2) === 0 ? undefined : port
      })
    }
    return 0
  }

  const unmapAll = (address: bigint, byteLength: number) => {
    const end = address + BigInt(byteLength)
    for (const [at, mapping] of mappings) {
      const until = at + BigInt(mapping.byteLength)
      if (until <= address || end <= at) continue
      mappings.delete(at)
      mapping.ended?.()
      if (at >= address && until <= end) continue
      if (mapping.of !== undefined) wrong("munmap of a part", 0)
      if (at < address) mappings.set(at, { ...mapping, byteLength: Number(address - at) })
      if (until > end) mappings.set(end, { ...mapping, byteLength: Number(until - end) })
    }
  }

  /** Puts private memory in the place of pages, which ends their mapping. */
  const end = (address: bigint, byteLength: number, flags: number): bigint => {
    if ((flags & SystemCalls.MAP_NORESERVE) === 0) wrong("memory in the place of pages that is reserved", EINVAL)
    if (rules.failEnd !== undefined) return BigInt(rules.failEnd)
    calls.push(`end ${byteLength / page}`)
    unmapAll(address, byteLength)
    mappings.set(address, { byteLength, writable: true, isLate: true })
    notify()
    return address
  }

  const system: SystemCalls.SystemCalls = {
    isMainThread: !worker,
    pageSize: rules.pageSize ?? page,
    lateAccess: SystemCalls.PROT_READ | SystemCalls.PROT_WRITE,
    open: (path, flags) => {
      const failed = failing("open", path)
      if (failed !== undefined) return failed
      if (flags !== (SystemCalls.O_RDWR | SystemCalls.O_CLOEXEC)) wrong("open without O_CLOEXEC", EINVAL)
      const device = devices.get(path)
      if (device === undefined) return ENOENT
      files.set(nextFd, device())
      return nextFd++
    },
    close: (fd) => {
      calls.push("close")
      const file = files.get(fd)
      if (file === undefined) return wrong("close of no file", EBADF)
      file.close()
      files.delete(fd)
      notify()
      return 0
    },
    ioctl: (fd, request, words) => {
      const file = files.get(fd)
      const name = names.get(request) ?? "ioctl"
      if (!releasing.has(request)) {
        const notification = request === Abi.SET_UNMAP_NOTIFY ? `${words[0]} ${words[2]} ${words[3]}` : undefined
        const failed = failing(name, notification ?? words[request === Abi.ALLOC_GREF ? 1 : 0])
        if (failed !== undefined) return failed
      } else calls.push(`${name} ${words[2]}`)
      if (file === undefined) return wrong("ioctl on no file", EBADF)
      if (request === Abi.SET_UNMAP_NOTIFY) return setNotify(file, fd, words)
      const answer = file.ioctl(request, words) ?? wrong(`ioctl ${request.toString(16)} on ${file.path}`, ENOTTY)
      notify()
      return answer
    },
    mmap: (wanted, byteLength, protection, flags, fd, offset) => {
      if (byteLength === 0) return BigInt(EINVAL)
      const isLate = wanted !== null && (flags & SystemCalls.MAP_ANONYMOUS) !== 0 && (flags & SystemCalls.MAP_FIXED) !== 0
      if (isLate) return end(wanted, byteLength, flags)
      if (wanted !== null && (flags & SystemCalls.MAP_FIXED_NOREPLACE) !== 0) {
        const isTaken = [...mappings].some(([at, mapping]) =>
          at < wanted + BigInt(byteLength) && wanted < at + BigInt(mapping.byteLength)
        )
        if (isTaken) return BigInt(EEXIST)
      }
      // MAP_FIXED takes the place first, and leaves a hole where the device then refuses.
      if (wanted !== null) unmapAll(wanted, byteLength)
      const failed = failing("mmap", byteLength / page)
      if (failed !== undefined) return BigInt(failed)
      const writable = (protection & SystemCalls.PROT_WRITE) !== 0
      const mapping = (flags & SystemCalls.MAP_ANONYMOUS) !== 0
        ? { byteLength, writable }
        : (flags & SystemCalls.MAP_SHARED) !== 0
        ? files.get(fd)?.mmap(offset, byteLength, writable) ?? wrong("mmap of no file", EBADF)
        : wrong("mmap without MAP_SHARED", EINVAL)
      if (typeof mapping === "number") return BigInt(mapping)
      const address = wanted ?? nextAddress
      if (wanted === null) nextAddress += BigInt(byteLength)
      mappings.set(address, mapping)
      return address
    },
    munmap: (address, byteLength) => {
      // V8 lets go of buffers whenever it likes: no call of ours.
      if (mappings.get(address)?.isLate !== true) calls.push(`munmap ${byteLength / page}`)
      unmapAll(address, byteLength)
      notify()
      return 0
    },
    madvise: () => failing("madvise") ?? 0,
    memcpy: (into, address, byteLength) => {
      calls.push(`memcpy ${byteLength}`)
      into.fill(mappings.get(address)!.byte!, 0, byteLength)
    },
    view: (_, byteLength) => {
      if (failing("view") !== undefined) throw new Error("no views")
      return new ArrayBuffer(byteLength)
    },
    addressOf: (bytes) => {
      const address = BigInt(buffers.size + 1) << 20n
      buffers.set(address, bytes)
      return address
    },
    // No device of these is read or written.
    read: () => EINVAL,
    write: () => EINVAL,
    pipe: () => EINVAL,
    duplicate: () => EINVAL,
    canWait: () => EINVAL,
    memfd: () => ENOENT,
    ftruncate: () => ENOENT
  }

  return {
    system,
    /** Every call, with its pages. */
    calls,
    /** What the real kernel would have punished. */
    errors,
    /** What is open, allocated, noted or mapped: empty when nothing is held. */
    held: () => [
      ...[...mappings.values()].filter(({ isLate }) => isLate !== true).map(({ byteLength }) => `mapped ${byteLength / page}`),
      ...[...files.values()].flatMap(({ held, path }) => [...held(), `open ${path}`])
    ],
    /** How many calls could have failed. */
    fallible: () => fallible,
    fds: () => files.size
  }
}

const names = new Map([
  [Abi.ALLOC_GREF, "ALLOC_GREF"],
  [Abi.DEALLOC_GREF, "DEALLOC_GREF"],
  [Abi.MAP_GRANT_REF, "MAP_GRANT_REF"],
  [Abi.UNMAP_GRANT_REF, "UNMAP_GRANT_REF"],
  [Abi.GRANT_COPY, "GRANT_COPY"],
  [Abi.SET_UNMAP_NOTIFY, "SET_UNMAP_NOTIFY"]
])
const releasing = new Set([Abi.DEALLOC_GREF, Abi.UNMAP_GRANT_REF])
