/**
 * Keeps the books of the in-memory Xen: which domains there are, living and dead, and who finds whom. Plain synchronous
 * code; `TestXen` makes effects of it. What Xen does with a domain's grants and channels, and what its Linux does,
 * stand in modules of their own.
 */
import type { DomainId } from "@xen-shbuf/core/DomainId"
import type * as GrantRef from "@xen-shbuf/core/GrantRef"
import type { CopySegment, MapRequest, ShareRequest } from "@xen-shbuf/core/GrantTable"
import type * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import type { StackFrame } from "effect/References"
import * as Result from "effect/Result"
import type { Counter } from "./domain.ts"
import * as Grants from "./grants.ts"
import * as Linux from "./linux.ts"
import * as Store from "./store.ts"

/** All there is. */
export interface Hypervisor {
  readonly domains: Map<DomainId, Linux.Linux>
  readonly store: Store.Store
  /** Dead domains; those whose pages others still have mapped can be found. */
  readonly dead: Set<Linux.Linux>
  readonly counter: Counter
}

/** All that run in this process: a domain may be sought in the wrong one. */
const running = new Set<Hypervisor>()

export const make = (): Hypervisor => {
  const counter: Counter = { made: 0 }
  const xen: Hypervisor = { domains: new Map(), store: Store.make(counter), dead: new Set(), counter }
  running.add(xen)
  return xen
}

/** What was still shared when the last hypervisor stopped: views that have ended before the scope they belong to. */
let cutOff: ReadonlySet<Linux.Share> = new Set()

/** Destroys all domains, and what keeps the books. */
export const stop = (xen: Hypervisor): void => {
  cutOff = new Set([...xen.domains.values()].flatMap(({ shares }) => [...shares]).filter(({ held }) => held))
  for (const linux of xen.domains.values()) destroy(xen, linux)
  running.delete(xen)
}

/** Creates a domain. */
export const add = (xen: Hypervisor, id: DomainId, capacity: Linux.Capacity): Linux.Linux => {
  const linux = Linux.make({ id, alive: true }, xen.store, capacity)
  xen.domains.set(id, linux)
  Store.introduce(xen.store, id)
  return linux
}

/** A living domain dies: it lets go of all; what others have mapped of it stays until they unmap. */
export const destroy = (xen: Hypervisor, linux: Linux.Linux): void => {
  xen.domains.delete(linux.domain.id)
  xen.dead.add(linux)
  Linux.stop(linux)
  Store.release(xen.store, linux.domain.id)
}

/** A living domain is saved and restored under an id that is free, or its own. */
export const restore = (xen: Hypervisor, linux: Linux.Linux, id: DomainId): void => {
  xen.domains.delete(linux.domain.id)
  const left = Linux.resume(linux, id)
  for (const { mappings } of xen.domains.values()) {
    for (const mapping of mappings) {
      if (mapping.granter === linux) mapping.granter = left
    }
  }
  xen.dead.add(left)
  xen.domains.set(id, linux)
  Store.resume(linux.client, id)
}

/** Dead domains with pages that others still have mapped. */
const zombies = (xen: Hypervisor): ReadonlyArray<Linux.Linux> => {
  for (const linux of xen.dead) {
    if (linux.shares.size === 0 && linux.mappings.size === 0) xen.dead.delete(linux)
  }
  return [...xen.dead]
}

/** The living and the dead. */
export const all = (xen: Hypervisor): ReadonlyArray<Linux.Linux> => [...xen.domains.values(), ...zombies(xen)]

const elsewhere = "But another TestXen of this program has a domain of that id, or had it and has ended before what it " +
  "shared: provide one TestXen.layer(), outermost, to all domains that are to meet."

/** Whether a domain that is not here is sought by mistake: another hypervisor has it, or had it until just now. */
const isElsewhere = (xen: Hypervisor, id: DomainId): boolean =>
  [...running].some((other) => other !== xen && other.domains.has(id)) ||
  [...cutOff].some(({ isScopeOpen, owner }) => isScopeOpen && owner.domain.id === id)

/** Who granted, living or dead: Xen finds both. */
const granter = (
  xen: Hypervisor,
  id: DomainId,
  ref: number,
  access: "read-only" | "read-write"
): Result.Result<Linux.Linux, GrantTableError.Reason> => {
  const found = xen.domains.get(id) ?? zombies(xen).find(({ domain }) => domain.id === id)
  if (found !== undefined) return Result.succeed(found)
  const hint = isElsewhere(xen, id) ? elsewhere : undefined
  return Result.fail(Grants.refused(id, ref, 0, access, "GNTST_bad_domain", hint))
}

/** Allocates pages in a domain and grants them. */
export const share = (xen: Hypervisor, by: Linux.Linux, request: ShareRequest, caller: StackFrame | undefined) =>
  Linux.share(by, ++xen.counter.made, request, caller)

/** Maps grants of a domain in another. */
export const map = (xen: Hypervisor, by: Linux.Linux, request: MapRequest, caller: StackFrame | undefined) =>
  Result.flatMap(
    granter(xen, request.peer, request.refs[0]!, request.access),
    (granter) => Linux.map(by, granter, ++xen.counter.made, request, caller)
  )

/** Copies from a page of a domain. */
export const read = (xen: Hypervisor, by: Linux.Linux, { peer, ref }: GrantRef.Grant, into: Uint8Array) =>
  Result.flatMap(granter(xen, peer, ref, "read-only"), (granter) => Linux.read(by, granter, ref, into))

/** Copies from and to pages of domains. */
export const copy = (xen: Hypervisor, by: Linux.Linux, segments: ReadonlyArray<CopySegment>) =>
  Grants.copy((id) => xen.domains.get(id)?.table, by.domain.id, segments)
