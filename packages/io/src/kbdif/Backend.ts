/**
 * Gives guests a keyboard, a pointer and a touch area: the backend's half of kbdif, for Linux's `xen-kbdfront` and whoever
 * else speaks it. What a person does goes into the guest as events; nothing comes back.
 *
 * @since 0.2.0
 */
import type * as DomainId from "@xen-shbuf/core/DomainId"
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import * as XenbusBackend from "@xen-shbuf/xenbus/Backend"
import type { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import type { Device } from "@xen-shbuf/xenbus/Device"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Features from "./Features.ts"
import { Outbox } from "./internal/outbox.ts"
import * as Protocol from "./Protocol.ts"

/**
 * One keyboard of a guest, connected, with its pointer and touch area.
 *
 * @category models
 * @since 0.2.0
 */
export interface Keyboard {
  /** Whose it is. */
  readonly guest: DomainId.DomainId
  /** Which of the guest's keyboards, from 0. */
  readonly id: number
  /** What the guest takes: events of another kind do nothing there. */
  readonly features: Features.Taken
  /**
   * Sends events, in their order, without waiting for the guest: those that it has no place for yet follow when it has,
   * movements in a row as one. False, and none of these is sent, where 512 wait already: the guest takes none.
   * What does nothing but let go of something that is down is sent all the same.
   */
  readonly send: (...events: ReadonlyArray<Protocol.Event>) => Effect.Effect<boolean, RingError | EventChannelError>
}

/**
 * What there is to say about keyboards.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<E, R> {
  /**
   * Uses a keyboard, in the scope of its connection; it is interrupted when the guest closes it, or is gone. When it fails
   * the keyboard is closed.
   */
  readonly use: (keyboard: Keyboard) => Effect.Effect<void, E, R>
  /**
   * What guests are offered: keys, and a pointer by its position up to 32767 in both directions, unless said otherwise.
   * What the toolstack has written of it, by `vkb` in the domain's configuration, holds instead.
   */
  readonly offer?: Partial<Features.Offer> | undefined
  /** Whether a guest's keyboards are served here: those of all guests are, unless given. */
  readonly serves?: ((guest: DomainId.DomainId) => Effect.Effect<boolean, never, R | XenStore>) | undefined
  /** Keyboards of all guests: 256 unless given. */
  readonly maxKeyboards?: number | undefined
}

/** An offer that suits everybody: positions are scaled by the guest. */
const standard: Features.Offer = {
  keyboard: true,
  pointer: { width: Protocol.rawMaximum, height: Protocol.rawMaximum },
  raw: false,
  touch: undefined
}

/** What the toolstack has written is left as it is. */
const advertise = (offer: Features.Offer) => (device: Device) =>
  Effect.map(device.own.directory(), (names) =>
    Object.fromEntries(Object.entries(Features.toNodes(offer)).filter(([name]) => !names.includes(name))))

/** Connects one keyboard, and keeps it until its frontend is gone. */
const connect = Effect.fnUntraced(function*<E, R>(connection: XenbusBackend.Connection, use: Options<E, R>["use"]) {
  const features = yield* Features.taken(yield* Features.offered(connection.own), connection)
  const { channel, events, pushAndNotify } = yield* XenbusBackend.openEvents(connection, {
    ref: Protocol.node.page,
    port: Protocol.node.port,
    eventSize: Protocol.eventSize,
    ...Protocol.inRing
  })
  const outbox = new Outbox(events)
  // Nothing that was taken is left where nobody pushes it.
  const flush = Effect.uninterruptible(Effect.andThen(Effect.suspend(() => Effect.fromResult(outbox.flush())), pushAndNotify))
  yield* connection.ready
  const keyboard: Keyboard = {
    guest: connection.frontend,
    id: connection.id,
    features,
    send: (...events) =>
      Effect.uninterruptible(Effect.suspend(() => outbox.add(events) ? Effect.as(flush, true) : Effect.succeed(false)))
  }
  // A guest that has taken events says so.
  yield* Effect.all([use(keyboard), Effect.forever(Effect.andThen(channel.wait, flush))], {
    concurrency: "unbounded",
    discard: true
  })
})

/**
 * Serves the keyboards of all guests that have one with this domain as its backend, now and later, until it is interrupted.
 * Those of QEMU it leaves to it: in the guest's configuration they have `backend-type=linux`, in xenstore `vinput`. Fails where xenstore can't be used any more.
 *
 * @category running
 * @since 0.2.0
 */
export const serve = <E, R>({ maxKeyboards, offer, serves, use }: Options<E, R>): Effect.Effect<
  never,
  ConnectionError,
  Exclude<R, Scope.Scope> | GrantTable | EventChannels | XenStore
> =>
  XenbusBackend.serve({
    type: Protocol.backendType,
    // Linux may say Connected before it has published: who hears of the backend does not wait for who publishes.
    publishes: Protocol.node.port,
    serves,
    advertise: advertise({ ...standard, ...offer }),
    maxDevices: maxKeyboards,
    handler: (connection) => connect(connection, use)
  })
