/**
 * Shares pages through gntalloc: synchronous, all or nothing, errors as values.
 *
 * @internal
 */
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Page from "@xen-shbuf/core/Page"
import * as Result from "effect/Result"
import * as Abi from "./Abi.ts"
import * as Device from "./Device.ts"
import * as Libc from "./Libc.ts"
import * as Mapping from "./Mapping.ts"
import * as Notify from "./Notify.ts"

/** gntalloc, opened at the first share; `close` is its end. */
export interface GntAlloc {
  readonly share: (request: GrantTable.ShareRequest) => Device.Outcome<GrantTable.Held<GrantTable.SharedPages>>
  readonly limit: () => Device.Outcome<GrantTable.Limit>
  readonly close: () => void
}

/** References in a grant table of Xen's default size: 64 frames of 512. */
export const defaultTableSize = 32_768

/**
 * Pages that may be shared with a grant table of so many references. An eighth is left to the domain's own devices:
 * some kernels count wrongly when the table is full, and then share nothing more.
 */
export const usable = (tableSize: number): number => tableSize - Math.floor(tableSize / 8)

interface Opened {
  readonly libc: Libc.Libc
  readonly fd: number
}

/** Makes one for a device and the file of its limit, in a domain whose grant table has so many references. */
export const make = (
  loadLibc: () => Device.Outcome<Libc.Libc>,
  device: string,
  limitPath: string,
  tableSize: number
): GntAlloc => {
  let state: Opened | "unopened" | "closed" = "unopened"
  const table: GrantTable.Limit = { pages: usable(tableSize), knob: { _tag: "Option", name: "grantTableSize" } }
  /** The lower one of gntalloc's limit, as last read, and the table's. */
  let limit = table
  /** Pages of ours that count towards the limit. */
  let live = 0

  const lower = (pages: number): GrantTable.Limit => pages < table.pages ? { pages, knob: { _tag: "File", path: limitPath } } : table

  const readLimit = () => {
    limit = Result.match(Device.readLimit(limitPath, "xen-gntalloc"), { onFailure: () => table, onSuccess: lower })
  }

  const firstOpened = () =>
    Result.gen(function*() {
      const libc = yield* loadLibc()
      const opened = { libc, fd: yield* Device.open(libc, device, "xen-gntalloc") }
      state = opened
      readLimit()
      return opened
    })

  const opened = (): Device.Outcome<Opened> => {
    if (state === "closed") return Device.closed(device)
    return state === "unopened" ? firstOpened() : Result.succeed(state)
  }

  const exceedsLimit = (pages: number) => live + pages > limit.pages

  const outOfGrants = (requested: number) => {
    const named = { requested, limit: limit.pages, knob: limit.knob }
    if (exceedsLimit(requested)) {
      const pages = live + requested
      return new GrantTableError.OutOfGrants({ ...named, needed: limit === table ? Math.ceil(pages * 8 / 7) : pages })
    }
    // Others may have used up gntalloc's limit, or the domain's table is full: the kernel says ENOSPC to both. A limit
    // as large as the table is hardly ever the cause. How much others use is unknown: at most all of it.
    return limit === table
      ? new GrantTableError.OutOfGrants({ requested })
      : new GrantTableError.OutOfGrants({ ...named, needed: limit.pages + requested })
  }

  const share = (
    { fd, libc }: Opened,
    { access, pages, peer }: GrantTable.ShareRequest
  ): Device.Outcome<GrantTable.Held<GrantTable.SharedPages>> => {
    if (exceedsLimit(pages)) readLimit()
    // Not left to the kernel, because of what happens when the table is full.
    if (exceedsLimit(pages)) return Result.fail(outOfGrants(pages))
    // Before the call: nothing may fail between it and what gives the pages back.
    const refs = new Uint32Array(pages)
    const words = Abi.allocGref(peer, pages, access === "read-write")
    const answer = libc.ioctl(fd, Abi.ALLOC_GREF, words)
    if (answer < 0) {
      const errno = Libc.errnoName(answer)
      if (errno !== "ENOSPC") return Device.failed(device, "ALLOC_GREF", errno)
      readLimit()
      return Result.fail(outOfGrants(pages))
    }
    const index = Abi.index(words)
    refs.set(Abi.refs(words, pages))
    const dealloc = () => libc.ioctl(fd, Abi.DEALLOC_GREF, Abi.range(index, pages))
    // One mmap over exactly this allocation: of several in one mapping the kernel would end the wrong ones.
    const mapped = Mapping.map(libc, [{ fd, offset: index, byteLength: pages * Page.size }], "read-write")
    if (Result.isFailure(mapped)) {
      dealloc()
      return Device.failed(device, "mmap", mapped.failure.errno)
    }
    const region = mapped.success
    live += pages
    const rearm = Notify.make(libc, device)
    return Result.succeed({
      pages: { peer, access, refs, bytes: new Uint8Array(region.buffer) },
      release: () => {
        live -= pages
        Mapping.unmap(libc, region)
        // After close the number may be another file's; what was allocated ends with the mapping then.
        if (state !== "closed") dealloc()
      },
      // Each page has one notification of its own: the byte's page is as good for the signal as any.
      arm: (notification) => {
        if (state === "closed") return Device.closed(device)
        if (notification === undefined) return rearm([])
        const { clearByte, signalPort } = notification
        const inPage = clearByte === undefined ? undefined : clearByte % Page.size
        return rearm([{ fd, index: index + (clearByte ?? 0) - (inPage ?? 0), clearByte: inPage, signalPort }])
      }
    })
  }

  return {
    share: (request) => Result.flatMap(opened(), (device) => share(device, request)),
    limit: () => Result.map(Device.readLimit(limitPath, "xen-gntalloc"), lower),
    close: () => {
      if (typeof state === "object") state.libc.close(state.fd)
      state = "closed"
    }
  }
}
