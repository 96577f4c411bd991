/**
 * A kernel that keeps books: gntalloc and gntdev behind the interface of the C library, with the rules that the real
 * ones have, a record of every call, and a failure wherever a test wants one.
 */
import * as Abi from "../src/internal/Abi.ts"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"

const gntalloc = "/dev/xen/gntalloc"
const gntdev = "/dev/xen/gntdev"
const page = 4096
const EBADF = -9
const EEXIST = -17
const EINVAL = -22
const ENOENT = -2
const ENOSPC = -28
const ENOTTY = -25

interface Note {
  readonly domain: number
  readonly refs: ReadonlyArray<number>
  /** A note is mapped once in its life, also when that fails. */
  used: boolean
}

interface Open {
  readonly path: string
  /** gntalloc's allocations or gntdev's notes, by their offset in bytes. */
  readonly allocations: Map<number, ReadonlyArray<number>>
  readonly notes: Map<number, Note>
  next: number
}

/** A notification: whether the page or the note that has it is still there, and what is to happen when it isn't. */
interface Armed {
  readonly isThere: () => boolean
  readonly byte: number | undefined
  readonly port: number | undefined
}

interface Mapping {
  /** Memory in the place of pages that have ended: addresses that V8 has not given back yet. */
  readonly isLate?: boolean
  readonly byteLength: number
  readonly offset: number
  readonly writable: boolean
  readonly fd: number
  readonly note: Note | undefined
}

export interface Rules {
  /** Grants that Xen refuses. */
  readonly refuses?: (ref: number, writable: boolean) => boolean
  /** Pages that can be mapped at one time. */
  readonly maptrack?: number
  /** Pages in one MAP_GRANT_REF. */
  readonly perRequest?: () => number
  /** Pages in ALLOC_GREF, all together. */
  readonly grants?: () => number
  /** References in the grant table. */
  readonly references?: number
  /** Grants that their peer has mapped, and keeps when they are let go. */
  readonly keeps?: (ref: number) => boolean
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
  const { fail = () => undefined, ports = [], references = Infinity, refuses = () => false, worker = false } = rules
  const files = new Map<number, Open>()
  const mappings = new Map<bigint, Mapping>()
  const calls: Array<string> = []
  const errors: Array<string> = []
  const buffers = new Map<bigint, Uint8Array>()
  const armed = new Map<string, Armed>()
  /** gntalloc's counter of its pages. */
  let counter = 0
  let nextFd = 10
  let nextAddress = 0x7000_0000_0000n
  let nextRef = 100
  /** References given back, the last one first to be handed out again, as in Linux; those that a peer keeps aren't. */
  const free: Array<number> = []
  let kept = 0
  let fallible = 0
  let pagesMapped = 0

  /** Notes an acquiring call; releases never fail. */
  const failing = (name: string, detail: string | number = "") => {
    calls.push(`${name} ${detail}`.trim())
    return fail(fallible++, name)
  }
  const wrong = (what: string, errno: number) => {
    errors.push(what)
    return errno
  }

  const allocated = ({ allocations }: Open) => [...allocations.values()].reduce((sum, refs) => sum + refs.length, 0)

  const letGo = (refs: ReadonlyArray<number>) => {
    counter -= refs.length
    for (const ref of refs) {
      if (rules.keeps?.(ref) === true) kept++
      else free.push(ref)
    }
  }

  /** Whether a file has this many pages at this offset, or a mapping of it. */
  const isAllocated = (fd: number, at: number) =>
    Array.from(files.get(fd)?.allocations ?? []).some(([index, refs]) => index <= at && at < index + refs.length * page) ||
    [...mappings.values()].some((one) => one.fd === fd && one.offset <= at && at < one.offset + one.byteLength)

  const isNoted = (fd: number, note: Note) =>
    [...files.get(fd)?.notes.values() ?? []].includes(note) ||
    [...mappings.values()].some((mapping) => mapping.note === note)

