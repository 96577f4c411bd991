/**
 * What xenstored does: a tree of nodes with owners and permissions, quotas, transactions that conflict, and watches.
 *
 * Nodes are never changed but replaced, with all above them: so a transaction works on a tree of its own, and a node has
 * changed when its generation has.
 */
import type { DomainId } from "@xen-shbuf/core/DomainId"
import type { NodeAccess, Permissions } from "@xen-shbuf/core/NodePermissions"
import * as Reason from "@xen-shbuf/core/Reason"
import * as StoreError from "@xen-shbuf/core/XenStoreError"
import type { StackFrame } from "effect/References"
import * as Result from "effect/Result"
import type { Counter } from "./domain.ts"

type Outcome<A> = Result.Result<A, StoreError.Reason>

/** A node: what is in it, and what is below it. */
export interface Node {
  readonly value: Uint8Array
  readonly permissions: Permissions
  readonly children: ReadonlyMap<string, Node>
  /** Another one for each change of the value, the permissions, or the names below. */
  readonly generation: number
}

/** What is noted of it, and may be forgotten. */
interface Noted {
  readonly made: number
  readonly caller: StackFrame | undefined
}

interface Watch extends Noted {
  readonly client: Client
  /** As it was given, which is how changes are told. */
  readonly path: string
  /** From the root on: a path of its own domain's is another after a restore. */
  names: ReadonlyArray<string>
  readonly changed: (path: string) => void
  readonly ended: (reason: StoreError.Reason) => void
}

/** How much a guest may have. */
export interface Quotas {
  readonly nodes: number
  readonly watches: number
  readonly transactions: number
  /** Bytes of a node: its value, the names below it, and its permissions. */
  readonly size: number
}

/** What xenstored allows a guest unless told otherwise. */
export const quotas: Quotas = { nodes: 1000, watches: 128, transactions: 10, size: 2048 }

interface Transaction extends Noted {
  readonly base: Node
  root: Node
  /** The paths that it looked at or changed. */
  readonly used: Map<string, ReadonlyArray<string>>
  /** What it did to the tree, to be done again. */
  readonly changes: Array<Change>
}

/** A change: the tree after it, and the paths to tell of, where `below` says that each is one of those that were removed. */
type Change = (root: Node) => Outcome<Changed>

interface Changed {
  readonly root: Node
  readonly told: ReadonlyArray<Told>
}

interface Told {
  readonly names: ReadonlyArray<string>
  /** Only watches of this very path hear of it: it went with one above it. */
  readonly exact: boolean
  /** Who can read by any of these may hear of it: the node's, before and after, and of the one above, which lists it. */
  readonly permissions: ReadonlyArray<Permissions>
}

/** All there is. */
export interface Store {
  root: Node
  generations: number
  /** Transactions begun so far. */
  begun: number
  readonly quotas: Quotas
  readonly counter: Counter
  readonly watches: Set<Watch>
}

/** A connection: the process of a domain. */
export interface Client {
  readonly store: Store
  /** Another one after a restore, as a rule. */
  id: DomainId
  readonly transactions: Map<number, Transaction>
}

const nobody = (owner: number): Permissions => ({ owner: owner as DomainId, others: "none", domains: [] })
const empty = new Uint8Array()

export const make = (counter: Counter, limits: Quotas = quotas): Store => ({
  root: { value: empty, permissions: nobody(0), children: new Map(), generation: 0 },
  generations: 0,
  begun: 0,
  quotas: limits,
  counter,
  watches: new Set()
})

export const connect = (store: Store, id: DomainId): Client => ({ store, id, transactions: new Map() })

const split = (path: string): ReadonlyArray<string> => path === "/" ? [] : path.slice(1).split("/")

/** A path from the root on. */
const absolute = ({ id }: Client, path: string): string => path.startsWith("/") ? path : `/local/domain/${id}/${path}`

