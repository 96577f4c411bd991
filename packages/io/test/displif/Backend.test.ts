import { assert, describe, it } from "@effect/vitest"
import type { Display } from "@xen-shbuf/io/displif/Display"
import * as Frontend from "@xen-shbuf/io/displif/Frontend"
import type { Frame, Picture } from "@xen-shbuf/io/displif/Picture"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { random } from "../../../xenbus/test/Model.ts"
import * as World from "./World.ts"

const guest = World.inDomain(3)

type Test = () => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>

const inXen = (name: string, test: Test) => it.live(name, () => World.checked(test()), 30_000)
/** Time stands still. */
const inStillXen = (name: string, test: Test) => it.effect(name, () => World.checked(test()), 30_000)

const pattern = (seed: number, length: number) => Uint8Array.from({ length }, (_, i) => i * 7 + seed * 31 + (i >>> 8))

/** What happens between a display and its guest, who has two framebuffers of 64×48. */
const withGuest = <A, E>(
  use: (guest: {
    readonly frontend: Frontend.Display
    readonly display: Display
    readonly connector: Frontend.Connector
    readonly buffers: ReadonlyArray<Frontend.Buffer>
    readonly framebuffers: ReadonlyArray<Frontend.Framebuffer>
  }) => Effect.Effect<A, E, World.Services | Scope.Scope | TestXen.TestXen>,
  options: Parameters<typeof World.startBackend>[0] = {}
) =>
  Effect.gen(function*() {
    yield* World.addDisplay(3, ["64x48"])
    const displays = yield* World.startBackend(options)
    return yield* guest(Effect.scoped(Effect.gen(function*() {
      const frontend = yield* Frontend.connect()
      const display = yield* Queue.take(displays)
      const buffers = yield* Effect.forEach([1, 2], () => frontend.createBuffer({ width: 64, height: 48 }))
      const framebuffers = yield* Effect.forEach(buffers, (buffer) => buffer.attach())
      return yield* use({ frontend, display, connector: frontend.connectors[0]!, buffers, framebuffers })
    })))
  })

/** Holds each picture until the test lets it go. */
const hold = (display: Display) =>
  Effect.gen(function*() {
    const taken = yield* Queue.unbounded<{ readonly picture: Picture; readonly letGo: Effect.Effect<unknown> }>()
    const viewer = yield* Effect.forkScoped(Stream.runForEach(
      display.connectors[0]!.pictures,
      (picture) =>
        Effect.gen(function*() {
          const release = yield* Deferred.make<void>()
          yield* Queue.offer(taken, { picture, letGo: Deferred.succeed(release, undefined) })
          yield* Deferred.await(release)
        })
    ))
    return { taken, viewer }
  })

const isDone = <A, E>(fiber: Fiber.Fiber<A, E>) => fiber.pollUnsafe() !== undefined

/** Lets all others go as far as they come without a clock. */
const settle = Effect.forEach(Array.from({ length: 20 }), () => Effect.promise(() => new Promise(setImmediate)))

