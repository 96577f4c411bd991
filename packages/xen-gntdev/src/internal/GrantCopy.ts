/**
 * Lets Xen copy between granted pages and private memory: GRANT_COPY of gntdev.
 *
 * @internal
 */
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Result from "effect/Result"
import * as Abi from "./Abi.ts"
import * as Device from "./Device.ts"
import * as Libc from "./Libc.ts"

/** One request for all segments; the refusal of the first that failed. */
export const copy = (
  libc: Libc.Libc,
  device: string,
  fd: number,
  segments: ReadonlyArray<GrantTable.CopySegment>
): Device.Outcome<void> => {
  const bytes = new Uint8Array(segments.length * Abi.segmentSize)
  const view = new DataView(bytes.buffer)
  for (const [i, segment] of segments.entries()) {
    const { grant: { peer, ref }, offset } = segment
    const memory = segment._tag === "Read" ? segment.into : segment.from
    Abi.setSegment(view, i, segment._tag, { peer, ref, offset }, libc.addressOf(memory), memory.length)
  }
  const answer = libc.ioctl(fd, Abi.GRANT_COPY, Abi.grantCopy(libc.addressOf(bytes), segments.length))
  if (answer < 0) return Device.failed(device, "GRANT_COPY", Libc.errnoName(answer))
  for (const [index, { _tag, grant }] of segments.entries()) {
    const code = Abi.segmentStatus(view, index)
    if (code === 0) continue
    const access = _tag === "Read" ? "read-only" : "read-write"
    const status = Abi.statusName(code)
    return Result.fail(new GrantTableError.GrantRefused({ grant, index, access, status }))
  }
  return Result.succeed(undefined)
}
