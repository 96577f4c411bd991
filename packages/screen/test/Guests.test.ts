import { assert, describe, it } from "@effect/vitest"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as KeyboardFrontend from "@xen-shbuf/io/kbdif/Frontend"
import type { Event } from "@xen-shbuf/io/kbdif/Protocol"
import * as Pcm from "@xen-shbuf/io/sndif/Pcm"
import * as Screens from "@xen-shbuf/screen/Screens"
import * as Sounds from "@xen-shbuf/screen/Sounds"
import type * as SoundWire from "@xen-shbuf/screen/SoundWire"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as World from "./World.ts"

const inXen = (name: string, test: () => Effect.Effect<void, unknown, TestXen.TestXen | World.Shown | Scope.Scope>) =>
  it.live(name, () => World.checked(test()))

/** Waits until the screens are as they should be. */
const until = Effect.fnUntraced(function*(isSo: (screens: ReadonlyArray<Screens.Screen>) => boolean) {
  const { all, onChange } = yield* Screens.Screens
  const done = yield* Deferred.make<void>()
  const look = () => {
    if (isSo(all())) Deferred.doneUnsafe(done, Effect.void)
  }
  yield* onChange(look)
  look()
  yield* Deferred.await(done)
  return all()
}, Effect.scoped)

const namesOf = (screens: ReadonlyArray<Screens.Screen>) => screens.map(({ info }) => info.name)

