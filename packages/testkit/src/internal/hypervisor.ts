/**
 * Keeps the books of the in-memory Xen: domains, their grant tables, who maps what. Plain synchronous code; `TestXen`
 * makes effects of it.
 *
 * Pages are real ones: each share has a memfd of its own, so Linux zeroes the frames, keeps them as long as anything
 * maps them, and takes them back; every mapping puts frames side by side with mmap.
 */
import type { Access } from "@xen-shbuf/core/Access"
import type { DomainId } from "@xen-shbuf/core/DomainId"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import type { CopySegment, MapRequest, ShareRequest, UnmapNotification } from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Page from "@xen-shbuf/core/Page"
import * as Reason from "@xen-shbuf/core/Reason"
import * as MappedMemory from "@xen-shbuf/xen-gntdev/MappedMemory"
import type { StackFrame } from "effect/References"
import * as Result from "effect/Result"
import * as fs from "node:fs"

/** The file that sets the driver's limit of shared pages, as on Linux. */
export const shareKnob: GrantTableError.Knob = { _tag: "File", path: "/sys/module/xen_gntalloc/parameters/limit" }

/** Maps of one kind (read-only, read-write) that a grant can have: Xen's counters refuse once their top bit is set. */
const maxPins = 128

/** What a domain can hold. */
export interface Limits {
  sharedPages: number
  readonly grantRefs: number
  readonly mappedPages: number
}

/** Pages of one domain, granted to another in one request. */
export interface Share {
  readonly id: number
  readonly owner: Domain
  readonly peer: DomainId
  readonly access: Access
  readonly refs: Uint32Array<ArrayBuffer>
  /** The memfd with the frames, in the order of `refs`. */
  readonly memory: number
  readonly caller: StackFrame | undefined
  /** The owner's own mapping. */
  readonly view: MappedMemory.Region
  /** Whether the owner has not let go yet. */
  held: boolean
  /** Whether the owner's program could still have a use for it; a share can end before, with its process. */
  isScopeOpen: boolean
  /** What Linux is to do when the owner lets go. */
  notification: UnmapNotification | undefined
  /** Pages whose grants are still in the owner's table. */
  frames: number
}

/** Pages of `granter`, mapped by `mapper` in one request. */
export interface Mapping {
  readonly id: number
  readonly mapper: Domain
  readonly granter: Domain
  readonly access: Access
  readonly refs: Uint32Array<ArrayBuffer>
  readonly region: MappedMemory.Region
  readonly caller: StackFrame | undefined
  /** What Linux is to do when the mapper unmaps. */
  notification: UnmapNotification | undefined
}

/** A domain: its grant table, indexed by reference, and what it holds. */
export interface Domain {
  readonly id: DomainId
  readonly limits: Limits
  alive: boolean
  readonly shares: Set<Share>
  readonly mappings: Set<Mapping>
  /** Pages that count against `limits.sharedPages`: those whose owner has not let go. */
  sharedPages: number
  mappedPages: number
  /** The share that each reference belongs to, if it is granted. */
  readonly grants: Array<Share | undefined>
  /** The number of the page within its share. */
  readonly pages: Uint32Array<ArrayBuffer>
  readonly pins: { readonly [access in Access]: Uint8Array<ArrayBuffer> }
  /** References given back, the last one first to be handed out again, as in Linux. */
  readonly free: Array<number>
  /** The smallest reference that was never handed out. */
  fresh: number
  /** Event channels that are open: their ports are 1 up to this. */
  ports: number
  /** The ports that notifications have signalled, in their order. */
  readonly signals: Array<number>
}

/** All there is. */
export interface Hypervisor {
  readonly domains: Map<DomainId, Domain>
  /** Dead domains with pages that others still have mapped. */
  readonly zombies: Set<Domain>
  /** Shares and mappings made so far. */
  made: number
}

/** All that run in this process: a domain may be sought in the wrong one. */
const running = new Set<Hypervisor>()

export const make = (): Hypervisor => {
  const xen: Hypervisor = { domains: new Map(), zombies: new Set(), made: 0 }
  running.add(xen)
  return xen
}

/** What was still shared when the last hypervisor stopped: the scopes of these shares are open, their views have ended. */
let cutOff: ReadonlySet<Share> = new Set()

/** Destroys all domains, and what keeps the books. */
export const stop = (xen: Hypervisor): void => {
  cutOff = new Set([...xen.domains.values()].flatMap(({ shares }) => [...shares]).filter(({ held }) => held))
  for (const domain of xen.domains.values()) destroy(xen, domain)
  running.delete(xen)
}

