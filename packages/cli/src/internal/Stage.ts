/** Two guests of a Xen in memory: one shows the test card with something that moves and plays a melody, the other one a terminal, and repeats what is said. */
import { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as StorePath from "@xen-shbuf/core/StorePath"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as DisplayFrontend from "@xen-shbuf/io/displif/Frontend"
import * as KeyboardFrontend from "@xen-shbuf/io/kbdif/Frontend"
import type { Event } from "@xen-shbuf/io/kbdif/Protocol"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Guests from "@xen-shbuf/screen/Guests"
import type { TestXen } from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import { NoTestXen } from "../Failure.ts"
import * as TestCard from "../TestCard.ts"
import * as Band from "./Band.ts"
import { Canvas, type Point } from "./Canvas.ts"
import { Terminal } from "./Terminal.ts"

const inDomain = (xen: TestXen["Service"], id: number) => <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const services = Context.make(GrantTable, yield* xen.domain(id, { sharedPages: 4096 })).pipe(
      Context.add(EventChannels, yield* xen.eventChannels(id)),
      Context.add(XenStore, yield* xen.store(id))
    )
    return yield* Effect.provide(program, services)
  })

/** A guest's only monitor: what is drawn there, and how it comes to be seen, first of all and then anew. */
const openMonitor = Effect.fnUntraced(function*() {
  const display = yield* DisplayFrontend.connect()
  const connector = display.connectors[0]!
  const buffer = yield* display.createBuffer(connector.resolution)
  const framebuffer = yield* buffer.attach()
  return {
    ...connector.resolution,
    bytes: buffer.bytes,
    turnOn: connector.configure(framebuffer),
    flip: connector.flip(framebuffer)
  }
})

/** Copies lines of a canvas into a buffer of the same size. */
const copyLines = (bytes: SharedMemory.Writable, { height, pixels, width }: Canvas, from: number, to: number) => {
  const begin = Math.max(0, from) * width
  const words = pixels.subarray(begin, Math.min(to, height) * width)
  bytes.set(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), begin * 4)
}

/** Where a ball that flies from side to side is in a frame. */
const bounce = (frame: number, length: number) => length - Math.abs(frame % (2 * length) - length)

const radius = 60

const drawBall = (canvas: Canvas, centre: Point) => {
  canvas.band(centre, radius, -1, 0, 0xff_d2_3f)
  canvas.band(centre, radius, 0, 1, 0xe5_3d_3d)
  canvas.ring(centre, radius, 5, 0x0b_0d_14)
}

/** The test card, and a ball that flies over it. */
const card = Effect.fnUntraced(function*() {
  const { bytes, flip, height, turnOn, width } = yield* openMonitor()
  const background = new Uint32Array(TestCard.draw(width, height).slice().buffer)
  const canvas = new Canvas(width, height)
  canvas.pixels.set(background)
  copyLines(bytes, canvas, 0, height)
  yield* turnOn
  const around = radius + 6
  let before = 0
  for (let frame = 0;; frame++) {
    const centre = {
      x: around + bounce(frame * 4, width - 2 * around),
      y: around + bounce(frame * 3, height - 2 * around)
    }
    const top = Math.min(before, centre.y) - around
    const bottom = Math.max(before, centre.y) + around
    canvas.pixels.set(background.subarray(Math.max(0, top) * width, bottom * width), Math.max(0, top) * width)
    drawBall(canvas, centre)
    copyLines(bytes, canvas, top, bottom)
    before = centre.y
    yield* flip
  }
}, Effect.scoped)

const greeting = [
  "This is a guest in memory, with a keyboard and a pointer.",
  "Click on the picture and type: what you type is shown here.",
  ""
]

/** A pointer as the guest draws it, and what is pressed or touched. */
class Pointers {
  #place: Point = { x: -100, y: -100 }
  #isDown = false
  readonly #fingers = new Map<number, Point>()
  readonly #canvas: Canvas

  constructor(canvas: Canvas) {
    this.#canvas = canvas
  }

