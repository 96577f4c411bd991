/**
 * Offers a vchan to another domain: the half that grants the memory, and tells of it in xenstore.
 *
 * @since 0.2.0
 */

import * as CallSite from "@xen-shbuf/core/CallSite"
import type * as DomainId from "@xen-shbuf/core/DomainId"
import { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as Lifetime from "@xen-shbuf/core/Lifetime"
import { invalidInput } from "@xen-shbuf/core/Reason"
import * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Duplex from "./internal/duplex.ts"
import { domainGone, isRestored, restored } from "./internal/peer.ts"
import * as Protocol from "./Protocol.ts"
import type { Vchan } from "./Vchan.ts"
import { type Reason, VchanError } from "./VchanError.ts"

/**
 * Bytes of either ring, unless said otherwise.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaultSize = 65_536

/**
 * Which vchan to offer.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** The only domain that may come. */
  readonly peer: number
  /**
   * Where the client looks: below it there will be `ring-ref` and `event-channel`, for the peer to read. What does not begin
   * with / is relative to our own domain's, also when that has another id after a restore.
   */
  readonly path: string
  /** Bytes of the ring that we read, 1 to 2^20; what it really has is a power of two. {@link defaultSize} unless given. */
  readonly readSize?: number | undefined
  /** The same of the ring that we write. */
  readonly writeSize?: number | undefined
}

const failed = ({ reason }: { readonly reason: Reason }) => new VchanError({ operation: "listen", reason })

const size = (argument: string, value: number): Effect.Effect<number, VchanError> =>
  Number.isInteger(value) && value >= 1 && value <= Protocol.maxRingSize
    ? Effect.succeed(value)
    : Effect.fail(failed({
      reason: invalidInput(argument, value, `the size of a ring in bytes: a whole number from 1 to ${Protocol.maxRingSize}`)
    }))

const nodeNames = ["ring-ref", "event-channel"] as const

/** What stands below the path, and the path itself where it was not there. */
interface Published {
  /** Our own id then. */
  readonly owner: DomainId.DomainId
  readonly path: string
  readonly ref: string
  readonly hadPath: boolean
}

/**
 * Takes away what a server before us has left when it was killed: Linux gives its port's number to the next, ours, and may
 * still grant its page, so a client of C's would take the one for the other.
 */
const clear = (store: XenStore.XenStore["Service"], path: string): Effect.Effect<void, XenStoreError> =>
  Effect.forEach(nodeNames, (name) => XenStore.ifPresent(store.remove(`${path}/${name}`)), { discard: true })

/** Tells the peer, and nobody else, all at once. */
const publish = (
  store: XenStore.XenStore["Service"],
  { path, peer }: Options,
  nodes: { readonly [name in typeof nodeNames[number]]: number }
): Effect.Effect<Published, XenStoreError> =>
  Effect.flatMap(store.ownId, (owner) =>
    store.transaction(Effect.fnUntraced(function*(transaction) {
      const had = yield* XenStore.ifPresent(transaction.read(path))
      for (const [name, value] of Object.entries(nodes)) {
        yield* transaction.write(`${path}/${name}`, String(value))
        yield* transaction.setPermissions(`${path}/${name}`, {
          owner,
          others: "none",
          domains: [{ domain: peer, access: "read" }]
        })
      }
      return { owner, path, ref: String(nodes["ring-ref"]), hadPath: Option.isSome(had) }
    })))

/** Takes back what was published, unless another server has published there since, or it is gone with a restore. */
const withdraw = (store: XenStore.XenStore["Service"], { hadPath, owner, path, ref }: Published): Effect.Effect<void> =>
  store.transaction(Effect.fnUntraced(function*(transaction) {
    const now = yield* XenStore.ifPresent(transaction.readText(`${path}/ring-ref`))
    if (Option.getOrUndefined(now) !== ref) return
    for (const name of nodeNames) yield* transaction.remove(`${path}/${name}`)
    if (!hadPath && (yield* transaction.directory(path)).length === 0) yield* transaction.remove(path)
  })).pipe(
    Effect.catch((error) =>
      // Where xenstore has gone, or our domain, or that is another now, there is nothing to take back.
      error.reason._tag === "StoreGone" || error.reason._tag === "DeviceUnavailable"
        ? Effect.void
        : Effect.flatMap(isRestored(store, owner), (why) =>
          why === undefined ? Effect.logWarning(`The nodes of a vchan are left in xenstore: ${error.message}`) : Effect.void))
  )

const offer = Effect.fnUntraced(function*(options: Options) {
  const store = yield* XenStore.XenStore
  const left = yield* size("readSize", options.readSize ?? defaultSize)
  const right = yield* size("writeSize", options.writeSize ?? defaultSize)
  const orders = Protocol.ordersFor(left, right)
  // Before anything is held: whatever is from now on, is gone when the id is another.
  const ownId = yield* Effect.mapError(store.ownId, failed)
  // What fails since we were restored in the middle of it says something else.
  return yield* Effect.catch(offerAs(ownId, options, orders), (error) =>
    Effect.flatMap(isRestored(store, ownId), (why) => Effect.fail(why === undefined ? error : failed({ reason: why }))))
})

const offerAs = Effect.fnUntraced(function*(ownId: DomainId.DomainId, options: Options, orders: Protocol.Orders) {
  const channels = yield* EventChannels
  const table = yield* GrantTable
  const store = yield* XenStore.XenStore
  yield* Effect.mapError(clear(store, options.path), failed)
  const channel = yield* Effect.mapError(channels.listen({ peer: options.peer }), failed)
  const pages = 1 + Protocol.pagesFor(orders.left) + Protocol.pagesFor(orders.right)
  const shared = yield* Effect.mapError(table.share({ peer: options.peer, pages }), failed)
  const { bytes, refs } = shared
  const end = Protocol.server(bytes, orders, refs)
  yield* Effect.mapError(
    shared.unmapNotify({ clearByte: Protocol.liveOffset.server, signalPort: channel.port }),
    failed
  )
  const published = yield* Effect.mapError(
    Effect.acquireRelease(
      publish(store, options, { "ring-ref": refs[0]!, "event-channel": channel.port }),
      (published) => withdraw(store, published)
    ),
    failed
  )
  return yield* Duplex.make(end, channel, {
    peerGone: domainGone(store, channel.peer),
    restored: restored(store, ownId, published),
    whyOver: isRestored(store, ownId)
  })
})

/**
 * Offers a vchan to `peer`, for one client; it may come at any time, and is waited for with `connected`. Its rings take
 * one page, and a page for each 4096 bytes of a ring of more than 2048. What stands at the path goes first, whosever it is,
 * also where the offer fails afterwards.
 *
 * When the client has gone, this vchan is over: leave its scope, and offer another at the same path, with
 * `Effect.forever(Effect.scoped(…))`. The end of the client's whole domain is noticed in dom0, and not in a guest: Xen does
 * not tell it. A client that comes back sooner than we look goes on with the rings as they are, as it
 * would with C's library.
 *
 * @category constructors
 * @since 0.2.0
 */
export const listen: (
  options: Options
) => Effect.Effect<Vchan, VchanError, GrantTable | EventChannels | XenStore.XenStore | Scope.Scope> = CallSite.named(
  "Server.listen",
  (options) => Lifetime.allOrNothing(() => offer(options))
)
