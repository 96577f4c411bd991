/**
 * Joins a vchan that another domain offers.
 *
 * @since 0.2.0
 */

import * as CallSite from "@xen-shbuf/core/CallSite"
import type * as DomainId from "@xen-shbuf/core/DomainId"
import { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantRef } from "@xen-shbuf/core/GrantRef"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as Lifetime from "@xen-shbuf/core/Lifetime"
import * as Page from "@xen-shbuf/core/Page"
import { Port } from "@xen-shbuf/core/Port"
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Duplex from "./internal/duplex.ts"
import { domainGone, isRestored, restored, serverGone } from "./internal/peer.ts"
import * as Protocol from "./Protocol.ts"
import type { Vchan } from "./Vchan.ts"
import { type Reason, VchanError } from "./VchanError.ts"

/**
 * Which vchan to join.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** The domain whose vchan it is. */
  readonly peer: number
  /** Where the server tells of it; a path that does not begin with / is relative to our own domain's, not the server's. */
  readonly path: string
}

/** There is no server yet, or only what one has left behind. */
const absent = { _tag: "Absent" } as const

/** Reasons of refusals that mean no more than that: the server's process has ended, and its nodes are still there. */
const leftBehind: ReadonlySet<string> = new Set(["NotFound", "AccessDenied", "PortRefused", "NoSuchDomain", "GrantRefused"])

const failed = ({ reason }: { readonly reason: Reason }) => new VchanError({ operation: "connect", reason })

const refused = ({ reason }: { readonly reason: Reason }): VchanError | typeof absent =>
  leftBehind.has(reason._tag) ? absent : failed({ reason })

const nodes = {
  ref: ["ring-ref", XenStore.Decimal.pipe(Schema.decodeTo(GrantRef))],
  port: ["event-channel", XenStore.Decimal.pipe(Schema.decodeTo(Port))]
} as const

/** What a server has published, both nodes of the same one. */
const published = (store: XenStore.XenStore["Service"], path: string) =>
  store.transaction((transaction) =>
    Effect.all({
      ref: transaction.readSchema(`${path}/${nodes.ref[0]}`, nodes.ref[1]),
      port: transaction.readSchema(`${path}/${nodes.port[0]}`, nodes.port[1])
    })
  )

/** Joins what is published now. */
const join = Effect.fnUntraced(function*(options: Options) {
  const store = yield* XenStore.XenStore
  // Before anything is held: whatever is from now on, is gone when the id is another.
  const ownId = yield* Effect.mapError(store.ownId, failed)
  // What fails since we were restored in the middle of it says something else.
  return yield* Effect.catch(joinAs(ownId, options), (error) =>
    Effect.flatMap(isRestored(store, ownId), (why) =>
      Effect.fail(why === undefined || error._tag === "Absent" ? error : failed({ reason: why }))))
})

const joinAs = Effect.fnUntraced(function*(ownId: DomainId.DomainId, { path, peer }: Options) {
  const channels = yield* EventChannels
  const table = yield* GrantTable
  const store = yield* XenStore.XenStore
  const { port, ref } = yield* Effect.mapError(published(store, path), refused)
  const channel = yield* Effect.mapError(channels.join({ peer, port }), refused)
  const page = yield* Effect.mapError(table.map({ peer, refs: [ref] }), refused)
  // Copied once: neither orders nor references can change any more.
  const claim = Protocol.claimOf(page.bytes.slice(0, Page.size))
  if (Result.isFailure(claim)) return yield* Effect.fail(failed({ reason: claim.failure }))
  const { header, left, right } = claim.success
  if (header.serverLive === 0) return yield* Effect.fail(absent)
  const none = page.bytes.subarray(0, 0)
  const own = {
    left: left.length > 0 ? (yield* Effect.mapError(table.map({ peer, refs: left }), refused)).bytes : none,
    right: right.length > 0
      ? (yield* Effect.mapError(table.map({ peer, refs: right, access: "read-only" }), refused)).bytes
      : none
  }
  // Not before: a server takes this byte's 0 for a client that has been there.
  yield* Effect.mapError(page.unmapNotify({ clearByte: Protocol.liveOffset.client, signalPort: channel.port }), failed)
  const end = Protocol.client(page.bytes, claim.success, own)
  if (Result.isFailure(end)) return yield* Effect.fail(failed(end.failure))
  yield* Effect.mapError(channel.notify, failed)
  const peerGone = Effect.raceFirst(
    domainGone(store, channel.peer),
    serverGone(store, table, { path, peer: channel.peer, ref })
  )
  return yield* Duplex.make(end.success, channel, {
    peerGone,
    restored: restored(store, ownId),
    whyOver: isRestored(store, ownId)
  })
})

/** Tries whenever something changes where the server publishes. */
const wait = Effect.fnUntraced(function*(options: Options) {
  const scope = yield* Effect.scope
  const store = yield* XenStore.XenStore
  const attempt = Lifetime.allOrNothing(() => join(options)).pipe(
    Scope.provide(scope),
    Effect.asSome,
    Effect.catch((error) => error._tag === "Absent" ? Effect.succeedNone : Effect.fail(error))
  )
  const first = yield* store.watch(options.path).pipe(
    Stream.mapError(failed),
    Stream.mapEffect(() => attempt),
    Stream.filter(Option.isSome),
    Stream.runHead
  )
  // A watch has no end of its own.
  return Option.getOrThrow(Option.flatten(first))
})

/**
 * Joins the vchan that `peer` offers, and waits until there is one: for ever, so give it a time with `Effect.timeout` if you
 * know one. What a server that was killed has left in xenstore is waited out, until a server publishes anew. One of C's that
 * serves one client after the other publishes once: while it has another, this waits, and does not hear when that one goes;
 * to try again is up to the caller. A server that publishes what can't be is a failure: `InvalidValue`, `InvalidOrders`,
 * `InvalidRingRef`, or an index that is `TooFar`.
 *
 * @category constructors
 * @since 0.2.0
 */
export const connect: (
  options: Options
) => Effect.Effect<Vchan, VchanError, GrantTable | EventChannels | XenStore.XenStore | Scope.Scope> = CallSite.named(
  "Client.connect",
  (options) => Lifetime.allOrNothing(() => wait(options))
)
