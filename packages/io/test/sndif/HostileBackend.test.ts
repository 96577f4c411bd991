import { assert, describe, it } from "@effect/vitest"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Protocol from "@xen-shbuf/io/sndif/Protocol"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import * as Effect from "effect/Effect"
import * as World from "./World.ts"

type Answer = (slot: Uint8Array) => void

/** A backend that answers each request with what `answer` makes of it, and then does what it likes to the ring. */
const answering = (answer: Answer, after: (ring: DataView) => void = () => {}) =>
  World.inDomain(0, Backend.serve({
    type: "vsnd",
    handler: Effect.fnUntraced(function*(connection) {
      const { bytes, channel, ring } = yield* Backend.openRing(connection, {
        ref: "0/0/ring-ref",
        port: "0/0/event-channel",
        slotSize: 64
      })
      yield* connection.ready
      const slot = new Uint8Array(64)
      while (true) {
        while (yield* Effect.fromResult(ring.take(slot))) {
          answer(slot)
          yield* Effect.fromResult(ring.put(slot))
          yield* Effect.fromResult(ring.push())
          const { buffer, byteOffset } = SharedMemory.unsafeBytes(bytes)
          after(new DataView(buffer, byteOffset))
          yield* channel.notify
        }
        if (!(yield* Effect.fromResult(ring.finalCheck()))) yield* channel.wait
      }
    })
  }))

/** What a frontend says of such a backend when it opens a stream. */
const said = (answer: Answer, after?: (ring: DataView) => void) =>
  World.checked(Effect.gen(function*() {
    yield* World.addCard()
    yield* Effect.forkScoped(answering(answer, after))
    const { lines } = yield* World.connected({ closeWithin: "10 millis" })
    const error = yield* Effect.flip(Effect.scoped(lines[0]!.open(World.params())))
    return error.message
  }))

const respond = (slot: Uint8Array, change: (response: DataView) => void) => {
  const view = new DataView(slot.buffer)
  view.setInt32(4, 0, true)
  change(view)
}

describe("sndif with a backend that breaks the rules", () => {
  it.live("the frontend says what is wrong, and keeps nothing", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* said((slot) => respond(slot, (view) => view.setInt32(4, -19, true))),
        "The backend refuses OPEN with ENODEV."
      )
      assert.strictEqual(
        yield* said((slot) => respond(slot, (view) => view.setInt32(4, -4096, true))),
        "The backend refuses OPEN with -4096."
      )
      assert.include(yield* said((slot) => respond(slot, (view) => view.setInt32(4, 5, true))), "its status is 5")
      assert.include(
        yield* said((slot) => respond(slot, (view) => view.setUint8(2, Protocol.operation.WRITE))),
        "it is for operation 3"
      )
      assert.include(
        // More responses than there are requests.
        yield* said((slot) => respond(slot, (view) => view.setUint16(0, 0xffff, true)), (ring) => ring.setUint32(8, 40, true)),
        "rsp_prod"
      )
    }))

  it.live("an answer to nobody is passed over", () =>
    World.checked(Effect.gen(function*() {
      yield* World.addCard()
      let times = 0
      yield* Effect.forkScoped(answering((slot) => respond(slot, (view) => {
        if (times++ < 3) view.setUint16(0, 0x7777, true)
      })))
      const { lines } = yield* World.connected({ closeWithin: "10 millis" })
      const line = lines[0]!
      const waits = Effect.timeoutOption(line.ask({ _tag: "Close" }), "20 millis")
      for (let i = 0; i < 3; i++) assert.strictEqual((yield* waits)._tag, "None")
      assert.strictEqual((yield* waits)._tag, "Some")
    })))
})
