/**
 * Passes requests and responses through shared pages, as `xen/include/public/io/ring.h` lays them out: four indexes in the
 * first 64 bytes, then a power of two of slots of one size. A frontend puts requests and takes responses, a backend
 * the other way round, in the same slots.
 *
 * Both halves are pure and synchronous: they work on memory that is shared already, and never wait. Their indexes are
 * private; what the peer writes is read once and checked. They allocate when they are made and when the peer breaks the
 * rules, and not for a slot, but for a batch of slots a few objects: the caller hands in the bytes to write and the array to
 * copy into, which it may use again at once. A half that has found its peer out answers everything with the same error.
 *
 * One round of a backend, for each signal of the peer (with a bound on the rounds, or a frontend that never pauses keeps
 * it busy for ever): take requests until there is none, put a response for each, {@link pushAndNotify}; then
 * {@link Half.finalCheck}, and once more if that says so.
 *
 * Where an argument makes no sense (a slot's size, an array that is too small), functions throw a RangeError, and where
 * the memory's scope has ended a TypeError: both are mistakes of the caller, not of the peer.
 *
 * @since 0.2.0
 */
import type { EventChannel } from "@xen-shbuf/core/EventChannels"
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { type Answer, no, yes } from "./internal/answer.ts"
import { Slots } from "./internal/slots.ts"
import * as Ordered from "./Ordered.ts"
import { ahead, PeerIndex } from "./PeerIndex.ts"
import type { RingError } from "./RingError.ts"

/**
 * Bytes before the first slot.
 *
 * @category constants
 * @since 0.2.0
 */
export const headerSize = 64

/** The words of the header, by their place. */
const word = { req_prod: 0, req_event: 1, rsp_prod: 2, rsp_event: 3 } as const

const index = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff }))

/**
 * The indexes of a ring, 0 to 2^32 - 1 each: any words, as they stand in shared memory.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Header = Schema.Struct({
  /** Requests produced. */
  reqProd: index,
  /** The frontend is to signal when it produces the request before this index. */
  reqEvent: index,
  /** Responses produced. */
  rspProd: index,
  /** The backend is to signal when it produces the response before this index. */
  rspEvent: index
})

/**
 * The indexes of a ring.
 *
 * @category models
 * @since 0.2.0
 */
export type Header = typeof Header.Type

/**
 * The 64 bytes of a header to its indexes and back, private bytes as zeros; decode it from a copy of shared memory, for
 * people who look for a fault: `SharedMemory.decode(ring, Ring.HeaderFromBytes, { length: Ring.headerSize })`.
 *
 * @category schemas
 * @since 0.2.0
 */
export const HeaderFromBytes: Schema.Codec<Header, Uint8Array> = Schema.Uint8Array.check(
  Schema.makeFilter((bytes: Uint8Array) => bytes.length === headerSize, { expected: `${headerSize} bytes` })
).pipe(Schema.decodeTo(
  Header,
  SchemaTransformation.transform<Header, Uint8Array>({
    decode: ({ buffer, byteLength, byteOffset }) => {
      const view = new DataView(buffer, byteOffset, byteLength)
      const at = (word: number) => view.getUint32(word * 4, true)
      return {
        reqProd: at(word.req_prod),
        reqEvent: at(word.req_event),
        rspProd: at(word.rsp_prod),
        rspEvent: at(word.rsp_event)
      }
    },
    encode: ({ reqEvent, reqProd, rspEvent, rspProd }) => {
      const bytes = new Uint8Array(headerSize)
      const view = new DataView(bytes.buffer)
      view.setUint32(word.req_prod * 4, reqProd, true)
      view.setUint32(word.req_event * 4, reqEvent, true)
      view.setUint32(word.rsp_prod * 4, rspProd, true)
      view.setUint32(word.rsp_event * 4, rspEvent, true)
      return bytes
    }
  })
))

/**
 * Slots of `slotSize` bytes that a ring in so many bytes has: the largest power of two that fits, 0 if none does.
 *
 * @category conversions
 * @since 0.2.0
 */
export const slotsIn = (byteLength: number, slotSize: number): number => {
  const fit = Math.floor((byteLength - headerSize) / slotSize)
  return fit < 1 ? 0 : 2 ** Math.floor(Math.log2(fit))
}

/**
 * The offset in bytes of the slot that an index, 0 to 2^32 - 1, stands for.
 *
 * @category conversions
 * @since 0.2.0
 */
export const offsetOf = (index: number, slots: number, slotSize: number): number =>
  headerSize + index % slots * slotSize

