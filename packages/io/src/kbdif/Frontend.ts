/**
 * Uses a keyboard, pointer and touch area that another domain gives: the frontend's half of kbdif.
 *
 * @since 0.2.0
 */
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import type { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import type { Device } from "@xen-shbuf/xenbus/Device"
import * as XenbusEventPage from "@xen-shbuf/xenbus/EventPage"
import * as XenbusFrontend from "@xen-shbuf/xenbus/Frontend"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Features from "./Features.ts"
import * as Protocol from "./Protocol.ts"

/**
 * A keyboard, connected, with its pointer and touch area.
 *
 * @category models
 * @since 0.2.0
 */
export interface Keyboard {
  /** What there is. */
  readonly features: Features.Taken
  /** What happens, from the beginning; for one who listens. Unknown events are among them. Fails when it is over. */
  readonly events: Stream.Stream<Protocol.Event, RingError | EventChannelError | ConnectionError>
}

const publish = (isRaw: boolean) =>
  Effect.fnUntraced(function*(device: Device) {
    const offer = yield* Features.offered(device)
    const { bytes, channel, nodes } = yield* XenbusFrontend.share(device, {
      ref: Protocol.node.page,
      port: Protocol.node.port
    })
    const events = XenbusEventPage.consumer(bytes, { eventSize: Protocol.eventSize, ...Protocol.inRing })
    return { nodes: { ...nodes, ...Features.requestNodes(offer, { raw: isRaw }) }, channel, events, offer }
  })

/**
 * Connects a keyboard that the toolstack has made: `id` is its number, 0 unless given; `raw` asks for positions from 0 to
 * 32767, where the backend has them. Leaving the scope closes it.
 *
 * @category constructors
 * @since 0.2.0
 */
export const connect: (
  options?: { readonly id?: number | undefined; readonly raw?: boolean | undefined }
) => Effect.Effect<Keyboard, ConnectionError, EventChannels | GrantTable | XenStore | Scope.Scope> = Effect.fnUntraced(
  function*({ id, raw = false } = {}) {
    const connection = yield* XenbusFrontend.connect({ type: Protocol.type, id, publish: publish(raw) })
    const { channel, events, offer } = connection.published
    const slot = new Uint8Array(Protocol.eventSize)
    /** All that is there, at most a page of it; the backend is told that there are places again. */
    const take = Effect.uninterruptible(Effect.gen(function*() {
      const taken: Array<Protocol.Event> = []
      while (taken.length < events.places && (yield* Effect.fromResult(events.take(slot)))) {
        taken.push(Protocol.decodeEvent(slot))
      }
      if (taken.length > 0) yield* channel.notify
      return taken
    }))
    const next = Effect.flatMap(take, (taken) => taken.length > 0 ? Effect.succeed(taken) : Effect.andThen(channel.wait, take))
    const ended = Stream.fromEffect(connection.ended)
    const features: Features.Taken = {
      keyboard: offer.keyboard,
      pointer: typeof offer.pointer === "object" && raw && offer.raw
        ? { width: Protocol.rawMaximum, height: Protocol.rawMaximum }
        : offer.pointer,
      touch: offer.touch
    }
    return { features, events: Stream.merge(Stream.flattenIterable(Stream.fromEffectRepeat(next)), ended) }
  }
)