describe("guests", () => {
  inXen("are shown by their names or numbers, where some are named", () =>
    Effect.gen(function*() {
      yield* World.addGuest(3, "web", "8x8")
      yield* World.addGuest(4, "mail", "8x8")
      yield* World.addGuest(5, "files", "8x8")
      yield* World.showGuests({ guests: new Set(["mail", "5"]) })
      yield* Effect.all([World.openMonitor(4), World.openMonitor(5)])
      yield* Effect.forkScoped(World.openMonitor(3))
      const screens = yield* until((all) => all.length === 2 && all.every(({ info }) => info.width === 8))
      assert.deepStrictEqual(namesOf(screens), ["mail", "files"])
      // The other one was seen before them, and left as the toolstack made it.
      const state = World.inDomain(0)(Effect.flatMap(XenStore, ({ readText }) => readText("/local/domain/0/backend/vdispl/3/0/state")))
      assert.strictEqual(yield* state, "1")
    }))

  inXen("have a screen for as long as they have a display, and a keyboard where they have one", () =>
    Effect.gen(function*() {
      yield* World.addGuest(3, "web", "16x8")
      yield* World.showGuests()
      const boot = yield* Scope.make()
      const monitor = yield* Scope.provide(World.openMonitor(3), boot)
      const keyboard = yield* Scope.provide(World.openKeyboard(3), boot)
      const pixels = World.noise(16 * 8, 1)
      yield* monitor.show(pixels)
      const [screen] = yield* until((all) => all.some(({ info }) => info.input && info.width === 16))
      assert.deepStrictEqual(screen!.picture!.words, new Uint32Array(pixels.buffer))
      yield* screen!.input({ type: "key", code: "KeyA", down: true })
      yield* screen!.input({ type: "key", code: "No such key", down: true })
      yield* screen!.input({ type: "wheel", steps: 3 })
      assert.deepStrictEqual(yield* Effect.all([Queue.take(keyboard), Queue.take(keyboard)]), [
        { _tag: "Key", pressed: true, code: 30 },
        { _tag: "Position", x: 0, y: 0, wheel: 3 }
      ])
      yield* Scope.close(boot, Exit.void)
      yield* until((all) => all.length === 0)
      // Nobody is there to take it.
      yield* screen!.input({ type: "key", code: "KeyA", down: false })
      yield* World.openMonitor(3)
      yield* until((all) => all.length === 1 && !all[0]!.info.input)
    }))

  inXen("that hang while people type, point and drag keep nothing pressed when they go on", () =>
    Effect.gen(function*() {
      yield* World.addGuest(3, "web", "16x8")
      yield* World.showGuests()
      yield* World.openMonitor(3)
      const { events } = yield* World.inDomain(3)(KeyboardFrontend.connect())
      const [screen] = yield* until((all) => all.some(({ info }) => info.input && info.width === 16))
      const { input } = screen!
      yield* input({ type: "touch", finger: 2, phase: "down", x: 1, y: 1 })
      yield* input({ type: "button", button: 0, down: true })
      for (let i = 0; i < 1000; i++) {
        yield* input({ type: "touch", finger: 2, phase: "move", x: i % 16, y: i % 8 })
        yield* input({ type: "pointer", x: i % 16, y: i % 8 })
        yield* input({ type: "key", code: "KeyA", down: true })
      }
      yield* input({ type: "key", code: "KeyA", down: false })
      yield* input({ type: "button", button: 0, down: false })
      yield* input({ type: "touch", finger: 2, phase: "up", x: 1, y: 1 })
      const seen: Array<Event> = []
      yield* Stream.runForEachWhile(events, (event) =>
        Effect.sync(() => {
          seen.push(event)
          return event._tag !== "Touch" || event.touch._tag !== "Up"
        }))
      assert.deepStrictEqual(seen.slice(-3), [
        { _tag: "Key", pressed: false, code: 30 },
        { _tag: "Key", pressed: false, code: 0x110 },
        { _tag: "Touch", touch: { _tag: "Up", contact: 2 } }
      ])
    }))

  inXen("that die take their screens with them, and no other's", () =>
    Effect.gen(function*() {
      const { destroy } = yield* TestXen.TestXen
      yield* World.addGuest(3, "web", "16x8")
      yield* World.addGuest(4, "mail", "16x8")
      yield* World.showGuests()
      const mail = yield* World.openMonitor(4)
      yield* Effect.forkScoped(Effect.andThen(World.openMonitor(3), Effect.never))
      yield* until((all) => all.length === 2)
      yield* destroy(3)
      assert.deepStrictEqual(namesOf(yield* until((all) => all.length === 1)), ["mail"])
      const pixels = World.noise(16 * 8, 2)
      yield* mail.show(pixels)
      const [screen] = yield* until(() => true)
      assert.deepStrictEqual(screen!.picture!.words, new Uint32Array(pixels.buffer))
    }))

  inXen("are heard, every sample, and record what people say", () =>
    Effect.gen(function*() {
      yield* World.showGuests()
      yield* World.addGuest(3, "web", "8x8")
      yield* World.addCard(3)
      const { capture, playback } = yield* World.openCard(3)
      const { all, listen, onChange, speaker } = yield* Sounds.Sounds
      assert.deepStrictEqual(all().map(({ info: { card, direction, guest, stream } }) => [guest, card, stream, direction]), [
        [3, "Card", "0/0", "playback"],
        [3, "Card", "0/1", "capture"]
      ])
      const chunks: Array<SoundWire.Chunk> = []
      const states: Array<unknown> = []
      yield* listen(3, (chunk) => chunks.push(chunk))
      yield* onChange(() => {
        const { open } = all()[0]!.info
        states.push(open === null ? "closed" : [open.isRunning, ...open.gains])
      })
      const samples = new Uint8Array(Int16Array.from({ length: 10_000 }, (_, i) => i).buffer)
      const params = { rate: 48_000, format: "s16_le", channels: 2, bufferFrames: 4096, periodFrames: 1024 } as const
      yield* World.inDomain(3)(Effect.scoped(Effect.gen(function*() {
        const open = yield* playback.open(params)
        yield* open.setVolume([-20, 0])
        yield* open.mute([false, true], true)
        yield* Pcm.play(open, Stream.make(samples))
      })))
      assert.deepStrictEqual(states, [[false, 1, 1], [false, 0.1, 1], [false, 0.1, 0], [true, 0.1, 0], [false, 0.1, 0], "closed"])
      assert.strictEqual(Buffer.compare(Buffer.concat(chunks.map(({ bytes }) => bytes)), samples), 0)
      // A fiftieth of a second at a time, though a period is longer.
      assert.isTrue(chunks.every(({ bytes }) => bytes.length <= 960 * 4))
      const recording = yield* World.inDomain(3)(capture.open(params))
      const { say } = yield* speaker
      say(all()[1]!.id, new Int16Array(24_000).fill(555))
      const recorded = yield* Stream.runCollect(Stream.take(Pcm.record(recording), 2))
      for (const bytes of recorded) assert.isTrue(new Int16Array(bytes.buffer).every((sample) => sample === 555))
    }))

  inXen("keep their cards for others where sound is not wanted", () =>
    Effect.gen(function*() {
      yield* World.showGuests({ sound: false })
      yield* World.addGuest(3, "web", "8x8")
      yield* World.addCard(3)
      yield* Effect.forkScoped(World.openCard(3))
      yield* World.openMonitor(3)
      assert.deepStrictEqual((yield* Sounds.Sounds).all(), [])
    }))
})