  /** A place of a pointer on the picture. */
  #placeOf({ x, y }: Point, { height, width }: { readonly width: number; readonly height: number }): Point {
    return { x: Math.round(x * this.#canvas.width / width), y: Math.round(y * this.#canvas.height / height) }
  }

  take(event: Event, { pointer, touch }: KeyboardFrontend.Keyboard["features"]) {
    if (event._tag === "Position" && typeof pointer === "object") this.#place = this.#placeOf(event, pointer)
    else if (event._tag === "Key") this.#isDown = event.pressed
    else if (event._tag === "Touch" && touch !== undefined) {
      const { touch: what } = event
      if (what._tag === "Up") this.#fingers.delete(what.contact)
      else if (what._tag === "Down" || what._tag === "Motion") this.#fingers.set(what.contact, this.#placeOf(what, touch))
    }
  }

  draw() {
    const { x, y } = this.#place
    const colour = this.#isDown ? 0xff_d2_3f : 0xff_ff_ff
    this.#canvas.rect(x - 9, y - 1, 19, 3, colour)
    this.#canvas.rect(x - 1, y - 9, 3, 19, colour)
    for (const finger of this.#fingers.values()) this.#canvas.ring(finger, 30, 4, 0x2e_c4_d6)
  }
}

/** Keys that are buttons of a pointer begin here. */
const firstButton = 0x100

/** The terminal. */
const terminal = Effect.fnUntraced(function*() {
  const { bytes, flip, height, turnOn, width } = yield* openMonitor()
  const { events, features } = yield* KeyboardFrontend.connect()
  const canvas = new Canvas(width, height)
  const shell = new Terminal(canvas, greeting)
  const pointers = new Pointers(canvas)
  const changed = yield* Latch.make()
  const listening = Stream.runForEach(events, (event) => {
    if (event._tag === "Key" && event.code < firstButton) shell.press(event.code, event.pressed)
    else pointers.take(event, features)
    return changed.open
  })
  shell.draw()
  copyLines(bytes, canvas, 0, height)
  yield* turnOn
  const drawing = Effect.forever(Effect.gen(function*() {
    yield* changed.await
    yield* changed.close
    shell.draw()
    pointers.draw()
    copyLines(bytes, canvas, 0, height)
    yield* flip
  }))
  yield* Effect.raceFirst(listening, drawing)
}, Effect.scoped)

const guests = [
  { id: 1, name: "test-card", resolution: "1280x720", hasKeyboard: false, sound: Band.description },
  { id: 2, name: "terminal", resolution: "1000x640", hasKeyboard: true, sound: Band.echoDescription }
] as const

const addGuest = Effect.fnUntraced(function*(xen: TestXen["Service"], { hasKeyboard, id, name, resolution, sound }: typeof guests[number]) {
  yield* xen.store(id)
  const { write } = yield* XenStore
  yield* Effect.orDie(write(`${StorePath.ofDomain(id)}/name`, name))
  yield* Toolstack.addDevice({ type: "vdispl", frontend: id, frontendNodes: { "be-alloc": "0", "0/resolution": resolution } })
  if (hasKeyboard) yield* Toolstack.addDevice({ type: "vkbd", backendType: "vinput", frontend: id })
  yield* Toolstack.addDevice({ type: "vsnd", frontend: id, frontendNodes: Configuration.toNodes(sound) })
})

const acting = Effect.fnUntraced(function*(xen: TestXen["Service"], options: Guests.Options) {
  const dom0 = inDomain(xen, 0)
  yield* Effect.forEach(guests, (guest) => dom0(addGuest(xen, guest)), { discard: true })
  return yield* Effect.raceAllFirst([
    dom0(Guests.serve(options)),
    inDomain(xen, 1)(card()),
    inDomain(xen, 1)(Band.perform(Band.forEver)),
    inDomain(xen, 2)(terminal()),
    inDomain(xen, 2)(Band.echo())
  ])
}, Effect.scoped)

/** What can go wrong with guests in memory. */
export type Error = NoTestXen | Effect.Error<ReturnType<typeof acting>>

/** Serves the screens and sound cards of both guests, until it is interrupted. */
export const act = (options: Guests.Options) =>
  Effect.scoped(Effect.gen(function*() {
    const TestXen = yield* Effect.promise(() => import("@xen-shbuf/testkit/TestXen"))
    const xen = yield* Effect.catchDefect(TestXen.make(), (defect) =>
      Effect.fail(
        new NoTestXen({
          reason: { _tag: "MachineLacks" },
          message: defect instanceof Error ? defect.message : String(defect)
        })
      ))
    return yield* acting(xen, options)
  }))