export const addDomain = (xen: Hypervisor, id: DomainId, limits: Limits): Domain => {
  const domain: Domain = {
    id,
    limits: { ...limits },
    alive: true,
    shares: new Set(),
    mappings: new Set(),
    sharedPages: 0,
    mappedPages: 0,
    grants: [],
    pages: new Uint32Array(limits.grantRefs),
    pins: { "read-only": new Uint8Array(limits.grantRefs), "read-write": new Uint8Array(limits.grantRefs) },
    free: [],
    fresh: GrantRef.minimum,
    ports: 0,
    signals: []
  }
  xen.domains.set(id, domain)
  return domain
}

const memoryFailed = (call: string, errno: string): GrantTableError.Reason =>
  new Reason.DeviceFailed({ device: "the memory of TestXen", call, errno })

/** A living domain, or the zombie of a dead one: Xen finds both. */
const find = (xen: Hypervisor, id: DomainId): Domain | undefined =>
  xen.domains.get(id) ?? [...xen.zombies].find((zombie) => zombie.id === id)

const isPinned = (domain: Domain, ref: number): boolean =>
  domain.pins["read-only"][ref]! + domain.pins["read-write"][ref]! > 0

/** The references of a share that are still in the owner's table; those given back may belong to another share. */
export const granted = (share: Share): Uint32Array => share.refs.filter((ref) => share.owner.grants[ref] === share)

/**
 * Allocates pages and grants them. Xen itself has no part in it: whether the peer exists is not looked at.
 */
export const share = (
  xen: Hypervisor,
  owner: Domain,
  { access, pages, peer }: ShareRequest,
  caller: StackFrame | undefined
): Result.Result<Share, GrantTableError.Reason> => {
  const { grantRefs, sharedPages } = owner.limits
  if (owner.sharedPages + pages > sharedPages) {
    return Result.fail(
      new GrantTableError.OutOfGrants({
        requested: pages,
        limit: sharedPages,
        knob: shareKnob,
        needed: owner.sharedPages + pages
      })
    )
  }
  if (pages > owner.free.length + grantRefs - owner.fresh) {
    return Result.fail(new GrantTableError.OutOfGrants({ requested: pages }))
  }
  const memory = MappedMemory.memfd("xen-shbuf", pages * Page.size)
  if (Result.isFailure(memory)) return Result.fail(memoryFailed("memfd_create", memory.failure))
  const view = MappedMemory.map([{ fd: memory.success, offset: 0, byteLength: pages * Page.size }], "read-write")
  if (Result.isFailure(view)) {
    MappedMemory.close(memory.success)
    return Result.fail(memoryFailed("mmap", view.failure.errno))
  }
  const refs = new Uint32Array(pages)
  const made: Share = {
    id: ++xen.made,
    owner,
    peer,
    access,
    refs,
    memory: memory.success,
    caller,
    view: view.success,
    held: true,
    isScopeOpen: true,
    notification: undefined,
    frames: pages
  }
  for (let page = 0; page < pages; page++) {
    const ref = owner.free.pop() ?? owner.fresh++
    refs[page] = ref
    owner.grants[ref] = made
    owner.pages[ref] = page
  }
  owner.shares.add(made)
  owner.sharedPages += pages
  return Result.succeed(made)
}

/** Takes a grant out of its owner's table; the memory goes with the last of its share. */
const free = (xen: Hypervisor, share: Share, ref: number): void => {
  const { owner } = share
  owner.grants[ref] = undefined
  owner.free.push(ref)
  if (--share.frames > 0) return
  MappedMemory.close(share.memory)
  owner.shares.delete(share)
  if (owner.shares.size === 0) xen.zombies.delete(owner)
}

/** Arms a notification, or cancels it. */
export const arm = (
  domain: Domain,
  held: Share | Mapping,
  notification: UnmapNotification | undefined
): Result.Result<void, GrantTableError.Reason> => {
  const port = notification?.signalPort
  if (port !== undefined && port > domain.ports) {
    const expected = "a port that this domain has open: `bindPort` opens one"
    return Result.fail(new Reason.InvalidInput({ argument: "signalPort", value: String(port), expected }))
  }
  held.notification = notification
  return Result.succeed(undefined)
}

/** Clears the byte of a notification, which is in this page; as Linux does it, not through the view. */
const clear = (memory: number, page: number, clearByte: number): void => {
  fs.writeSync(memory, Uint8Array.of(0), 0, 1, page * Page.size + clearByte % Page.size)
}

const signal = (domain: Domain, notification: UnmapNotification | undefined): void => {
  if (notification?.signalPort !== undefined) domain.signals.push(notification.signalPort)
}

