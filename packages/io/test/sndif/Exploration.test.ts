import { assert, describe, it } from "@effect/vitest"
import { type EventChannel, EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import * as Protocol from "@xen-shbuf/io/sndif/Protocol"
import * as Exploration from "@xen-shbuf/testkit/Exploration"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as EventPage from "@xen-shbuf/xenbus/EventPage"
import * as Ring from "@xen-shbuf/xenbus/Ring"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { DomainId } from "@xen-shbuf/core/DomainId"
import * as Line from "../../src/sndif/internal/line.ts"
import { Teller } from "../../src/sndif/internal/session.ts"

const [backend, guest] = [5, 7]

/** A buffer that can't be mapped is an error of the protocol: that is no failure to come out. */
const grantTable: Exploration.Subject<GrantTable> = {
  ...Exploration.grantTable,
  begin: (domain, failing, note) =>
    Effect.map(Exploration.grantTable.begin(domain, failing, note), ({ asked, context }) => ({
      context,
      asked: Effect.map(asked, (all) => domain === backend ? all.slice(0, 2) : all)
    }))
}

const card = Result.getOrThrow(Configuration.resolve({ devices: [{ streams: [{ type: "playback", uniqueId: "0" }] }] }))

/** Shares a page with the backend, and a port. */
const share = Effect.gen(function*() {
  const channel = yield* (yield* EventChannels).listen({ peer: backend })
  const { bytes, refs } = yield* (yield* GrantTable).share({ peer: backend, pages: 1 })
  return { channel, bytes, refs: [...refs] }
})

const join = ({ channel, refs }: Effect.Success<typeof share>) =>
  Effect.gen(function*() {
    const joined = yield* (yield* EventChannels).join({ peer: guest, port: channel.port })
    const { bytes } = yield* (yield* GrantTable).map({ peer: guest, refs })
    return { channel: joined, bytes }
  })

type Stage = Exploration.Stage<GrantTable | EventChannels>

/** A guest opens a stream, plays a buffer, and closes it again. */
const program = Effect.fnUntraced(function*(stage: Stage) {
  const inGuest = stage.runIn(guest)
  const inBackend = stage.runIn(backend)
  const shared = { ring: yield* inGuest(share), events: yield* inGuest(share) }
  const front = Ring.front(shared.ring.bytes, { slotSize: 64 })
  EventPage.consumer(shared.events.bytes, { eventSize: 64 })
  const joined = { ring: yield* inBackend(join(shared.ring)), events: yield* inBackend(join(shared.events)) }
  const ring = Ring.back(joined.ring.bytes, { slotSize: 64 })
  const events = EventPage.producer(joined.events.bytes, { eventSize: 64 })
  let heard = 0
  let open = 0
  const line = {
    ring,
    channel: joined.ring.channel,
    pushAndNotify: Ring.pushAndNotify(ring, joined.ring.channel),
    teller: new Teller({ events, pushAndNotify: Ring.pushAndNotify(events, joined.events.channel) }),
    peer: DomainId.make(guest),
    id: 0,
    card,
    stream: Configuration.streamsOf(card)[0]!
  }
  const serving = inBackend(Line.serve<never, Scope.Scope>(line, {
    playback: () =>
      Effect.acquireRelease(
        Effect.sync(() => {
          open++
          return { play: (bytes) => Effect.sync(() => void (heard += bytes.length)) }
        }),
        () => Effect.sync(() => void open--)
      ),
    capture: () => Effect.succeed({ record: () => Effect.succeed(0) }),
    isUnpaced: true,
    step: undefined
  }))
  const ask = Effect.fnUntraced(function*(asked: object) {
    const slot = new Uint8Array(64)
    Protocol.encodeRequest(slot, { id: 1, ...asked } as Protocol.Request)
    yield* Effect.fromResult(front.put(slot))
    yield* Effect.fromResult(front.push())
    yield* shared.ring.channel.notify
    while (!(yield* Effect.fromResult(front.take(slot)))) {
      if (!(yield* Effect.fromResult(front.finalCheck()))) yield* shared.ring.channel.wait
    }
    assert.strictEqual(Protocol.decodeResponse(slot).status, 0)
  })
  const playing = Effect.gen(function*() {
    const { directory } = yield* inGuest(SharedBuffer.alloc({ peer: backend, byteLength: 8192 }))
    yield* ask({ _tag: "Open", rate: 48_000, format: 2, channels: 2, bufferSize: 8192, directory, periodSize: 2048 })
    assert.strictEqual(open, 1)
    yield* ask({ _tag: "Write", offset: 0, length: 8192 })
    yield* ask({ _tag: "Trigger", type: 0 })
    while (heard < 6148) yield* Effect.yieldNow
    yield* ask({ _tag: "Trigger", type: 2 })
    yield* ask({ _tag: "Close" })
    assert.strictEqual(open, 0)
  })
  yield* Effect.raceFirst(serving, playing)
})

describe("sndif, disturbed at every step", () => {
  it.live("a stream leaves nothing behind", () =>
    Effect.gen(function*() {
      const report = yield* Exploration.exploreServices([grantTable, Exploration.eventChannels], [backend, guest], program, { within: "5 seconds" })
      assert.isAbove(report.failures, 10)
      assert.isAbove(report.interruptions, 200)
      // Whatever was left of ports would have run out.
    }).pipe(Effect.provide(TestXen.layer({ ports: 4 }))), 120_000)

  it.live("a position is told whole, or not at all: none turns up in the next session", () =>
    Effect.gen(function*() {
      const memory = new Uint8Array(4096)
      const consumer = EventPage.consumer(memory, { eventSize: 64 })
      const events = EventPage.producer(memory, { eventSize: 64 })
      const silent: Partial<EventChannel> = { notify: Effect.void }
      const teller = new Teller({ events, pushAndNotify: Ring.pushAndNotify(events, silent as EventChannel) })
      const slot = new Uint8Array(64)
      const heard = Effect.fnUntraced(function*() {
        const positions: Array<number> = []
        while (yield* Effect.fromResult(consumer.take(slot))) {
          const event = Protocol.decodeEvent(slot)
          if (event._tag === "CurrentPosition") positions.push(Number(event.position))
        }
        return positions
      })
      const interruptions = yield* Exploration.interruptEach((disturbed) =>
        Effect.gen(function*() {
          yield* disturbed(teller.tell(100))
          yield* heard()
          assert.strictEqual(yield* teller.start, 0)
          yield* teller.tell(10)
          assert.deepStrictEqual(yield* heard(), [10])
        }))
      assert.isAbove(interruptions, 3)
    }))
})