/**
 * How a ring is laid out, and where it begins.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** Bytes of a slot: the size of the protocol's requests or responses, whichever is bigger. 64 in displif and sndif. */
  readonly slotSize: number
  /**
   * The index to begin with: 0, as every backend takes for granted, unless given. A backend that comes back to a ring in
   * use begins with its `rspProd`: what was asked and not answered is taken again.
   */
  readonly start?: number | undefined
}

/**
 * One half of a ring.
 *
 * @category models
 * @since 0.2.0
 */
export interface Half {
  /** All slots, a power of two. */
  readonly slots: number
  /** What `put` takes now: requests that there are free slots for, or responses to requests that were taken. */
  readonly room: number
  /**
   * Writes a whole slot: the bytes given, at most a slot's, then zeros. The peer sees it after `push`. False, and nothing
   * is written, where there is no room.
   */
  put(bytes: ArrayLike<number>): Result.Result<boolean, RingError>
  /**
   * Writes slot after slot from bytes that are whole slots, as many as there is room for, and answers how many: a few slots
   * cost little more than one. The peer sees them after `push`.
   */
  putMany(bytes: Uint8Array): Result.Result<number, RingError>
  /** Shows the peer all that was put. True where it wants to be signalled for it, and must be. */
  push(): Result.Result<boolean, RingError>
  /** Copies the next slot of the peer into the beginning of `into`, once. False where there is none. */
  take(into: Uint8Array): Result.Result<boolean, RingError>
  /**
   * Copies the next slots of the peer one after the other into the beginning of `into`, each once, as many as have come and
   * fit, and answers how many. 0 where there is none.
   */
  takeMany(into: Uint8Array): Result.Result<number, RingError>
  /**
   * To be asked after `take` said false or `takeMany` 0, and before waiting for a signal: asks the peer to signal for the next slot, then
   * looks once more. True where there is something to take already: don't wait.
   */
  finalCheck(): Result.Result<boolean, RingError>
}

/**
 * A frontend's half: puts requests, takes responses.
 *
 * @category models
 * @since 0.2.0
 */
export interface Front extends Half {
  /** Which half it is. */
  readonly half: "front"
}

/**
 * A backend's half: takes requests, puts responses.
 *
 * @category models
 * @since 0.2.0
 */
export interface Back extends Half {
  /** Which half it is. */
  readonly half: "back"
}

class HalfImpl<H extends "front" | "back"> implements Half {
  readonly half: H
  readonly #words: Ordered.Words
  readonly #slots: Slots
  readonly #mask: number
  /** How far we may produce ahead of what we took: a frontend by all slots, a backend not at all. */
  readonly #lead: number
  readonly #ourProd: number
  readonly #ourEvent: number
  readonly #peerEvent: number
  readonly #peerProd: PeerIndex
  /** What we have put, what of it the peer was shown, and what we have taken. */
  #put: number
  #pushed: number
  #taken: number

  constructor(half: H, words: Ordered.Words, slots: Slots, start: number) {
    const isFront = half === "front"
    this.half = half
    this.#words = words
    this.#slots = slots
    this.#mask = slots.count - 1
    this.#lead = isFront ? slots.count : 0
    this.#ourProd = isFront ? word.req_prod : word.rsp_prod
    this.#ourEvent = isFront ? word.rsp_event : word.req_event
    this.#peerEvent = isFront ? word.req_event : word.rsp_event
    this.#peerProd = isFront
      ? new PeerIndex("rsp_prod", words, word.rsp_prod, start)
      : new PeerIndex("req_prod", words, word.req_prod, start)
    this.#put = this.#pushed = this.#taken = start
  }

  get slots(): number {
    return this.#slots.count
  }

