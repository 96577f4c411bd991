/**
 * Shares pages through gntalloc: synchronous, all or nothing, errors as values.
 *
 * @internal
 */
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Page from "@xen-shbuf/core/Page"
import * as Device from "@xen-shbuf/linux/Device"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Result from "effect/Result"
import * as Abi from "./Abi.ts"
import * as Account from "./Account.ts"
import * as Files from "./Files.ts"
import * as Notify from "./Notify.ts"

/** References in a grant table of Xen's default size: 64 frames of 512. */
export const defaultTableSize = 32_768

/**
 * Pages that may be shared with a grant table of so many references. An eighth is left to the domain's own devices:
 * some kernels count wrongly when the table is full, and then share nothing more.
 */
export const usable = (tableSize: number): number => tableSize - Math.floor(tableSize / 8)

interface Opened {
  readonly system: SystemCalls.SystemCalls
  readonly fd: number
  readonly account: Account.Account
}

/** gntalloc: opened at the first share; `close` is its end. */
export interface GntAlloc {
  readonly loadSystem: () => Files.Outcome<SystemCalls.SystemCalls>
  readonly device: string
  /** The file of the limit of all pages that are shared through it. */
  readonly limitPath: string
  /** The limit that the domain's grant table sets. */
  readonly table: GrantTable.Limit
  /** Pages beyond it that may be asked for, and given back at once. */
  readonly spare: number
  state: Opened | "unopened" | "closed"
  /** The lower one of gntalloc's limit, as last read, and the table's. */
  limit: GrantTable.Limit
}

/** Makes one for a device and the file of its limit, in a domain whose grant table has so many references. */
export const make = (
  loadSystem: () => Files.Outcome<SystemCalls.SystemCalls>,
  device: string,
  limitPath: string,
  tableSize: number
): GntAlloc => {
  const table: GrantTable.Limit = { pages: usable(tableSize), knob: { _tag: "Option", name: "grantTableSize" } }
  const spare = Math.floor((tableSize - table.pages) / 2)
  return { loadSystem, device, limitPath, table, spare, state: "unopened", limit: table }
}

const lower = ({ limitPath, table }: GntAlloc, pages: number): GrantTable.Limit =>
  pages < table.pages ? { pages, knob: { _tag: "File", path: limitPath } } : table

const readLimit = (self: GntAlloc): void => {
  self.limit = Result.match(Files.readLimit(self.limitPath, "xen-gntalloc"), {
    onFailure: () => self.table,
    onSuccess: (pages) => lower(self, pages)
  })
}

const opened = (self: GntAlloc): Files.Outcome<Opened> => {
  if (self.state === "closed") return Result.fail(Device.closed(self.device))
  if (self.state !== "unopened") return Result.succeed(self.state)
  return Result.gen(function*() {
    const system = yield* self.loadSystem()
    const account = Account.of(system, self.device)
    const opened = { system, account, fd: yield* Device.open(system, { path: self.device, module: "xen-gntalloc" }) }
    self.state = opened
    readLimit(self)
    return opened
  })
}

const exceedsLimit = ({ limit }: GntAlloc, { account }: Opened, pages: number) => account.live + pages > limit.pages

/** Whether so many more pages could fill the grant table, if peers have kept all that they may have. */
const exceedsTable = ({ table }: GntAlloc, { account }: Opened, pages: number) =>
  account.live + account.released.size + pages > table.pages

const outOfGrants = (self: GntAlloc, opened: Opened, requested: number) => {
  const { limit, table } = self
  const { live, released } = opened.account
  const named = { requested, limit: limit.pages, knob: limit.knob }
  if (exceedsLimit(self, opened, requested)) {
    const pages = live + requested
    return new GrantTableError.OutOfGrants({ ...named, needed: limit === table ? Math.ceil(pages * 8 / 7) : pages })
  }
  if (exceedsTable(self, opened, requested)) {
    const needed = Math.ceil((live + released.size + requested) * 8 / 7)
    return new GrantTableError.OutOfGrants({ requested, limit: table.pages, knob: table.knob, needed })
  }
  // Others may have used up gntalloc's limit, or the domain's table is full: the kernel says ENOSPC to both. A limit
  // as large as the table is hardly ever the cause. How much others use is unknown: at most all of it.
  return limit === table
    ? new GrantTableError.OutOfGrants({ requested })
    : new GrantTableError.OutOfGrants({ ...named, needed: limit.pages + requested })
}

/** A domain id that no domain has (`DOMID_INVALID` in `xen/include/public/xen.h`): nobody can use what it is granted. */
const nobody = 0x7ff4

