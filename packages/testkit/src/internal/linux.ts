/**
 * What a domain's Linux does: gntalloc shares, up to its own limit, and keeps references that are in use from being
 * handed out again; gntdev maps; in whatever way a process ends, both let go for it and notify. Xen is `grants.ts`.
 *
 * Pages are real ones: each share has a memfd of its own, so the Linux below zeroes the frames, keeps them as long as
 * anything maps them, and takes them back; every mapping puts frames side by side with mmap.
 */
import type { Access } from "@xen-shbuf/core/Access"
import type { DomainId } from "@xen-shbuf/core/DomainId"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import type { MapRequest, ShareRequest, UnmapNotification } from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Page from "@xen-shbuf/core/Page"
import * as Reason from "@xen-shbuf/core/Reason"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import type { StackFrame } from "effect/References"
import * as Result from "effect/Result"
import * as fs from "node:fs"
import type { Domain } from "./domain.ts"
import * as EventChannels from "./eventChannels.ts"
import * as Grants from "./grants.ts"
import * as Store from "./store.ts"

/** The file that sets gntalloc's limit of shared pages. */
export const shareKnob: GrantTableError.Knob = { _tag: "File", path: "/sys/module/xen_gntalloc/parameters/limit" }

/** A notification, which keeps its port open until it has taken place, or is cancelled. */
interface Armed {
  readonly clearByte: number | undefined
  readonly end: EventChannels.End | undefined
}

/** Pages granted to a peer in one request. */
export interface Share extends Grants.Entry {
  readonly id: number
  /** After a restore, what is left of the domain as it was. */
  owner: Linux
  readonly refs: Uint32Array<ArrayBuffer>
  readonly caller: StackFrame | undefined
  /** The owner's own mapping. */
  readonly view: MappedMemory.Region
  /** Whether the owner has not let go yet. */
  held: boolean
  /** Whether the owner's program could still have a use for it; a share can end before, with its process. */
  isScopeOpen: boolean
  /** What to do when the owner lets go. */
  notification: Armed | undefined
  /** Pages whose grants are still in the owner's table. */
  frames: number
  /** Xen has forgotten its grants with the restore of its domain: only its owner's view is left, with what was in it. */
  isLost: boolean
}

/** Pages of `granter`, mapped in one request. */
export interface Mapping {
  readonly id: number
  /** After a restore, what is left of the domain as it was. */
  mapper: Linux
  /** After a restore, what is left of the domain as it was. */
  granter: Linux
  readonly access: Access
  readonly refs: Uint32Array<ArrayBuffer>
  readonly region: MappedMemory.Region
  readonly caller: StackFrame | undefined
  /** What to do when the mapper unmaps. */
  notification: Armed | undefined
  /** Xen has forgotten it with the restore of its domain: only the view is left, of nobody's memory. */
  isLost: boolean
}

/** What a domain can hold. */
export interface Capacity {
  readonly sharedPages: number
  readonly grantRefs: number
  readonly mappedPages: number
  readonly ports: number
}

/** The Linux of one domain, with what Xen keeps for it. */
export interface Linux {
  readonly domain: Domain
  table: Grants.Table<Share>
  readonly track: Grants.Maptrack
  readonly channels: EventChannels.EventChannels
  /** The ports over which notifications have signalled, in their order. */
  readonly signalled: Array<number>
  /** The connection of its process to xenstore. */
  client: Store.Client
  /** gntalloc's limit. */
  sharedLimit: number
  /** Pages that count against it: those whose owner has not let go. */
  sharedPages: number
  readonly shares: Set<Share>
  readonly mappings: Set<Mapping>
  /** What is left of the domain as it was before each restore, for as long as its process holds something of it. */
  readonly before: Set<Linux>
  /** References given back, the last one first to be handed out again. */
  readonly free: Array<number>
  /** The smallest reference that was never handed out. */
  fresh: number
}

