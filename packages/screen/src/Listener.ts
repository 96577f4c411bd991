/**
 * Serves the sound of one page: sends it what the guest plays that it listens to, and takes what its person says to where the
 * guest records.
 *
 * A page has no more than {@link mostUnderway} messages on their way to it: what a guest plays meanwhile is lost to this page
 * and to no other, and costs no memory.
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
import { Throttle } from "./internal/Throttle.ts"
import { Underway } from "./internal/Underway.ts"
import { PageMessage } from "./PageMessage.ts"
import { Sounds, type Speaker } from "./Sounds.ts"
import * as SoundWire from "./SoundWire.ts"
import * as Viewer from "./Viewer.ts"

/**
 * Messages that a page has not said to have heard, at most: a second and more of one stream.
 *
 * @category constants
 * @since 0.2.0
 */
export const mostUnderway = 64

const decode = Schema.decodeExit(PageMessage)

/** Milliseconds on the clock that pages are told. */
const milliseconds = (nanos: bigint) => Number(nanos) / 1_000_000

/** What one page listens to, and how far it is. */
class Session {
  readonly #options: Viewer.Options
  readonly #sounds: Sounds["Service"]
  readonly #speaker: Speaker
  readonly #write: Socket.Writer["write"]
  readonly #scope: Scope.Scope
  readonly #throttle: Throttle
  /** Open while there may be something to send. */
  readonly #news = Latch.makeUnsafe()
  #guest: number | undefined
  #listening: Scope.Closeable | undefined
  #isListed = true
  #waiting: Array<SoundWire.Chunk> = []
  readonly #underway = new Underway(mostUnderway)

  constructor(
    options: Viewer.Options,
    sounds: Sounds["Service"],
    speaker: Speaker,
    write: Socket.Writer["write"],
    scope: Scope.Scope
  ) {
    this.#options = options
    this.#sounds = sounds
    this.#speaker = speaker
    this.#write = write
    this.#scope = scope
    this.#throttle = new Throttle(options.messagesPerSecond ?? Viewer.defaultMessagesPerSecond)
  }

  /** Whether as much is on its way, or waits for its turn, as may be. */
  get #isFull(): boolean {
    return this.#underway.size + this.#waiting.length >= mostUnderway
  }

  readonly relist = () => {
    if (this.#guest === undefined) return
    this.#isListed = false
    this.#news.openUnsafe()
  }

  /** Keeps a chunk for its turn, unless the page is too far behind. */
  readonly #take = (chunk: SoundWire.Chunk) => {
    if (this.#isFull) return
    this.#waiting.push(chunk)
    this.#news.openUnsafe()
  }

  /** Sends all that there is to send, then waits for more, for ever. */
  readonly sending = Effect.fnUntraced(function*(this: Session) {
    while (true) {
      yield* this.#news.await
      this.#news.closeUnsafe()
      if (!this.#isListed) {
        // A page knows of a stream before it hears anything of it.
        if (this.#underway.isFull) continue
        yield* this.#sendList()
      }
      // The list may have taken the place of the last one.
      while (this.#isListed && this.#waiting.length > 0 && !this.#underway.isFull) {
        yield* this.#write(SoundWire.encodeChunk(this.#waiting.shift()!, this.#underway.add()))
      }
    }
  }).bind(this)

  readonly #sendList = Effect.fnUntraced(function*(this: Session) {
    this.#isListed = true
    const guest = this.#guest!
    const sounds = this.#sounds.all().map(({ info }) => info).filter((info) =>
      info.guest === guest && Viewer.isOffered(info, this.#options)
    )
    const message: SoundWire.ServerMessage = { type: "sounds", sequence: this.#underway.add(), guest, sounds }
    yield* this.#write(JSON.stringify(message))
  })

  /** Takes one message of the page. False where it is none. */
  readonly receive = Effect.fnUntraced(function*(this: Session, said: string | Uint8Array) {
    // What is not read waits on the other side.
    yield* this.#throttle.pass()
    return typeof said === "string" ? yield* this.#receiveText(said) : this.#receiveSpeech(said)
  }).bind(this)

  readonly #receiveText = Effect.fnUntraced(function*(this: Session, text: string) {
    const message = decode(text)
    if (Exit.isFailure(message)) return false
    const { value } = message
    if (value.type === "listen") yield* this.#listen(value.guest)
    else if (value.type === "heard") this.#confirm(value.sequence)
    else yield* this.#tellTime(value.asked)
    return true
  })

  #receiveSpeech(bytes: Uint8Array): boolean {
    const speech = SoundWire.decodeSpeech(bytes)
    if (speech === undefined || !Viewer.maySpeak(this.#options)) return false
    this.#speaker.say(speech.sound, speech.samples)
    return true
  }

  readonly #listen = Effect.fnUntraced(function*(this: Session, guest: number) {
    if (this.#listening !== undefined) yield* Scope.close(this.#listening, Exit.void)
    this.#listening = yield* Scope.fork(this.#scope)
    this.#guest = guest
    this.#waiting = []
    yield* Scope.provide(this.#sounds.listen(guest, this.#take), this.#listening)
    this.relist()
  })

  #confirm(sequence: number) {
    if (this.#underway.confirm(sequence)) this.#news.openUnsafe()
  }

  readonly #tellTime = Effect.fnUntraced(function*(this: Session, asked: number) {
    if (this.#isFull) return
    const now = milliseconds(yield* Clock.monotonicTimeNanos)
    const message: SoundWire.ServerMessage = { type: "clock", sequence: this.#underway.add(), asked, now }
    yield* this.#write(JSON.stringify(message))
  })
}

/**
 * Serves the sound of a page until it is gone. A page that says what no page says is cut off.
 *
 * @category running
 * @since 0.2.0
 */
export const serve = Effect.fnUntraced(function*(socket: Socket.Socket, options: Viewer.Options = {}) {
  const sounds = yield* Sounds
  const scope = yield* Effect.scope
  const { pull } = yield* socket.reader
  const { write } = yield* socket.writer
  const session = new Session(options, sounds, yield* sounds.speaker, write, scope)
  yield* sounds.onChange(session.relist)
  const receiving = Effect.gen(function*() {
    while (true) {
      for (const said of yield* pull) {
        if (!(yield* session.receive(said))) return yield* write(new Socket.CloseEvent(1008, "That is no message of this page's."))
      }
    }
  })
  yield* Effect.raceFirst(receiving, session.sending())
}, Effect.scoped)
