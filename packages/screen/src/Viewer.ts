/**
 * Serves one page: sends it what has changed whenever it is ready for more, and takes what its person does into the guest.
 *
 * A page has no more than {@link mostUnderway} messages on their way to it: what changes meanwhile is sent together when it
 * has shown one. So a slow page gets fewer frames and always the newest one, and costs no memory but that. A page that
 * talks too much is read more slowly.
 *
 * @since 0.2.0
 */

import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Encoding from "./Encoding.ts"
import { Throttle } from "./internal/Throttle.ts"
import { Underway } from "./internal/Underway.ts"
import type { Picture } from "./Picture.ts"
import { type Screen, Screens } from "./Screens.ts"
import { Sounds } from "./Sounds.ts"
import type { SoundInfo } from "./SoundWire.ts"
import { ViewerMessage } from "./ViewerMessage.ts"
import * as Wire from "./Wire.ts"

/**
 * Messages that a page has not said to have shown, at most: one is drawn while the next one travels.
 *
 * @category constants
 * @since 0.2.0
 */
export const mostUnderway = 2

/**
 * What a page may do.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** Nothing that people do reaches a guest. */
  readonly viewOnly?: boolean | undefined
  /** Messages of a page that are read in a second, {@link defaultMessagesPerSecond} unless given; more wait for the next one. */
  readonly messagesPerSecond?: number | undefined
  /** Whether people may speak into guests that record: not unless said so, and never where they only look. */
  readonly microphone?: boolean | undefined
}

/**
 * Whether a page may speak into guests.
 *
 * @category guards
 * @since 0.2.0
 */
export const maySpeak = ({ microphone, viewOnly }: Options): boolean => microphone === true && viewOnly !== true

/**
 * Whether pages hear of a stream at all: of one that records only where they may speak.
 *
 * @category guards
 * @since 0.2.0
 */
export const isOffered = ({ direction }: SoundInfo, options: Options): boolean => direction === "playback" || maySpeak(options)

/**
 * Messages of a page that are read in a second, unless told otherwise.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaultMessagesPerSecond = 500

/**
 * Bytes of a page's message, at most: what a server of one's own is to be told.
 *
 * @category constants
 * @since 0.2.0
 */
export const maxMessageSize = 4096

/** Keys, buttons and fingers that a page may hold down at one time: more than any person does. */
const mostHeld = 64

const decode = Schema.decodeExit(ViewerMessage)

/** What of a person's doing goes on until it is taken back: keys and buttons that are down, fingers that touch. */
const undo = (input: Wire.Input): { readonly key: string; readonly up: Wire.Input | undefined } | undefined => {
  switch (input.type) {
    case "key":
      return { key: `key ${input.code}`, up: input.down ? { ...input, down: false } : undefined }
    case "button":
      return { key: `button ${input.button}`, up: input.down ? { ...input, down: false } : undefined }
    case "touch":
      return { key: `finger ${input.finger}`, up: input.phase === "up" ? undefined : { ...input, phase: "up" } }
    default:
      return undefined
  }
}

/** What there is to see and to hear. */
interface Shown {
  readonly screens: Screens["Service"]
  readonly sounds: Sounds["Service"]
}

/** What one page looks at, and how far it is. */
class Session {
  readonly #options: Options
  readonly #screens: Screens["Service"]
  readonly #sounds: Sounds["Service"]
  readonly #write: Socket.Writer["write"]
  readonly #scope: Scope.Scope
  /** Open while there may be something to send. */
  readonly #news = Latch.makeUnsafe()
  #screen: Screen | undefined
  #watching: Scope.Closeable | undefined
  #encoding: Wire.Encoding = "raw"
  #isListed = false
  /** The guests that the page was told to have sound, or is about to be. */
  #audible: ReadonlyArray<number> = []
  #picture: Picture | undefined
  /** The version of the picture that the page has, or is about to have. */
  #seen = -1
  readonly #underway = new Underway(mostUnderway)
  /** What the guest must be told when this page goes. */
  readonly #held = new Map<string, Wire.Input>()
  readonly #throttle: Throttle

  constructor(options: Options, { screens, sounds }: Shown, write: Socket.Writer["write"], scope: Scope.Scope) {
    this.#options = options
    this.#screens = screens
    this.#sounds = sounds
    this.#write = write
    this.#scope = scope
    this.#throttle = new Throttle(options.messagesPerSecond ?? defaultMessagesPerSecond)
  }

  readonly news = () => {
    this.#news.openUnsafe()
  }

  readonly relist = () => {
    this.#isListed = false
    this.news()
  }

  /** Streams are opened and closed all the time: a page hears of guests only. */
  readonly retune = () => {
    const audible = this.#allAudible()
    if (audible.length !== this.#audible.length || audible.some((guest, i) => guest !== this.#audible[i])) this.relist()
  }

  #allAudible(): ReadonlyArray<number> {
    const all = this.#sounds.all().filter(({ info }) => isOffered(info, this.#options))
    return [...new Set(all.map(({ info }) => info.guest))]
  }

