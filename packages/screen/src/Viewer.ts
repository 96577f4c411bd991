/**
 * Serves one page: sends it what has changed whenever it is ready for more, and takes what its person does into the guest.
 *
 * A page has no more than {@link mostUnderway} messages with tiles on their way to it: what changes meanwhile is sent
 * together when it has shown one. So a slow page gets fewer frames and always the newest one, and costs no memory but that.
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Encoding from "./Encoding.ts"
import type { Picture } from "./Picture.ts"
import { type Screen, Screens } from "./Screens.ts"
import { ViewerMessage } from "./ViewerMessage.ts"
import * as Wire from "./Wire.ts"

/**
 * Messages with tiles that a page has not said to have shown, at most: one is drawn while the next one travels.
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
  /** Messages that a page may send in a second, 500 unless given; one that sends more is cut off. */
  readonly messagesPerSecond?: number | undefined
}

const decode = Schema.decodeExit(ViewerMessage)

const policyViolation = (why: string) => new Socket.CloseEvent(1008, why)

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

/** What one page looks at, and how far it is. */
class Session {
  readonly #options: Options
  readonly #screens: Screens["Service"]
  readonly #write: Socket.Writer["write"]
  readonly #scope: Scope.Scope
  /** Open while there may be something to send. */
  readonly #news = Latch.makeUnsafe()
  #screen: Screen | undefined
  #watching: Scope.Closeable | undefined
  #encoding: Wire.Encoding = "raw"
  #listed = false
  #picture: Picture | undefined
  #seen = 0
  #sent = 0
  #shown = 0
  /** What the guest must be told when this page goes. */
  readonly #held = new Map<string, Wire.Input>()
  #second = 0
  #messages = 0

  constructor(options: Options, screens: Screens["Service"], write: Socket.Writer["write"], scope: Scope.Scope) {
    this.#options = options
    this.#screens = screens
    this.#write = write
    this.#scope = scope
  }

  readonly news = () => {
    this.#news.openUnsafe()
  }

  readonly relist = () => {
    this.#listed = false
    this.news()
  }

  #send(message: Wire.ServerMessage) {
    return this.#write(JSON.stringify(message))
  }

  /** Sends all that there is to send, then waits for more, for ever. */
  readonly sending = Effect.fnUntraced(function*(this: Session) {
    while (true) {
      yield* this.#news.await
      this.#news.closeUnsafe()
      if (!this.#listed) {
        this.#listed = true
        yield* this.#send({ type: "screens", screens: this.#screens.all().map(({ info }) => info) })
      }
      const tiles = this.#changed()
      if (tiles !== undefined) yield* this.#sendTiles(tiles.screen, tiles.picture, tiles.tiles)
    }
  }).bind(this)

  #changed() {
    const screen = this.#screen
    const picture = screen?.picture
    if (screen === undefined || picture === undefined || this.#sent - this.#shown >= mostUnderway) return undefined
    if (picture !== this.#picture) {
      this.#picture = picture
      this.#seen = -1
    }
    const tiles = picture.changedSince(this.#seen)
    this.#seen = picture.version
    return tiles.length === 0 ? undefined : { screen, picture, tiles }
  }

  #sendTiles = Effect.fnUntraced(function*(this: Session, screen: Screen, picture: Picture, tiles: ReadonlyArray<number>) {
    const pixels = Encoding.pixelsOf(picture, tiles)
    const { height, width } = picture
    const encoded = yield* Encoding.encode(this.#encoding, pixels)
    this.#sent++
    yield* this.#write(Wire.encodeTiles({
      encoding: this.#encoding,
      width,
      height,
      sequence: this.#sent % 2 ** 32,
      frames: screen.frames % 2 ** 32,
      byteLength: pixels.length,
      tiles,
      pixels: encoded
    }))
    // What has changed while this was packed.
    this.news()
  })

  /** One message of the page. False where it is to be cut off. */
  readonly receive = Effect.fnUntraced(function*(this: Session, text: string) {
    if (yield* this.#tooMany()) return "You send too many messages."
    const message = decode(text)
    if (Exit.isFailure(message)) return "That is no message of this page's."
    const { value } = message
    switch (value.type) {
      case "watch":
        yield* this.#watch(value.screen, value.encodings)
        return undefined
      case "shown":
        // What was not sent can't have been shown.
        if (value.sequence <= this.#sent && value.sequence > this.#shown) this.#shown = value.sequence
        this.news()
        return undefined
      default:
        yield* this.#input(value)
        return undefined
    }
  }).bind(this)

  readonly #tooMany = Effect.fnUntraced(function*(this: Session) {
    const second = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#messages = 0
    }
    return ++this.#messages > (this.#options.messagesPerSecond ?? 500)
  })

  readonly #watch = Effect.fnUntraced(function*(this: Session, id: number, known: ReadonlyArray<Wire.Encoding>) {
    const screen = this.#screens.find(id)
    if (screen === undefined) return yield* this.#send({ type: "gone", screen: id })
    yield* this.releaseAll
    if (this.#watching !== undefined) yield* Scope.close(this.#watching, Exit.void)
    this.#watching = yield* Scope.fork(this.#scope)
    this.#screen = screen
    this.#encoding = known.includes("zstd") ? "zstd" : known.includes("deflate-raw") ? "deflate-raw" : "raw"
    this.#picture = undefined
    this.#shown = this.#sent
    yield* Scope.provide(screen.onChange(this.news), this.#watching)
    this.news()
  })

  readonly #input = Effect.fnUntraced(function*(this: Session, input: Wire.Input) {
    const screen = this.#screen
    if (screen === undefined) return
    if (this.#options.viewOnly === true) {
      return yield* this.#send({ type: "refused", why: "This server only shows: what you do does not reach the guest." })
    }
    const held = undo(input)
    if (held?.up !== undefined) this.#held.set(held.key, held.up)
    else if (held !== undefined) this.#held.delete(held.key)
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
 * Serves a page until it is gone. Keys and buttons that it held down are let go then.
 *
 * @category running
 * @since 0.2.0
 */
export const serve = Effect.fnUntraced(function*(socket: Socket.Socket, options: Options = {}) {
  const screens = yield* Screens
  const scope = yield* Effect.scope
  const reader = yield* Socket.readerString(socket)
  const { write } = yield* socket.writer
  const session = new Session(options, screens, write, scope)
  yield* Effect.addFinalizer(() => session.releaseAll)
  yield* screens.onChange(session.relist)
  session.news()
  const receiving = Effect.gen(function*() {
    while (true) {
      for (const text of yield* reader) {
        const why = yield* session.receive(text)
        if (why !== undefined) return yield* write(policyViolation(why))
      }
    }
  })
  yield* Effect.raceFirst(receiving, session.sending())
}, Effect.scoped)