/**
 * Ends a share for its owner. Grants that are in use stay in the table, and can even be mapped anew by their peer
 * (grant table version 1), until the last of their mappings goes. Linux looks once a second; here it is seen at once.
 * A notification comes before access ends: first the byte, then the signal.
 */
export const endShare = (xen: Hypervisor, share: Share): "moved" | undefined => {
  if (!share.held) return undefined
  share.held = false
  const clearByte = share.notification?.clearByte
  if (clearByte !== undefined) clear(share.memory, Math.floor(clearByte / Page.size), clearByte)
  signal(share.owner, share.notification)
  const left = MappedMemory.unmap(share.view)
  share.owner.sharedPages -= share.refs.length
  for (const ref of share.refs) {
    if (!isPinned(share.owner, ref)) free(xen, share, ref)
  }
  return left
}

/** Xen's status for a use of a grant that it refuses, in the order of its checks. */
const refusal = (
  granter: Domain,
  ref: number,
  by: DomainId,
  access: Access
): string | undefined => {
  if (!granter.alive) return "GNTST_general_error"
  if (ref >= granter.limits.grantRefs) return "GNTST_bad_gntref"
  const share = granter.grants[ref]
  return share === undefined
      || share.peer !== by
      || (access === "read-write" && share.access === "read-only")
      || granter.pins[access][ref]! >= maxPins
    ? "GNTST_general_error"
    : undefined
}

const refused = (
  domain: DomainId,
  ref: number,
  index: number,
  access: Access,
  status: string
): GrantTableError.Reason =>
  new GrantTableError.GrantRefused({ grant: { domain, ref: ref as GrantRef.GrantRef }, index, access, status })

const elsewhere = "But another TestXen of this program has a domain of that id, or had it and has ended before what it " +
  "shared: provide one TestXen.layer(), outermost, to all domains that are to meet."

/** Whether a domain that is not here can be sought by mistake, since another hypervisor has it, or had it until just now. */
const isElsewhere = (xen: Hypervisor, domain: DomainId): boolean =>
  [...running].some((other) => other !== xen && other.domains.has(domain)) ||
  [...cutOff].some(({ isScopeOpen, owner }) => isScopeOpen && owner.id === domain)

/** The refusal of a domain that is not there. */
const unknown = (
  xen: Hypervisor,
  domain: DomainId,
  ref: number,
  index: number,
  access: Access
): GrantTableError.Reason =>
  new GrantTableError.GrantRefused({
    grant: { domain, ref: ref as GrantRef.GrantRef },
    index,
    access,
    status: "GNTST_bad_domain",
    ...(isElsewhere(xen, domain) ? { hint: elsewhere } : {})
  })

const outOfMappings = (mapper: Domain, domain: DomainId, requested: number): GrantTableError.Reason => {
  const detail = `this domain can map ${mapper.limits.mappedPages} pages in all, and has ${mapper.mappedPages} mapped`
  return new GrantTableError.OutOfMappings({ domain, requested, detail })
}

const unpin = (xen: Hypervisor, granter: Domain, refs: Uint32Array, access: Access): void => {
  for (const ref of refs) {
    granter.pins[access][ref]!--
    const share = granter.grants[ref]!
    if (!share.held && !isPinned(granter, ref)) free(xen, share, ref)
  }
}

/** The frames behind references, side by side: one piece for each run of consecutive ones. */
const pieces = (granter: Domain, refs: Uint32Array): ReadonlyArray<MappedMemory.Piece> => {
  const runs: Array<{ readonly fd: number; readonly offset: number; byteLength: number }> = []
  let run: typeof runs[number] | undefined
  for (const ref of refs) {
    const fd = granter.grants[ref]!.memory
    const offset = granter.pages[ref]! * Page.size
    if (run !== undefined && run.fd === fd && run.offset + run.byteLength === offset) {
      run.byteLength += Page.size
    } else {
      runs.push(run = { fd, offset, byteLength: Page.size })
    }
  }
  return runs
}

