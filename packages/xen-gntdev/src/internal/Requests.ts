/**
 * Notes references in gntdev, for one mapping each: the files that are open, and what is noted in them.
 *
 * @internal
 */
import type { Access } from "@xen-shbuf/core/Access"
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as Page from "@xen-shbuf/core/Page"
import * as Device from "@xen-shbuf/linux/Device"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Result from "effect/Result"
import * as Abi from "./Abi.ts"
import * as Files from "./Files.ts"

/** An open gntdev: the pages in it, and the highest offset, in pages, that it gave since it was last empty. */
interface File {
  readonly fd: number
  live: number
  reach: number
}

/** gntdev: opened at the first mapping, as often as its capacity asks for; `close` is its end. */
export interface Requests {
  readonly loadSystem: () => Files.Outcome<SystemCalls.SystemCalls>
  readonly device: string
  /** The file of the limit of pages in one request. */
  readonly limitPath: string
  /** The C library, when gntdev has been opened. */
  system: SystemCalls.SystemCalls | undefined
  readonly files: Array<File>
  isClosed: boolean
  /** Pages in one request, as last read. */
  limit: number
}

/** A MAP_GRANT_REF that the kernel has noted: the references from `start` on, and the offset for its only mmap. */
export interface Noted {
  readonly file: File
  readonly index: number
  readonly start: number
  readonly count: number
}

/** What gntdev allows by default, and we never exceed. */
const maxRequest = 65_536

/** gntdev computes offsets as signed 32-bit integers: they come back wrong from 2 GiB on. */
const maxReach = 2 ** 31 / Page.size

export const make = (loadSystem: () => Files.Outcome<SystemCalls.SystemCalls>, device: string, limitPath: string): Requests => ({
  loadSystem,
  device,
  limitPath,
  system: undefined,
  files: [],
  isClosed: false,
  limit: maxRequest
})

const readLimit = (self: Requests): void => {
  const pages = Result.getOrElse(Files.readLimit(self.limitPath, "xen-gntdev"), () => maxRequest)
  self.limit = Math.max(1, Math.min(maxRequest, pages))
}

const openFile = (self: Requests, system: SystemCalls.SystemCalls): Files.Outcome<File> =>
  Result.map(Device.open(system, { path: self.device, module: "xen-gntdev" }), (fd) => {
    const file: File = { fd, live: 0, reach: 0 }
    self.files.push(file)
    return file
  })

/** The C library, with gntdev open. */
export const opened = (self: Requests): Files.Outcome<SystemCalls.SystemCalls> => {
  if (self.isClosed) return Result.fail(Device.closed(self.device))
  if (self.system !== undefined) return Result.succeed(self.system)
  return Result.gen(function*() {
    const system = yield* self.loadSystem()
    yield* openFile(self, system)
    readLimit(self)
    return self.system = system
  })
}

/** Notes the references from `start` up to `end` of a request. */
export const note = (
  self: Requests,
  system: SystemCalls.SystemCalls,
  { peer, refs }: GrantTable.MapRequest,
  start: number,
  end: number
): Files.Outcome<Noted> => {
  const count = end - start
  // Before a file is opened for it: nothing may fail between a call and what undoes it.
  const words = Abi.mapGrantRef(peer, refs, start, end)
  // Offsets are given first-fit: whatever the gaps, these pages end at `reach + count` at most.
  const roomy = self.files.find(({ reach }) => reach + count < maxReach)
  return Result.flatMap(roomy === undefined ? openFile(self, system) : Result.succeed(roomy), (file) => {
    const answer = system.ioctl(file.fd, Abi.MAP_GRANT_REF, words)
    if (answer < 0) {
      closeUnused(self, system, file)
      return Device.failed(self.device, "MAP_GRANT_REF", SystemCalls.errnoName(answer))
    }
    const index = Abi.index(words)
    file.live += count
    file.reach = Math.max(file.reach, index / Page.size + count)
    return Result.succeed({ file, index, start, count })
  })
}

/** Closes a file that was opened for its reach, and has nothing in it any more; one stays open. */
const closeUnused = (self: Requests, system: SystemCalls.SystemCalls, file: File): void => {
  if (file.live > 0 || self.files.length === 1 || self.isClosed) return
  self.files.splice(self.files.indexOf(file), 1)
  system.close(file.fd)
}

/** Lets go of what was noted, when it is not mapped any more. */
export const forget = (self: Requests, system: SystemCalls.SystemCalls, { count, file, index }: Noted): void => {
  file.live -= count
  if (file.live === 0) file.reach = 0
  // After close the number may be another file's, and the kernel has forgotten already.
  if (!self.isClosed) system.ioctl(file.fd, Abi.UNMAP_GRANT_REF, Abi.range(index, count))
  closeUnused(self, system, file)
}

export const forgetAll = (self: Requests, system: SystemCalls.SystemCalls, noted: ReadonlyArray<Noted>): void => {
  for (const one of noted) forget(self, system, one)
}

/** Notes a whole request, in as many pieces as the limit asks for. */
export const noteAll = (
  self: Requests,
  system: SystemCalls.SystemCalls,
  request: GrantTable.MapRequest
): Files.Outcome<ReadonlyArray<Noted>> => {
  const pages = request.refs.length
  const step = self.limit
  const all: Array<Noted> = []
  const noted = Device.orUndo(() => forgetAll(self, system, all), (): Files.Outcome<ReadonlyArray<Noted>> => {
    for (let start = 0; start < pages; start += step) {
      const one = note(self, system, request, start, Math.min(start + step, pages))
      if (Result.isFailure(one)) return Result.fail(one.failure)
      all.push(one.success)
    }
    return Result.succeed(all)
  })
  if (Result.isSuccess(noted)) return noted
  readLimit(self)
  // Lowered since it was read? Then smaller pieces may do.
  return self.limit < step ? noteAll(self, system, request) : noted
}

/** Maps what was noted, side by side. */
export const map = (system: SystemCalls.SystemCalls, noted: ReadonlyArray<Noted>, access: Access) =>
  MappedMemory.map(
    noted.map(({ count, file, index }) => ({ fd: file.fd, offset: index, byteLength: count * Page.size })),
    access,
    "device",
    system
  )

/** Closes all files; the kernel forgets what they have noted when it is unmapped. */
export const close = (self: Requests): void => {
  self.isClosed = true
  for (const { fd } of self.files) self.system?.close(fd)
}
