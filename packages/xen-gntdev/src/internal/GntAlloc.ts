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

/** gntalloc, opened at the first share; `close` is its end. */
export interface GntAlloc {
  readonly share: (request: GrantTable.ShareRequest) => Device.Outcome<Device.Held<GrantTable.SharedPages>>
  readonly limit: () => Device.Outcome<GrantTable.Limit>
  readonly close: () => void
}

/** References in a grant table of Xen's default size: 64 frames of 512. */
export const defaultTableSize = 32_768

/** Makes one for a device and the file of its limit. */
export const make = (loadLibc: () => Device.Outcome<Libc.Libc>, device: string, limitPath: string): GntAlloc => {
  let state: { readonly libc: Libc.Libc; readonly fd: number } | "unopened" | "closed" = "unopened"
  /** As last read: only to refuse early; the kernel has the last word. */
  let limit: number | undefined
  /** Pages of ours that count towards the limit. */
  let live = 0

  const readLimit = () => {
    limit = Result.getOrUndefined(Device.readLimit(limitPath, "xen-gntalloc"))
  }

  const opened = () =>
    Result.gen(function*() {
      if (state === "closed") return yield* Device.closed(device)
      if (state === "unopened") {
        const libc = yield* loadLibc()
        state = { libc, fd: yield* Device.open(libc, device, "xen-gntalloc") }
        readLimit()
      }
      return state
    })

  const exceedsLimit = (pages: number) => limit !== undefined && live + pages > limit

  const outOfGrants = (requested: number) => {
    if (limit !== undefined) {
      const named = { requested, limit, knob: limitPath }
      if (exceedsLimit(requested)) return new GrantTableError.OutOfGrants({ ...named, needed: live + requested })
      // Others may have used up the limit, or the domain's own table is full: the kernel says ENOSPC to both. A limit
      // as large as a whole table is hardly ever the cause. How much others use is unknown: at most all of it.
      if (limit < defaultTableSize) return new GrantTableError.OutOfGrants({ ...named, needed: limit + requested })
    }
    return new GrantTableError.OutOfGrants({ requested })
  }

  return {
    share: ({ access, pages, peer }) =>
      Result.gen(function*() {
        const { fd, libc } = yield* opened()
        if (exceedsLimit(pages)) readLimit()
        // Not left to the kernel: some versions count wrongly after undoing, and then refuse whatever follows.
        if (exceedsLimit(pages)) return yield* Result.fail(outOfGrants(pages))
        const words = Abi.allocGref(peer, pages, access === "read-write")
        const refs = new Uint32Array(pages)
        const answer = libc.ioctl(fd, Abi.ALLOC_GREF, words)
        if (answer < 0) {
          const errno = Libc.errnoName(answer)
          if (errno !== "ENOSPC") return yield* Device.failed(device, "ALLOC_GREF", errno)
          readLimit()
          return yield* Result.fail(outOfGrants(pages))
        }
        const index = Abi.index(words)
        const dealloc = () => libc.ioctl(fd, Abi.DEALLOC_GREF, Abi.range(index, pages))
        refs.set(Abi.refs(words, pages))
        // One mmap over exactly this allocation: of several in one mapping the kernel would end the wrong ones.
        const mapped = Mapping.map(libc, [{ fd, offset: index, byteLength: pages * Page.size }], "read-write")
        if (Result.isFailure(mapped)) {
          dealloc()
          return yield* Device.failed(device, "mmap", mapped.failure.errno)
        }
        const region = mapped.success
        live += pages
        return {
          pages: { peer, access, refs, bytes: new Uint8Array(region.buffer) },
          release: () => {
            live -= pages
            Mapping.unmap(libc, region)
            // After close the number may be another file's; what was allocated ends with the mapping then.
            if (state !== "closed") dealloc()
          }
        }
      }),
    limit: () => Result.map(Device.readLimit(limitPath, "xen-gntalloc"), (pages) => ({ pages, knob: limitPath })),
    close: () => {
      if (typeof state === "object") state.libc.close(state.fd)
      state = "closed"
    }
  }
}
