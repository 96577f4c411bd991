/**
 * A reference model of Xen's grant tables, for a test to compare `TestXen` with: plain data, and the rules as they are
 * written down in words, with nothing counted that can be looked up.
 */

export type Access = "read-write" | "read-only"

/** How an operation ends: `ok`, or the reason in words. */
export type Outcome = string

export const ok: Outcome = "ok"

/** What each domain can hold: little, so that it runs into its limits. */
export const limits = { sharedPages: 6, grantRefs: 24, mappedPages: 160 }

export interface Domain {
  readonly id: number
  alive: boolean
  sharedPages: number
  /** Event channels that are open. */
  ports: number
  readonly signals: Array<number>
}

/** A page, and its grant. */
export interface Frame {
  readonly share: Share
  readonly ref: number
  readonly bytes: Uint8Array
}

export interface Notification {
  readonly clearByte?: { readonly frame: Frame; readonly offset: number }
  readonly signalPort?: number
}

interface Holding {
  /** Who shares or maps. */
  readonly domain: Domain
  readonly access: Access
  readonly frames: Array<Frame>
  held: boolean
  notification: Notification | undefined
}

export interface Share extends Holding {
  readonly _tag: "Share"
  readonly peer: number
}

export interface Mapping extends Holding {
  readonly _tag: "Mapping"
  /** Whose pages they are. */
  readonly granter: Domain
}

export interface Model {
  readonly domains: Array<Domain>
  readonly shares: Array<Share>
  readonly mappings: Array<Mapping>
}

export const make = (): Model => ({ domains: [], shares: [], mappings: [] })

export const create = (model: Model, id: number): Domain => {
  const domain = { id, alive: true, sharedPages: limits.sharedPages, ports: 0, signals: [] }
  model.domains.push(domain)
  return domain
}

export const living = (model: Model, id: number) => model.domains.find((domain) => domain.alive && domain.id === id)

const count = <A>(items: ReadonlyArray<A>, that: (item: A) => boolean) => items.filter(that).length

export const pins = (model: Model, frame: Frame, access: Access) =>
  model.mappings.filter((mapping) => mapping.held && mapping.access === access)
    .reduce((sum, { frames }) => sum + count(frames, (mapped) => mapped === frame), 0)

/** Whether a grant stands in its owner's table: as long as the owner holds it, or anybody maps it. */
const isGranted = (model: Model, frame: Frame) =>
  frame.share.held || pins(model, frame, "read-only") + pins(model, frame, "read-write") > 0

/** The grant table of a domain. */
export const granted = (model: Model, domain: Domain) =>
  model.shares.filter((share) => share.domain === domain).flatMap(({ frames }) => frames)
    .filter((frame) => isGranted(model, frame))

export const share = (model: Model, domain: Domain, pages: number): Outcome => {
  if (!domain.alive) return "DeviceUnavailable"
  const held = model.shares.filter((share) => share.held && share.domain === domain)
    .reduce((sum, { frames }) => sum + frames.length, 0)
  if (held + pages > domain.sharedPages) {
    return `OutOfGrants: ${pages} requested, limit ${domain.sharedPages}, needed ${held + pages}`
  }
  return granted(model, domain).length + pages > limits.grantRefs - 8
    ? `OutOfGrants: ${pages} requested, limit undefined, needed undefined`
    : ok
}

/** Adds a share that was made, with these references, or says what is wrong with them. */
export const addShare = (
  model: Model,
  domain: Domain,
  peer: number,
  refs: ReadonlyArray<number>,
  access: Access
): Share | string => {
  const used = new Set([0, 1, 2, 3, 4, 5, 6, 7, ...granted(model, domain).map(({ ref }) => ref)])
  for (const ref of refs) {
    if (used.has(ref) || ref >= limits.grantRefs) return `reference ${ref} is reserved, in use, or out of the table`
    used.add(ref)
  }
  const made: Share = { _tag: "Share", domain, peer, access, frames: [], held: true, notification: undefined }
  for (const ref of refs) made.frames.push({ share: made, ref, bytes: new Uint8Array(4096) })
  model.shares.push(made)
  return made
}

/** The page behind a grant, or why this domain may not use it. */
const use = (
  model: Model,
  by: Domain,
  grant: { readonly peer: number; readonly ref: number },
  access: Access
): Frame | string => {
  const owner = living(model, grant.peer)
  if (owner === undefined) {
    const isZombie = model.domains.some((domain) => domain.id === grant.peer && granted(model, domain).length > 0)
    return isZombie ? "GNTST_general_error" : "GNTST_bad_domain"
  }
  if (grant.ref >= limits.grantRefs) return "GNTST_bad_gntref"
  const frame = granted(model, owner).find(({ ref }) => ref === grant.ref)
  return frame === undefined
      || frame.share.peer !== by.id
      || (access === "read-write" && frame.share.access === "read-only")
    ? "GNTST_general_error"
    : frame
}

