import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Protocol from "@xen-shbuf/io/sndif/Protocol"
import * as Frontend from "@xen-shbuf/xenbus/Frontend"
import * as Effect from "effect/Effect"
import * as World from "./World.ts"

/** Connects stream 0/0 of the guest's card without the library's frontend: a guest that can do anything. */
export const connect = Effect.fnUntraced(function*() {
  const { published } = yield* World.inGuest(Frontend.connect({
    type: "vsnd",
    publish: Effect.fnUntraced(function*(device) {
      const shared = yield* Effect.forEach(["0/0", "0/1"], Effect.fnUntraced(function*(path) {
        const ring = yield* Frontend.shareRing(device, {
          ref: `${path}/ring-ref`,
          port: `${path}/event-channel`,
          slotSize: 64
        })
        const events = yield* Frontend.shareEvents(device, {
          ref: `${path}/evt-ring-ref`,
          port: `${path}/evt-event-channel`,
          eventSize: 64
        })
        return { ring, events, nodes: { ...ring.nodes, ...events.nodes } }
      }))
      return { shared, nodes: { ...shared[0]!.nodes, ...shared[1]!.nodes } }
    })
  }))
  return published.shared.map(streamOf)
})

const streamOf = ({ events, ring }: { readonly events: Frontend.SharedEvents; readonly ring: Frontend.SharedRing }) => {
  const slot = new Uint8Array(64)
  let id = 0

  /** Sends any slot, and gives the response to it. */
  const send = Effect.fnUntraced(function*(bytes: Uint8Array) {
    yield* Effect.fromResult(ring.ring.put(bytes))
    yield* ring.pushAndNotify
    while (!(yield* Effect.fromResult(ring.ring.take(slot)))) {
      if (!(yield* Effect.fromResult(ring.ring.finalCheck()))) yield* ring.channel.wait
    }
    return Protocol.decodeResponse(slot)
  })

  type Asked = Protocol.Request extends infer R ? R extends Protocol.Request ? Omit<R, "id"> : never : never
  const ask = Effect.fnUntraced(function*(asked: Asked) {
    const bytes = new Uint8Array(64)
    const request = { ...asked, id: id++ & 0xffff } as Protocol.Request
    Protocol.encodeRequest(bytes, request)
    const response = yield* send(bytes)
    return { ...response, isAnswerTo: response.id === request.id }
  })

  return {
    ring,
    events,
    send,
    ask,
    status: (asked: Asked) => Effect.map(ask(asked), ({ status }) => status),
    /** Takes all events that are there. */
    take: Effect.sync(() => {
      const taken: Array<Protocol.Event> = []
      const into = new Uint8Array(64)
      for (let next = events.events.take(into); next._tag === "Success" && next.success; next = events.events.take(into)) {
        taken.push(Protocol.decodeEvent(into))
      }
      return taken
    })
  }
}

/** A stream as the raw guest sees it. */
export type Stream = ReturnType<typeof streamOf>

/** Shares a buffer, and says how to open a stream with it. */
export const buffer = (byteLength: number) =>
  Effect.map(World.inGuest(SharedBuffer.alloc({ peer: 0, byteLength })), ({ bytes, directory }) => ({ bytes, directory }))

/** An opening that is all right, of stereo in 16 bits at 48 kHz. */
export const opening = (directory: number, over: object = {}) => ({
  _tag: "Open" as const,
  rate: 48_000,
  format: 2,
  channels: 2,
  bufferSize: 16_384,
  directory,
  periodSize: 4096,
  ...over
})
