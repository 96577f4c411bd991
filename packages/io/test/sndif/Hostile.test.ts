import { assert, describe, it } from "@effect/vitest"
import * as Frontend from "@xen-shbuf/io/sndif/Frontend"
import type * as Protocol from "@xen-shbuf/io/sndif/Protocol"
import type * as Sound from "@xen-shbuf/io/sndif/Sound"
import { XenErrno } from "@xen-shbuf/io/XenErrno"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as RawGuest from "./RawGuest.ts"
import * as World from "./World.ts"

const { EACCES, EBADF, EBUSY, EINVAL, EIO, EOPNOTSUPP } = XenErrno

/** A guest with one playback and one capture stream, and a backend that plays to nobody. */
const setUp = Effect.fnUntraced(function*(options: Parameters<typeof World.serving<string, never>>[0] = {}) {
  yield* World.addCard()
  yield* World.serving(options)
  const [play, record] = yield* RawGuest.connect()
  return { play: play!, record: record! }
})

const part = (offset: number, length: number) => ({ offset, length })

describe("sndif, a guest that makes mistakes", () => {
  it.live("every mistake has its answer, and what is right goes on", () =>
    World.checked(Effect.gen(function*() {
      const { play, record } = yield* setUp()
      const { bytes, directory } = yield* RawGuest.buffer(16_384)
      const open = (over: object) => play.status(RawGuest.opening(directory, over))
      for (const [over, errno] of [
        [{ bufferSize: 0 }, EINVAL],
        [{ bufferSize: 16_382 }, EINVAL],
        [{ bufferSize: 2 ** 20 + 4 }, EINVAL],
        [{ bufferSize: 0xffff_fffc }, EINVAL],
        [{ periodSize: 4094 }, EINVAL],
        [{ periodSize: 16_388 }, EINVAL],
        [{ periodSize: 0xffff_fffc }, EINVAL],
        [{ rate: 0 }, EINVAL],
        [{ rate: 44_101 }, EINVAL],
        [{ rate: 0xffff_ffff }, EINVAL],
        [{ channels: 0 }, EINVAL],
        [{ channels: 9 }, EINVAL],
        [{ channels: 255 }, EINVAL],
        [{ format: 25 }, EINVAL],
        [{ format: 255 }, EINVAL],
        [{ format: 24 }, EINVAL],
        [{ format: 18 }, EINVAL],
        [{ directory: 0 }, EINVAL],
        [{ directory: 0xffff_ffff }, EINVAL],
        [{ directory: 7000 }, EACCES],
        // The directory's page lists four pages only.
        [{ bufferSize: 20_480, periodSize: 0 }, EINVAL]
      ] as const) assert.strictEqual(yield* open(over), -errno, JSON.stringify(over))

      const closed = [
        { _tag: "Write", ...part(0, 4096) },
        { _tag: "Read", ...part(0, 4096) },
        { _tag: "SetVolume", ...part(0, 8) },
        { _tag: "GetVolume", ...part(0, 8) },
        { _tag: "Mute", ...part(0, 8) },
        { _tag: "Unmute", ...part(0, 8) },
        { _tag: "Trigger", type: 0 },
        { _tag: "Trigger", type: 2 }
      ] as const
      for (const asked of closed) assert.strictEqual(yield* play.status(asked), -EBADF)
      // Linux closes what it never opened.
      assert.strictEqual(yield* play.status({ _tag: "Close" }), 0)

      assert.strictEqual(yield* open({}), 0)
      assert.strictEqual(yield* open({}), -EBUSY)
      for (const [asked, errno] of [
        [{ _tag: "Read", ...part(0, 4096) }, EOPNOTSUPP],
        [{ _tag: "Write", ...part(0, 0) }, EINVAL],
        [{ _tag: "Write", ...part(0, 4098) }, EINVAL],
        [{ _tag: "Write", ...part(2, 4096) }, EINVAL],
        [{ _tag: "Write", ...part(0, 16_388) }, EINVAL],
        [{ _tag: "Write", ...part(16_384, 4) }, EINVAL],
        [{ _tag: "Write", ...part(16_380, 8) }, EINVAL],
        [{ _tag: "Write", ...part(0xffff_fffc, 8) }, EINVAL],
        [{ _tag: "Write", ...part(4, 0xffff_fffc) }, EINVAL],
        [{ _tag: "SetVolume", ...part(0, 7) }, EINVAL],
        [{ _tag: "SetVolume", ...part(16_380, 8) }, EINVAL],
        [{ _tag: "GetVolume", ...part(0, 0) }, EINVAL],
        [{ _tag: "GetVolume", ...part(0xffff_fff8, 8) }, EINVAL],
        [{ _tag: "Mute", ...part(0, 3) }, EINVAL],
        [{ _tag: "Unmute", ...part(16_384, 2) }, EINVAL],
        [{ _tag: "Trigger", type: 4 }, EINVAL],
        [{ _tag: "Trigger", type: 255 }, EINVAL],
        [{ _tag: "Trigger", type: 1 }, EINVAL],
        [{ _tag: "Trigger", type: 3 }, EINVAL],
        [{ _tag: "Unknown", operation: 10 }, EOPNOTSUPP],
        [{ _tag: "Unknown", operation: 255 }, EOPNOTSUPP]
      ] as const) assert.strictEqual(yield* play.status(asked), -errno, JSON.stringify(asked))

      // The last parts that lie in the buffer do.
      assert.strictEqual(yield* play.status({ _tag: "Write", ...part(0, 16_384) }), 0)
      assert.strictEqual(yield* play.status({ _tag: "Write", ...part(16_380, 4) }), 0)
      assert.strictEqual(yield* play.status({ _tag: "SetVolume", ...part(16_376, 8) }), 0)
      assert.strictEqual(yield* play.status({ _tag: "Mute", ...part(16_382, 2) }), 0)
      assert.strictEqual(yield* play.status({ _tag: "Trigger", type: 0 }), 0)
      assert.strictEqual(yield* play.status({ _tag: "Trigger", type: 0 }), -EINVAL)
      assert.strictEqual(yield* play.status({ _tag: "Trigger", type: 1 }), 0)
      assert.strictEqual(yield* play.status({ _tag: "Trigger", type: 1 }), -EINVAL)
      assert.strictEqual(yield* play.status({ _tag: "Trigger", type: 3 }), 0)
      assert.strictEqual(yield* play.status({ _tag: "Trigger", type: 2 }), 0)
      assert.strictEqual(yield* play.status({ _tag: "Trigger", type: 2 }), 0)
      assert.strictEqual(yield* play.status({ _tag: "Close" }), 0)

      assert.strictEqual(yield* record.status(RawGuest.opening(directory)), 0)
      assert.strictEqual(yield* record.status({ _tag: "Write", ...part(0, 4096) }), -EOPNOTSUPP)
      bytes.fill(7)
      assert.strictEqual(yield* record.status({ _tag: "Read", ...part(4096, 4096) }), 0)
      assert.deepStrictEqual([bytes[4095], bytes[4096], bytes[8191], bytes[8192]], [7, 0, 0, 7])
    })))

  it.live("a request's answer has its number, its operation, and nothing else", () =>
    World.checked(Effect.gen(function*() {
      const { play } = yield* setUp()
      const request = new Uint8Array(64).fill(0xee)
      request.set([0x34, 0x12, 3])
      const response = yield* play.send(request)
      assert.deepStrictEqual(response, { _tag: "Done", id: 0x1234, operation: 3, status: -EBADF })
      const slot = play.ring.bytes.slice(64, 128)
      assert.isTrue(slot.subarray(8).every((byte) => byte === 0))
      assert.strictEqual(slot[3], 0)
    })))

  it.live("a query is answered within what the stream can be, open or not", () =>
    World.checked(Effect.gen(function*() {
      const { play } = yield* setUp()
      const any = { min: 0, max: 0xffff_ffff }
      const all: Protocol.HwParams = { formats: 2n ** 64n - 1n, rates: any, channels: any, buffer: any, period: any }
      const answer = yield* play.ask({ _tag: "HwParamQuery", params: all })
      assert(answer._tag === "HwParams")
      assert.strictEqual(answer.status, 0)
      assert.deepStrictEqual(answer.params.channels, { min: 1, max: 8 })
      assert.deepStrictEqual(answer.params.rates, { min: 8000, max: 96_000 })
      assert.strictEqual(yield* play.status({ _tag: "HwParamQuery", params: { ...all, formats: 0n } }), -EINVAL)
    })))

  it.live("a period of 0 asks for no events, and gets none", () =>
    World.checked(Effect.gen(function*() {
      const heard: Array<Uint8Array> = []
      const { play } = yield* setUp({
        pace: "unpaced",
        playback: () => Effect.succeed({ play: (bytes) => Effect.sync(() => void heard.push(bytes.slice())) })
      })
      const { bytes, directory } = yield* RawGuest.buffer(16_384)
      bytes.set(World.noise(1, 16_384))
      yield* play.status(RawGuest.opening(directory, { periodSize: 0 }))
      yield* play.status({ _tag: "Write", ...part(0, 16_384) })
      yield* play.status({ _tag: "Trigger", type: 0 })
      while (Buffer.concat(heard).length < 8192) yield* Effect.yieldNow
      yield* play.status({ _tag: "Trigger", type: 2 })
      assert.deepStrictEqual(yield* play.take, [])
    })))

  it.live("what the application refuses is an error for the guest, and the card goes on", () =>
    World.checked(Effect.gen(function*() {
      let tries = 0
      const { play } = yield* setUp({
        playback: () => tries++ === 0 ? Effect.fail("no speaker") : Effect.succeed({ play: () => Effect.void })
      })
      const { directory } = yield* RawGuest.buffer(16_384)
      assert.strictEqual(yield* play.status(RawGuest.opening(directory)), -EIO)
      const xen = yield* TestXen.TestXen
      // Neither buffer nor directory: only the pages of two rings and two event pages.
      assert.lengthOf(yield* xen.activeGrants, 4)
      assert.strictEqual(yield* play.status(RawGuest.opening(directory)), 0)
      assert.lengthOf(yield* xen.activeGrants, 8)
      assert.strictEqual(yield* play.status({ _tag: "Close" }), 0)
      assert.lengthOf(yield* xen.activeGrants, 4)
    })))

  it.effect("events count for the page's whole life, and a page that nobody reads is not written over", () =>
    World.checked(Effect.gen(function*() {
      const { play } = yield* setUp()
      const { directory } = yield* RawGuest.buffer(16_384)
      const positions: Array<Protocol.Event> = []
      for (let opening = 0; opening < 3; opening++) {
        yield* play.status(RawGuest.opening(directory))
        yield* play.status({ _tag: "Write", ...part(0, 16_384) })
        yield* play.status({ _tag: "Trigger", type: 0 })
        yield* TestClock.adjust("70 millis")
        yield* play.status({ _tag: "Trigger", type: 2 })
        yield* play.status({ _tag: "Close" })
        positions.push(...yield* play.take)
      }
      assert.deepStrictEqual(positions.map(({ id }) => id), positions.map((_, i) => i))
      const each = positions.slice(0, positions.length / 3).map((event) => event._tag === "CurrentPosition" ? event.position : -1n)
      // A frame after each period; after the stop the buffer's beginning.
      assert.deepStrictEqual(each, [4100n, 8196n, 12_292n, 16_384n])

      yield* play.status(RawGuest.opening(directory))
      yield* play.status({ _tag: "Write", ...part(0, 16_384) })
      yield* play.status({ _tag: "Trigger", type: 0 })
      for (let i = 0; i < 100; i++) yield* TestClock.adjust("22 millis")
      const taken = yield* play.take
      assert.lengthOf(taken, 63)
      assert.deepStrictEqual(taken.map(({ id }) => id), taken.map((_, i) => positions.length + i))
      yield* TestClock.adjust("22 millis")
      const [next] = yield* play.take
      assert.strictEqual(next!.id, positions.length + 63)
      assert(next!._tag === "CurrentPosition")
      assert.strictEqual(next!.position % 4096n, 4n)
    })))

  it.effect("what a guest has not taken when it opens anew does not send its count backwards", () =>
    World.checked(Effect.gen(function*() {
      const { play } = yield* setUp()
      const { directory } = yield* RawGuest.buffer(12_288)
      const opening = RawGuest.opening(directory, { bufferSize: 12_288 })
      let counted = 0n
      for (let times = 0; times < 4; times++) {
        yield* play.status(opening)
        yield* play.status({ _tag: "Write", ...part(0, 12_288) })
        yield* play.status({ _tag: "Trigger", type: 0 })
        yield* TestClock.adjust("30 millis")
        yield* play.status({ _tag: "Close" })
      }
      for (const event of yield* play.take) {
        assert(event._tag === "CurrentPosition")
        assert.isTrue(event.position > counted)
        counted = event.position
      }
    })))

  it.live("a ring's index that can't be ends the card, and no other", () =>
    World.checked(Effect.gen(function*() {
      yield* World.addCard({ frontend: 9 })
      const { play } = yield* setUp()
      const neighbour = yield* World.inDomain(9, Frontend.connect())
      const words = new DataView(new ArrayBuffer(4))
      words.setUint32(0, 0x8000_0000, true)
      play.ring.bytes.set(new Uint8Array(words.buffer), 0)
      const xen = yield* TestXen.TestXen
      yield* play.ring.channel.notify
      while ((yield* xen.activeGrants).some(({ domain }) => domain === World.guest)) yield* Effect.yieldNow
      yield* Effect.scoped(neighbour.lines[0]!.open(World.params()))
    })))

  it.live("an event page's index that can't be ends the card when it is looked at", () =>
    World.checked(Effect.gen(function*() {
      const { play } = yield* setUp()
      const { directory } = yield* RawGuest.buffer(16_384)
      play.events.bytes.set([9, 0, 0, 0], 0)
      const xen = yield* TestXen.TestXen
      yield* Effect.raceFirst(
        play.status(RawGuest.opening(directory)),
        Effect.gen(function*() {
          while ((yield* xen.activeGrants).length > 0) yield* Effect.yieldNow
        })
      )
      while ((yield* xen.activeGrants).length > 0) yield* Effect.yieldNow
    })))

  it.live("a card with 100 streams is refused, and costs nothing", () =>
    World.checked(Effect.gen(function*() {
      const streams = Array.from({ length: 100 }, (_, i) => ({ type: "playback", uniqueId: `${i}` } as const))
      yield* World.addCard({ description: { devices: [{ streams }] } })
      yield* World.addCard({ frontend: 9 })
      yield* World.serving({})
      // The other guest's card is served all the same.
      yield* World.inDomain(9, Frontend.connect())
      const { reason } = yield* Effect.flip(World.connected())
      assert.deepInclude(reason, { _tag: "TooMany", count: 100 })
    })), { timeout: 60_000 })
})