const find = (root: Node, names: ReadonlyArray<string>): Node | undefined => {
  let node: Node | undefined = root
  for (const name of names) node = node?.children.get(name)
  return node
}

/** The nearest node there is, at these names or above. */
const nearest = (root: Node, names: ReadonlyArray<string>): Node => {
  let node = root
  for (const name of names) {
    const next = node.children.get(name)
    if (next === undefined) break
    node = next
  }
  return node
}

const accessOf = ({ domains, others, owner }: Permissions, id: DomainId): NodeAccess => {
  if (id === 0 || id === owner) return "both"
  return domains.find(({ domain }) => domain === id)?.access ?? others
}

const may = (permissions: Permissions, id: DomainId, what: "read" | "write"): boolean => {
  const access = accessOf(permissions, id)
  return access === "both" || access === what
}

const denied = (path: string): Outcome<never> => Result.fail(new StoreError.AccessDenied({ path }))

/** The tree with another node at these names, or without one. */
const replace = (store: Store, root: Node, names: ReadonlyArray<string>, node: Node | undefined, depth = 0): Node => {
  const name = names[depth]
  if (name === undefined) return node!
  const children = new Map(root.children)
  const isLast = depth === names.length - 1
  const below = isLast ? node : replace(store, root.children.get(name)!, names, node, depth + 1)
  const isNew = root.children.has(name) !== (below !== undefined)
  if (below === undefined) children.delete(name)
  else children.set(name, below)
  return { ...root, children, generation: isNew ? ++store.generations : root.generation }
}

const sizeOf = ({ children, permissions, value }: Node): number => {
  let size = value.length + 8 * (permissions.domains.length + 1)
  for (const name of children.keys()) size += name.length + 1
  return size
}

const count = (root: Node, owner: DomainId): number => {
  let sum = root.permissions.owner === owner ? 1 : 0
  for (const child of root.children.values()) sum += count(child, owner)
  return sum
}

/** A quota is used up: xenstored does not say which, so this is what a client makes of it that asked with so many bytes. */
const full = (path: string, byteLength: number): Outcome<never> =>
  Result.fail(new StoreError.QuotaExceeded({ path, quota: byteLength > quotas.size ? "size" : "nodes" }))

/** A node to write at a path, made together with those above it that are missing. */
const ensure = (
  client: Client,
  root: Node,
  path: string,
  names: ReadonlyArray<string>,
  byteLength: number
): Outcome<{ readonly root: Node; readonly node: Node; readonly isNew: boolean }> => {
  const { id, store } = client
  const there = find(root, names)
  if (!may((there ?? nearest(root, names)).permissions, id, "write")) return denied(path)
  if (there !== undefined) return Result.succeed({ root, node: there, isNew: false })
  let tree = root
  for (let depth = 1; depth <= names.length; depth++) {
    const part = names.slice(0, depth)
    if (find(tree, part) !== undefined) continue
    const above = find(tree, names.slice(0, depth - 1))!
    const permissions = id === 0 ? above.permissions : { ...above.permissions, owner: id }
    if (id !== 0 && count(tree, id) >= store.quotas.nodes) return full(path, byteLength)
    tree = replace(store, tree, part, { value: empty, permissions, children: new Map(), generation: ++store.generations })
    if (id !== 0 && sizeOf(find(tree, names.slice(0, depth - 1))!) > store.quotas.size) return full(path, byteLength)
  }
  return Result.succeed({ root: tree, node: find(tree, names)!, isNew: true })
}

const told = (root: Node, names: ReadonlyArray<string>, ...nodes: ReadonlyArray<Node>): ReadonlyArray<Told> => [
  { names, exact: false, permissions: permissionsOf(find(root, names.slice(0, -1))!, ...nodes) }
]

const permissionsOf = (...nodes: ReadonlyArray<Node>) => nodes.map(({ permissions }) => permissions)

