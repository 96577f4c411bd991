// The frontend: node examples/thermometer/Frontend.ts in a guest prints its temperature, and alarms, until Ctrl-C.
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import type { Device } from "@xen-shbuf/xenbus/Device"
import * as Frontend from "@xen-shbuf/xenbus/Frontend"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Protocol from "./Protocol.ts"

/** What the frontend shares: made when the backend is there, gone with the connection. */
const publish = Effect.fnUntraced(function*(device: Device) {
  yield* device.read("unit", Schema.Literal("millidegree"))
  const requests = yield* Frontend.shareRing(device, Protocol.requests)
  const alarms = yield* Frontend.shareEvents(device, Protocol.alarms)
  const history = yield* Frontend.share(device, Protocol.history)
  return { requests, alarms, history, nodes: { ...requests.nodes, ...alarms.nodes, ...history.nodes } }
})

type Published = Effect.Success<ReturnType<typeof publish>>

/** Asks, and waits for the answer: one request at a time. */
const ask = Effect.fnUntraced(function*({ requests: { channel, pushAndNotify, ring } }: Published, request: Protocol.Request) {
  const slot = new Uint8Array(Protocol.requests.slotSize)
  yield* Effect.fromResult(ring.put(Protocol.toSlot(request)))
  yield* pushAndNotify
  while (!(yield* Effect.fromResult(ring.take(slot)))) {
    if (!(yield* Effect.fromResult(ring.finalCheck()))) yield* channel.wait
  }
  return Protocol.response(slot).value
})

/** All alarms, from now on: those that are there, then those of the next signal. */
const alarms = ({ alarms: { channel, events } }: Published) =>
  channel.signals.pipe(
    Stream.mapEffect(() =>
      Effect.gen(function*() {
        const values: Array<number> = []
        const slot = new Uint8Array(Protocol.alarms.eventSize)
        while (yield* Effect.fromResult(events.take(slot))) values.push(Protocol.response(slot).value)
        return values
      })
    ),
    Stream.flattenIterable
  )

/** A thermometer that is connected. */
export const thermometer = ({ published }: Frontend.Connection<Published>) => ({
  read: ask(published, { _tag: "Read", id: 1 }),
  /** The last so many measurements: copied out, since the backend may write the page at any time. */
  last: (count: number) =>
    Effect.gen(function*() {
      yield* ask(published, { _tag: "FillHistory", id: 2, count })
      return SharedMemory.viewAs(published.history.bytes, Int32Array).slice(0, count)
    }),
  alarms: alarms(published)
})

export type Thermometer = ReturnType<typeof thermometer>

/** Connects again and again, and runs `use` for each connection, until it returns. */
export const run = <A, E, R>(use: (thermometer: Thermometer) => Effect.Effect<A, E, R>) =>
  Frontend.run({ type: Protocol.type, publish, use: (connection) => use(thermometer(connection)) })

if (import.meta.main) {
  const degrees = (value: number) => `${(value / 1000).toFixed(3)} °C`
  const program = run(({ alarms, read }) =>
    Effect.raceFirst(
      Stream.runForEach(alarms, (value) => Console.log(`Too hot: ${degrees(value)}`)),
      Effect.forever(Effect.andThen(Effect.flatMap(read, (value) => Console.log(degrees(value))), Effect.sleep("1 second")))
    ))
  NodeRuntime.runMain(Effect.provide(program, XenDevices.layer()))
}
