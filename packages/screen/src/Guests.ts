/**
 * Puts what guests show on screens, and takes what people do there to the guests' keyboards; lets people hear what guests
 * play, and guests record what people say: the backends of displif, kbdif and sndif, joined by the domain that they belong to.
 *
 * @since 0.2.0
 */

import type { DomainId } from "@xen-shbuf/core/DomainId"
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as StorePath from "@xen-shbuf/core/StorePath"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as DisplayBackend from "@xen-shbuf/io/displif/Backend"
import type { Connector, Display } from "@xen-shbuf/io/displif/Display"
import type { Picture } from "@xen-shbuf/io/displif/Picture"
import * as KeyboardBackend from "@xen-shbuf/io/kbdif/Backend"
import type { Event, Touch } from "@xen-shbuf/io/kbdif/Protocol"
import * as SoundBackend from "@xen-shbuf/io/sndif/Backend"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import type { Opened, State } from "@xen-shbuf/io/sndif/Sound"
import type { ConnectionError } from "@xen-shbuf/xenbus/ConnectionError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Keys from "./Keys.ts"
import { type Screen, Screens } from "./Screens.ts"
import { chunkSeconds, type Sound, Sounds } from "./Sounds.ts"
import * as Wire from "./Wire.ts"

/**
 * Whose screens are served.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** These guests alone, by their names or numbers; all, unless given. Others are left to other backends. */
  readonly guests?: ReadonlySet<string> | undefined
  /** Whether guests may have their buffers allocated by us: see displif's backend. */
  readonly allocate?: boolean | undefined
  /** Frames a second that a guest may show, 60 unless given. */
  readonly frameRate?: number | undefined
  /** Whether sound cards are served, too: unless this is false, which leaves them to another backend. */
  readonly sound?: boolean | undefined
}

/** The area in which a pointer or a finger is reported, whatever the size of the screen. */
const area = { width: 0x8000, height: 0x8000 }

type Size = Pick<Wire.ScreenInfo, "height" | "width">

/** A place on a screen as a place in an area. */
const scaled = (place: number, of: number, to: number) => of <= 1 ? 0 : Math.min(to - 1, Math.round(place * (to - 1) / (of - 1)))

/** A keyboard of a guest, and where its pointer was put last, in pixels of the screen. */
class Hand {
  readonly #keyboard: KeyboardBackend.Keyboard
  #x = 0
  #y = 0
  #size: Size = Wire.darkSize

  constructor(keyboard: KeyboardBackend.Keyboard) {
    this.#keyboard = keyboard
  }

  /**
   * Sends what a person does, as far as the guest takes it. One that takes nothing any more loses it, but for what lets go of
   * something: that it finds when it goes on.
   */
  send(screen: Wire.ScreenInfo, input: Wire.Input): Effect.Effect<void> {
    this.#measure(Wire.sizeOf(screen))
    const events = this.#events(input)
    return events.length === 0 ? Effect.void : Effect.ignore(this.#keyboard.send(...events))
  }

  /** The pointer stays where it is on a screen that gets another size. */
  #measure(size: Size) {
    this.#x = scaled(this.#x, this.#size.width, size.width)
    this.#y = scaled(this.#y, this.#size.height, size.height)
    this.#size = size
  }

  #events(input: Wire.Input): ReadonlyArray<Event> {
    const { features } = this.#keyboard
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
        return this.#point(input)
      case "wheel":
        return this.#move(0, 0, input.steps)
      case "touch":
        return features.touch === undefined ? [] : touched(this.#size, input, features.touch)
    }
  }

  #point({ x, y }: { readonly x: number; readonly y: number }): ReadonlyArray<Event> {
    const right = x - this.#x
    const down = y - this.#y
    this.#x = x
    this.#y = y
    return this.#move(right, down, 0)
  }

  /** The protocol counts the wheel downwards, as QEMU does; Linux's driver turns the sign round. */
  #move(right: number, down: number, wheel: number): ReadonlyArray<Event> {
    const { pointer } = this.#keyboard.features
    if (pointer === "none") return []
    if (pointer === "relative") return [{ _tag: "Motion", x: right, y: down, wheel }]
    const x = scaled(this.#x, this.#size.width, pointer.width)
    const y = scaled(this.#y, this.#size.height, pointer.height)
    return [{ _tag: "Position", x, y, wheel }]
  }
}

/** A guest's screens and keyboards: what is done on any of the screens reaches all keyboards. */
class Hands {
  readonly #hands = new Set<Hand>()
  readonly #screens = new Set<Screen>()

  readonly send = (screen: Wire.ScreenInfo, input: Wire.Input): Effect.Effect<void> =>
    Effect.forEach([...this.#hands], (hand) => hand.send(screen, input), { discard: true })

  readonly addKeyboard = (keyboard: KeyboardBackend.Keyboard) => this.#add(this.#hands, new Hand(keyboard))

  readonly addScreen = (screen: Screen) => this.#add(this.#screens, screen)

  #add<A>(set: Set<A>, one: A): Effect.Effect<void, never, Scope.Scope> {
    const tell = () => {
      for (const screen of this.#screens) screen.setTakesInput(this.#hands.size > 0)
    }
    return Effect.acquireRelease(
      Effect.sync(() => {
        set.add(one)
        tell()
      }),
      () => Effect.sync(() => {
        set.delete(one)
        tell()
      })
    )
  }
}

type Features = KeyboardBackend.Keyboard["features"]

const touched = (
  screen: Size,
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

/** The name that the toolstack gave a guest, as much of it as there is room for. */
const nameOf = (guest: DomainId): Effect.Effect<string, never, XenStore> =>
  Effect.flatMap(XenStore, ({ readText }) =>
    readText(`${StorePath.ofDomain(guest)}/name`).pipe(
      Effect.map((name) => name.slice(0, 80)),
      Effect.orElseSucceed(() => `domain ${guest}`)
    ))

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
    display: display.id,
    connector: connector.index,
    input: (input) => Effect.suspend(() => hands.send(screen.info, input))
  })
  yield* hands.addScreen(screen)
  yield* Stream.runForEach(connector.pictures, (picture) => show(screen, picture))
}, Effect.scoped)