const writing = (client: Client, path: string, names: ReadonlyArray<string>, value: Uint8Array): Change => (root) =>
  Result.flatMap(ensure(client, root, path, names, path.length + 1 + value.length), ({ node, root }) => {
    const { id, store } = client
    const written = { ...node, value, generation: ++store.generations }
    if (id !== 0 && sizeOf(written) > store.quotas.size) return full(path, path.length + 1 + value.length)
    return Result.succeed({ root: replace(store, root, names, written), told: told(root, names, written) })
  })

const making = (client: Client, path: string, names: ReadonlyArray<string>): Change => (root) =>
  Result.map(ensure(client, root, path, names, 0), ({ isNew, node, root }) => ({
    root,
    told: isNew ? told(root, names, node) : []
  }))

/** All below a node. */
const below = (names: ReadonlyArray<string>, node: Node): ReadonlyArray<Told> =>
  [...node.children].flatMap(([name, child]) => {
    const part = [...names, name]
    return [{ names: part, exact: true, permissions: permissionsOf(node, child) }, ...below(part, child)]
  })

const removing = (client: Client, path: string, names: ReadonlyArray<string>): Change => (root) => {
  const node = find(root, names)
  if (names.length === 0) return Result.fail(invalidPath(path, "a path below /, which can't be removed"))
  if (node === undefined) {
    const reason = missing(client, root, path, names, "write")
    const isThereOneAbove = find(root, names.slice(0, -1)) !== undefined
    return reason._tag === "NotFound" && isThereOneAbove ? Result.succeed({ root, told: [] }) : Result.fail(reason)
  }
  if (!may(node.permissions, client.id, "write")) return denied(path)
  return Result.succeed({
    root: replace(client.store, root, names, undefined),
    told: [...told(root, names, node), ...below(names, node)]
  })
}

const permitting =
  (client: Client, path: string, names: ReadonlyArray<string>, permissions: Permissions): Change => (root) =>
    Result.flatMap(reading(client, root, path, names, "write"), (node) => {
      const { id, store } = client
      const { owner } = node.permissions
      if (id !== 0 && (id !== owner || permissions.owner !== owner)) return denied(path)
      const changed = { ...node, permissions, generation: ++store.generations }
      return Result.succeed({ root: replace(store, root, names, changed), told: told(root, names, node, changed) })
    })

const invalidPath = (path: string, expected: string) =>
  new Reason.InvalidInput({ argument: "path", value: path, expected })

/** Not found; or denied, to who may not do the same with the nearest node above that is there. */
const missing = (
  { id }: Client,
  root: Node,
  path: string,
  names: ReadonlyArray<string>,
  what: "read" | "write"
): StoreError.Reason =>
  may(nearest(root, names).permissions, id, what)
    ? new StoreError.NotFound({ path })
    : new StoreError.AccessDenied({ path })

const reading = (
  client: Client,
  root: Node,
  path: string,
  names: ReadonlyArray<string>,
  what: "read" | "write"
): Outcome<Node> => {
  const node = find(root, names)
  if (node === undefined) return Result.fail(missing(client, root, path, names, what))
  return may(node.permissions, client.id, what) ? Result.succeed(node) : denied(path)
}

/** The tree that an operation sees, where what it looks at is noted for its transaction. */
const treeOf = (client: Client, path: string, id: number): Outcome<{
  readonly names: ReadonlyArray<string>
  readonly root: Node
  readonly transaction: Transaction | undefined
}> => {
  const whole = absolute(client, path)
  const names = split(whole)
  if (id === 0) return Result.succeed({ names, root: client.store.root, transaction: undefined })
  const transaction = client.transactions.get(id)
  if (transaction === undefined) return Result.fail(new StoreError.NotFound({ path }))
  transaction.used.set(whole, names)
  if (find(transaction.root, names) === undefined) noteAbove(transaction, names)
  return Result.succeed({ names, root: transaction.root, transaction })
}