  /** Sends all that there is to send, then waits for more, for ever. */
  readonly sending = Effect.fnUntraced(function*(this: Session) {
    while (true) {
      yield* this.#news.await
      this.#news.closeUnsafe()
      if (this.#underway.isFull) continue
      if (!this.#isListed) yield* this.#sendList()
      else yield* this.#sendChanges()
    }
  }).bind(this)

  readonly #sendList = Effect.fnUntraced(function*(this: Session) {
    this.#isListed = true
    const screens = this.#screens.all().map(({ info }) =>
      this.#options.viewOnly === true ? { ...info, input: false } : info
    )
    this.#audible = this.#allAudible()
    const message: Wire.ServerMessage = { type: "screens", sequence: this.#underway.add(), screens, audible: this.#audible }
    yield* this.#write(JSON.stringify(message))
    this.news()
  })

  readonly #sendChanges = Effect.fnUntraced(function*(this: Session) {
    const screen = this.#screen
    const picture = screen?.picture
    if (screen === undefined || picture === undefined) return
    if (picture !== this.#picture) {
      this.#picture = picture
      this.#seen = -1
    }
    if (picture.version === this.#seen) return
    const since = this.#seen
    const encoding = this.#encoding
    const { frames } = screen
    const { height, width } = picture
    this.#seen = picture.version
    const { byteLength, pixels, tiles } = yield* Encoding.packChanges(picture, since, encoding)
    const sequence = this.#underway.add()
    yield* this.#write(
      Wire.encodeTiles({ screen: screen.id, encoding, width, height, sequence, frames: frames >>> 0, byteLength, tiles, pixels })
    )
    // What has changed while this was packed.
    this.news()
  })

  /** Takes one message of the page. False where it is none. */
  readonly receive = Effect.fnUntraced(function*(this: Session, text: string) {
    // What is not read waits on the other side.
    yield* this.#throttle.pass()
    const message = decode(text)
    if (Exit.isFailure(message)) return false
    const { value } = message
    if (value.type === "watch") yield* this.#watch(value.screen, value.encodings)
    else if (value.type === "shown") this.#confirm(value.sequence)
    else yield* this.#input(value)
    return true
  }).bind(this)

  #confirm(sequence: number) {
    if (this.#underway.confirm(sequence)) this.news()
  }

  readonly #watch = Effect.fnUntraced(function*(this: Session, id: number, known: ReadonlyArray<Wire.Encoding>) {
    const screen = this.#screens.find(id)
    // Gone meanwhile: a new list is on its way.
    if (screen === undefined) return
    yield* this.releaseAll
    if (this.#watching !== undefined) yield* Scope.close(this.#watching, Exit.void)
    this.#watching = yield* Scope.fork(this.#scope)
    this.#screen = screen
    this.#encoding = known.includes("zstd") ? "zstd" : known.includes("deflate-raw") ? "deflate-raw" : "raw"
    this.#picture = undefined
    yield* Scope.provide(screen.onChange(this.news), this.#watching)
    this.news()
  })

  readonly #input = Effect.fnUntraced(function*(this: Session, input: Wire.Input) {
    const screen = this.#screen
    if (screen === undefined || this.#options.viewOnly === true) return
    const held = undo(input)
    if (held?.up === undefined) {
      if (held !== undefined) this.#held.delete(held.key)
    } else if (this.#held.size < mostHeld) this.#held.set(held.key, held.up)
    else return
    yield* screen.input(input)
  })

  /** Lets go of what the page's person still holds. */
  readonly releaseAll: Effect.Effect<void> = Effect.suspend(() => {
    const held = [...this.#held.values()]
    this.#held.clear()
    const screen = this.#screen
    return screen === undefined ? Effect.void : Effect.forEach(held, screen.input, { discard: true })
  })
}

/**
 * Serves a page until it is gone. Keys and buttons that it held down are let go then. A page that says what no page says is
 * cut off.
 *
 * @category running
 * @since 0.2.0
 */
export const serve = Effect.fnUntraced(function*(socket: Socket.Socket, options: Options = {}) {
  const shown = { screens: yield* Screens, sounds: yield* Sounds }
  const scope = yield* Effect.scope
  const reader = yield* Socket.readerString(socket)
  const { write } = yield* socket.writer
  const session = new Session(options, shown, write, scope)
  yield* Effect.addFinalizer(() => session.releaseAll)
  yield* shown.screens.onChange(session.relist)
  yield* shown.sounds.onChange(session.retune)
  session.news()
  const receiving = Effect.gen(function*() {
    while (true) {
      for (const text of yield* reader) {
        if (!(yield* session.receive(text))) return yield* write(new Socket.CloseEvent(1008, "That is no message of this page's."))
      }
    }
  })
  yield* Effect.raceFirst(receiving, session.sending())
}, Effect.scoped)
