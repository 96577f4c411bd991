/**
 * Makes core's driver of a connection to xenstore: effects and typed reasons around its callbacks.
 *
 * @internal
 */
import * as DomainId from "@xen-shbuf/core/DomainId"
import * as Reason from "@xen-shbuf/core/Reason"
import type * as XenStore from "@xen-shbuf/core/XenStore"
import {
  AccessDenied,
  Conflict,
  InvalidValue,
  NotFound,
  QuotaExceeded,
  type Reason as Refusal,
  TooLong,
  XenStoreError
} from "@xen-shbuf/core/XenStoreError"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Wire from "../XenStoreWire.ts"
import type * as Connection from "./Connection.ts"

type Operation = XenStoreError["operation"]

/** What is asked, for whom, and about what. */
interface Asked {
  readonly operation: Operation
  readonly request: Wire.Request
  readonly path: string
  readonly transaction?: number
  readonly payload?: Uint8Array
}

const failed = (operation: Operation, reason: Refusal) => Effect.fail(new XenStoreError({ operation, reason }))

/** What no node's value may have by default; above it, a lack of space is that of the node. */
const smallNode = 2048

/** Which quota, as far as can be told: xenstored has one word for most. */
const quotaOf = ({ operation, payload }: Asked): QuotaExceeded["quota"] => {
  if (operation === "watch") return "watches"
  if (operation === "transaction") return "transactions"
  if (operation === "setPermissions" || (payload?.length ?? 0) > smallNode) return "size"
  return "nodes"
}

/** The reason for xenstore's word. */
const reasonOf = (asked: Asked, device: string, errno: string): Refusal => {
  const { path, request } = asked
  switch (errno) {
    case "ENOENT":
      return request === "TRANSACTION_END"
        ? new Reason.DeviceFailed({ device, call: request, errno })
        : new NotFound({ path })
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new AccessDenied({ path })
    case "ENOSPC":
    case "EQUOTA":
    case "E2BIG":
      return new QuotaExceeded({ path, quota: quotaOf(asked) })
    default:
      return new Reason.DeviceFailed({ device, call: request, errno })
  }
}

const isDomainId = Schema.is(DomainId.DomainId)
const decimal = /^(?:0|[1-9][0-9]{0,4})$/

/** A name list ends within this, in bytes: a node has no more below it, whatever xenstore says. */
const longestList = 16 * 1024 * 1024

/** How often a list that takes several messages is begun anew, because the node has changed meanwhile. */
const listAttempts = 16

/** How requests are made of a connection. */
interface Requests {
  /** Asks, and waits for the answer. Who is interrupted leaves it to be thrown away. */
  readonly ask: (asked: Asked) => Effect.Effect<Uint8Array, XenStoreError>
  /**
   * The same for what acquires or releases something, which core does uninterruptibly but for the wait, and that only where
   * its caller can be interrupted. `undo` takes back what an answer gave to nobody, `left` does what is due when who waits
   * is interrupted.
   */
  readonly askFor: (
    asked: Asked,
    restore: XenStore.Restore,
    undo: Connection.Pending["undo"],
    left: (pending: Connection.Pending | undefined) => void
  ) => Effect.Effect<Uint8Array, XenStoreError>
  /** Asks for what nobody waits for. */
  readonly tell: (request: Wire.Request, payload: Uint8Array, transaction?: number) => void
}

const requestsOf = (connection: Connection.Connection): Requests => {
  /** Asks, if it is not too long for the transport. */
  const start = (
    asked: Asked,
    undo: Connection.Pending["undo"],
    resume: (answer: Effect.Effect<Uint8Array, XenStoreError>) => void
  ): Connection.Pending | undefined => {
    const { operation, path, payload = Wire.strings(path), request, transaction = 0 } = asked
    const refuse = (reason: Refusal): undefined => {
      resume(failed(operation, reason))
    }
    const transport = connection.transport()
    if (Result.isFailure(transport)) return refuse(transport.failure)
    const { path: device, payloadLimit: limit } = transport.success
    if (payload.length > limit) return refuse(new TooLong({ path, byteLength: payload.length, limit }))
    return connection.ask({
      type: Wire.types[request],
      transaction,
      payload,
      undo,
      resume: (outcome) => resume(answered(asked, device, outcome))
    })
  }
  return {
    ask: (asked) =>
      Effect.callback((resume) => {
        const pending = start(asked, undefined, resume)
        return pending === undefined ? undefined : Effect.sync(() => connection.abandon(pending))
      }),
    askFor: (asked, restore, undo, left) =>
      Effect.suspend(() => {
        let pending: Connection.Pending | undefined
        const asking = Effect.callback<Uint8Array, XenStoreError>((resume) => {
          pending = start(asked, undo, resume)
        })
        return Effect.onInterrupt(restore(asking), () => Effect.sync(() => left(pending)))
      }),
    tell: (request, payload, transaction = 0) =>
      void connection.ask({ type: Wire.types[request], transaction, payload })
  }
}

const answered = (asked: Asked, device: string, outcome: Connection.Outcome): Effect.Effect<Uint8Array, XenStoreError> => {
  if (Result.isSuccess(outcome)) return Effect.succeed(outcome.success)
  const { failure } = outcome
  return failed(asked.operation, typeof failure === "string" ? reasonOf(asked, device, failure) : failure)
}

const decoded = <A>(
  { operation, path }: Asked,
  decode: (payload: Uint8Array) => Result.Result<A, string>
) => (payload: Uint8Array): Effect.Effect<A, XenStoreError> => {
  const value = decode(payload)
  return Result.isSuccess(value)
    ? Effect.succeed(value.success)
    : failed(operation, new InvalidValue({ path, detail: `xenstore answered with ${value.failure}` }))
}

