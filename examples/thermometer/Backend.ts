// The backend: node examples/thermometer/Backend.ts in dom0 serves the thermometers of all guests until Ctrl-C.
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Protocol from "./Protocol.ts"

/** What a thermometer measures, in thousandths of a degree. */
export interface Sensor {
  readonly now: () => number
  /** The last so many measurements, the oldest first. */
  readonly last: (count: number) => Int32Array
  /** Each time that it is too hot, the temperature. */
  readonly tooHot: Stream.Stream<number>
}

const opened = Effect.fnUntraced(function*(connection: Backend.Connection) {
  const requests = yield* Backend.openRing(connection, Protocol.requests)
  const alarms = yield* Backend.openEvents(connection, Protocol.alarms)
  const history = yield* Backend.open(connection, Protocol.history)
  return { requests, alarms, history: SharedMemory.viewAs(history.bytes, Int32Array) }
})

type Opened = Effect.Success<ReturnType<typeof opened>>

const answer = (sensor: Sensor, { history }: Opened, request: Protocol.Request): number => {
  switch (request._tag) {
    case "Read":
      return sensor.now()
    case "FillHistory":
      history.set(sensor.last(request.count))
      return request.count
    case "Unknown":
      return Protocol.invalid
  }
}

/** Answers all requests that there are, then waits for the next signal. */
const answering = (sensor: Sensor, shared: Opened) =>
  Effect.gen(function*() {
    const { channel, pushAndNotify, ring } = shared.requests
    const slot = new Uint8Array(Protocol.requests.slotSize)
    while (true) {
      for (let left = ring.slots; left > 0 && (yield* Effect.fromResult(ring.take(slot))); left--) {
        const request = Protocol.request(slot)
        const value = answer(sensor, shared, request)
        yield* Effect.fromResult(ring.put(Protocol.responseSlot({ id: request.id, value })))
      }
      yield* pushAndNotify
      // A frontend that never pauses is served in turn with all others.
      yield* (yield* Effect.fromResult(ring.finalCheck())) ? Effect.yieldNow : channel.wait
    }
  })

/** Passes alarms on; those that a frontend does not take are lost. */
const alarming = ({ tooHot }: Sensor, { alarms: { events, pushAndNotify } }: Opened) =>
  Stream.runForEach(tooHot, (value) =>
    Effect.gen(function*() {
      yield* Effect.fromResult(events.put(Protocol.responseSlot({ id: 0, value })))
      yield* pushAndNotify
    }))

/** Serves the thermometers of all guests, present and future. */
export const serve = (sensor: Sensor) =>
  Backend.serve({
    type: Protocol.type,
    advertise: () => Effect.succeed({ unit: "millidegree" }),
    handler: (connection) =>
      Effect.gen(function*() {
        const shared = yield* opened(connection)
        yield* connection.ready
        return yield* Effect.raceFirst(answering(sensor, shared), Effect.andThen(alarming(sensor, shared), Effect.never))
      })
  })

if (import.meta.main) {
  // No thermometer at hand: a temperature that goes up and down, and is too hot now and then.
  const at = (second: number) => Math.round(20_000 + 5_000 * Math.sin(second / 10))
  const now = () => at(Date.now() / 1000)
  const sensor: Sensor = {
    now,
    last: (count) => Int32Array.from({ length: count }, (_, i) => at(Date.now() / 1000 - count + i)),
    tooHot: Stream.tick("1 second").pipe(Stream.map(now), Stream.filter((value) => value > 24_000))
  }
  NodeRuntime.runMain(Effect.provide(serve(sensor), XenDevices.layer()))
}