const refused = (status: string, domain: number, ref: number, index: number, access: Access): Outcome =>
  `GrantRefused: ${status}, reference ${ref} of domain ${domain}, number ${index}, ${access}`

/** What a mapping shows, or why it can't be made. */
export const map = (
  model: Model,
  by: Domain,
  domain: number,
  refs: ReadonlyArray<number>,
  access: Access
): ReadonlyArray<Frame> | Outcome => {
  if (!by.alive) return "DeviceUnavailable"
  const mapped = model.mappings.filter((mapping) => mapping.held && mapping.domain === by)
    .reduce((sum, { frames }) => sum + frames.length, 0)
  const frames: Array<Frame> = []
  for (const [index, ref] of refs.entries()) {
    const frame = use(model, by, { peer: domain, ref }, access)
    // That there is no such domain is seen before anything else.
    if (frame === "GNTST_bad_domain") return refused(frame, domain, ref, index, access)
    if (mapped + index >= limits.mappedPages) return `OutOfMappings: ${refs.length} of domain ${domain}`
    if (typeof frame === "string") return refused(frame, domain, ref, index, access)
    if (pins(model, frame, access) + count(frames, (earlier) => earlier === frame) >= 128) {
      return refused("GNTST_general_error", domain, ref, index, access)
    }
    frames.push(frame)
  }
  return frames
}

export const addMapping = (model: Model, by: Domain, frames: ReadonlyArray<Frame>, access: Access): Mapping => {
  const { domain: granter } = frames[0]!.share
  const made: Mapping = {
    _tag: "Mapping",
    domain: by,
    granter,
    access,
    frames: [...frames],
    held: true,
    notification: undefined
  }
  model.mappings.push(made)
  return made
}

/** The page that a copy reads or writes, or why it may not. */
export const copy = (
  model: Model,
  by: Domain,
  domain: number,
  ref: number,
  access: Access
): Frame | Outcome => {
  if (!by.alive) return "DeviceUnavailable"
  // A copy is not a mapping: who is dead is not found at all.
  if (living(model, domain) === undefined) return refused("GNTST_bad_domain", domain, ref, 0, access)
  const frame = use(model, by, { peer: domain, ref }, access)
  if (typeof frame === "string") return refused(frame, domain, ref, 0, access)
  return pins(model, frame, access) >= 128 ? refused("GNTST_general_error", domain, ref, 0, access) : frame
}

/** A share or a mapping ends; Linux, if it still runs, notifies as it was asked to. */
export const end = (held: Share | Mapping, isLinuxRunning = true): void => {
  if (!held.held) return
  held.held = false
  if (held.notification === undefined || !isLinuxRunning) return
  const { clearByte, signalPort } = held.notification
  if (clearByte !== undefined) clearByte.frame.bytes[clearByte.offset] = 0
  if (signalPort !== undefined) held.domain.signals.push(signalPort)
}

const endAll = (model: Model, domain: Domain, isLinuxRunning: boolean): void => {
  for (const held of [...model.mappings, ...model.shares]) if (held.domain === domain) end(held, isLinuxRunning)
}

export const killProcess = (model: Model, domain: Domain): void => {
  endAll(model, domain, true)
  domain.ports = 0
}

export const destroy = (model: Model, domain: Domain): void => {
  endAll(model, domain, false)
  domain.alive = false
}

/** The words of a page. */
export const wordsOf = ({ bytes }: Frame) => new Uint32Array(bytes.buffer)

/** The references in a directory of one page, or what is wrong with it. */
export const references = (
  page: Frame,
  pages: number,
  reserved: ReadonlyArray<number>
): ReadonlyArray<number> | Outcome => {
  const refs = [...wordsOf(page).subarray(1, 1 + pages)]
  const invalid = refs.findIndex((ref) => ref < 8 || ref === 0xffff_ffff)
  if (invalid >= 0) return `InvalidRef: number ${invalid} is ${refs[invalid]}`
  const all = [...reserved, ...refs]
  const repeated = refs.filter((ref) => count(all, (other) => other === ref) > 1)
  return repeated.length === 0 ? refs : "RepeatedRef"
}

/** Why the chain of a directory is not the single page that it must be. */
export const chain = (page: Frame): Outcome => {
  const next = wordsOf(page)[0]
  if (next === 0) return ok
  return next === page.ref ? "Cyclic" : "TooLong"
}
