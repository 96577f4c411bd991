import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Access } from "../Access.ts"
import type * as DomainId from "../DomainId.ts"
import type { GrantTable, MappedPages, UnmapNotify } from "../GrantTable.ts"
import { GrantTableError } from "../GrantTableError.ts"
import type { MappedBuffer } from "../MappedBuffer.ts"
import type * as Page from "../Page.ts"
import type * as SharedMemory from "../SharedMemory.ts"
import { clearByte } from "./input.ts"

/** A peer's buffer: whose it is, and its size. */
export interface Whose {
  readonly peer: DomainId.DomainId
  readonly pages: Page.PageCount
  readonly byteLength: number
}

/**
 * Notifications of the first `byteLength` bytes of some pages. The pages check the offset too, but against their own end:
 * beyond the buffer's lies the rest of its last page, and a directory of ours.
 */
export const notifyWithin = (whole: UnmapNotify, byteLength: number): UnmapNotify => (notification) =>
  Effect.suspend(() => {
    const offset = notification?.clearByte
    const checked = offset === undefined ? Result.succeed(offset) : clearByte(offset, byteLength)
    return Result.isFailure(checked)
      ? Effect.fail(new GrantTableError({ operation: "unmapNotify", reason: checked.failure }))
      : whole(notification)
  })

/** Maps the pages of a peer's buffer, whose references have been checked. */
export const mapBuffer = <A extends Access>(
  table: GrantTable["Service"],
  { byteLength, pages, peer }: Whose,
  refs: Uint32Array<ArrayBuffer>,
  access: A | undefined
) =>
  Effect.map(table.map({ peer, refs, access }), (mapped: MappedPages<A>): MappedBuffer<A> => ({
    peer,
    access: mapped.access,
    byteLength,
    pages,
    bytes: mapped.bytes.subarray(0, byteLength) as SharedMemory.WithAccess<A>,
    unmapNotify: notifyWithin(mapped.unmapNotify, byteLength)
  }))
