/**
 * Finds out which grant of a request Xen has refused, where gntdev says only that one was.
 *
 * @internal
 */
import type * as GrantRef from "@xen-shbuf/core/GrantRef"
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Device from "@xen-shbuf/linux/Device"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import type * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Result from "effect/Result"
import type * as Files from "./Files.ts"
import * as Requests from "./Requests.ts"

/** gntdev's errno for a grant that Xen refuses, whatever the cause. */
export const refusal = "EINVAL"

/** Tells whether Xen accepts a part of the request: maps it, and lets go of it at once. */
const accepts = (
  requests: Requests.Requests,
  system: SystemCalls.SystemCalls,
  request: GrantTable.MapRequest,
  start: number,
  end: number
): Files.Outcome<boolean> =>
  Result.flatMap(Requests.note(requests, system, request, start, end), (noted) => {
    try {
      const mapped = Requests.map(system, [noted], request.access)
      if (Result.isSuccess(mapped)) MappedMemory.unmap(mapped.success, system)
      else if (mapped.failure.errno !== refusal) return Device.failed(requests.device, "mmap", mapped.failure.errno)
      return Result.succeed(Result.isSuccess(mapped))
    } finally {
      Requests.forget(requests, system, noted)
    }
  })

/**
 * Finds the first grant that is refused from `start` up to `end`, which were refused together.
 * Maps as many pages as were asked for at most, and one.
 */
const locate = (
  requests: Requests.Requests,
  system: SystemCalls.SystemCalls,
  request: GrantTable.MapRequest,
  start: number,
  end: number
) =>
  Result.gen(function*() {
    const { access, peer, refs } = request
    let low = start
    let high = end
    let refused = true
    while (high - low > 1) {
      const middle = low + Math.floor((high - low) / 2)
      refused = !(yield* accepts(requests, system, request, low, middle))
      if (refused) high = middle
      else low = middle
    }
    // The last half was not tried if the one before it was accepted.
    if (!refused) refused = !(yield* accepts(requests, system, request, low, high))
    return refused
      ? new GrantTableError.GrantRefused({ grant: { peer, ref: refs[low] as GrantRef.GrantRef }, index: low, access })
      : new GrantTableError.OutOfMappings({
        peer,
        requested: refs.length,
        detail: "no part of them is refused by itself, so this domain's maptrack table is full, " +
          "or one reference is mapped more than 128 times"
      })
  })

/** Says why pages could not be mapped that were noted, and are not any more. */
export const explain = (
  requests: Requests.Requests,
  system: SystemCalls.SystemCalls,
  request: GrantTable.MapRequest,
  noted: ReadonlyArray<Requests.Noted>,
  { errno, piece }: MappedMemory.MapFailure
): Files.Outcome<never> => {
  if (errno !== refusal) return Device.failed(requests.device, "mmap", errno)
  const { count, start } = noted[piece]!
  return Result.flatMap(locate(requests, system, request, start, start + count), Result.fail)
}