/**
 * Finds out which released references are free: asks for pages, as many as can't fill the table, until those that come
 * show that there is room, and gives them back.
 */
const proveRoom = (self: GntAlloc, opened: Opened, pages: number): void => {
  const { account, fd, system } = opened
  const asked: Array<readonly [index: number, pages: number]> = []
  let held = 0
  try {
    while (exceedsTable(self, opened, pages)) {
      const before = account.released.size
      const unknown = account.live + held + before
      const room = Math.min(self.table.pages + self.spare - unknown, self.limit.pages - account.live - held)
      if (room <= 0) return
      const words = Abi.allocGref(nobody, room, false)
      if (system.ioctl(fd, Abi.ALLOC_GREF, words) < 0) return
      asked.push([Abi.index(words), room])
      held += room
      account.released.delete(Abi.refs(words, room))
      // Others than those that came back: Linux gives these out first, so a peer has kept the rest, or others have it.
      if (account.released.size === before) return
    }
  } finally {
    for (const [index, room] of asked) system.ioctl(fd, Abi.DEALLOC_GREF, Abi.range(index, room))
  }
}

const share = (
  self: GntAlloc,
  opened: Opened,
  { access, pages, peer }: GrantTable.ShareRequest
): Files.Outcome<GrantTable.AcquiredShare> => {
  const { device } = self
  const { account, fd, system } = opened
  if (exceedsLimit(self, opened, pages)) readLimit(self)
  if (!exceedsLimit(self, opened, pages)) proveRoom(self, opened, pages)
  // Not left to the kernel, because of what happens when the table is full.
  if (exceedsLimit(self, opened, pages) || exceedsTable(self, opened, pages)) {
    return Result.fail(outOfGrants(self, opened, pages))
  }
  // Before the call: nothing may fail between it and what gives the pages back. To those that are given anything may be done.
  const refs = new Uint32Array(pages)
  const given = new Uint32Array(pages)
  const words = Abi.allocGref(peer, pages, access === "read-write")
  const answer = system.ioctl(fd, Abi.ALLOC_GREF, words)
  if (answer < 0) {
    const errno = SystemCalls.errnoName(answer)
    if (errno !== "ENOSPC") return Device.failed(device, "ALLOC_GREF", errno)
    readLimit(self)
    return Result.fail(outOfGrants(self, opened, pages))
  }
  const index = Abi.index(words)
  refs.set(Abi.refs(words, pages))
  given.set(refs)
  account.released.delete(refs)
  // After close the number may be another file's; what was allocated ends with the mapping then.
  const dealloc = () => {
    account.released.add(refs)
    if (self.state !== "closed") system.ioctl(fd, Abi.DEALLOC_GREF, Abi.range(index, pages))
  }
  return Device.orUndo(dealloc, () => {
    // One mmap over exactly this allocation: of several in one mapping the kernel would end the wrong ones.
    const mapped = MappedMemory.map([{ fd, offset: index, byteLength: pages * Page.size }], "read-write", "device", system)
    if (Result.isFailure(mapped)) return Device.failed(device, "mmap", mapped.failure.errno)
    const region = mapped.success
    return Device.orUndo(() => MappedMemory.unmap(region, system), () => {
      const bytes = new Uint8Array(region.buffer)
      const rearm = Notify.make(system, device)
      account.live += pages
      return Result.succeed({
        refs: given,
        bytes,
        release: () => {
          account.live -= pages
          const left = MappedMemory.unmap(region, system)
          dealloc()
          return left
        },
        // Each page has one notification of its own: the byte's page is as good for the signal as any.
        arm: (notification) => {
          if (self.state === "closed") return Result.fail(Device.closed(device))
          if (notification === undefined) return rearm([])
          const { clearByte, signalPort } = notification
          const inPage = clearByte === undefined ? undefined : clearByte % Page.size
          return rearm([{ fd, index: index + (clearByte ?? 0) - (inPage ?? 0), clearByte: inPage, signalPort }])
        }
      })
    })
  })
}

/** Shares new pages. */
export const sharing = (
  self: GntAlloc,
  request: GrantTable.ShareRequest
): Files.Outcome<GrantTable.AcquiredShare> =>
  Result.flatMap(opened(self), (device) => share(self, device, request))

/** The limit of pages shared at one time, read anew. */
export const limit = (self: GntAlloc): Files.Outcome<GrantTable.Limit> =>
  Result.map(Files.readLimit(self.limitPath, "xen-gntalloc"), (pages) => lower(self, pages))

/** Closes the device; what is shared ends with its mapping. */
export const close = (self: GntAlloc): void => {
  if (typeof self.state === "object") self.state.system.close(self.state.fd)
  self.state = "closed"
}
