/**
 * A small xenstored: nodes, permissions without their effect, transactions that conflict, watches. It speaks the protocol
 * with one domain over each connection, and can be told to misbehave.
 */
import * as Wire from "../src/XenStoreWire.ts"

interface Node {
  value: Uint8Array
  permissions: string
  generation: number
}

interface Transaction {
  readonly nodes: Map<string, Node>
  /** The generation of each path that it used, as it was before: undefined for none. */
  readonly used: Map<string, number | undefined>
  readonly before: ReadonlyMap<string, Node>
  readonly changed: Set<string>
  /** What it did, to be done again. */
  readonly changes: Array<(nodes: Map<string, Node>) => void>
}

interface Watch {
  readonly path: string
  readonly absolute: string
  readonly token: string
  readonly fire: (path: string) => void
}

/** A domain's connection. */
export interface Session {
  /** Takes a whole message; what it answers with goes to `send`. */
  readonly receive: (message: Wire.Message) => void
  readonly close: () => void
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1")
const parent = (path: string) => path.slice(0, path.lastIndexOf("/")) || "/"

class Refusal extends Error {}
const refuse = (errno: string): never => {
  throw new Refusal(errno)
}

const names = new Map<number, string>(Object.entries(Wire.types).map(([name, type]) => [type, name]))

export interface Options {
  readonly domain?: number
  readonly watchQuota?: number
  readonly nodeQuota?: number
  /** Bytes of a node, with the names below it. */
  readonly sizeQuota?: number
}

export const make = (options: Options = {}) => {
  const { domain = 0, nodeQuota = Infinity, sizeQuota = Infinity, watchQuota = 128 } = options
  const transactionQuota = domain === 0 ? Infinity : 10
  const root: Node = { value: new Uint8Array(0), permissions: "n0", generation: 1 }
  const nodes = new Map<string, Node>([["/", root]])
  let generation = 1
  const watches = new Set<Watch>()
  const transactions = new Map<number, Transaction>()
  let nextTransaction = 1
  const requests: Array<string> = []
  const own = `/local/domain/${domain}`
  const absolute = (path: string) => path.startsWith("/") || path.startsWith("@") ? path : `${own}/${path}`

  const changed = (path: string) => {
    for (const watch of [...watches]) {
      if (path === watch.absolute || path.startsWith(watch.absolute === "/" ? "/" : `${watch.absolute}/`)) watch.fire(path)
      // What is removed with all below it.
      else if (watch.absolute.startsWith(`${path}/`) && !nodes.has(watch.absolute)) watch.fire(watch.absolute)
    }
  }

  const children = (from: ReadonlyMap<string, Node>, path: string) =>
    [...from.keys()].filter((one) => one !== "/" && parent(one) === path).map((one) => one.slice(one.lastIndexOf("/") + 1))

  /** The names below a node are a part of it. */
  const touch = (all: Map<string, Node>, path: string) => {
    const node = all.get(path)
    if (node !== undefined) all.set(path, { ...node, generation: ++generation })
  }

  const put = (into: Map<string, Node>, path: string, value: Uint8Array, noted: Set<string>) => {
    if (!into.has(path) && into.size >= nodeQuota) refuse("ENOSPC")
    if (path !== "/" && !into.has(parent(path))) put(into, parent(path), new Uint8Array(0), noted)
    const permissions = into.get(path)?.permissions ?? into.get(parent(path))!.permissions
    const isNew = !into.has(path)
    into.set(path, { value, permissions, generation: ++generation })
    if (isNew) touch(into, parent(path))
    if (path !== "/" && listed(into, parent(path)).length > sizeQuota) refuse("ENOSPC")
    noted.add(path)
  }

  const remove = (from: Map<string, Node>, path: string, noted: Set<string>) => {
    for (const one of [...from.keys()]) if (one === path || one.startsWith(`${path}/`)) from.delete(one)
    touch(from, parent(path))
    noted.add(path)
  }

  const listed = (from: ReadonlyMap<string, Node>, path: string) => {
    if (!from.has(path)) refuse("ENOENT")
    return children(from, path).map((name) => `${name}\0`).join("")
  }

  const part = (from: ReadonlyMap<string, Node>, path: string, offset: number) => {
    const all = listed(from, path)
    const head = `${from.get(path)!.generation}\0`
    let taken = ""
    for (const name of all.slice(offset).split("\0").slice(0, -1)) {
      if (head.length + taken.length + name.length + 2 > Wire.payloadLimit) break
      taken += `${name}\0`
    }
    return `${head}${taken}${offset + taken.length >= all.length ? "\0" : ""}`
  }

  /** What is missing depends on the nearest node above it that is there. */
  const use = ({ before, used }: Pick<Transaction, "before" | "used">, path: string): void => {
    used.set(path, before.get(path)?.generation)
    if (!before.has(path)) use({ before, used }, parent(path))
  }

  const end = (id: number, isCommit: boolean) => {
    const one = transactions.get(id) ?? refuse("ENOENT")
    transactions.delete(id)
    if (!isCommit) return "OK\0"
    for (const [path, generation] of one.used) if (nodes.get(path)?.generation !== generation) refuse("EAGAIN")
    for (const change of one.changes) change(nodes)
    for (const path of one.changed) changed(path)
    return "OK\0"
  }

  const open = (send: (message: Wire.Message) => void): Session => {
    const mine = new Set<Watch>()
    const begun = new Set<number>()

    const answer = ({ payload, transaction, type }: Wire.Message): string | Uint8Array => {
      const [first = "", second = ""] = text(payload).split("\0")
      const path = absolute(first)
      const inside = transaction === 0 ? undefined : transactions.get(transaction) ?? refuse("ENOENT")
      const from = inside?.nodes ?? nodes
      const noted = inside?.changed ?? new Set<string>()
      if (inside !== undefined) use(inside, path)
      requests.push(`${names.get(type) ?? type} ${first}`)
      const found = () => from.get(path) ?? refuse("ENOENT")
      const change = (change: (nodes: Map<string, Node>) => void) => {
        change(from)
        inside?.changes.push(change)
        return "OK\0"
      }
      const write = (value: Uint8Array) => change((nodes) => put(nodes, path, value, noted))
      switch (type) {
        case Wire.types.READ:
          return found().value
        case Wire.types.WRITE:
          return write(payload.slice(first.length + 1))
        case Wire.types.MKDIR:
          return from.has(path) ? "OK\0" : write(new Uint8Array(0))
        case Wire.types.RM:
          if (!from.has(parent(path))) refuse("ENOENT")
          return from.has(path) ? change((nodes) => remove(nodes, path, noted)) : "OK\0"
        case Wire.types.DIRECTORY: {
          const list = listed(from, path)
          return list.length > Wire.payloadLimit ? refuse("E2BIG") : list
        }
        case Wire.types.DIRECTORY_PART:
          return part(from, path, Number(second))
        case Wire.types.GET_PERMS:
          return `${found().permissions.split(" ").join("\0")}\0`
        case Wire.types.SET_PERMS:
          found().permissions = text(payload).split("\0").slice(1, -1).join(" ")
          return "OK\0"
        case Wire.types.TRANSACTION_START: {
          if (begun.size >= transactionQuota) refuse("ENOSPC")
          const id = nextTransaction++
          const before = new Map(nodes)
          transactions.set(id, { nodes: new Map(nodes), before, used: new Map(), changed: new Set(), changes: [] })
          begun.add(id)
          return `${id}\0`
        }
        case Wire.types.TRANSACTION_END:
          begun.delete(transaction)
          return end(transaction, first === "T")
        case Wire.types.WATCH: {
          if (mine.size >= watchQuota) refuse("E2BIG")
          const fire = (changed: string) => {
            const path = first.startsWith("/") || first.startsWith("@") ? changed : changed.slice(own.length + 1)
            const payload = Wire.strings(path, second)
            send({ type: Wire.types.WATCH_EVENT, request: 0, transaction: 0, payload })
          }
          const watch = { path: first, absolute: path, token: second, fire }
          watches.add(watch)
          mine.add(watch)
          queueMicrotask(() => fire(path))
          return "OK\0"
        }
        case Wire.types.UNWATCH: {
          const watch = [...mine].find(({ path, token }) => path === first && token === second) ?? refuse("ENOENT")
          watches.delete(watch)
          mine.delete(watch)
          return "OK\0"
        }
        default:
          return refuse("ENOSYS")
      }
    }

    return {
      receive: (message) => {
        const { request, transaction, type } = message
        try {
          const made = answer(message)
          const payload = typeof made === "string" ? Buffer.from(made, "latin1") : made
          send({ type, request, transaction, payload })
        } catch (cause) {
          if (!(cause instanceof Refusal)) throw cause
          send({ type: Wire.types.ERROR, request, transaction, payload: Wire.strings(cause.message) })
        }
        const isChange = [Wire.types.WRITE, Wire.types.MKDIR, Wire.types.RM].some((one) => one === type)
        if (isChange && transaction === 0) changed(absolute(text(message.payload).split("\0")[0]!))
      },
      close: () => {
        for (const watch of mine) watches.delete(watch)
        for (const id of begun) transactions.delete(id)
      }
    }
  }

  return {
    open,
    /** What was asked for, with the path. */
    requests,
    /** What is held for connections. */
    held: () => ({ watches: watches.size, transactions: transactions.size }),
    /** Somebody else writes. */
    write: (path: string, value: string | Uint8Array) => {
      put(nodes, path, typeof value === "string" ? Buffer.from(value) : value, new Set())
      changed(path)
    },
    remove: (path: string) => {
      remove(nodes, path, new Set())
      changed(path)
    },
    fire: changed
  }
}

export type FakeXenStored = ReturnType<typeof make>