describe("displif", () => {
  inStillXen("a flip that was given up does not complete the next one", () =>
    withGuest(({ connector, display, framebuffers }) =>
      Effect.gen(function*() {
        const [one] = framebuffers
        yield* World.watch(display)
        yield* connector.configure(one!)
        yield* connector.flip(one!)
        // Asked for, and due in a second.
        const first = yield* Effect.forkScoped(connector.flip(one!))
        yield* settle
        yield* Fiber.interrupt(first)
        const next = yield* Effect.forkScoped(connector.flip(one!))
        yield* settle
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.isFalse(isDone(next))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(next)
      }), { frameRate: 1 }))

  inXen("shows what the guest draws, pixel by pixel", () =>
    withGuest(({ buffers, connector, display, framebuffers }) =>
      Effect.gen(function*() {
        assert.strictEqual(display.guest, 3)
        assert.deepInclude(display.connectors[0], { index: 0, uniqueId: "id0", resolution: { width: 64, height: 48 } })
        const seen = yield* World.watch(display)
        assert.strictEqual((yield* Queue.take(seen)).picture._tag, "Dark")
        buffers[0]!.bytes.set(pattern(0, 64 * 48 * 4))
        yield* connector.configure(framebuffers[0]!)
        assert.deepStrictEqual((yield* Queue.take(seen)).pixels, pattern(0, 64 * 48 * 4))
        for (let i = 1; i < 100; i++) {
          buffers[i & 1]!.bytes.set(pattern(i, 64 * 48 * 4))
          yield* connector.flip(framebuffers[i & 1]!)
          const { picture, pixels } = yield* Queue.take(seen)
          // Not by assert.deepStrictEqual, which looks at each element on its own.
          assert.strictEqual(Buffer.compare(pixels, pattern(i, 64 * 48 * 4)), 0)
          assert.deepInclude(picture, { width: 64, height: 48, left: 0, top: 0, pitch: 256, sequence: i + 1 })
        }
        yield* connector.disable
        assert.strictEqual((yield* Queue.take(seen)).picture._tag, "Dark")
      })))

  // What is where, in every geometry and format, is computed here once more, a pixel at a time.
  it.live("shows the part of any framebuffer that is on the connector, and nothing else", () =>
    Effect.forEach(Array.from({ length: 40 }), () => {
      const seed = Math.floor(Math.random() * 2 ** 31)
      return Effect.tapCause(World.checked(geometry(seed)), () => Effect.logError(`seed ${seed}`))
    }, { discard: true }), 60_000)

  inStillXen("acknowledges flips at 60 Hz, no earlier and no later", () =>
    withGuest(({ connector, framebuffers }) =>
      Effect.gen(function*() {
        yield* connector.configure(framebuffers[0]!)
        yield* connector.flip(framebuffers[1]!)
        for (let i = 0; i < 30; i++) {
          const flip = yield* Effect.forkScoped(connector.flip(framebuffers[i & 1]!))
          yield* settle
          assert.isFalse(isDone(flip), `flip ${i} is early`)
          yield* TestClock.adjust(i % 3 === 2 ? 16 : 17)
          yield* settle
          assert.isTrue(isDone(flip), `flip ${i} is late`)
        }
      }), { frameRate: 60 }))

  inStillXen("acknowledges no flip before its pixels were taken by all who look", () =>
    withGuest(({ buffers, connector, display, framebuffers }) =>
      Effect.gen(function*() {
        const [one, other] = [yield* hold(display), yield* hold(display)]
        for (const { taken } of [one, other]) yield* (yield* Queue.take(taken)).letGo
        buffers[0]!.bytes.set(pattern(1, 64 * 48 * 4))
        const flip = yield* Effect.forkScoped(Effect.andThen(connector.configure(framebuffers[1]!), connector.flip(framebuffers[0]!)))
        const held = []
        for (const { taken } of [one, other]) {
          // The configuration's picture first.
          yield* (yield* Queue.take(taken)).letGo
          held.push(yield* Queue.take(taken))
        }
        yield* TestClock.adjust("10 seconds")
        yield* settle
        assert.isFalse(isDone(flip))
        yield* held[0]!.letGo
        yield* TestClock.adjust("10 seconds")
        yield* settle
        assert.isFalse(isDone(flip))
        const { picture } = held[1]!
        assert.deepStrictEqual(World.copyOf(picture).pixels, pattern(1, 64 * 48 * 4))
        yield* held[1]!.letGo
        yield* TestClock.adjust(17)
        yield* settle
        assert.isTrue(isDone(flip))
        assert.isTrue((picture as Frame).ended)
        assert.isFalse((picture as Frame).copyInto(new Uint8Array(64 * 48 * 4)))
      }), { frameRate: 60 }))

  inStillXen("a viewer that leaves holds nothing up", () =>
    withGuest(({ connector, display, framebuffers }) =>
      Effect.gen(function*() {
        yield* connector.configure(framebuffers[1]!)
        const { taken, viewer } = yield* hold(display)
        yield* Queue.take(taken)
        const flip = yield* Effect.forkScoped(connector.flip(framebuffers[0]!))
        yield* settle
        assert.isFalse(isDone(flip))
        yield* Fiber.interrupt(viewer)
        yield* settle
        assert.isTrue(isDone(flip))
      })))

  inXen("a viewer that comes late sees the whole picture; one that is slow misses some", () =>
    withGuest(({ buffers, connector, display, framebuffers }) =>
      Effect.gen(function*() {
        buffers[0]!.bytes.fill(1)
        yield* connector.configure(framebuffers[0]!)
        yield* connector.flip(framebuffers[0]!)
        const { taken } = yield* hold(display)
        const first = yield* Queue.take(taken)
        assert.deepInclude(first.picture, { _tag: "Frame", sequence: 2 })
        // Configurations wait for nobody.
        for (let i = 0; i < 10; i++) yield* connector.configure(framebuffers[i & 1]!)
        assert.isFalse((first.picture as Frame).ended)
        yield* first.letGo
        assert.deepInclude((yield* Queue.take(taken)).picture, { _tag: "Frame", sequence: 12 })
      })))

  inStillXen("a buffer that is destroyed while somebody looks stays until he does not, and its guest is not kept waiting", () =>
    Effect.gen(function*() {
      yield* World.addDisplay(3, ["64x48"])
      const displays = yield* World.startBackend()
      const xen = yield* TestXen.TestXen
      yield* guest(Effect.scoped(Effect.gen(function*() {
        const frontend = yield* Frontend.connect()
        const display = yield* Queue.take(displays)
        const drawing = Effect.scoped(Effect.gen(function*() {
          const buffer = yield* frontend.createBuffer({ width: 64, height: 48 })
          buffer.bytes.set(pattern(5, 64 * 48 * 4))
          yield* frontend.connectors[0]!.configure(yield* buffer.attach())
        }))
        const { taken } = yield* hold(display)
        yield* (yield* Queue.take(taken)).letGo
        const drawn = yield* Effect.forkScoped(drawing)
        const { letGo, picture } = yield* Queue.take(taken)
        yield* settle
        assert.isFalse(isDone(drawn))
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.isTrue(isDone(drawn))
        assert.deepStrictEqual(World.copyOf(picture).pixels, pattern(5, 64 * 48 * 4))
        assert.isAbove((yield* xen.activeGrants).length, 2)
        yield* letGo
        assert.strictEqual((yield* Queue.take(taken)).picture._tag, "Dark")
        yield* settle
        // The ring and the event page.
        assert.strictEqual((yield* xen.activeGrants).length, 2)
      })))
    }))

  inXen("goes dark when what it shows is detached", () =>
    withGuest(({ buffers, connector, display }) =>
      Effect.gen(function*() {
        const seen = yield* World.watch(display)
        yield* Queue.take(seen)
        yield* Effect.scoped(Effect.flatMap(buffers[0]!.attach(), connector.configure))
        assert.strictEqual((yield* Queue.take(seen)).picture._tag, "Frame")
        assert.strictEqual((yield* Queue.take(seen)).picture._tag, "Dark")
      })))

  inXen("tells a guest its EDID", () =>
    withGuest(({ connector }) =>
      Effect.gen(function*() {
        const edid = yield* connector.edid
        assert.strictEqual(edid.length, 128)
        assert.deepStrictEqual(Array.from(edid.subarray(0, 8)), [0, 255, 255, 255, 255, 255, 255, 0])
        assert.strictEqual(edid.reduce((sum, byte) => sum + byte, 0) % 256, 0)
      })))

  inXen("allocates for a guest, where both the application and the toolstack let it", () =>
    Effect.gen(function*() {
      const one = (beAlloc: string, allocate: boolean) =>
        Effect.scoped(Effect.gen(function*() {
          yield* World.addDisplay(3, ["64x48"], { beAlloc })
          const displays = yield* World.startBackend({ allocate })
          const result = yield* guest(Effect.scoped(Effect.gen(function*() {
            const frontend = yield* Frontend.connect()
            assert.strictEqual(frontend.mayAllocate, beAlloc === "1")
            const display = yield* Queue.take(displays)
            const seen = yield* World.watch(display)
            yield* Queue.take(seen)
            const buffer = yield* frontend.createBuffer({ width: 64, height: 48, byBackend: true })
            buffer.bytes.set(pattern(3, 64 * 48 * 4))
            yield* frontend.connectors[0]!.configure(yield* buffer.attach())
            assert.deepStrictEqual((yield* Queue.take(seen)).pixels, pattern(3, 64 * 48 * 4))
            return "shown"
          }).pipe(Effect.catchTag("DisplayError", ({ reason }) => Effect.succeed(reason.message)))))
          yield* World.removeDisplay(3)
          return result
        }))
      assert.strictEqual(yield* one("1", true), "shown")
      const refused = "The backend refused it: EOPNOTSUPP."
      assert.strictEqual(yield* one("0", true), refused)
      assert.strictEqual(yield* one("1", false), refused)
    }))

  inXen("says so when a buffer that it allocated is of no use", () =>
    Effect.gen(function*() {
      const said: Array<unknown> = []
      const logger = Logger.make(({ message }) => void said.push(message))
      yield* World.addDisplay(3, ["64x48"], { beAlloc: "1" })
      yield* Effect.gen(function*() {
        yield* World.startBackend({ allocate: true })
        yield* guest(Effect.scoped(Effect.flatMap(Frontend.connect(), ({ createBuffer }) =>
          createBuffer({ width: 64, height: 48, byBackend: true }))))
      }).pipe(Effect.provide(Logger.layer([logger])))
      assert.match(JSON.stringify(said), /allocated by this backend.*destroyed before anything of it was shown/s)
    }))

  inXen("bounds what one guest has, all its displays together, and no other's", () =>
    Effect.gen(function*() {
      yield* World.addDisplay(3, ["8x8"])
      yield* World.addDisplay(3, ["8x8"], { id: 1 })
      yield* World.addDisplay(4, ["8x8"])
      yield* World.startBackend({ maxBuffers: 3, maxBytes: 10_000, maxFramebuffers: 2 })
      const other = yield* Effect.provide(Frontend.connect(), TestXen.layerDomain(4))
      yield* guest(Effect.gen(function*() {
        const [a, b] = [yield* Frontend.connect(), yield* Frontend.connect({ id: 1 })]
        const square = (frontend: Frontend.Display, size: number) => frontend.createBuffer({ width: size, height: size })
        const refused = (effect: Effect.Effect<unknown, { readonly message: string }, World.Services | Scope.Scope>) =>
          Effect.map(Effect.flip(effect), ({ message }) => assert.match(message, /ENOMEM/))
        const one = yield* square(a, 8)
        yield* refused(square(b, 50))
        yield* square(b, 48)
        yield* Effect.scoped(square(a, 8))
        yield* square(b, 8)
        yield* refused(square(a, 8))
        yield* Effect.scoped(Effect.andThen(one.attach(), one.attach()))
        yield* one.attach()
        yield* one.attach()
        yield* refused(one.attach())
        yield* Effect.provide(square(other, 50), TestXen.layerDomain(4))
      }))
    }))

  inXen("two guests with two connectors each do not see each other's pictures", () =>
    Effect.gen(function*() {
      const guests = [3, 4]
      for (const id of guests) yield* World.addDisplay(id, ["64x48", "32x16"])
      const displays = yield* World.startBackend()
      yield* Effect.forEach(guests, (id) =>
        World.inDomain(id)(Effect.scoped(Effect.gen(function*() {
          const frontend = yield* Frontend.connect()
          assert.strictEqual(frontend.connectors.length, 2)
          for (const { configure, index, resolution } of frontend.connectors) {
            const buffer = yield* frontend.createBuffer(resolution)
            buffer.bytes.fill(id * 10 + index)
            yield* configure(yield* buffer.attach())
          }
          yield* Queue.offer(ready, undefined)
          yield* Deferred.await(seenAll)
        }))), { concurrency: "unbounded" }).pipe(Effect.forkScoped)
      const ready = yield* Queue.unbounded<void>()
      const seenAll = yield* Deferred.make<void>()
      for (const _ of guests) {
        const { connectors, guest } = yield* Queue.take(displays)
        for (const [index] of connectors.entries()) {
          const seen = yield* World.watch({ guest, id: 0, connectors }, index)
          let { picture, pixels } = yield* Queue.take(seen)
          if (picture._tag === "Dark") ({ picture, pixels } = yield* Queue.take(seen))
          assert.isTrue(pixels.every((byte) => byte === guest * 10 + index))
          assert.strictEqual(pixels.length, index === 0 ? 64 * 48 * 4 : 32 * 16 * 4)
        }
      }
      yield* Deferred.succeed(seenAll, undefined)
    }))

  inXen("a guest that dies in the middle takes its display with it, and nothing else", () =>
    Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      yield* World.addDisplay(3, ["64x48"])
      const displays = yield* World.startBackend()
      for (let round = 0; round < 5; round++) {
        const running = yield* guest(Effect.scoped(Effect.gen(function*() {
          const frontend = yield* Frontend.connect()
          const buffer = yield* frontend.createBuffer({ width: 64, height: 48 })
          const framebuffer = yield* buffer.attach()
          yield* frontend.connectors[0]!.configure(framebuffer)
          return yield* Effect.forever(frontend.connectors[0]!.flip(framebuffer))
        }))).pipe(Effect.forkScoped)
        const display = yield* Queue.take(displays)
        const over = yield* Effect.forkScoped(Stream.runDrain(display.connectors[0]!.pictures))
        const seen = yield* World.watch(display)
        for (let i = 0; i < 20; i++) yield* Queue.take(seen)
        yield* xen.destroy(3)
        yield* World.removeDisplay(3)
        yield* Fiber.join(over)
        yield* Fiber.interrupt(running)
        assert.deepStrictEqual(yield* xen.activeGrants, [])
        yield* World.addDisplay(3, ["64x48"])
      }
    }))
})

