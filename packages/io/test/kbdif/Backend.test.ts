import { assert, describe, it } from "@effect/vitest"
import * as Backend from "@xen-shbuf/io/kbdif/Backend"
import type * as Features from "@xen-shbuf/io/kbdif/Features"
import * as Frontend from "@xen-shbuf/io/kbdif/Frontend"
import type * as Protocol from "@xen-shbuf/io/kbdif/Protocol"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

const inDomain = (id: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, TestXen.layerDomain(id))
const dom0 = inDomain(0)
const guest = inDomain(3)

const inXen = (name: string, test: () => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Ledger.checked(test()).pipe(Effect.provide(TestXen.layer())), 30_000)

const addKeyboard = (backendNodes: Record<string, string> = {}) =>
  Effect.andThen(
    guest(Effect.void),
    dom0(Toolstack.addDevice({ type: "vkbd", backendType: "vinput", frontend: 3, id: 0, frontendNodes: {}, backendNodes }))
  )

const startBackend = (offer: Partial<Features.Offer> = {}) =>
  Effect.gen(function*() {
    const keyboards = yield* Queue.unbounded<Backend.Keyboard>()
    yield* Backend.serve({ offer, use: (keyboard) => Queue.offer(keyboards, keyboard) }).pipe(dom0, Effect.forkScoped)
    return keyboards
  })

const everything: ReadonlyArray<Protocol.Event> = [
  { _tag: "Key", pressed: true, code: 30 },
  { _tag: "Key", pressed: false, code: 30 },
  { _tag: "Motion", x: -1, y: 2 ** 31 - 1, wheel: 1 },
  { _tag: "Position", x: 32767, y: 0, wheel: -1 },
  { _tag: "Touch", touch: { _tag: "Down", contact: 0, x: 5, y: 6 } },
  { _tag: "Touch", touch: { _tag: "Shape", contact: 0, major: 7, minor: 8 } },
  { _tag: "Touch", touch: { _tag: "Orientation", contact: 0, degrees: -180 } },
  { _tag: "Touch", touch: { _tag: "Motion", contact: 0, x: 9, y: 10 } },
  { _tag: "Touch", touch: { _tag: "Sync", contact: 0 } },
  { _tag: "Touch", touch: { _tag: "Up", contact: 0 } }
]