/** Looks at a node. */
export const get = (client: Client, path: string, transaction: number): Outcome<Node> =>
  Result.flatMap(treeOf(client, path, transaction), ({ names, root }) => reading(client, root, path, names, "read"))

/** Does a change, at once or in a transaction. */
const change = (
  client: Client,
  path: string,
  transaction: number,
  make: (names: ReadonlyArray<string>) => Change
): Outcome<void> =>
  Result.flatMap(treeOf(client, path, transaction), ({ names, root, transaction }) => {
    const change = make(names)
    return Result.map(change(root), (changed) => {
      if (transaction === undefined) apply(client.store, changed)
      else {
        if (find(changed.root, names) === undefined) noteAbove(transaction, names)
        transaction.root = changed.root
        transaction.changes.push(change)
      }
    })
  })

/** A node that is missing, made or removed depends on the list of the nearest one above it, which others may change. */
const noteAbove = ({ base, used }: Transaction, names: ReadonlyArray<string>): void => {
  let depth = names.length - 1
  while (depth > 0 && find(base, names.slice(0, depth)) === undefined) depth--
  const above = names.slice(0, depth)
  used.set(`/${above.join("/")}`, above)
}

export const write = (client: Client, path: string, value: Uint8Array, transaction: number) =>
  longest < path.length + 1 + value.length
    ? Result.fail(new StoreError.TooLong({ path, byteLength: path.length + 1 + value.length, limit: longest }))
    : change(client, path, transaction, (names) => writing(client, path, names, value))

/** Bytes of a payload, as `/dev/xen/xenbus` takes them. */
const longest = 4080

export const makeDirectory = (client: Client, path: string, transaction: number) =>
  change(client, path, transaction, (names) => making(client, path, names))

export const remove = (client: Client, path: string, transaction: number) =>
  change(client, path, transaction, (names) => removing(client, path, names))

export const setPermissions = (client: Client, path: string, permissions: Permissions, transaction: number) =>
  change(client, path, transaction, (names) => permitting(client, path, names, permissions))

const apply = (store: Store, { root, told }: Changed): void => {
  store.root = root
  for (const tell of told) fire(store, tell)
}

const startsWith = (names: ReadonlyArray<string>, start: ReadonlyArray<string>): boolean =>
  start.length <= names.length && start.every((name, i) => names[i] === name)

/** Tells those who watch a path, or one above it. */
const fire = (store: Store, { exact, names, permissions }: Told): void => {
  for (const watch of [...store.watches]) {
    const { changed, client, names: watched, path } = watch
    const hears = exact ? watched.length === names.length && startsWith(names, watched) : startsWith(names, watched)
    if (!hears || !permissions.some((permissions) => may(permissions, client.id, "read"))) continue
    const rest = names.slice(watched.length)
    changed(rest.length === 0 ? path : `${path === "/" ? "" : path}/${rest.join("/")}`)
  }
}

/** Tells dom0 that domains come or go; guests may not hear of others. */
export const fireSpecial = (store: Store, path: string): void => {
  for (const watch of [...store.watches]) {
    if (watch.path === path && watch.client.id === 0) watch.changed(path)
  }
}

/** What begins with @ is no path; nothing is ever written there. */
const watched = (client: Client, path: string): ReadonlyArray<string> =>
  path.startsWith("@") ? [path] : split(absolute(client, path))

/** Watches a path; it is told at once. */
export const watch = (
  client: Client,
  path: string,
  changed: (path: string) => void,
  ended: (reason: StoreError.Reason) => void,
  caller: StackFrame | undefined
): Outcome<() => void> => {
  const { id, store } = client
  const own = [...store.watches].filter((watch) => watch.client === client).length
  if (id !== 0 && own >= store.quotas.watches) {
    return Result.fail(new StoreError.QuotaExceeded({ path, quota: "watches" }))
  }
  const names = watched(client, path)
  const watch: Watch = { made: ++store.counter.made, caller, client, path, names, changed, ended }
  store.watches.add(watch)
  changed(path)
  return Result.succeed(() => void store.watches.delete(watch))
}

