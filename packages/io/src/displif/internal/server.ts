import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import type { OpenEvents, OpenRing } from "@xen-shbuf/xenbus/Backend"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { XenErrno } from "../../XenErrno.ts"
import * as Protocol from "../Protocol.ts"
import { type Buffers, type Framebuffer, refusal } from "./buffers.ts"
import type { ConnectorState } from "./connector.ts"
import type { Pictures } from "./pictures.ts"

/** What the requests of one connector's ring are about. */
export interface Target {
  readonly version: Protocol.Version
  readonly buffers: Buffers
  /** All connectors of the device. */
  readonly connectors: ReadonlyArray<ConnectorState>
  /** The one whose ring it is. */
  readonly index: number
  readonly edid: () => Uint8Array | undefined
}

/** Writes the connector's EDID in a buffer of the frontend's; its size, or a negative status. */
const writeEdid = (
  { bufferSize, directory }: { readonly bufferSize: number; readonly directory: number },
  peer: number,
  edid: Uint8Array | undefined
): Effect.Effect<number, never, GrantTable> => {
  if (edid === undefined) return Effect.succeed(-XenErrno.EOPNOTSUPP)
  if (bufferSize < Protocol.edidMaxSize) return Effect.succeed(-XenErrno.EINVAL)
  // Nobody needs more for the largest of them: what the frontend claims beyond is no reason to map it.
  if (bufferSize > 4 * Protocol.edidMaxSize) return Effect.succeed(-XenErrno.EINVAL)
  if (edid.length > Protocol.edidMaxSize || edid.length % 128 !== 0) {
    return Effect.die(new RangeError(`An EDID does not have ${edid.length} bytes`))
  }
  return Effect.scoped(Effect.map(
    PeerBuffer.map({ peer, directory, byteLength: bufferSize }),
    ({ bytes }) => {
      bytes.set(edid)
      return edid.length
    }
  )).pipe(Effect.catch((error) => Effect.as(Effect.logDebug("The guest's buffer can't be used", error), refusal(error))))
}

/** The status of a request; of `GetEdid`, bytes that were written, or a negative status. */
const handle = (request: Protocol.Request, target: Target): number | Effect.Effect<number, never, GrantTable> => {
  const { buffers, connectors, index } = target
  const connector = connectors[index]!
  const forget = (framebuffer: Framebuffer) => connectors.forEach((connector) => connector.forget(framebuffer))
  switch (request._tag) {
    case "PgFlip":
      return connector.flip(request.fbCookie, buffers.framebuffer(request.fbCookie))
    case "SetConfig":
      return connector.configure(request, buffers.framebuffer(request.fbCookie))
    case "GetEdid":
      return writeEdid(request, buffers.guest, target.edid())
    case "Unknown":
      return -XenErrno.EOPNOTSUPP
  }
  // Buffers belong to no connector: their requests come through the first one's ring.
  if (index !== 0) return -XenErrno.EINVAL
  switch (request._tag) {
    case "DbufCreate":
      return buffers.create(request)
    case "DbufDestroy":
      return buffers.destroy(request.dbufCookie, forget)
    case "FbAttach":
      return buffers.attach(request)
    case "FbDetach":
      return buffers.detach(request.fbCookie, forget)
  }
}

/** Answers the requests of one connector, for ever. */
export const answer = ({ channel, pushAndNotify, ring }: OpenRing, target: Target) => {
  const slot = new Uint8Array(Protocol.messageSize)
  const respond = (request: Protocol.Request, result: number) =>
    ring.put(Protocol.encodeResponse({
      id: request.id,
      operation: slot[2]!,
      status: Math.min(result, 0),
      edidSize: request._tag === "GetEdid" ? Math.max(result, 0) : 0
    }))
  /** Answers what is there. */
  const round = Effect.gen(function*() {
    while (yield* Effect.fromResult(ring.take(slot))) {
      const request = Protocol.decodeRequest(slot, target.version)
      const result = handle(request, target)
      yield* Effect.fromResult(respond(request, typeof result === "number" ? result : yield* result))
      yield* pushAndNotify
    }
    return yield* Effect.fromResult(ring.finalCheck())
  })
  // Who waits gives others their turn: one more after that would be a system call more.
  return Effect.forever(Effect.flatMap(round, (isMore) => isMore ? Effect.yieldNow : channel.wait), { disableYield: true })
}

/**
 * Acknowledges the flips of one connector, for ever: when the pixels are taken, and at least `interval` milliseconds after
 * the one before.
 */
export const acknowledge = (
  { events, pushAndNotify }: OpenEvents,
  pictures: Pictures,
  interval: number
): Effect.Effect<never, RingError | EventChannelError> => {
  let turn = -Infinity
  const next = Effect.gen(function*() {
    const { cookie } = yield* pictures.taken
    if (interval > 0) {
      const now = yield* Clock.currentTimeMillis
      turn = Math.max(turn + interval, now)
      if (turn > now) yield* Effect.sleep(turn - now)
    }
    const event = Protocol.encodeEvent({ _tag: "PgFlip", id: events.index & 0xffff, fbCookie: cookie })
    const isPut = yield* Effect.fromResult(events.put(event))
    // A frontend that takes no events needs no more of them; whether it has begun to is known at its next request.
    if (!isPut) return yield* pictures.asked
    pictures.acknowledged()
    yield* pushAndNotify
  })
  // Here, too; and the flips that nobody has to wait for are few.
  return Effect.forever(next, { disableYield: true })
}