  get room(): number {
    return ahead(this.#taken + this.#lead, this.#put)
  }

  put(bytes: ArrayLike<number>): Answer {
    if (this.#peerProd.broken !== undefined) return this.#peerProd.broken
    if (this.room === 0) return no
    this.#slots.write(this.#put & this.#mask, bytes)
    this.#put = (this.#put + 1) >>> 0
    return yes
  }

  putMany(bytes: Uint8Array): Result.Result<number, RingError> {
    if (this.#peerProd.broken !== undefined) return this.#peerProd.broken
    const given = bytes.length / this.#slots.size
    if (!Number.isInteger(given)) {
      throw new RangeError(`${bytes.length} bytes were given for slots of ${this.#slots.size}`)
    }
    const count = Math.min(given, this.room)
    if (count > 0) this.#slots.writeMany(this.#put & this.#mask, bytes, count)
    this.#put = (this.#put + count) >>> 0
    return Result.succeed(count)
  }

  push(): Answer {
    if (this.#peerProd.broken !== undefined) return this.#peerProd.broken
    const before = this.#pushed
    const now = this.#put
    if (now === before) return no
    Ordered.store(this.#words, this.#ourProd, now)
    this.#pushed = now
    // Loaded after the store: the peer sets it before it looks for the last time.
    const event = Ordered.load(this.#words, this.#peerEvent)
    return ahead(now, event) < ahead(now, before) ? yes : no
  }

  take(into: Uint8Array): Answer {
    if (this.#peerProd.broken !== undefined) return this.#peerProd.broken
    if (this.#taken === this.#peerProd.seen) {
      const arrived = this.#look()
      if (arrived !== yes) return arrived
    }
    this.#slots.read(this.#taken & this.#mask, into)
    this.#taken = (this.#taken + 1) >>> 0
    return yes
  }

  takeMany(into: Uint8Array): Result.Result<number, RingError> {
    const peer = this.#peerProd
    if (peer.broken !== undefined) return peer.broken
    const fit = Math.floor(into.length / this.#slots.size)
    if (fit === 0) {
      throw new RangeError(`slots of ${this.#slots.size} bytes were to be copied into ${into.length}`)
    }
    if (ahead(peer.seen, this.#taken) < fit) {
      const arrived = this.#look()
      if (Result.isFailure(arrived)) return Result.fail(arrived.failure)
    }
    const count = Math.min(ahead(peer.seen, this.#taken), fit)
    if (count > 0) this.#slots.readMany(this.#taken & this.#mask, into, count)
    this.#taken = (this.#taken + count) >>> 0
    return Result.succeed(count)
  }

  finalCheck(): Answer {
    if (this.#peerProd.broken !== undefined) return this.#peerProd.broken
    if (this.#taken !== this.#peerProd.seen) return yes
    const arrived = this.#look()
    if (arrived !== no) return arrived
    Ordered.store(this.#words, this.#ourEvent, this.#taken + 1)
    return this.#look()
  }

  /** Reads how far the peer is: at most, all slots ahead of what it was shown as done. */
  #look(): Answer {
    return this.#peerProd.read((this.#pushed + this.slots - this.#lead) >>> 0)
  }
}

const make = <H extends "front" | "back">(
  half: H,
  memory: SharedMemory.Writable,
  { slotSize, start = 0 }: Options
): HalfImpl<H> => {
  const slots = slotsIn(memory.length, slotSize)
  if (!Number.isInteger(slotSize) || slotSize < 1 || slots === 0) {
    throw new RangeError(`A slot of ${slotSize} bytes does not lie in a ring of ${memory.length} bytes`)
  }
  return new HalfImpl(half, Ordered.words(memory, 4), new Slots(memory, headerSize, slotSize, slots), start >>> 0)
}

/**
 * The frontend's half of a new ring in `memory`, which is one or more whole pages that are shared already. Clears all of
 * it and writes the first indexes: to be made before the backend hears of the ring.
 *
 * @category constructors
 * @since 0.2.0
 */
export const front = (memory: SharedMemory.Writable, options: Options): Front => {
  const half = make("front", memory, options)
  const start = options.start ?? 0
  const words = Ordered.words(memory, 4)
  memory.fill(0)
  for (const prod of [word.req_prod, word.rsp_prod]) Ordered.store(words, prod, start)
  for (const event of [word.req_event, word.rsp_event]) Ordered.store(words, event, start + 1)
  return half
}

/**
 * The backend's half of the ring that a frontend made in `memory`. Writes nothing yet.
 *
 * @category constructors
 * @since 0.2.0
 */
export const back = (memory: SharedMemory.Writable, options: Options): Back => make("back", memory, options)

/**
 * Shows the peer all that was put into a half of a ring, or into an event page, and signals it where it wants that: both or
 * neither. A fiber that was interrupted between them would leave a peer that waits for ever: it is told once. It waits for
 * nothing itself.
 *
 * @category combinators
 * @since 0.2.0
 */
export const pushAndNotify = (
  half: { push(): Result.Result<boolean, RingError> },
  channel: EventChannel
): Effect.Effect<void, RingError | EventChannelError> =>
  Effect.uninterruptible(Effect.suspend((): Effect.Effect<void, RingError | EventChannelError> => {
    const isWanted = half.push()
    if (Result.isFailure(isWanted)) return Effect.fail(isWanted.failure)
    return isWanted.success ? channel.notify : Effect.void
  }))