export const make = (domain: Domain, store: Store.Store, capacity: Capacity): Linux => ({
  domain,
  table: Grants.make(domain, capacity.grantRefs),
  track: { limit: capacity.mappedPages, used: 0 },
  channels: EventChannels.make(domain, capacity.ports, store.counter),
  signalled: [],
  client: Store.connect(store, domain.id),
  sharedLimit: capacity.sharedPages,
  sharedPages: 0,
  shares: new Set(),
  mappings: new Set(),
  before: new Set(),
  free: [],
  fresh: GrantRef.minimum
})

const memoryFailed = (call: string, errno: string): GrantTableError.Reason =>
  new Reason.DeviceFailed({ device: "the memory of TestXen", call, errno })

/** The references of a share that are still in the owner's table; those given back may belong to another share. */
export const granted = (share: Share): Uint32Array =>
  share.refs.filter((ref) => share.owner.table.entries[ref] === share)

/** Why so many pages more can't be shared, if they can't. */
const noRoom = (self: Linux, requested: number): GrantTableError.Reason | undefined => {
  const needed = self.sharedPages + requested
  if (needed > self.sharedLimit) {
    return new GrantTableError.OutOfGrants({ requested, limit: self.sharedLimit, knob: shareKnob, needed })
  }
  return requested > self.free.length + self.table.pages.length - self.fresh
    ? new GrantTableError.OutOfGrants({ requested })
    : undefined
}

/** Allocates pages and grants them. Xen itself has no part in it: whether the peer exists is not looked at. */
export const share = (
  self: Linux,
  id: number,
  { access, pages, peer }: ShareRequest,
  caller: StackFrame | undefined
): Result.Result<Share, GrantTableError.Reason> => {
  const full = noRoom(self, pages)
  if (full !== undefined) return Result.fail(full)
  const memory = MappedMemory.memfd("xen-shbuf", pages * Page.size)
  if (Result.isFailure(memory)) return Result.fail(memoryFailed("memfd_create", memory.failure))
  const view = MappedMemory.map([{ fd: memory.success, offset: 0, byteLength: pages * Page.size }], "read-write")
  if (Result.isFailure(view)) {
    MappedMemory.close(memory.success)
    return Result.fail(memoryFailed("mmap", view.failure.errno))
  }
  const made: Share = {
    id,
    owner: self,
    peer,
    access,
    refs: new Uint32Array(pages),
    memory: memory.success,
    caller,
    view: view.success,
    held: true,
    isScopeOpen: true,
    notification: undefined,
    frames: pages,
    isLost: false
  }
  for (let page = 0; page < pages; page++) {
    const ref = self.free.pop() ?? self.fresh++
    made.refs[page] = ref
    self.table.entries[ref] = made
    self.table.pages[ref] = page
  }
  self.shares.add(made)
  self.sharedPages += pages
  return Result.succeed(made)
}

/** Takes a grant out of its owner's table, if nobody uses it any more; the memory goes with the last of its share. */
const release = (share: Share, ref: number): void => {
  const { owner } = share
  if (share.held && !share.isLost || Grants.isPinned(owner.table, ref)) return
  owner.table.entries[ref] = undefined
  owner.free.push(ref)
  if (--share.frames > 0) return
  MappedMemory.close(share.memory)
  if (!share.held) owner.shares.delete(share)
}

/** Gives back all that is still in the owner's table, without an object for each page. */
const giveBack = (share: Share): void => {
  for (const ref of share.refs) if (share.owner.table.entries[ref] === share) release(share, ref)
}

/** Arms a notification, or cancels it. */
export const arm = (
  self: Linux,
  holding: Share | Mapping,
  notification: UnmapNotification | undefined
): Result.Result<void, GrantTableError.Reason> => {
  const port = notification?.signalPort
  const end = port === undefined ? undefined : EventChannels.hold(self.channels, port)
  if (port !== undefined && end === undefined) {
    const expected = "a port of an event channel that this domain has open"
    return Result.fail(new Reason.InvalidInput({ argument: "signalPort", value: String(port), expected }))
  }
  const before = holding.notification?.end
  holding.notification = notification && { clearByte: notification.clearByte, end }
  if (before !== undefined) EventChannels.drop(before)
  return Result.succeed(undefined)
}

