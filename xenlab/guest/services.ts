/**
 * Lends the host the event channels and xenstore of the domain that it runs in: one JSON request a line, see `Request`, and
 * one event for each answer, signal and change. Usage: node services.mjs
 */
import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import { type EventChannel, EventChannels } from "@xen-shbuf/core/EventChannels"
import type { PermissionsInput } from "@xen-shbuf/core/NodePermissions"
import { type Nodes, XenStore } from "@xen-shbuf/core/XenStore"
import * as XenStoreError from "@xen-shbuf/core/XenStoreError"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { nextLine, say } from "./Program.ts"

/** What is done with a node; a value is in base64. */
export type NodeRequest =
  | { readonly do: "read" | "directory" | "makeDirectory" | "remove" | "permissions"; readonly path: string }
  | { readonly do: "write"; readonly path: string; readonly value: string }
  | { readonly do: "setPermissions"; readonly path: string; readonly permissions: PermissionsInput }

/** What the host can ask for. `key` is its name for a channel, a watch or a transaction; 0 is no transaction. */
export type Request =
  | { readonly do: "listen"; readonly key: number; readonly peer: number }
  | { readonly do: "join"; readonly key: number; readonly peer: number; readonly port: number }
  | { readonly do: "notify" | "unmask" | "close" | "begin" | "commit" | "abort" | "unwatch"; readonly key: number }
  | { readonly do: "watch"; readonly key: number; readonly path: string }
  | { readonly do: "node"; readonly key: number; readonly node: NodeRequest }
  | { readonly do: "ownId" | "sync" }

/** A reason of a refusal, as plain data. */
const ReasonOfChannel = Schema.toCodecJson(EventChannelError.Reason)
const ReasonOfStore = Schema.toCodecJson(XenStoreError.Reason)

interface Channel {
  readonly channel: EventChannel
  readonly unmasked: Queue.Queue<void>
  readonly scope: Scope.Closeable
}

interface Transaction {
  readonly nodes: Nodes
  readonly end: Deferred.Deferred<boolean>
  readonly outcome: Deferred.Deferred<Result.Result<void, XenStoreError.XenStoreError>>
}

/** Ends a transaction without effect. */
class Aborted extends Data.TaggedError("Aborted") {}