/** Maps grants, all or nothing: the first that is refused undoes those before it. */
export const map = (
  xen: Hypervisor,
  mapper: Domain,
  { access, domain, refs }: MapRequest,
  caller: StackFrame | undefined
): Result.Result<Mapping, GrantTableError.Reason> => {
  const granter = find(xen, domain)
  if (granter === undefined) return Result.fail(unknown(xen, domain, refs[0]!, 0, access))
  const undo = (pinned: number, reason: GrantTableError.Reason) => {
    unpin(xen, granter, refs.subarray(0, pinned), access)
    return Result.fail(reason)
  }
  for (let i = 0; i < refs.length; i++) {
    const ref = refs[i]!
    if (mapper.mappedPages + i >= mapper.limits.mappedPages) return undo(i, outOfMappings(mapper, domain, refs.length))
    const status = refusal(granter, ref, mapper.id, access)
    if (status !== undefined) return undo(i, refused(domain, ref, i, access, status))
    granter.pins[access][ref]!++
  }
  const region = MappedMemory.map(pieces(granter, refs), access)
  if (Result.isFailure(region)) return undo(refs.length, memoryFailed("mmap", region.failure.errno))
  const made: Mapping = {
    id: ++xen.made,
    mapper,
    granter,
    access,
    refs,
    region: region.success,
    caller,
    notification: undefined
  }
  mapper.mappings.add(made)
  mapper.mappedPages += refs.length
  return Result.succeed(made)
}

/**
 * Ends a mapping; the last one of a grant that its owner let go frees the grant. A notification clears its byte while
 * all is still mapped, and sends its signal when nothing is.
 */
export const unmap = (xen: Hypervisor, mapping: Mapping): "moved" | undefined => {
  const { access, granter, mapper, notification, refs, region } = mapping
  if (!mapper.mappings.delete(mapping)) return undefined
  const clearByte = notification?.clearByte
  if (clearByte !== undefined) {
    const ref = refs[Math.floor(clearByte / Page.size)]!
    clear(granter.grants[ref]!.memory, granter.pages[ref]!, clearByte)
  }
  const left = MappedMemory.unmap(region)
  mapper.mappedPages -= refs.length
  unpin(xen, granter, refs, access)
  signal(mapper, notification)
  return left
}

/** Copies from a page as a mapping would show it that lasts for just as long. */
export const read = (
  xen: Hypervisor,
  by: Domain,
  { domain, ref }: GrantRef.Grant,
  into: Uint8Array
): Result.Result<void, GrantTableError.Reason> => {
  const granter = find(xen, domain)
  const access = "read-only"
  if (granter === undefined) return Result.fail(unknown(xen, domain, ref, 0, access))
  if (by.mappedPages >= by.limits.mappedPages) return Result.fail(outOfMappings(by, domain, 1))
  const status = refusal(granter, ref, by.id, access)
  if (status !== undefined) return Result.fail(refused(domain, ref, 0, access, status))
  fs.readSync(granter.grants[ref]!.memory, into, 0, into.length, granter.pages[ref]! * Page.size)
  return Result.succeed(undefined)
}

/** Copies each segment by itself; the refusal of the first that failed. */
export const copy = (
  xen: Hypervisor,
  by: Domain,
  segments: ReadonlyArray<CopySegment>
): Result.Result<void, GrantTableError.Reason> => {
  let failure: GrantTableError.Reason | undefined
  for (const [index, segment] of segments.entries()) {
    const { grant, offset } = segment
    const access = segment._tag === "Read" ? "read-only" : "read-write"
    const bytes = segment._tag === "Read" ? segment.into : segment.from
    // It succeeds whatever the rest says: Xen looks at nothing of it.
    if (bytes.length === 0) continue
    const granter = xen.domains.get(grant.domain)
    const status = granter === undefined ? "GNTST_bad_domain" : refusal(granter, grant.ref, by.id, access)
    if (status !== undefined) {
      failure ??= refused(grant.domain, grant.ref, index, access, status)
      continue
    }
    const { memory } = granter!.grants[grant.ref]!
    const position = granter!.pages[grant.ref]! * Page.size + offset
    if (segment._tag === "Read") fs.readSync(memory, bytes, 0, bytes.length, position)
    else fs.writeSync(memory, bytes, 0, bytes.length, position)
  }
  return failure === undefined ? Result.succeed(undefined) : Result.fail(failure)
}

/** The process in a domain ends, however: Linux unmaps, lets go, and notifies, as it does in a release. */
export const killProcess = (xen: Hypervisor, domain: Domain): void => {
  for (const mapping of domain.mappings) unmap(xen, mapping)
  for (const share of domain.shares) endShare(xen, share)
}

/**
 * A living domain dies: it lets go of all; what others have mapped of it stays until they unmap. Its Linux does not run
 * any more, so nobody is notified.
 */
export const destroy = (xen: Hypervisor, domain: Domain): void => {
  domain.alive = false
  xen.domains.delete(domain.id)
  xen.zombies.add(domain)
  for (const held of [...domain.mappings, ...domain.shares]) held.notification = undefined
  killProcess(xen, domain)
  if (domain.shares.size === 0) xen.zombies.delete(domain)
}