  /** Does what was to happen at the end of pages that are gone. */
  const notify = () => {
    for (const [place, { byte, isThere, port }] of armed) {
      if (isThere()) continue
      armed.delete(place)
      if (byte !== undefined) calls.push(`cleared ${byte}`)
      if (port !== undefined) calls.push(`signalled ${port}`)
    }
  }

  const setNotify = (file: Open, fd: number, words: Uint32Array): number => {
    const at = words[0]! + words[1]! * 2 ** 32
    const [action, port] = [words[2]!, words[3]!]
    const note = Array.from(file.notes).find(([index, { refs }]) => index <= at && at < index + refs.length * page)
    if (note === undefined && !isAllocated(fd, at)) return wrong("SET_UNMAP_NOTIFY of nothing", ENOENT)
    if (note !== undefined && (action & 1) !== 0) {
      const mapping = [...mappings.values()].find((mapping) => mapping.note === note[1])
      if (mapping?.writable !== true) return wrong("clearing a byte of what can't be written to", EINVAL)
    }
    if (action > 3 || ((action & 2) !== 0 && !ports.includes(port))) return EINVAL
    const place = `${fd} ${note === undefined ? Math.floor(at / page) : note[0]}`
    armed.delete(place)
    if (action !== 0) {
      armed.set(place, {
        isThere: () => note === undefined ? isAllocated(fd, at) : isNoted(fd, note[1]),
        byte: (action & 1) === 0 ? undefined : at,
        port: (action & 2) === 0 ? undefined : port
      })
    }
    return 0
  }

  const alloc = (file: Open, words: Uint32Array): number => {
    const count = words[1]!
    const limit = rules.grants?.() ?? 1024
    // Compared without a sign.
    if (counter >>> 0 > limit || count > limit - counter) return ENOSPC
    const granted = [...files.values()].reduce((sum, file) => sum + allocated(file), 0)
    if (granted + kept + count > references) {
      // The real bug: undoing counts one page too many.
      counter -= 1
      return ENOSPC
    }
    counter += count
    words[2] = file.next
    const refs = Array.from({ length: count }, () => free.pop() ?? nextRef++)
    file.allocations.set(file.next, refs)
    file.next += count * page
    words.set(refs, 4)
    return 0
  }

  const note = (file: Open, words: Uint32Array): number => {
    const count = words[0]!
    if (count === 0 || count > (rules.perRequest?.() ?? 65_536)) return EINVAL
    // First fit, as the kernel has it.
    let index = 0
    for (const [at, { refs }] of Array.from(file.notes).toSorted(([a], [b]) => a - b)) {
      if (at - index >= count * page) break
      index = at + refs.length * page
    }
    if (index >= 2 ** 31) return wrong("an offset beyond 2 GiB", EINVAL)
    words[2] = index
    file.notes.set(index, {
      domain: words[4]!,
      refs: Array.from({ length: count }, (_, i) => words[5 + 2 * i]!),
      used: false
    })
    return 0
  }

  const ioctl = (file: Open, request: number, words: Uint32Array): number => {
    const index = words[0]! + words[1]! * 2 ** 32
    if (file.path === gntalloc && request === Abi.ALLOC_GREF) return alloc(file, words)
    if (file.path === gntdev && request === Abi.MAP_GRANT_REF) return note(file, words)
    if (file.path === gntalloc && request === Abi.DEALLOC_GREF) {
      const refs = file.allocations.get(index)
      if (refs?.length !== words[2]) return wrong("DEALLOC_GREF of nothing", EINVAL)
      file.allocations.delete(index)
      letGo(refs!)
      return 0
    }
    if (file.path === gntdev && request === Abi.UNMAP_GRANT_REF) {
      const known = file.notes.get(index)
      if (known?.refs.length !== words[2]) return wrong("UNMAP_GRANT_REF of nothing", ENOENT)
      if ([...mappings.values()].some(({ note }) => note === known)) return wrong("UNMAP_GRANT_REF too early", EINVAL)
      file.notes.delete(index)
      return 0
    }
    return wrong(`ioctl ${request.toString(16)} on ${file.path}`, ENOTTY)
  }

