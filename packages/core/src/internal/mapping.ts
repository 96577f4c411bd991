import * as Effect from "effect/Effect"
import type * as DomainId from "../DomainId.ts"
import type { GrantTable } from "../GrantTable.ts"
import type { Access } from "../GrantTableError.ts"
import type * as Page from "../Page.ts"
import type { MappedBuffer } from "../PeerBuffer.ts"
import { notifyIn } from "./ending.ts"

/** A peer's buffer: whose it is, and its size. */
export interface Whose {
  readonly peer: DomainId.DomainId
  readonly pages: Page.PageCount
  readonly byteLength: number
}

/** Maps the pages of a peer's buffer, whose references have been checked. */
export const mapBuffer = (
  table: GrantTable["Service"],
  { byteLength, pages, peer }: Whose,
  refs: Uint32Array<ArrayBuffer>,
  access: Access | undefined
) =>
  Effect.map(table.map({ domain: peer, refs, access }), (mapped): MappedBuffer => ({
    peer,
    access: mapped.access,
    pages,
    bytes: mapped.bytes.subarray(0, byteLength),
    unmapNotify: notifyIn(mapped.unmapNotify, 0, byteLength)
  }))