export const begin = (client: Client, caller: StackFrame | undefined): Outcome<number> => {
  const { id, store, transactions } = client
  if (id !== 0 && transactions.size >= store.quotas.transactions) {
    return Result.fail(new StoreError.QuotaExceeded({ path: "/", quota: "transactions" }))
  }
  const transaction = ++store.begun
  transactions.set(transaction, { made: ++store.counter.made, caller, base: store.root, root: store.root, used: new Map(), changes: [] })
  return Result.succeed(transaction)
}

export const abort = (client: Client, transaction: number): void => void client.transactions.delete(transaction)

/** Does all that a transaction did, unless others have changed what it used. */
export const commit = (client: Client, id: number): Outcome<boolean> => {
  const { store } = client
  const transaction = client.transactions.get(id)
  client.transactions.delete(id)
  if (transaction === undefined) return Result.succeed(false)
  const { base, changes, used } = transaction
  for (const names of used.values()) {
    if (find(base, names)?.generation !== find(store.root, names)?.generation) return Result.succeed(false)
  }
  const done: Array<Changed> = []
  let root = store.root
  for (const change of changes) {
    const changed = change(root)
    // A quota that others have used up meanwhile.
    if (Result.isFailure(changed)) return Result.fail(changed.failure)
    root = changed.success.root
    done.push(changed.success)
  }
  store.root = root
  for (const { told } of done) {
    for (const tell of told) fire(store, tell)
  }
  return Result.succeed(true)
}

/** The connection ends: its watches go, and its transactions have not happened. */
export const disconnect = (client: Client, detail: string): void => {
  const { store, transactions } = client
  transactions.clear()
  for (const watch of [...store.watches]) {
    if (watch.client !== client) continue
    store.watches.delete(watch)
    watch.ended(new StoreError.StoreGone({ detail }))
  }
}


const encoder = new TextEncoder()

/** What `xl` writes for a domain that it creates. */
export const introduce = (store: Store, id: DomainId): void => {
  const toolstack = connect(store, 0 as DomainId)
  const home = `/local/domain/${id}`
  const visible: Permissions = { owner: 0 as DomainId, others: "none", domains: [{ domain: id, access: "read" }] }
  const own: Permissions = nobody(id)
  const put = (path: string, value: string, permissions: Permissions) => {
    Result.getOrThrow(write(toolstack, path, encoder.encode(value), 0))
    Result.getOrThrow(setPermissions(toolstack, path, permissions, 0))
  }
  put(home, "", visible)
  put(`${home}/name`, `Domain-${id}`, visible)
  put(`${home}/domid`, String(id), visible)
  for (const name of ["device", "control", "backend"]) put(`${home}/${name}`, "", visible)
  for (const name of ["control/shutdown", "data", "error", "drivers"]) put(`${home}/${name}`, "", own)
  fireSpecial(store, "@introduceDomain")
}

/** A domain is gone: first Xen says so, then the toolstack removes its nodes. */
export const release = (store: Store, id: DomainId): void => {
  fireSpecial(store, "@releaseDomain")
  Result.getOrThrow(remove(connect(store, 0 as DomainId), `/local/domain/${id}`, 0))
}

/**
 * A domain is saved and restored: its nodes are removed, and made anew for this id. Linux watches anew what it watched, but
 * has heard of nothing meanwhile, and a transaction that was open fails.
 */
export const resume = (client: Client, id: DomainId): void => {
  const { store } = client
  client.transactions.clear()
  const watches = [...store.watches].filter((watch) => watch.client === client)
  for (const watch of watches) store.watches.delete(watch)
  release(store, client.id)
  client.id = id
  introduce(store, id)
  for (const watch of watches) {
    watch.names = watched(client, watch.path)
    store.watches.add(watch)
    watch.changed(watch.path)
  }
}
