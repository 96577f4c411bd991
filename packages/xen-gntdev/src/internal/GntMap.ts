/**
 * Maps, reads and copies grants of peers through gntdev: synchronous, all or nothing, errors as values.
 *
 * @internal
 */
import type * as GrantRef from "@xen-shbuf/core/GrantRef"
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Page from "@xen-shbuf/core/Page"
import * as Device from "@xen-shbuf/linux/Device"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Result from "effect/Result"
import * as Files from "./Files.ts"
import * as GrantCopy from "./GrantCopy.ts"
import * as Notify from "./Notify.ts"
import * as Requests from "./Requests.ts"
import * as Search from "./Search.ts"

/** What is held of pages that are mapped. */
const hold = (
  requests: Requests.Requests,
  system: SystemCalls.SystemCalls,
  noted: ReadonlyArray<Requests.Noted>,
  region: MappedMemory.Region
): GrantTable.Acquired => {
  const rearm = Notify.make(system, requests.device)
  return {
    bytes: new Uint8Array(region.buffer),
    release: () => {
      const left = MappedMemory.unmap(region, system)
      Requests.forgetAll(requests, system, noted)
      return left
    },
    // Each request that was noted has one notification: its byte's clears it, the last to end sends the signal.
    arm: (notification) => {
      if (requests.isClosed) return Result.fail(Device.closed(requests.device))
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

/** Maps a request as one region. */
export const map = (requests: Requests.Requests, request: GrantTable.MapRequest): Files.Outcome<GrantTable.Acquired> =>
  Result.flatMap(Requests.opened(requests), (system) =>
    Result.flatMap(Requests.noteAll(requests, system, request), (noted) => {
      let failure: MappedMemory.MapFailure | undefined
      // Also what was mapped before a refusal stays mapped, outside of PV, until all is forgotten.
      const held = Device.orUndo(() => Requests.forgetAll(requests, system, noted), () => {
        const mapped = Requests.map(system, noted, request.access)
        if (Result.isFailure(mapped)) {
          failure = mapped.failure
          return Result.fail(undefined)
        }
        const region = mapped.success
        return Device.orUndo(
          () => MappedMemory.unmap(region, system),
          () => Result.succeed(hold(requests, system, noted, region))
        )
      })
      return Result.isSuccess(held) ? Result.succeed(held.success) : Search.explain(requests, system, request, noted, failure!)
    }))

/** Copies the beginning of a page. Nobody sees the mapping: it needs no view, and no child can be forked meanwhile. */
export const read = (
  requests: Requests.Requests,
  { peer, ref }: GrantRef.Grant,
  into: Uint8Array
): Files.Outcome<void> =>
  Result.flatMap(Requests.opened(requests), (system) => {
    const access = "read-only"
    return Result.flatMap(Requests.note(requests, system, { peer, refs: Uint32Array.of(ref), access }, 0, 1), (noted): Files.Outcome<void> => {
      try {
        const address = system.mmap(null, Page.size, SystemCalls.PROT_READ, SystemCalls.MAP_SHARED, noted.file.fd, noted.index)
        if (address < 0n) {
          const errno = SystemCalls.errnoName(address)
          return errno === Search.refusal
            ? Result.fail(new GrantTableError.GrantRefused({ grant: { peer, ref }, index: 0, access }))
            : Device.failed(requests.device, "mmap", errno)
        }
        try {
          system.memcpy(into, address, into.length)
        } finally {
          system.munmap(address, Page.size)
        }
        return Result.succeed(undefined)
      } finally {
        Requests.forget(requests, system, noted)
      }
    })
  })

/** Lets Xen copy, without mapping. */
export const copy = (
  requests: Requests.Requests,
  segments: ReadonlyArray<GrantTable.CopySegment>
): Files.Outcome<void> =>
  Result.flatMap(Requests.opened(requests), (system) =>
    GrantCopy.copy(system, requests.device, requests.files[0]!.fd, segments))

/** The limit of pages in one request, read anew. */
export const limit = ({ limitPath }: Requests.Requests): Files.Outcome<GrantTable.Limit> =>
  Result.map(Files.readLimit(limitPath, "xen-gntdev"), (pages) => ({ pages, knob: { _tag: "File", path: limitPath } }))