/** How loud a channel is that has a volume in dB, told in a number that samples can be multiplied with. */
const gainOf = (decibels: number, isMuted: boolean) => isMuted ? 0 : Math.min(1, 10 ** (decibels / 20))

const stateOf = ({ muted, running, volume }: State) => ({
  isRunning: running === "running",
  gains: volume.map((decibels, i) => gainOf(decibels, muted[i]!))
})

/** Milliseconds on the clock that pages are told; not one that somebody sets. */
const clockOf = (clock: Clock.Clock) => () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000

const streamOf = ({ device, index }: { readonly device: number; readonly index: number }) => `${device}/${index}`

/** The sound cards of guests: what is open on the sounds of each stream. */
class Cards {
  /** By guest, card and stream. A stream that there was no room for has none. */
  readonly #sounds = new Map<string, Sound>()

  /** Opens the sounds of a card, for as long as it is connected. */
  readonly connected = Effect.fnUntraced(function*(this: Cards, { card, id, peer }: SoundBackend.Connected) {
    const { open } = yield* Sounds
    const name = card.longName === "" ? card.shortName : card.longName
    for (const stream of Configuration.streamsOf(card)) {
      const key = `${peer} ${id} ${streamOf(stream)}`
      const { direction } = stream
      const opened = open({ guest: peer, card: name, stream: streamOf(stream), direction })
      const add = (sound: Sound) => Effect.sync(() => this.#sounds.set(key, sound))
      yield* Effect.acquireRelease(
        Effect.flatMap(opened, add),
        () => Effect.sync(() => this.#sounds.delete(key))
      ).pipe(Effect.catch((error) => Effect.logWarning(error.message)))
    }
  }).bind(this)

  readonly #begin = Effect.fnUntraced(function*(this: Cards, { channels, format, rate, ...opened }: Opened) {
    const sound = this.#sounds.get(`${opened.peer} ${opened.id} ${streamOf(opened.stream)}`)
    if (sound === undefined) return undefined
    const opening = yield* sound.begin({ rate, channels, format })
    yield* Effect.forkScoped(Stream.runForEach(opened.changes, (state) => Effect.sync(() => opening.setState(stateOf(state)))))
    return opening
  })

  readonly playback = Effect.fnUntraced(function*(this: Cards, opened: Opened) {
    const opening = yield* this.#begin(opened)
    const now = clockOf(yield* Clock.Clock)
    return { play: (bytes: SharedMemory.Readable) => Effect.sync(() => opening?.play(bytes, now)) }
  }).bind(this)

  readonly capture = Effect.fnUntraced(function*(this: Cards, opened: Opened) {
    const opening = yield* this.#begin(opened)
    return { record: (into: SharedMemory.Writable) => Effect.sync(() => opening?.record(into) ?? 0) }
  }).bind(this)
}

/** Serves the sound cards of guests, in real time whether or not anybody listens. */
const serveCards = (serves: ((guest: DomainId) => Effect.Effect<boolean, never, XenStore>) | undefined) =>
  Effect.suspend(() => {
    const cards = new Cards()
    return SoundBackend.serve({
      serves,
      connected: cards.connected,
      playback: cards.playback,
      capture: cards.capture,
      // Whoever hears a whole period at once hears it late.
      step: `${1000 * chunkSeconds} millis`,
      // Linux's driver takes as much as the toolstack says, and few ask for more.
      limits: { bufferSize: 2 ** 24 }
    })
  })

/**
 * Serves the displays, keyboards and sound cards of guests, now and later, until it is interrupted. Fails where xenstore can't be used
 * any more. Guests beyond the most screens or sounds are logged, and not shown.
 *
 * @category running
 * @since 0.2.0
 */
export const serve = (
  { allocate, frameRate, guests, sound }: Options = {}
): Effect.Effect<never, ConnectionError, Screens | Sounds | GrantTable | EventChannels | XenStore> =>
  Effect.suspend(() => {
    const all = new Map<DomainId, Hands>()
    const handsOf = (guest: DomainId) => {
      const hands = all.get(guest) ?? new Hands()
      all.set(guest, hands)
      return hands
    }
    const serves = guests === undefined ? undefined : (guest: DomainId) =>
      guests.has(String(guest)) ? Effect.succeed(true) : Effect.map(nameOf(guest), (name) => guests.has(name))
    const display = Effect.fnUntraced(function*(display: Display) {
      const name = yield* nameOf(display.guest)
      const shown = display.connectors.map((connector) => showConnector(display, connector, name, handsOf(display.guest)))
      yield* Effect.all(shown, { concurrency: "unbounded", discard: true })
    })
    const keyboard = (keyboard: KeyboardBackend.Keyboard): Effect.Effect<void, never, Scope.Scope> =>
      Effect.andThen(handsOf(keyboard.guest).addKeyboard(keyboard), Effect.never)
    return Effect.raceAllFirst([
      DisplayBackend.serve({ show: display, serves, allocate, frameRate }),
      KeyboardBackend.serve({
        offer: { keyboard: true, pointer: area, raw: true, touch: { ...area, contacts: 10 } },
        use: keyboard,
        serves
      }),
      ...(sound === false ? [] : [serveCards(serves)])
    ])
  })
