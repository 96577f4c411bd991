/**
 * Passes events of one size through a shared page, from a backend to a frontend, as the display and sound protocols have it
 * (`xendispl_event_page` in `xen/include/public/io/displif.h`, `xensnd_event_page` in `sndif.h`): what was consumed
 * (`in_cons`) and produced (`in_prod`) in the first 8 bytes, the events from an offset on.
 *
 * The rules are those of `Ring`: pure and synchronous, private indexes, the peer's read once and checked, nothing
 * allocated for an event, the same error for ever once the peer has broken the rules, a RangeError where an argument makes
 * no sense, a TypeError where the memory's scope has ended. There are no thresholds: the backend signals for all it shows,
 * so a frontend that took until there was none may wait.
 *
 * @since 0.2.0
 */
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import type * as Result from "effect/Result"
import { type Answer, no, yes } from "./internal/answer.ts"
import { Slots } from "./internal/slots.ts"
import * as Ordered from "./Ordered.ts"
import { ahead, PeerIndex } from "./PeerIndex.ts"
import type { RingError } from "./RingError.ts"

/** The words of the header, by their place. */
const word = { in_cons: 0, in_prod: 1 } as const

/**
 * How an event page is laid out, and where it begins.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** Bytes of an event. */
  readonly eventSize: number
  /** Where the first event stands, in bytes: 64 unless given. */
  readonly offset?: number | undefined
  /** Bytes that events may take: to the end of the memory unless given. As many events as fit are used, 63 of 64 bytes. */
  readonly length?: number | undefined
  /** The index to begin with. Unless given, a frontend begins with 0, and a backend where the page stands. */
  readonly start?: number | undefined
}

/**
 * The backend's half.
 *
 * @category models
 * @since 0.2.0
 */
export interface Producer {
  /** Events that the page has places for. */
  readonly places: number
  /** The index of the next event that is put, 0 to 2^32 - 1: Linux wants its low 16 bits as the event's id. */
  readonly index: number
  /**
   * Writes a whole event: the bytes given, at most an event's, then zeros. The peer sees it after `push`. False, and nothing
   * is written, where the page is full: the peer has not taken what is there.
   */
  put(bytes: ArrayLike<number>): Result.Result<boolean, RingError>
  /** Shows the peer all that was put. True where there was something: it must be signalled. */
  push(): Result.Result<boolean, RingError>
  /** Whether the peer has taken all that it was shown. */
  allTaken(): Result.Result<boolean, RingError>
}

/**
 * The frontend's half.
 *
 * @category models
 * @since 0.2.0
 */
export interface Consumer {
  /** Events that the page has places for. */
  readonly places: number
  /** Copies the next event into the beginning of `into`, once, and gives its place back. False where there is none. */
  take(into: Uint8Array): Result.Result<boolean, RingError>
}

class ProducerImpl implements Producer {
  readonly #words: Ordered.Words
  readonly #slots: Slots
  readonly #consumed: PeerIndex
  #put: number
  #pushed: number

  constructor(words: Ordered.Words, slots: Slots, start: number, consumed: number) {
    this.#words = words
    this.#slots = slots
    this.#consumed = new PeerIndex("in_cons", words, word.in_cons, consumed)
    this.#put = this.#pushed = start
  }

  get places(): number {
    return this.#slots.count
  }

  get index(): number {
    return this.#put
  }

