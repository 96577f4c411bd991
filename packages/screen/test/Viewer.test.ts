import { assert, describe, it } from "@effect/vitest"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import * as Keys from "@xen-shbuf/screen/Keys"
import * as Screens from "@xen-shbuf/screen/Screens"
import * as Sounds from "@xen-shbuf/screen/Sounds"
import * as Viewer from "@xen-shbuf/screen/Viewer"
import { ViewerMessage } from "@xen-shbuf/screen/ViewerMessage"
import * as Wire from "@xen-shbuf/screen/Wire"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as World from "./World.ts"

const screens = <A, E>(test: Effect.Effect<A, E, Screens.Screens | Sounds.Sounds>, limits?: Screens.Limits) =>
  Effect.provide(test, Layer.merge(Screens.layer(limits), Sounds.layer()))

/** A page that is the test. */
const page = Effect.fnUntraced(function*(options: Viewer.Options) {
  const { next, say, unread } = yield* World.pageOf((socket) => Viewer.serve(socket, options))
  return { next, unread, say: (message: Wire.ViewerMessage) => say(JSON.stringify(message)) }
})

const inputs = Effect.fnUntraced(function*() {
  const { open } = yield* Screens.Screens
  const taken: Array<Wire.Input> = []
  const screen = yield* open({ guest: 1, name: "one", connector: 0, input: (input) => Effect.sync(() => void taken.push(input)) })
  return { screen, taken }
})

const frame = (width: number, height: number) => ({
  width,
  height,
  pitch: width * 2,
  format: PixelFormat.fromCode(PixelFormat.codeOf("RG16"))!,
  bytes: new Uint8Array(width * height * 2)
})

describe("a viewer", () => {
  it.effect("is read at a pace: what it says too much waits for the next second", () =>
    screens(Effect.scoped(Effect.gen(function*() {
      const { screen, taken } = yield* inputs()
      const viewer = yield* page({ messagesPerSecond: 10 })
      yield* viewer.next
      yield* viewer.say({ type: "watch", screen: screen.id, encodings: [] })
      for (let i = 0; i < 95; i++) yield* viewer.say({ type: "wheel", steps: i % 3 })
      const settled = Effect.repeat(Effect.yieldNow, { times: 500 })
      for (const read of [9, 19, 29]) {
        yield* settled
        assert.strictEqual(taken.length, read)
        yield* TestClock.adjust(999)
        yield* settled
        assert.strictEqual(taken.length, read)
        yield* TestClock.adjust(1)
      }
      yield* TestClock.adjust(10_000)
      yield* settled
      // One that is quiet for a while has all of a second again, and no more.
      yield* TestClock.adjust(60_000)
      const before = taken.length
      for (let i = 0; i < 30; i++) yield* viewer.say({ type: "wheel", steps: 1 })
      yield* settled
      assert.strictEqual(taken.length, Math.min(95, before) + 10)
    }))))

  it.effect("holds no more than a person can", () =>
    screens(Effect.gen(function*() {
      const { screen, taken } = yield* Effect.scoped(Effect.gen(function*() {
        const opened = yield* inputs()
        const viewer = yield* page({})
        yield* viewer.next
        yield* viewer.say({ type: "watch", screen: opened.screen.id, encodings: [] })
        for (let i = 0; i < 100; i++) yield* viewer.say({ type: "key", code: `No${i}`, down: true })
        while ((yield* viewer.unread) > 0) yield* Effect.yieldNow
        yield* Effect.repeat(Effect.yieldNow, { times: 20 })
        return opened
      }))
      assert.isNumber(screen.id)
      assert.strictEqual(taken.filter((input) => input.type === "key" && input.down).length, 64)
      assert.strictEqual(taken.filter((input) => input.type === "key" && !input.down).length, 64)
    })))

  it.effect("that may only look is told so, and reaches nothing", () =>
    screens(Effect.scoped(Effect.gen(function*() {
      const { screen, taken } = yield* inputs()
      screen.setTakesInput(true)
      const viewer = yield* page({ viewOnly: true })
      const { screens } = JSON.parse(String(yield* viewer.next)) as Wire.ServerMessage
      assert.deepStrictEqual(screens.map(({ input }) => input), [false])
      yield* viewer.say({ type: "watch", screen: screen.id, encodings: [] })
      yield* viewer.say({ type: "key", code: "KeyA", down: true })
      while ((yield* viewer.unread) > 0) yield* Effect.yieldNow
      yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      assert.deepStrictEqual(taken, [])
    }))))
})