const main = Effect.gen(function*() {
  const channels = yield* EventChannels
  const store = yield* XenStore
  const scope = yield* Effect.scope
  const open = new Map<number, Channel>()
  const transactions = new Map<number, Transaction>()
  const watches = new Map<number, Scope.Closeable>()

  /** Tells of each signal, and takes the next one only when the host has taken this. */
  const keep = Effect.fnUntraced(function*(
    key: number,
    opening: Effect.Effect<EventChannel, EventChannelError.EventChannelError, Scope.Scope>
  ) {
    const own = yield* Scope.fork(scope)
    const channel = yield* Effect.onError(Scope.provide(opening, own), () => Scope.close(own, Exit.void))
    const unmasked = yield* Queue.unbounded<void>()
    open.set(key, { channel, unmasked, scope: own })
    yield* Effect.forkIn(
      Effect.forever(Effect.andThen(Effect.andThen(channel.wait, say("signal", { key })), Queue.take(unmasked))),
      own
    )
    return { port: channel.port }
  })

  /** The transaction's body ends when the host says so. */
  const begin = Effect.fnUntraced(function*(key: number) {
    const begun = yield* Deferred.make<Transaction, XenStoreError.XenStoreError>()
    const end = yield* Deferred.make<boolean>()
    const outcome = yield* Deferred.make<Result.Result<void, XenStoreError.XenStoreError>>()
    const body = (nodes: Nodes) =>
      Effect.andThen(
        Deferred.succeed(begun, { nodes, end, outcome }),
        Effect.flatMap(Deferred.await(end), (isDone) => isDone ? Effect.void : Effect.fail(new Aborted()))
      )
    yield* store.transaction(body, { attempts: 1 }).pipe(
      Effect.catch((error) => error._tag === "Aborted" ? Effect.void : Effect.fail(error)),
      Effect.tapError((error) => Deferred.fail(begun, error)),
      Effect.result,
      Effect.flatMap((result) => Deferred.succeed(outcome, result)),
      Effect.forkIn(scope)
    )
    transactions.set(key, yield* Deferred.await(begun))
    return {}
  })

  const end = Effect.fnUntraced(function*(key: number, isCommit: boolean) {
    const { end, outcome } = transactions.get(key)!
    transactions.delete(key)
    yield* Deferred.succeed(end, isCommit)
    const result = yield* Deferred.await(outcome)
    if (Result.isFailure(result) && result.failure.reason._tag !== "Conflict") return yield* Effect.fail(result.failure)
    return { done: Result.isSuccess(result) }
  })

  const watch = Effect.fnUntraced(function*(key: number, path: string) {
    const own = yield* Scope.fork(scope)
    watches.set(key, own)
    const first = yield* Deferred.make<void, XenStoreError.XenStoreError>()
    yield* Stream.runForEach(store.watch(path), (path) =>
      Effect.andThen(Deferred.succeed(first, undefined), say("changed", { key, path }))).pipe(
      Effect.tapError((error) => Deferred.fail(first, error)),
      Effect.forkIn(own)
    )
    yield* Deferred.await(first)
    return {}
  })

  const work = Effect.fnUntraced(function*(nodes: Nodes, request: NodeRequest) {
    switch (request.do) {
      case "read":
        return Buffer.from(yield* nodes.read(request.path)).toString("base64")
      case "write":
        return yield* nodes.write(request.path, Buffer.from(request.value, "base64"))
      case "setPermissions":
        return yield* nodes.setPermissions(request.path, request.permissions)
      default:
        return yield* nodes[request.do](request.path) as Effect.Effect<unknown, XenStoreError.XenStoreError>
    }
  })

  const obey = Effect.fnUntraced(function*(request: Request) {
    switch (request.do) {
      case "listen":
        return yield* keep(request.key, channels.listen(request))
      case "join":
        return yield* keep(request.key, channels.join(request))
      case "notify":
        yield* open.get(request.key)!.channel.notify
        return {}
      case "unmask":
        Queue.offerUnsafe(open.get(request.key)!.unmasked, undefined)
        return {}
      case "close":
        yield* Scope.close(open.get(request.key)!.scope, Exit.void)
        open.delete(request.key)
        return {}
      case "begin":
        return yield* begin(request.key)
      case "commit":
      case "abort":
        return yield* end(request.key, request.do === "commit")
      case "watch":
        return yield* watch(request.key, request.path)
      case "unwatch":
        yield* Scope.close(watches.get(request.key)!, Exit.void)
        return {}
      case "node":
        return { value: yield* work(request.key === 0 ? store : transactions.get(request.key)!.nodes, request.node) }
      case "ownId":
        return { value: yield* store.ownId }
      case "sync":
        return {}
    }
  })

  const answer = (id: number, request: Request) =>
    Effect.matchEffect(obey(request), {
      onSuccess: (fields) => say("answer", { id, ...fields }),
      onFailure: (error) =>
        say("answer", {
          id,
          refused: error._tag === "XenStoreError"
            ? Schema.encodeUnknownSync(ReasonOfStore)(error.reason)
            : Schema.encodeUnknownSync(ReasonOfChannel)(error.reason)
        })
    })

  yield* say("ready")
  for (let line = yield* nextLine; line !== undefined; line = yield* nextLine) {
    const { id, ...request } = JSON.parse(line) as Request & { readonly id: number }
    // What waits for xenstore waits beside the rest; what is done at once keeps its order.
    yield* Effect.forkScoped(answer(id, request as Request), { startImmediately: true })
  }
})

await Effect.runPromise(Effect.scoped(main).pipe(Effect.provide(XenDevices.layer())))
process.exit(0)
