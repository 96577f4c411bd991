import * as Backend from "@xen-shbuf/xenbus/Backend"
import type { Device } from "@xen-shbuf/xenbus/Device"
import * as Frontend from "@xen-shbuf/xenbus/Frontend"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"

/** A device that doubles a byte: a ring, and an event for each answer. */
export const type = "dice"

const ring = { ref: "ring-ref", port: "event-channel", slotSize: 64 }
const events = { ref: "evt-ring-ref", port: "evt-event-channel", eventSize: 64 }

export const publish = (device: Device) =>
  Effect.gen(function*() {
    const requests = yield* Frontend.shareRing(device, ring)
    const answered = yield* Frontend.shareEvents(device, events)
    return { requests, answered, nodes: { ...requests.nodes, ...answered.nodes } }
  })

/** Serves one connection; `note` hears when it has begun, and when it has let go. */
export const handler = (note: (text: string) => void) => (connection: Backend.Connection) =>
  Effect.gen(function*() {
    const { channel, ring: back } = yield* Backend.openRing(connection, ring)
    const answered = yield* Backend.openEvents(connection, events)
    yield* Effect.acquireRelease(
      Effect.sync(() => note(`serving ${connection.frontend}/${connection.id}`)),
      () => Effect.sync(() => note(`let go of ${connection.frontend}/${connection.id}`))
    )
    yield* connection.ready
    const slot = new Uint8Array(64)
    while (true) {
      while (yield* Effect.fromResult(back.take(slot))) {
        yield* Effect.fromResult(back.put([slot[0]! * 2]))
        yield* Effect.fromResult(answered.events.put([slot[0]!]))
      }
      yield* Effect.fromResult(answered.events.push())
      yield* answered.channel.notify
      if (yield* Effect.fromResult(back.push())) yield* channel.notify
      if (yield* Effect.fromResult(back.finalCheck())) continue
      yield* channel.wait
    }
  })

/** Asks for the double of a byte. */
export const double = ({ published: { answered, requests } }: Frontend.Connection<Effect.Success<ReturnType<typeof publish>>>, byte: number) =>
  Effect.gen(function*() {
    const slot = new Uint8Array(64)
    yield* Effect.fromResult(requests.ring.put([byte]))
    yield* requests.pushAndNotify
    while (!(yield* Effect.fromResult(requests.ring.take(slot)))) {
      if (!(yield* Effect.fromResult(requests.ring.finalCheck()))) yield* requests.channel.wait
    }
    const event = new Uint8Array(64)
    while (!(yield* Effect.fromResult(answered.events.take(event)))) yield* answered.channel.wait
    return [event[0], slot[0]] as const
  })

/** One connection that asks once. */
export const once = (byte: number) =>
  Effect.scoped(Effect.flatMap(Frontend.connect({ type, publish }), (connection) => double(connection, byte)))

const quiet = Logger.layer([])

/** The backend, which says nothing. */
export const served = Backend.serve({ type, handler: handler(() => {}) }).pipe(Effect.provide(quiet))

/** The frontend, which asks once in each connection. */
export const used = (answered: () => void) =>
  Frontend.run({
    type,
    publish,
    use: (connection) => Effect.andThen(Effect.andThen(double(connection, 1), Effect.sync(answered)), Effect.never)
  }).pipe(Effect.provide(quiet))
