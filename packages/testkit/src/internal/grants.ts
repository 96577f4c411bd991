/**
 * What Xen does about grants: it looks a reference up in the table of its owner, checks whether its peer may map it,
 * counts the maps, and copies. Entries are made and taken back by the owner's Linux; Xen sees frames, not buffers.
 */
import type { Access } from "@xen-shbuf/core/Access"
import type { DomainId } from "@xen-shbuf/core/DomainId"
import type * as GrantRef from "@xen-shbuf/core/GrantRef"
import type { CopySegment } from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Page from "@xen-shbuf/core/Page"
import type * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as Result from "effect/Result"
import * as fs from "node:fs"
import type { Domain } from "./domain.ts"

/** Maps of one kind (read-only, read-write) that a grant can have: Xen's counters refuse once their top bit is set. */
const maxPins = 128

/** What pages that are granted together have alike. */
export interface Entry {
  readonly peer: DomainId
  readonly access: Access
  /** The memfd with their frames. */
  readonly memory: number
}

/** The grant table of a domain, by reference. */
export interface Table<E extends Entry = Entry> {
  readonly domain: Domain
  readonly entries: Array<E | undefined>
  /** The number of the page within its file. As many as the table has references. */
  readonly pages: Uint32Array<ArrayBuffer>
  /** How often each grant is mapped. */
  readonly pins: { readonly [access in Access]: Uint8Array<ArrayBuffer> }
}

/** What a domain has mapped, of all others together: the pages are counted. */
export interface Maptrack {
  readonly limit: number
  used: number
}

export const make = <E extends Entry>(domain: Domain, refs: number): Table<E> => ({
  domain,
  entries: [],
  pages: new Uint32Array(refs),
  pins: { "read-only": new Uint8Array(refs), "read-write": new Uint8Array(refs) }
})

export const isPinned = ({ pins }: Table, ref: number): boolean =>
  pins["read-only"][ref]! + pins["read-write"][ref]! > 0

/** Xen's status for a use of a grant that it refuses, in the order of its checks. */
export const refusal = (table: Table, ref: number, by: DomainId, access: Access): string | undefined => {
  if (!table.domain.alive) return "GNTST_general_error"
  if (ref >= table.pages.length) return "GNTST_bad_gntref"
  const entry = table.entries[ref]
  return entry === undefined
      || entry.peer !== by
      || (access === "read-write" && entry.access === "read-only")
      || table.pins[access][ref]! >= maxPins
    ? "GNTST_general_error"
    : undefined
}

/** The reason for a refusal; `hint` says what may be wrong besides. */
export const refused = (
  peer: DomainId,
  ref: number,
  index: number,
  access: Access,
  status: string,
  hint?: string
): GrantTableError.Reason =>
  new GrantTableError.GrantRefused({
    grant: { peer, ref: ref as GrantRef.GrantRef },
    index,
    access,
    status,
    ...(hint === undefined ? {} : { hint })
  })

export const outOfMappings = (track: Maptrack, peer: DomainId, requested: number): GrantTableError.Reason => {
  const detail = `this domain can map ${track.limit} pages in all, and has ${track.used} mapped`
  return new GrantTableError.OutOfMappings({ peer, requested, detail })
}

/** Counts maps of grants, all or nothing: the first that is refused undoes those before it. */
export const pin = (
  table: Table,
  track: Maptrack,
  by: DomainId,
  refs: Uint32Array,
  access: Access
): Result.Result<void, GrantTableError.Reason> => {
  for (let i = 0; i < refs.length; i++) {
    const ref = refs[i]!
    const hasRoom = track.used < track.limit
    const status = hasRoom ? refusal(table, ref, by, access) : undefined
    if (hasRoom && status === undefined) {
      table.pins[access][ref]!++
      track.used++
      continue
    }
    unpin(table, track, refs.subarray(0, i), access)
    const { id } = table.domain
    return Result.fail(
      status === undefined ? outOfMappings(track, id, refs.length) : refused(id, ref, i, access, status)
    )
  }
  return Result.succeed(undefined)
}

export const unpin = (table: Table, track: Maptrack, refs: Uint32Array, access: Access): void => {
  for (const ref of refs) table.pins[access][ref]!--
  track.used -= refs.length
}

/** The frames behind references, side by side: one piece for each run of consecutive ones. */
export const pieces = (table: Table, refs: Uint32Array): ReadonlyArray<MappedMemory.Piece> => {
  const runs: Array<{ readonly fd: number; readonly offset: number; byteLength: number }> = []
  let run: typeof runs[number] | undefined
  for (const ref of refs) {
    const fd = table.entries[ref]!.memory
    const offset = table.pages[ref]! * Page.size
    if (run !== undefined && run.fd === fd && run.offset + run.byteLength === offset) {
      run.byteLength += Page.size
    } else {
      runs.push(run = { fd, offset, byteLength: Page.size })
    }
  }
  return runs
}

/** Copies each segment by itself; the refusal of the first that failed. `find` gives the tables of living domains. */
export const copy = (
  find: (domain: DomainId) => Table | undefined,
  by: DomainId,
  segments: ReadonlyArray<CopySegment>
): Result.Result<void, GrantTableError.Reason> => {
  let failure: GrantTableError.Reason | undefined
  for (const [index, segment] of segments.entries()) {
    const { grant: { peer, ref }, offset } = segment
    const access = segment._tag === "Read" ? "read-only" : "read-write"
    const bytes = segment._tag === "Read" ? segment.into : segment.from
    // It succeeds whatever the rest says: Xen looks at nothing of it.
    if (bytes.length === 0) continue
    const table = find(peer)
    const status = table === undefined ? "GNTST_bad_domain" : refusal(table, ref, by, access)
    if (status !== undefined) {
      failure ??= refused(peer, ref, index, access, status)
      continue
    }
    const { memory } = table!.entries[ref]!
    const position = table!.pages[ref]! * Page.size + offset
    if (segment._tag === "Read") fs.readSync(memory, bytes, 0, bytes.length, position)
    else fs.writeSync(memory, bytes, 0, bytes.length, position)
  }
  return failure === undefined ? Result.succeed(undefined) : Result.fail(failure)
}
