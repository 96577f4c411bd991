/**
 * Maps, reads and copies grants of peers through gntdev: synchronous, all or nothing, errors as values.
 *
 * @internal
 */
import type { Access } from "@xen-shbuf/core/Access"
import type * as GrantRef from "@xen-shbuf/core/GrantRef"
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Page from "@xen-shbuf/core/Page"
import * as Result from "effect/Result"
import type { MapFailure, Region } from "../MappedMemory.ts"
import * as Abi from "./Abi.ts"
import * as Device from "./Device.ts"
import * as Libc from "./Libc.ts"
import * as Mapping from "./Mapping.ts"
import * as Notify from "./Notify.ts"

/** gntdev, opened at the first mapping, as often as its capacity asks for; `close` is its end. */
export interface GntMap {
  readonly map: (request: GrantTable.MapRequest) => Device.Outcome<GrantTable.Held<GrantTable.MappedPages>>
  readonly read: (grant: GrantRef.Grant, into: Uint8Array) => Device.Outcome<void>
  readonly copy: (segments: ReadonlyArray<GrantTable.CopySegment>) => Device.Outcome<void>
  readonly limit: () => Device.Outcome<GrantTable.Limit>
  readonly close: () => void
}

/** An open gntdev: the pages in it, and the highest offset, in pages, that it gave since it was last empty. */
interface File {
  readonly fd: number
  readonly close: () => void
  live: number
  reach: number
}

/** A MAP_GRANT_REF that the kernel has noted: the references from `start` on, and the offset for its only mmap. */
interface Noted {
  readonly file: File
  readonly index: number
  readonly start: number
  readonly count: number
}

/** What gntdev allows by default, and we never exceed. */
const maxRequest = 65_536

/** gntdev's errno for a grant that Xen refuses, whatever the cause. */
const refusal = "EINVAL"

/** gntdev computes offsets as signed 32-bit integers: they come back wrong from 2 GiB on. */
const maxReach = 2 ** 31 / Page.size