/** Clears the byte of a notification, which is in this page; as Linux does it, not through the view. */
const clear = (memory: number, page: number, clearByte: number): void => {
  fs.writeSync(memory, Uint8Array.of(0), 0, 1, page * Page.size + clearByte % Page.size)
}

const signal = (self: Linux, notification: Armed | undefined): void => {
  const end = notification?.end
  if (end === undefined) return
  self.signalled.push(end.port)
  EventChannels.notify(end)
  EventChannels.drop(end)
}

/**
 * Ends a share for its owner. Grants that are in use stay in the table, and can even be mapped anew by their peer
 * (grant table version 1), until the last of their mappings goes. Linux looks once a second; here it is seen at once.
 * A notification comes before access ends: first the byte, then the signal.
 */
export const endShare = (share: Share): "moved" | undefined => {
  if (!share.held) return undefined
  share.held = false
  const clearByte = share.notification?.clearByte
  if (clearByte !== undefined) clear(share.memory, Math.floor(clearByte / Page.size), clearByte)
  signal(share.owner, share.notification)
  const left = MappedMemory.unmap(share.view)
  share.owner.sharedPages -= share.refs.length
  giveBack(share)
  if (share.frames === 0) share.owner.shares.delete(share)
  return left
}

/** Lets Xen forget maps of grants; the last one of a grant that its owner let go frees the grant. */
const unpin = (self: Linux, granter: Linux, refs: Uint32Array, access: Access): void => {
  Grants.unpin(granter.table, self.track, refs, access)
  for (const ref of refs) {
    const share = granter.table.entries[ref]
    // A place that repeats a reference finds it freed already.
    if (share !== undefined) release(share, ref)
  }
}

/** Maps grants, all or nothing. */
export const map = (
  self: Linux,
  granter: Linux,
  id: number,
  { access, refs }: Pick<MapRequest, "access" | "refs">,
  caller: StackFrame | undefined
): Result.Result<Mapping, GrantTableError.Reason> => {
  const pinned = Grants.pin(granter.table, self.track, self.domain.id, refs, access)
  if (Result.isFailure(pinned)) return Result.fail(pinned.failure)
  const region = MappedMemory.map(Grants.pieces(granter.table, refs), access)
  if (Result.isFailure(region)) {
    unpin(self, granter, refs, access)
    return Result.fail(memoryFailed("mmap", region.failure.errno))
  }
  const made: Mapping = {
    id,
    mapper: self,
    granter,
    access,
    refs,
    region: region.success,
    caller,
    notification: undefined,
    isLost: false
  }
  self.mappings.add(made)
  return Result.succeed(made)
}

/** Ends a mapping. A notification clears its byte while all is still mapped, and sends its signal when nothing is. */
export const unmap = (mapping: Mapping): "moved" | undefined => {
  const { access, granter, mapper, notification, refs, region } = mapping
  if (!mapper.mappings.delete(mapping)) return undefined
  if (mapping.isLost) return MappedMemory.unmap(region)
  const clearByte = notification?.clearByte
  if (clearByte !== undefined) {
    const ref = refs[Math.floor(clearByte / Page.size)]!
    clear(granter.table.entries[ref]!.memory, granter.table.pages[ref]!, clearByte)
  }
  const left = MappedMemory.unmap(region)
  unpin(mapper, granter, refs, access)
  signal(mapper, notification)
  return left
}

