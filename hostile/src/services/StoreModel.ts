/**
 * What xenstored must answer, in the plainest way: a list of paths, which is searched and copied as a whole. Nothing of it
 * is taken from the xenstore that it is held against.
 */
import type { NodeAccess } from "@xen-shbuf/core/NodePermissions"

export interface Permissions {
  readonly owner: number
  readonly others: NodeAccess
  readonly domains: ReadonlyArray<{ readonly domain: number; readonly access: NodeAccess }>
}

interface Node {
  readonly value: string
  readonly permissions: Permissions
  /** Another one after each change of it, or of the names below. */
  readonly version: number
}

/** Paths and nodes; the root is "". */
export type Tree = Map<string, Node>

/** What somebody does. */
export type Operation =
  | { readonly _tag: "read" | "directory" | "makeDirectory" | "remove" | "permissions" }
  | { readonly _tag: "write"; readonly value: string }
  | { readonly _tag: "setPermissions"; readonly permissions: Permissions }

/** A path that is told of, to watches of it alone or of those above it as well, and to who can read by any of these. */
export interface Told {
  readonly path: string
  readonly isExact: boolean
  readonly permissions: ReadonlyArray<Permissions>
}

/** What comes out: a value as text, or why not; the tree afterwards, and what is told. */
export interface Answer {
  readonly said: string
  readonly tree: Tree
  readonly told: ReadonlyArray<Told>
}

let versions = 0

const above = (path: string) => path.slice(0, path.lastIndexOf("/"))

const names = (tree: Tree, path: string): ReadonlyArray<string> =>
  [...tree.keys()].filter((other) => other !== "" && above(other) === path).map((other) => other.slice(path.length + 1)).sort()

export const may = ({ domains, others, owner }: Permissions, id: number, what: "read" | "write"): boolean => {
  if (id === 0 || id === owner) return true
  const access = domains.find(({ domain }) => domain === id)?.access ?? others
  return access === "both" || access === what
}

/** The nearest path that there is, at this one or above. */
const nearest = (tree: Tree, path: string): string => tree.has(path) ? path : nearest(tree, above(path))

const mayNearest = (tree: Tree, path: string, id: number, what: "read" | "write") =>
  may(tree.get(nearest(tree, path))!.permissions, id, what)

const size = (tree: Tree, path: string, { permissions, value }: Node) =>
  names(tree, path).reduce((sum, name) => sum + name.length + 1, value.length + 8 * (1 + permissions.domains.length))

const touch = (tree: Tree, path: string) => tree.set(path, { ...tree.get(path)!, version: ++versions })

const telling = (tree: Tree, path: string, ...permissions: ReadonlyArray<Permissions>): Told => ({
  path,
  isExact: false,
  permissions: [tree.get(above(path))!.permissions, ...permissions]
})

/** Makes a node, and those above it, in a copy; whether there is room for all. */
const made = (tree: Tree, path: string, id: number): boolean => {
  if (tree.has(path)) return true
  const parent = above(path)
  if (!made(tree, parent, id)) return false
  const inherited = tree.get(parent)!.permissions
  tree.set(path, { value: "", permissions: id === 0 ? inherited : { ...inherited, owner: id }, version: ++versions })
  touch(tree, parent)
  return id === 0 || size(tree, parent, tree.get(parent)!) <= 2048
}

const remove = (before: Tree, path: string, id: number, refused: (said: string) => Answer): Answer => {
  const node = before.get(path)
  if (node === undefined) {
    if (!mayNearest(before, path, id, "write")) return refused("AccessDenied")
    return before.has(above(path)) ? { said: "", tree: before, told: [] } : refused("NotFound")
  }
  if (!may(node.permissions, id, "write")) return refused("AccessDenied")
  const gone = [...before.keys()].filter((other) => other.startsWith(`${path}/`))
  const tree = new Map([...before].filter(([other]) => other !== path && !gone.includes(other)))
  touch(tree, above(path))
  const alone = gone.map((other): Told => ({
    path: other,
    isExact: true,
    permissions: [before.get(other)!.permissions, before.get(above(other))!.permissions]
  }))
  return { said: "", tree, told: [telling(before, path, node.permissions), ...alone] }
}

/** Writes a value, or makes a node without one. */
const write = (before: Tree, path: string, id: number, value: string | undefined, refused: (said: string) => Answer): Answer => {
  if (!mayNearest(before, path, id, "write")) return refused("AccessDenied")
  const tree = new Map(before)
  const isNew = !tree.has(path)
  // Which quota it is, nobody says: it is guessed from what was to be written.
  const full = () => refused(value !== undefined && path.length + 1 + value.length > 2048 ? "QuotaExceeded size" : "QuotaExceeded nodes")
  if (!made(tree, path, id)) return full()
  const node = tree.get(path)!
  if (value !== undefined) {
    const written = { ...node, value, version: ++versions }
    if (id !== 0 && size(tree, path, written) > 2048) return full()
    tree.set(path, written)
  }
  return { said: "", tree, told: isNew || value !== undefined ? [telling(tree, path, node.permissions)] : [] }
}

/** The answer to a domain that does something with a path. */
export const answer = (before: Tree, id: number, path: string, operation: Operation): Answer => {
  const refused = (said: string): Answer => ({ said, tree: before, told: [] })
  const missing = (what: "read" | "write") => refused(mayNearest(before, path, id, what) ? "NotFound" : "AccessDenied")
  const node = before.get(path)
  switch (operation._tag) {
    case "remove":
      return remove(before, path, id, refused)
    case "write":
      return write(before, path, id, operation.value, refused)
    case "makeDirectory":
      return write(before, path, id, undefined, refused)
    case "setPermissions": {
      if (node === undefined) return missing("write")
      if (!may(node.permissions, id, "write")) return refused("AccessDenied")
      const { owner } = node.permissions
      if (id !== 0 && (id !== owner || operation.permissions.owner !== owner)) return refused("AccessDenied")
      const tree = new Map(before)
      tree.set(path, { ...node, permissions: operation.permissions, version: ++versions })
      return { said: "", tree, told: [telling(tree, path, node.permissions, operation.permissions)] }
    }
    default: {
      if (node === undefined) return missing("read")
      if (!may(node.permissions, id, "read")) return refused("AccessDenied")
      const said = {
        read: () => node.value,
        directory: () => names(before, path).join(","),
        permissions: () => JSON.stringify(node.permissions)
      }[operation._tag]()
      return { said, tree: before, told: [] }
    }
  }
}

/** The paths that a transaction depends on when it has done this: its own, and the one above where it is missing. */
export const depends = (base: Tree, before: Tree, after: Tree, path: string): ReadonlyArray<string> =>
  before.has(path) && after.has(path) ? [path] : [path, nearest(base, above(path))]

/** Whether others have changed one of these paths meanwhile. */
export const hasChanged = (base: Tree, now: Tree, paths: ReadonlyArray<string>): boolean =>
  paths.some((path) => base.get(path)?.version !== now.get(path)?.version)
