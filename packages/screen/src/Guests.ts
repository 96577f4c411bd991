/**
 * Puts what guests show on screens, and takes what people do there to the guests' keyboards: the backends of displif and
 * kbdif, joined by the domain that both belong to.
 *
 * @since 0.2.0
 */
import type { DomainId } from "@xen-shbuf/core/DomainId"
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as StorePath from "@xen-shbuf/core/StorePath"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as DisplayBackend from "@xen-shbuf/io/displif/Backend"
import type { Connector, Display } from "@xen-shbuf/io/displif/Display"
import type { Picture } from "@xen-shbuf/io/displif/Picture"
import * as KeyboardBackend from "@xen-shbuf/io/kbdif/Backend"
import type { Event, Touch } from "@xen-shbuf/io/kbdif/Protocol"
import type { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Keys from "./Keys.ts"
import { type Screen, Screens } from "./Screens.ts"
import type * as Wire from "./Wire.ts"

/**
 * Whose screens are served.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** These guests alone; all, unless given. */
  readonly guests?: ReadonlySet<number> | undefined
  /** Whether guests may have their buffers allocated by us: see displif's backend. */
  readonly allocate?: boolean | undefined
  /** Frames a second that a guest may show, 60 unless given. */
  readonly frameRate?: number | undefined
}

/** The area in which a pointer or a finger is reported, whatever the size of the screen. */
const area = { width: 0x8000, height: 0x8000 }

/** A place on a screen as a place in an area. */
const scaled = (place: number, of: number, to: number) => of <= 1 ? 0 : Math.min(to - 1, Math.round(place * (to - 1) / (of - 1)))

/** A guest's keyboards, and where its pointer is. */
class Hands {
  readonly keyboards = new Set<KeyboardBackend.Keyboard>()
  #x = 0
  #y = 0

  /** Sends what a person does to each keyboard that can take it. */
  send(screen: Wire.ScreenInfo, input: Wire.Input): Effect.Effect<void> {
    return Effect.forEach([...this.keyboards], (keyboard) => {
      const events = this.#events(screen, input, keyboard)
      return events.length === 0 ? Effect.void : Effect.ignore(keyboard.send(...events))
    }, { discard: true })
  }

  #events(screen: Wire.ScreenInfo, input: Wire.Input, { features }: KeyboardBackend.Keyboard): ReadonlyArray<Event> {
    switch (input.type) {
      case "key": {
        const code = Keys.ofCode(input.code)
        return code === undefined || !features.keyboard ? [] : [{ _tag: "Key", pressed: input.down, code }]
      }
      case "button":
        return features.pointer === "none"
          ? []
          : [{ _tag: "Key", pressed: input.down, code: Keys.buttons[input.button]! }]
      case "pointer":
        return this.#point(screen, input, features.pointer)
      case "wheel":
        return this.#turn(-input.steps, features.pointer)
      case "touch":
        return features.touch === undefined ? [] : touched(screen, input, features.touch)
    }
  }

  #point(screen: Wire.ScreenInfo, { x, y }: { readonly x: number; readonly y: number }, pointer: Pointer): ReadonlyArray<Event> {
    if (pointer === "none") return []
    const before = { x: this.#x, y: this.#y }
    if (pointer === "relative") {
      this.#x = x
      this.#y = y
      return [{ _tag: "Motion", x: x - before.x, y: y - before.y, wheel: 0 }]
    }
    this.#x = scaled(x, screen.width, pointer.width)
    this.#y = scaled(y, screen.height, pointer.height)
    return [{ _tag: "Position", x: this.#x, y: this.#y, wheel: 0 }]
  }

  /** Linux counts the wheel upwards. */
  #turn(wheel: number, pointer: Pointer): ReadonlyArray<Event> {
    if (pointer === "none") return []
    return pointer === "relative"
      ? [{ _tag: "Motion", x: 0, y: 0, wheel }]
      : [{ _tag: "Position", x: this.#x, y: this.#y, wheel }]
  }
}

type Features = KeyboardBackend.Keyboard["features"]
type Pointer = Features["pointer"]

const touched = (
  screen: Wire.ScreenInfo,
  { finger, phase, x, y }: Extract<Wire.Input, { readonly type: "touch" }>,
  { contacts, height, width }: NonNullable<Features["touch"]>
): ReadonlyArray<Event> => {
  if (finger >= contacts) return []
  const place = { contact: finger, x: scaled(x, screen.width, width), y: scaled(y, screen.height, height) }
  const touch: Touch = phase === "up"
    ? { _tag: "Up", contact: finger }
    : { _tag: phase === "down" ? "Down" : "Motion", ...place }
  return [{ _tag: "Touch", touch }, { _tag: "Touch", touch: { _tag: "Sync", contact: finger } }]
}

/** The name that the toolstack gave a guest. */
const nameOf = (guest: DomainId): Effect.Effect<string, never, XenStore> =>
  Effect.flatMap(XenStore, ({ readText }) =>
    Effect.orElseSucceed(readText(`${StorePath.ofDomain(guest)}/name`), () => `domain ${guest}`))

const show = (screen: Screen, picture: Picture): Effect.Effect<void> =>
  Effect.sync(() => {
    if (picture._tag === "Dark") screen.blank()
    else if (!picture.ended) screen.show(picture)
  })

/** Shows one connector for as long as it is connected. */
const showConnector = Effect.fnUntraced(function*(display: Display, connector: Connector, name: string, hands: Hands) {
  const { open } = yield* Screens
  const screen: Screen = yield* open({
    guest: display.guest,
    name,
    connector: connector.index,
    input: (input) => Effect.suspend(() => hands.send(screen.info, input))
  })
  yield* Stream.runForEach(connector.pictures, (picture) => show(screen, picture))
}, Effect.scoped)

/**
 * Serves the displays and keyboards of guests, now and later, until it is interrupted. Fails where xenstore can't be used
 * any more. Guests beyond the most screens are logged, and not shown.
 *
 * @category running
 * @since 0.2.0
 */
export const serve = (
  { allocate, frameRate, guests }: Options = {}
): Effect.Effect<never, ConnectionError, Screens | GrantTable | EventChannels | XenStore> =>
  Effect.suspend(() => {
    const isServed = (guest: number) => guests === undefined || guests.has(guest)
    const all = new Map<DomainId, Hands>()
    const handsOf = (guest: DomainId) => {
      const hands = all.get(guest) ?? new Hands()
      all.set(guest, hands)
      return hands
    }
    const display = Effect.fnUntraced(function*(display: Display) {
      if (!isServed(display.guest)) return
      const name = yield* nameOf(display.guest)
      const shown = display.connectors.map((connector) => showConnector(display, connector, name, handsOf(display.guest)))
      yield* Effect.all(shown, { concurrency: "unbounded", discard: true })
    })
    const keyboard = (keyboard: KeyboardBackend.Keyboard): Effect.Effect<void, never, Scope.Scope> => {
      const { keyboards } = handsOf(keyboard.guest)
      return Effect.andThen(
        Effect.acquireRelease(
          Effect.sync(() => keyboards.add(keyboard)),
          () => Effect.sync(() => keyboards.delete(keyboard))
        ),
        Effect.never
      )
    }
    return Effect.raceFirst(
      DisplayBackend.serve({ show: display, allocate, frameRate }),
      KeyboardBackend.serve({
        offer: { keyboard: true, pointer: area, raw: true, touch: { ...area, contacts: 10 } },
        use: keyboard
      })
    )
  })