/** Makes one for a device and the file of its limit. */
export const make = (loadLibc: () => Device.Outcome<Libc.Libc>, device: string, limitPath: string): GntMap => {
  const files: Array<File> = []
  let isClosed = false
  /** Pages in one request, as last read. */
  let limit = maxRequest

  const readLimit = () => {
    const pages = Result.getOrElse(Device.readLimit(limitPath, "xen-gntdev"), () => maxRequest)
    limit = Math.max(1, Math.min(maxRequest, pages))
  }

  const openFile = (libc: Libc.Libc): Device.Outcome<File> =>
    Result.map(Device.open(libc, device, "xen-gntdev"), (fd) => {
      const file: File = { fd, close: () => libc.close(fd), live: 0, reach: 0 }
      files.push(file)
      return file
    })

  /** The C library, when gntdev has been opened. */
  let libc: Libc.Libc | undefined

  const firstOpened = () =>
    Result.gen(function*() {
      const loaded = yield* loadLibc()
      yield* openFile(loaded)
      readLimit()
      return libc = loaded
    })

  const opened = (): Device.Outcome<Libc.Libc> => {
    if (isClosed) return Device.closed(device)
    return libc === undefined ? firstOpened() : Result.succeed(libc)
  }

  const note = (
    libc: Libc.Libc,
    { domain, refs }: GrantTable.MapRequest,
    start: number,
    end: number
  ): Device.Outcome<Noted> => {
    const count = end - start
    // Offsets are given first-fit: whatever the gaps, these pages end at `reach + count` at most.
    const roomy = files.find(({ reach }) => reach + count < maxReach)
    return Result.flatMap(roomy === undefined ? openFile(libc) : Result.succeed(roomy), (file) => {
      const words = Abi.mapGrantRef(domain, refs, start, end)
      const answer = libc.ioctl(file.fd, Abi.MAP_GRANT_REF, words)
      if (answer < 0) return Device.failed(device, "MAP_GRANT_REF", Libc.errnoName(answer))
      const index = Abi.index(words)
      file.live += count
      file.reach = Math.max(file.reach, index / Page.size + count)
      return Result.succeed({ file, index, start, count })
    })
  }

  const forget = (libc: Libc.Libc, { count, file, index }: Noted): void => {
    file.live -= count
    if (file.live === 0) file.reach = 0
    // After close the number may be another file's, and the kernel has forgotten already.
    if (!isClosed) libc.ioctl(file.fd, Abi.UNMAP_GRANT_REF, Abi.range(index, count))
  }

  /** Notes the whole request, in as many pieces as the limit asks for. */
  const noteAll = (libc: Libc.Libc, request: GrantTable.MapRequest): Device.Outcome<ReadonlyArray<Noted>> => {
    const all: Array<Noted> = []
    const pages = request.refs.length
    const step = limit
    for (let start = 0; start < pages; start += step) {
      const noted = note(libc, request, start, Math.min(start + step, pages))
      if (Result.isFailure(noted)) {
        for (const one of all) forget(libc, one)
        readLimit()
        // Lowered since it was read? Then smaller pieces may do.
        return limit < step ? noteAll(libc, request) : Result.fail(noted.failure)
      }
      all.push(noted.success)
    }
    return Result.succeed(all)
  }

  const mapNoted = (libc: Libc.Libc, noted: ReadonlyArray<Noted>, access: Access) =>
    Mapping.map(
      libc,
      noted.map(({ count, file, index }) => ({ fd: file.fd, offset: index, byteLength: count * Page.size })),
      access
    )

  /** Tells whether Xen accepts a part of the request: maps it, and lets go of it at once. */
  const accepts = (libc: Libc.Libc, request: GrantTable.MapRequest, start: number, end: number) =>
    Result.gen(function*() {
      const noted = yield* note(libc, request, start, end)
      const mapped = mapNoted(libc, [noted], request.access)
      if (Result.isSuccess(mapped)) Mapping.unmap(libc, mapped.success)
      forget(libc, noted)
      if (Result.isSuccess(mapped)) return true
      if (mapped.failure.errno === refusal) return false
      return yield* Device.failed(device, "mmap", mapped.failure.errno)
    })

  /**
   * Finds the first grant that is refused from `start` up to `end`, which were refused together.
   * Maps as many pages as were asked for at most, and one.
   */
  const locate = (libc: Libc.Libc, request: GrantTable.MapRequest, start: number, end: number) =>
    Result.gen(function*() {
      const { access, domain, refs } = request
      let low = start
      let high = end
      let refused = true
      while (high - low > 1) {
        const middle = low + Math.floor((high - low) / 2)
        refused = !(yield* accepts(libc, request, low, middle))
        if (refused) high = middle
        else low = middle
      }
      // The last half was not tried if the one before it was accepted.
      if (!refused) refused = !(yield* accepts(libc, request, low, high))
      return refused
        ? new GrantTableError.GrantRefused({
          grant: { domain, ref: refs[low] as GrantRef.GrantRef },
          index: low,
          access
        })
        : new GrantTableError.OutOfMappings({
          domain,
          requested: refs.length,
          detail: "no part of them is refused by itself, so this domain's maptrack table is full, " +
            "or one reference is mapped more than 128 times"
        })
    })

  /** Says why pages that were noted could not be mapped. */
  const explain = (
    libc: Libc.Libc,
    request: GrantTable.MapRequest,
    noted: ReadonlyArray<Noted>,
    { errno, piece }: MapFailure
  ): Device.Outcome<never> => {
    // Always: outside of PV what was mapped before the refusal stays mapped until then.
    for (const one of noted) forget(libc, one)
    if (errno !== refusal) return Device.failed(device, "mmap", errno)
    const { count, start } = noted[piece]!
    return Result.flatMap(locate(libc, request, start, start + count), Result.fail)
  }

  const hold = (
    libc: Libc.Libc,
    { access, domain }: GrantTable.MapRequest,
    noted: ReadonlyArray<Noted>,
    region: Region
  ): GrantTable.Held<GrantTable.MappedPages> => {
    const rearm = Notify.make(libc, device)
    return {
      pages: { domain, access, bytes: new Uint8Array(region.buffer) },
      release: () => {
        Mapping.unmap(libc, region)
        for (const one of noted) forget(libc, one)
      },
      // Each request that was noted has one notification: its byte's clears it, the last to end sends the signal.
      arm: (notification) => {
        if (isClosed) return Device.closed(device)
        const armed = noted.map(({ count, file: { fd }, index, start }, i): Notify.Armed => {
          const at = (notification?.clearByte ?? -1) - start * Page.size
          return {
            fd,
            index,
            clearByte: at >= 0 && at < count * Page.size ? at : undefined,
            signalPort: i === noted.length - 1 ? notification?.signalPort : undefined
          }
        })
        // The signal first: its port is all that the kernel may refuse.
        return rearm(
          armed.filter(({ clearByte, signalPort }) => clearByte !== undefined || signalPort !== undefined).reverse()
        )
      }
    }
  }

  return {
    map: (request) =>
      Result.flatMap(opened(), (libc) =>
        Result.flatMap(noteAll(libc, request), (noted) => {
          const mapped = mapNoted(libc, noted, request.access)
          return Result.isFailure(mapped)
            ? explain(libc, request, noted, mapped.failure)
            : Result.succeed(hold(libc, request, noted, mapped.success))
        })),
    // Nobody sees the mapping: it needs no view, and no child can be forked meanwhile.
    read: ({ domain, ref }, into) =>
      Result.flatMap(opened(), (libc) => {
        const access = "read-only"
        return Result.flatMap(note(libc, { domain, refs: Uint32Array.of(ref), access }, 0, 1), (noted) => {
          const address = libc.mmap(null, Page.size, Libc.PROT_READ, Libc.MAP_SHARED, noted.file.fd, noted.index)
          if (address < 0n) {
            forget(libc, noted)
            const errno = Libc.errnoName(address)
            return errno === refusal
              ? Result.fail(new GrantTableError.GrantRefused({ grant: { domain, ref }, index: 0, access }))
              : Device.failed(device, "mmap", errno)
          }
          libc.memcpy(into, address, into.length)
          libc.munmap(address, Page.size)
          forget(libc, noted)
          return Result.succeed(undefined)
        })
      }),
    copy: (segments) =>
      Result.gen(function*() {
        const libc = yield* opened()
        const bytes = new Uint8Array(segments.length * Abi.segmentSize)
        const view = new DataView(bytes.buffer)
        for (const [i, segment] of segments.entries()) {
          const { grant: { domain, ref }, offset } = segment
          const memory = segment._tag === "Read" ? segment.into : segment.from
          Abi.setSegment(view, i, segment._tag, { domain, ref, offset }, libc.addressOf(memory), memory.length)
        }
        const answer = libc.ioctl(files[0]!.fd, Abi.GRANT_COPY, Abi.grantCopy(libc.addressOf(bytes), segments.length))
        if (answer < 0) return yield* Device.failed(device, "GRANT_COPY", Libc.errnoName(answer))
        for (const [index, { _tag, grant }] of segments.entries()) {
          const code = Abi.segmentStatus(view, index)
          if (code === 0) continue
          const access = _tag === "Read" ? "read-only" : "read-write"
          const status = Abi.statusName(code)
          return yield* Result.fail(new GrantTableError.GrantRefused({ grant, index, access, status }))
        }
      }),
    limit: () => Result.map(Device.readLimit(limitPath, "xen-gntdev"), (pages) => ({ pages, knob: { _tag: "File", path: limitPath } })),
    close: () => {
      isClosed = true
      for (const { close } of files) close()
    }
  }
}