describe("kbdif", () => {
  inXen("takes every event into the guest, in order", () =>
    Effect.gen(function*() {
      yield* addKeyboard()
      const touch = { width: 800, height: 600, contacts: 10 }
      const keyboards = yield* startBackend({ touch })
      yield* guest(Effect.scoped(Effect.gen(function*() {
        const frontend = yield* Frontend.connect()
        const keyboard = yield* Queue.take(keyboards)
        const features = { keyboard: true, pointer: { width: 32767, height: 32767 }, touch }
        assert.deepStrictEqual(keyboard.features, features)
        assert.deepStrictEqual(frontend.features, features)
        for (let round = 0; round < 20; round++) {
          assert.isTrue(yield* keyboard.send(...everything))
          const seen = yield* Stream.runCollect(Stream.take(frontend.events, everything.length))
          assert.deepStrictEqual(Array.from(seen), everything)
        }
      })))
    }))

  inXen("keeps what a guest has no place for yet, movements as one, up to a bound", () =>
    Effect.gen(function*() {
      yield* addKeyboard()
      const keyboards = yield* startBackend()
      yield* guest(Effect.scoped(Effect.gen(function*() {
        const frontend = yield* Frontend.connect()
        const keyboard = yield* Queue.take(keyboards)
        const key = (code: number): Protocol.Event => ({ _tag: "Key", pressed: true, code })
        let sent = 0
        while (yield* keyboard.send(key(sent))) sent++
        assert.strictEqual(sent, 51 + 512)
        assert.isFalse(yield* keyboard.send({ _tag: "Motion", x: 1, y: 1, wheel: 0 }))
        const seen = yield* Stream.runCollect(Stream.take(frontend.events, sent))
        assert.deepStrictEqual(Array.from(seen), Array.from({ length: sent }, (_, code) => key(code)))
        // 51 in the page, the rest waits.
        for (let i = 0; i < 51; i++) yield* keyboard.send(key(i))
        for (let i = 0; i < 1000; i++) {
          yield* keyboard.send({ _tag: "Motion", x: 1, y: -2, wheel: 0 })
          yield* keyboard.send({ _tag: "Motion", x: 0, y: 0, wheel: 1 })
        }
        yield* keyboard.send({ _tag: "Position", x: 1, y: 1, wheel: 1 }, { _tag: "Position", x: 2, y: 3, wheel: 1 })
        const rest = Array.from(yield* Stream.runCollect(Stream.take(frontend.events, 53)))
        assert.deepStrictEqual(rest.slice(51), [
          { _tag: "Motion", x: 1000, y: -2000, wheel: 1000 },
          { _tag: "Position", x: 2, y: 3, wheel: 2 }
        ])
      })))
    }))

  inXen("lets contacts that wait move further, each of them, and loses nothing that lets go", () =>
    Effect.gen(function*() {
      yield* addKeyboard()
      const keyboards = yield* startBackend({ touch: { width: 800, height: 600, contacts: 10 } })
      yield* guest(Effect.scoped(Effect.gen(function*() {
        const frontend = yield* Frontend.connect()
        const keyboard = yield* Queue.take(keyboards)
        const key = (code: number, pressed = true): Protocol.Event => ({ _tag: "Key", pressed, code })
        const touch = (touch: Protocol.Touch): Protocol.Event => ({ _tag: "Touch", touch })
        const move = (contact: number, x: number) => [
          touch({ _tag: "Motion", contact, x, y: 0 }),
          touch({ _tag: "Sync", contact })
        ]
        const take = (count: number) => Effect.map(Stream.runCollect(Stream.take(frontend.events, count)), (all) => Array.from(all))
        // 51 in the page, the rest waits.
        for (let i = 0; i < 51; i++) yield* keyboard.send(key(i))
        const down = [touch({ _tag: "Down", contact: 1, x: 0, y: 0 }), touch({ _tag: "Sync", contact: 1 })]
        yield* keyboard.send(...move(0, -1), ...down)
        for (let x = 0; x < 1000; x++) {
          for (const contact of [0, 1]) assert.isTrue(yield* keyboard.send(...move(contact, x)))
        }
        // Its own way, not that of what comes between.
        yield* keyboard.send(key(7, false))
        yield* keyboard.send(...move(0, 5))
        yield* keyboard.send(touch({ _tag: "Shape", contact: 0, major: 1, minor: 1 }), ...move(0, 6))
        // One for all contacts that moved.
        yield* keyboard.send(...move(0, 7), key(8, false), ...move(0, 8))
        yield* keyboard.send(move(0, 9)[0]!, ...move(1, 9))
        assert.deepStrictEqual((yield* take(51 + 19)).slice(51), [
          ...move(0, -1),
          ...down,
          ...move(0, 999),
          ...move(1, 999),
          key(7, false),
          ...move(0, 5),
          touch({ _tag: "Shape", contact: 0, major: 1, minor: 1 }),
          ...move(0, 7),
          key(8, false),
          ...move(0, 9),
          ...move(1, 9)
        ])
        let sent = 0
        while (yield* keyboard.send(key(1000 + sent))) sent++
        // Whoever presses something besides takes a place.
        assert.isFalse(yield* keyboard.send(key(1000, false), key(1000)))
        const up = [touch({ _tag: "Up", contact: 1 }), touch({ _tag: "Sync", contact: 1 })]
        assert.isTrue(yield* keyboard.send(...up))
        assert.isTrue(yield* keyboard.send(key(1000, false)))
        // What is up already is let go of by nobody.
        assert.isFalse(yield* keyboard.send(...up))
        assert.isFalse(yield* keyboard.send(key(1000, false)))
        assert.isFalse(yield* keyboard.send(key(1000)))
        assert.deepStrictEqual((yield* take(sent + 3)).slice(sent), [...up, key(1000, false)])
      })))
    }))

  inXen("offers what the toolstack says, and knows what the guest takes of it", () =>
    Effect.gen(function*() {
      yield* addKeyboard({ "feature-disable-keyboard": "1", "feature-raw-pointer": "1", "width": "1024", "height": "768" })
      const keyboards = yield* startBackend()
      const features = (raw: boolean) =>
        guest(Effect.scoped(Effect.gen(function*() {
          const frontend = yield* Frontend.connect({ raw })
          const keyboard = yield* Queue.take(keyboards)
          assert.deepStrictEqual(frontend.features, keyboard.features)
          return keyboard.features
        })))
      assert.deepStrictEqual(yield* features(false), {
        keyboard: false,
        pointer: { width: 1024, height: 768 },
        touch: undefined
      })
      assert.deepStrictEqual((yield* features(true)).pointer, { width: 32767, height: 32767 })
    }))
})