/** A framebuffer of any size and format somewhere on a connector. */
const geometry = (seed: number) =>
  Effect.gen(function*() {
    const dice = random(seed)
    const format = dice.of(PixelFormat.all)
    const resolution = { width: 1 + dice.below(40), height: 1 + dice.below(20) }
    const whole = { width: 1 + dice.below(50), height: 1 + dice.below(30) }
    const part = { width: 1 + dice.below(whole.width), height: 1 + dice.below(whole.height) }
    const at = { x: dice.below(2) * dice.below(60), y: dice.below(2) * dice.below(40) }
    yield* World.addDisplay(3, [`${resolution.width}x${resolution.height}`])
    const displays = yield* World.startBackend()
    yield* guest(Effect.scoped(Effect.gen(function*() {
      const frontend = yield* Frontend.connect()
      const seen = yield* World.watch(yield* Queue.take(displays))
      yield* Queue.take(seen)
      const buffer = yield* frontend.createBuffer({ ...whole, format })
      const drawn = pattern(seed, buffer.pitch * whole.height)
      buffer.bytes.set(drawn)
      const framebuffer = yield* buffer.attach(part)
      const isOnConnector = at.x + part.width <= resolution.width && at.y + part.height <= resolution.height
      const isConfigured = yield* Effect.match(frontend.connectors[0]!.configure(framebuffer, at), {
        onFailure: ({ message }) => assert.match(message, /EINVAL/),
        onSuccess: () => true
      })
      const skip = isOnConnector ? { x: 0, y: 0 } : at
      assert.strictEqual(isConfigured === true, isOnConnector || at.x < part.width && at.y < part.height)
      if (isConfigured !== true) return
      const { picture, pixels } = yield* Queue.take(seen)
      const width = Math.min(part.width - skip.x, resolution.width)
      const height = Math.min(part.height - skip.y, resolution.height)
      assert.deepInclude(picture, { width, height, left: isOnConnector ? at.x : 0, top: isOnConnector ? at.y : 0, format })
      const expected = []
      for (let y = 0; y < height; y++) {
        for (let i = 0; i < width * format.bytesPerPixel; i++) {
          expected.push(drawn[(y + skip.y) * buffer.pitch + skip.x * format.bytesPerPixel + i]!)
        }
      }
      assert.deepStrictEqual(Array.from(pixels), expected)
    })))
  })