describe("a screen", () => {
  it.effect("shows nothing that is too big, says so, and shows what is small again", () =>
    screens(Effect.scoped(Effect.gen(function*() {
      const { open } = yield* Screens.Screens
      const options = { name: "one", connector: 0, input: () => Effect.void }
      const first = yield* open({ guest: 1, ...options })
      const second = yield* open({ guest: 1, ...options })
      const other = yield* open({ guest: 2, ...options })
      first.show(frame(60, 10))
      assert.strictEqual(second.show(frame(50, 10)), 0)
      assert.deepStrictEqual([second.info.state, second.info.width], ["too big to be shown", 0])
      other.show(frame(100, 10))
      assert.strictEqual(other.info.width, 100)
      second.show(frame(40, 10))
      assert.deepStrictEqual([second.info.state, second.info.width], ["connected", 40])
      // The guest's own room is what another screen of it leaves.
      first.blank()
      second.show(frame(100, 10))
      assert.strictEqual(second.info.width, 100)
      other.show(frame(1000, 1))
      assert.strictEqual(other.info.width, 1000)
      other.show(frame(1001, 1))
      assert.strictEqual(other.info.state, "too big to be shown")
    })), { mostPixels: 1000 }))

  it.effect("is longer than a message can say on no side", () =>
    screens(Effect.scoped(Effect.gen(function*() {
      const { screen } = yield* inputs()
      screen.show(frame(65_535, 1))
      assert.strictEqual(screen.info.width, 65_535)
      screen.show(frame(65_536, 1))
      assert.strictEqual(screen.info.width, 0)
      screen.show(frame(1, 65_536))
      assert.strictEqual(screen.info.width, 0)
    }))))

  it.effect("is one of so many", () =>
    screens(Effect.gen(function*() {
      const { all, open } = yield* Screens.Screens
      const options = { guest: 1, name: "one", connector: 0, input: () => Effect.void }
      yield* Effect.scoped(Effect.gen(function*() {
        yield* open(options)
        yield* open(options)
        const error = yield* Effect.flip(open(options))
        assert.strictEqual(error.message, "There are 2 screens already, which is as many as are shown here.")
      }))
      assert.deepStrictEqual(all(), [])
      yield* Effect.scoped(open(options))
    }), { most: 2 }))
})

const decode = Schema.decodeUnknownExit(ViewerMessage)

describe("ViewerMessage", () => {
  it.effect.prop("is what a page says, and comes back as it was", [Schema.toType(ViewerMessage)], ([message]) =>
    Effect.sync(() => {
      const text = JSON.stringify(message)
      assert.isAtMost(Buffer.byteLength(text), Viewer.maxMessageSize)
      assert.deepStrictEqual(decode(text), Exit.succeed(message))
    }))

  it.effect.prop("is nothing else, whatever it is", [Schema.Union([Schema.String, Schema.Json])], ([anything]) =>
    Effect.sync(() => {
      for (const text of [JSON.stringify(anything), ...typeof anything === "string" ? [anything] : []]) {
        assert.isTrue(Exit.isFailure(decode(text)), text)
      }
    }))

  it("has every key that browsers and Linux have", () => {
    for (const [code, number] of Object.entries({ KeyA: 30, Enter: 28, ArrowUp: 103, MetaLeft: 125, F24: 194 })) {
      assert.strictEqual(Keys.ofCode(code), number)
    }
    assert.isUndefined(Keys.ofCode("toString"))
    assert.isUndefined(Keys.ofCode("__proto__"))
  })
})

const below = (limit: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: limit }))

describe("Wire", () => {
  it.effect.prop("brings tiles to the page as they are, and nothing of what is none", [
    Schema.Struct({
      screen: below(2 ** 32 - 1),
      encoding: Schema.Literals(Wire.encodings),
      width: below(0xffff),
      height: below(0xffff),
      sequence: below(2 ** 32 - 1),
      frames: below(2 ** 32 - 1),
      byteLength: below(2 ** 32 - 1),
      tiles: Schema.Array(below(0xffff)),
      pixels: Schema.Uint8Array
    })
  ], ([tiles]) =>
    Effect.sync(() => {
      const pixels = new Uint8Array(tiles.pixels)
      const bytes = Wire.encodeTiles({ ...tiles, pixels }).buffer
      assert.deepStrictEqual(Wire.decodeTiles(bytes), { ...tiles, pixels })
      for (let end = 0; end < 24 + 2 * tiles.tiles.length; end++) assert.isUndefined(Wire.decodeTiles(bytes.slice(0, end)))
    }))
})