/** Copies from a page as a mapping would show it that lasts for just as long. */
export const read = (
  self: Linux,
  granter: Linux,
  ref: GrantRef.GrantRef,
  into: Uint8Array
): Result.Result<void, GrantTableError.Reason> => {
  const { domain, table } = granter
  if (self.track.used >= self.track.limit) return Result.fail(Grants.outOfMappings(self.track, domain.id, 1))
  const status = Grants.refusal(table, ref, self.domain.id, "read-only")
  if (status !== undefined) return Result.fail(Grants.refused(domain.id, ref, 0, "read-only", status))
  fs.readSync(table.entries[ref]!.memory, into, 0, into.length, table.pages[ref]! * Page.size)
  return Result.succeed(undefined)
}

/** All that a process holds ends: its memory first, as at any exit, then what it has open. */
const endProcess = (self: Linux, detail: string): void => {
  for (const { mappings, shares } of [self, ...self.before]) {
    for (const mapping of mappings) unmap(mapping)
    for (const share of shares) endShare(share)
  }
  self.before.clear()
  EventChannels.closeAll(self.channels, detail)
  Store.disconnect(self.client, detail)
}

/** The process in the domain ends, however: its Linux unmaps, lets go, and notifies, as it does in a release. */
export const killProcess = (self: Linux): void => {
  endProcess(self, "its process was killed")
  self.client = Store.connect(self.client.store, self.domain.id)
}

/** Nobody is notified any more. */
const disarm = (self: Linux): void => {
  for (const holding of [...self.mappings, ...self.shares]) {
    const end = holding.notification?.end
    holding.notification = undefined
    if (end !== undefined) EventChannels.drop(end)
  }
}

/** The domain dies: all that its process holds ends, but nobody is notified, since this Linux does not run any more. */
export const stop = (self: Linux): void => {
  self.domain.alive = false
  disarm(self)
  endProcess(self, "its domain was destroyed")
}

/** The view is of private memory from now on, with what was in it, or with ones as of memory that is nobody's. */
const makePrivate = ({ address, buffer, byteLength }: MappedMemory.Region, keep: boolean): void => {
  const bytes = buffer.detached ? new Uint8Array(0) : new Uint8Array(buffer)
  const kept = keep ? bytes.slice() : new Uint8Array(bytes.length).fill(0xff)
  const lateAccess = SystemCalls.PROT_READ | SystemCalls.PROT_WRITE
  MappedMemory.replace({ ...SystemCalls.native(), lateAccess }, address, byteLength)
  bytes.set(kept)
}

/**
 * The domain is saved and restored: it keeps its process and its memory, but grants, mappings and channels were Xen's and
 * are gone. Gives what is left of it as it was: what its process has to let go of, and pages that peers still have mapped,
 * in a table that nobody maps from any more.
 */
export const resume = (self: Linux, id: DomainId): Linux => {
  disarm(self)
  EventChannels.forgetAll(self.channels)
  const domain: Domain = { id: self.domain.id, alive: false }
  const left: Linux = {
    ...self,
    domain,
    table: { ...self.table, domain },
    shares: new Set(self.shares),
    mappings: new Set(self.mappings),
    before: new Set(),
    // Linux keeps references for who has not released them, so they are not handed out again: here they never are.
    free: []
  }
  for (const mapping of self.mappings) lose(mapping, left)
  for (const share of self.shares) {
    share.owner = left
    share.isLost = true
    makePrivate(share.view, true)
    giveBack(share)
  }
  self.mappings.clear()
  self.shares.clear()
  for (const before of self.before) {
    if (before.shares.size === 0 && before.mappings.size === 0) self.before.delete(before)
  }
  self.before.add(left)
  self.sharedPages = 0
  self.domain.id = id
  self.table = Grants.make(self.domain, self.table.pages.length)
  return left
}

/** Xen forgets a mapping; what it was of may be mapped of a domain that was restored itself. */
const lose = (mapping: Mapping, left: Linux): void => {
  const { access, granter, refs, region } = mapping
  mapping.mapper = left
  mapping.isLost = true
  makePrivate(region, false)
  unpin(left, granter, refs, access)
}