/** A list of names that takes several messages. */
const parts = Effect.fnUntraced(function*({ ask }: Requests, path: string, transaction: number) {
  for (let left = listAttempts; left > 0; left--) {
    const all: Array<string> = []
    let generation: string | undefined
    for (let offset = 0; offset < longestList;) {
      const asked: Asked = {
        ...{ operation: "directory", request: "DIRECTORY_PART", path, transaction },
        payload: Wire.strings(path, String(offset))
      }
      const part = yield* Effect.flatMap(ask(asked), decoded(asked, Wire.part))
      generation ??= part.generation
      if (generation !== part.generation) break
      for (const name of part.names) all.push(name)
      if (part.isLast) return all
      offset += part.byteLength
    }
  }
  return yield* failed("directory", new Conflict({ attempts: listAttempts, path }))
})

const nodes = (requests: Requests) => {
  const { ask } = requests
  const order = (asked: Asked) => Effect.asVoid(ask(asked))
  return {
    read: (path, transaction) => ask({ operation: "read", request: "READ", path, transaction }),
    write: (path, value, transaction) =>
      order({ operation: "write", request: "WRITE", path, transaction, payload: Wire.pathAndValue(path, value) }),
    directory: (path, transaction) => {
      const asked: Asked = { operation: "directory", request: "DIRECTORY", path, transaction }
      return Effect.catch(
        Effect.flatMap(ask(asked), decoded(asked, Wire.names)),
        // The list does not fit into a message.
        (error) => error.reason._tag === "QuotaExceeded" ? parts(requests, path, transaction) : Effect.fail(error)
      )
    },
    makeDirectory: (path, transaction) => order({ operation: "makeDirectory", request: "MKDIR", path, transaction }),
    remove: (path, transaction) => order({ operation: "remove", request: "RM", path, transaction }),
    permissions: (path, transaction) => {
      const asked: Asked = { operation: "permissions", request: "GET_PERMS", path, transaction }
      return Effect.flatMap(ask(asked), decoded(asked, Wire.permissions))
    },
    setPermissions: (path, permissions, transaction) =>
      order({
        ...{ operation: "setPermissions", request: "SET_PERMS", path, transaction },
        payload: Wire.strings(path, ...Wire.permissionStrings(permissions))
      }),
    ownId: Effect.suspend(() => {
      const asked: Asked = { operation: "ownId", request: "READ", path: "domid" }
      return Effect.flatMap(ask(asked), decoded(asked, domainId))
    })
  } satisfies Partial<XenStore.Driver>
}

const domainId = (payload: Uint8Array): Result.Result<DomainId.DomainId, string> => {
  const text = payload.length > 5 ? "" : String.fromCharCode(...payload)
  const id = decimal.test(text) ? Number(text) : -1
  return isDomainId(id) ? Result.succeed(id) : Result.fail("what is no domain's number")
}

const transactions = ({ askFor, tell }: Requests, connection: Connection.Connection) => {
  const abort = (id: number) => tell("TRANSACTION_END", Wire.strings("F"), id)
  const ended = { operation: "transaction", request: "TRANSACTION_END", path: "/" } as const
  return {
    begin: (restore) => {
      const asked: Asked = {
        ...{ operation: "transaction", request: "TRANSACTION_START", path: "/" },
        payload: Wire.strings("")
      }
      const undo = (payload: Uint8Array) => void Result.map(Wire.transactionId(payload), abort)
      const left = (pending: Connection.Pending | undefined) => pending && connection.abandon(pending)
      return Effect.flatMap(askFor(asked, restore, undo, left), decoded(asked, Wire.transactionId))
    },
    commit: (id, restore) => {
      // Either it was sent, and xenstore ends it, or it must be ended now.
      const left = (pending: Connection.Pending | undefined) => {
        if (pending === undefined || connection.withdraw(pending)) abort(id)
      }
      return Effect.matchEffect(askFor({ ...ended, transaction: id, payload: Wire.strings("T") }, restore, undefined, left), {
        onSuccess: () => Effect.succeed(true),
        onFailure: (error) => isConflict(error) ? Effect.succeed(false) : Effect.fail(error)
      })
    },
    abort: (id) => Effect.sync(() => abort(id))
  } satisfies Partial<XenStore.Driver>
}

const isConflict = ({ reason }: XenStoreError) => reason._tag === "DeviceFailed" && reason.errno === "EAGAIN"

const watches = ({ askFor, tell }: Requests, connection: Connection.Connection) => ({
  watch: (path, changed, ended, restore) =>
    Effect.suspend(() => {
      // The first event may come before the answer.
      const token = connection.watcher({ path, changed, ended })
      const payload = Wire.strings(path, token)
      const unwatch = () => tell("UNWATCH", payload)
      const release = () => {
        connection.forget(token)
        unwatch()
      }
      const asking = askFor(
        { operation: "watch", request: "WATCH", path, payload },
        restore,
        unwatch,
        (pending) => pending && connection.abandon(pending)
      )
      return Effect.as(Effect.onError(asking, () => Effect.sync(() => connection.forget(token))), { release })
    })
} satisfies Partial<XenStore.Driver>)

/** Makes the driver. `connection` is closed by who has made it. */
export const make = (connection: Connection.Connection): XenStore.Driver => {
  const requests = requestsOf(connection)
  return { ...nodes(requests), ...transactions(requests, connection), ...watches(requests, connection) }
}
