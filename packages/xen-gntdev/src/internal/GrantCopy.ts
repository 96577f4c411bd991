/**
 * Lets Xen copy between granted pages and private memory: GRANT_COPY of gntdev.
 *
 * @internal
 */
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Device from "@xen-shbuf/linux/Device"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Result from "effect/Result"
import * as Abi from "./Abi.ts"
import type * as Files from "./Files.ts"

/** One request for all segments; the refusal of the first that failed. */
export const copy = (
  system: SystemCalls.SystemCalls,
  device: string,
  fd: number,
  segments: ReadonlyArray<GrantTable.CopySegment>
): Files.Outcome<void> => {
  const bytes = new Uint8Array(segments.length * Abi.segmentSize)
  const view = new DataView(bytes.buffer)
  for (const [i, segment] of segments.entries()) {
    const { grant: { peer, ref }, offset } = segment
    const memory = segment._tag === "Read" ? segment.into : segment.from
    Abi.setSegment(view, i, segment._tag, { peer, ref, offset }, system.addressOf(memory), memory.length)
  }
  const answer = system.ioctl(fd, Abi.GRANT_COPY, Abi.grantCopy(system.addressOf(bytes), segments.length))
  if (answer < 0) return Device.failed(device, "GRANT_COPY", SystemCalls.errnoName(answer))
  for (const [index, { _tag, grant }] of segments.entries()) {
    const code = Abi.segmentStatus(view, index)
    if (code === 0) continue
    const access = _tag === "Read" ? "read-only" : "read-write"
    const status = Abi.statusName(code)
    return Result.fail(new GrantTableError.GrantRefused({ grant, index, access, status }))
  }
  return Result.succeed(undefined)
}