  put(bytes: ArrayLike<number>): Answer {
    if (this.#consumed.broken !== undefined) return this.#consumed.broken
    if (!this.#hasRoom()) {
      const moved = this.#consumed.read(this.#pushed)
      if (moved !== yes || !this.#hasRoom()) return moved === yes ? no : moved
    }
    this.#slots.write(this.#put % this.places, bytes)
    this.#put = (this.#put + 1) >>> 0
    return yes
  }

  push(): Answer {
    if (this.#consumed.broken !== undefined) return this.#consumed.broken
    if (this.#put === this.#pushed) return no
    Ordered.store(this.#words, word.in_prod, this.#put)
    this.#pushed = this.#put
    return yes
  }

  allTaken(): Answer {
    if (this.#consumed.broken !== undefined) return this.#consumed.broken
    const moved = this.#consumed.read(this.#pushed)
    if (moved !== yes && moved !== no) return moved
    return this.#consumed.seen === this.#pushed ? yes : no
  }

  /**
   * Where 2^32 is no multiple of the places, as of 63, an index that has wrapped has the place of one less far behind it
   * than a whole round: such a place may still hold an event that was not taken.
   */
  #hasRoom(): boolean {
    const { places } = this
    const put = this.#put
    const seen = this.#consumed.seen
    if (ahead(put, seen) >= places) return false
    if (put >= seen) return true
    const sharing = seen + (places + put % places - seen % places) % places
    return sharing >= 2 ** 32
  }
}

class ConsumerImpl implements Consumer {
  readonly #words: Ordered.Words
  readonly #slots: Slots
  readonly #produced: PeerIndex
  #taken: number

  constructor(words: Ordered.Words, slots: Slots, start: number) {
    this.#words = words
    this.#slots = slots
    this.#produced = new PeerIndex("in_prod", words, word.in_prod, start)
    this.#taken = start
  }

  get places(): number {
    return this.#slots.count
  }

  take(into: Uint8Array): Answer {
    if (this.#produced.broken !== undefined) return this.#produced.broken
    if (this.#taken === this.#produced.seen) {
      const arrived = this.#produced.read((this.#taken + this.places) >>> 0)
      if (arrived !== yes) return arrived
    }
    this.#slots.read(this.#taken % this.places, into)
    this.#taken = (this.#taken + 1) >>> 0
    Ordered.store(this.#words, word.in_cons, this.#taken)
    return yes
  }
}

const slotsOf = (
  memory: SharedMemory.Writable,
  { eventSize, offset = 64, length = memory.length - offset }: Options
): Slots => {
  const lie = [eventSize, offset, length].every((bytes) => Number.isInteger(bytes)) && eventSize >= 1 && offset >= 8 &&
    length >= eventSize && offset + length <= memory.length
  if (!lie) {
    throw new RangeError(
      `Events of ${eventSize} bytes in ${length} bytes at offset ${offset} do not lie in a memory of ${memory.length} bytes`
    )
  }
  return new Slots(memory, offset, eventSize, Math.floor(length / eventSize))
}

/**
 * The backend's half of the page that a frontend made in `memory`.
 *
 * A frontend may keep its page when its backend is another process, as Linux's keyboards do: there it goes on where the
 * one before left off, behind events that were not taken yet. Linux takes events one by one up to `in_prod`, so an index
 * that begins anew costs such a guest 2^32 turns. Where the indexes can't be, or `start` is given, writes `in_prod`.
 *
 * @category constructors
 * @since 0.2.0
 */
export const producer = (memory: SharedMemory.Writable, options: Options): Producer => {
  const slots = slotsOf(memory, options)
  const words = Ordered.words(memory, 2)
  const consumed = Ordered.load(words, word.in_cons)
  const produced = Ordered.load(words, word.in_prod)
  if (options.start === undefined && ahead(produced, consumed) <= slots.count) {
    return new ProducerImpl(words, slots, produced, consumed)
  }
  const start = (options.start ?? consumed) >>> 0
  Ordered.store(words, word.in_prod, start)
  return new ProducerImpl(words, slots, start, start)
}

/**
 * The frontend's half of a new event page in `memory`, which is shared already. Clears all of it and writes the first
 * indexes: to be made before the backend hears of the page.
 *
 * @category constructors
 * @since 0.2.0
 */
export const consumer = (memory: SharedMemory.Writable, options: Options): Consumer => {
  const slots = slotsOf(memory, options)
  const start = (options.start ?? 0) >>> 0
  const words = Ordered.words(memory, 2)
  memory.fill(0)
  Ordered.store(words, word.in_cons, start)
  Ordered.store(words, word.in_prod, start)
  return new ConsumerImpl(words, slots, start)
}