describe("sndif, a hostile guest", () => {
  it.live("changes its volume without end: whoever watches slowly keeps the newest only", () =>
    World.checked(Effect.gen(function*() {
      const seen: Array<number> = []
      const look = yield* Deferred.make<void>()
      yield* World.addCard()
      yield* World.serving({
        playback: ({ changes }) =>
          Effect.as(
            Effect.forkScoped(Stream.runForEach(changes, ({ volume }) => {
              seen.push(volume[0]!)
              return Deferred.await(look)
            })),
            { play: () => Effect.void }
          )
      })
      const { lines: [line] } = yield* World.connected()
      yield* Effect.scoped(Effect.gen(function*() {
        const open = yield* line!.open(World.params())
        for (let n = 1; n <= 200; n++) yield* open.setVolume([-n, -n])
        yield* Deferred.succeed(look, undefined)
        while (seen.at(-1) !== -200) yield* Effect.sleep(1)
        // What is as it was is nothing new.
        yield* open.setVolume([-200, -200])
        yield* Effect.sleep(20)
        assert.isBelow(seen.length, 5)
        assert.strictEqual(new Set(seen).size, seen.length)
      }))
    })), 30_000)

  it.effect("ten thousand requests of any kind: each is answered, and all that was open is closed", () =>
    World.checked(Effect.gen(function*() {
      let open = 0
      let bytes = 0
      const state: Sound.Player = { play: (part) => Effect.sync(() => void (bytes += part.length)) }
      const counted = Effect.andThen(
        Effect.addFinalizer(() => Effect.sync(() => void open--)),
        Effect.sync(() => {
          open++
          return state
        })
      )
      yield* World.addCard()
      yield* World.serving<never, Scope.Scope>({ playback: () => counted, pace: "unpaced" })
      yield* Effect.forkScoped(Effect.forever(TestClock.adjust("5 millis")))
      const [play, record] = yield* RawGuest.connect()
      const shared = yield* RawGuest.buffer(16_384)
      const random = World.dice(4711)
      const pick = () => {
        const words = [0, 1, 2, 4, 8, 2048, 4096, 8192, 16_380, 16_384, 16_388, 48_000, 0x8000_0000, 0xffff_ffff]
        return random(3) === 0 ? random(20_000) : words[random(words.length)]!
      }
      const statuses = new Map<number, number>()
      const slot = new Uint8Array(64)
      const view = new DataView(slot.buffer)
      for (let i = 0; i < 10_000; i++) {
        const stream = random(2) === 0 ? play! : record!
        slot.fill(random(4) === 0 ? 0xff : 0)
        view.setUint16(0, i & 0xffff, true)
        const operation = random(14) === 0 ? random(256) : random(10)
        view.setUint8(2, operation)
        for (let at = 8; at < 48; at += 4) view.setUint32(at, pick(), true)
        if (operation === 0 && random(2) === 0) {
          view.setUint32(8, 48_000, true)
          view.setUint16(12, random(20) | 1 << 8, true)
          view.setUint32(16, 4096 * (1 + random(4)), true)
          view.setUint32(20, shared.directory, true)
          view.setUint32(24, [0, 8, 64, 2048, 4096][random(5)]!, true)
        }
        if (operation === 8) view.setUint8(8, random(5))
        if (random(50) === 0) shared.bytes.set(World.noise(i, 100), random(16_284))
        const response = yield* stream.send(slot)
        assert.strictEqual(response.id, i & 0xffff)
        assert.isAtMost(response.status, 0)
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1)
        assert.isAtMost(open, 1)
        if (random(40) === 0) yield* stream.take
      }
      for (const errno of [0, -EINVAL, -EBADF, -EBUSY, -EOPNOTSUPP]) assert.isAtLeast(statuses.get(errno) ?? 0, 50, `${errno}`)
      assert.isAbove(bytes, 0)
      yield* play!.status({ _tag: "Close" })
      yield* record!.status({ _tag: "Close" })
      assert.strictEqual(open, 0)
    })), { timeout: 120_000 })
})