  const mmapFile = (fd: number, offset: number, byteLength: number, writable: boolean): Mapping | number => {
    const file = files.get(fd)
    if (file === undefined) return wrong("mmap of no file", EBADF)
    if (file.path === gntalloc) {
      return file.allocations.get(offset)?.length === byteLength / page
        ? { byteLength, offset, writable, fd, note: undefined }
        : wrong("mmap of no whole allocation", ENOENT)
    }
    const known = file.notes.get(offset)
    if (known === undefined || known.used || known.refs.length * page !== byteLength) {
      return wrong("mmap of no whole, unused note", EINVAL)
    }
    known.used = true
    if (known.refs.some((ref) => refuses(ref, writable))) return EINVAL
    if (pagesMapped + known.refs.length > (rules.maptrack ?? Infinity)) return EINVAL
    pagesMapped += known.refs.length
    return { byteLength, offset, writable, fd, note: known }
  }

  const unmapAll = (address: bigint, byteLength: number) => {
    const end = address + BigInt(byteLength)
    for (const [at, mapping] of mappings) {
      const until = at + BigInt(mapping.byteLength)
      if (until <= address || end <= at) continue
      mappings.delete(at)
      if (mapping.note !== undefined) pagesMapped -= mapping.note.refs.length
      if (at >= address && until <= end) continue
      if (mapping.fd !== -1) wrong("munmap of a part", 0)
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
    mappings.set(address, { byteLength, offset: 0, writable: true, fd: -1, note: undefined, isLate: true })
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
      if (path !== gntalloc && path !== gntdev) return ENOENT
      files.set(nextFd, { path, allocations: new Map(), notes: new Map(), next: 0 })
      return nextFd++
    },
    close: (fd) => {
      calls.push("close")
      const file = files.get(fd)
      if (file === undefined) return wrong("close of no file", EBADF)
      for (const refs of file.allocations.values()) letGo(refs)
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
      if (request === Abi.GRANT_COPY) return copy(words)
      if (request === Abi.SET_UNMAP_NOTIFY) return setNotify(file, fd, words)
      const answer = ioctl(file, request, words)
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
        ? { byteLength, offset, writable, fd: -1, note: undefined }
        : (flags & SystemCalls.MAP_SHARED) !== 0
        ? mmapFile(fd, offset, byteLength, writable)
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
      const { note } = mappings.get(address)!
      // Every page granted holds its reference's low byte.
      into.fill(note!.refs[0]! & 0xff, 0, byteLength)
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
    memfd: () => ENOENT,
    ftruncate: () => ENOENT
  }

  /** Every page granted holds its reference's low byte; what is refused gets GNTST_general_error. */
  const copy = (words: Uint32Array): number => {
    const bytes = buffers.get(BigInt(words[2]!) + (BigInt(words[3]!) << 32n))!
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    for (let i = 0; i < words[0]!; i++) {
      const at = i * Abi.segmentSize
      const reading = view.getUint16(at + 18, true) === 1
      const ref = view.getUint32(at + (reading ? 0 : 8), true)
      const local = buffers.get(view.getBigUint64(at + (reading ? 8 : 0), true))!
      if (refuses(ref, !reading)) view.setInt16(at + 20, -1, true)
      else if (reading) local.fill(ref & 0xff)
    }
    return 0
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
      ...[...files.values()].flatMap(({ allocations, notes, path }) => [
        ...[...allocations.values()].map((refs) => `allocated ${refs.length}`),
        ...[...notes.values()].map(({ refs }) => `noted ${refs.length}`),
        `open ${path}`
      ])
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
