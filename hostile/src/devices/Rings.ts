/**
 * One half of a ring or of an event page, against a peer that writes what it likes, where it likes, before and after each
 * load, store and copy of ours. Judges by rules of its own, and shares no code with the library. A case is a number.
 */
import * as EventPage from "@xen-shbuf/xenbus/EventPage"
import * as Ring from "@xen-shbuf/xenbus/Ring"
import { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import * as assert from "node:assert/strict"
import * as Model from "../../../packages/xenbus/test/Model.ts"
import * as Traces from "../../../packages/xenbus/test/Traces.ts"

/** The halves, in the order in which cases take turns. */
export const halves = ["front", "back", "producer", "consumer"] as const

type Side = typeof halves[number]

/** Where the words of a side stand, and by how much the peer's index may be ahead of what we have shown it. */
const sides = {
  front: { own: 0, peerEvent: 1, peer: 2, ownEvent: 3, index: "rsp_prod" },
  back: { own: 2, peerEvent: 3, peer: 0, ownEvent: 1, index: "req_prod" },
  producer: { own: 1, peerEvent: -1, peer: 0, ownEvent: -1, index: "in_cons" },
  consumer: { own: 0, peerEvent: -1, peer: 1, ownEvent: -1, index: "in_prod" }
} as const

/** What the error of an index says. */
export interface Fault {
  readonly _tag: "TooFar" | "Backwards"
  readonly index: string
  readonly value: number
  readonly seen: number
  readonly limit?: number
}

/** Only what all have; what a side has not answers undefined. */
interface Half {
  readonly put?: (bytes: Uint8Array) => Result.Result<boolean, RingError>
  readonly putMany?: (bytes: Uint8Array) => Result.Result<number, RingError>
  readonly push?: () => Result.Result<boolean, RingError>
  readonly take?: (into: Uint8Array) => Result.Result<boolean, RingError>
  readonly takeMany?: (into: Uint8Array) => Result.Result<number, RingError>
  readonly finalCheck?: () => Result.Result<boolean, RingError>
  readonly allTaken?: () => Result.Result<boolean, RingError>
}

const u32 = (index: number) => index >>> 0

/** Bytes to take pieces of: making new ones for each write would be most of the work. */
const pool = Model.random(1).bytes(2 ** 16)

const piece = ({ below }: Model.Random, length: number): Uint8Array => {
  const at = below(pool.length - length)
  return pool.subarray(at, at + length)
}

/** The bytes of a word, as they stand in memory. */
const bytesOf = (value: number) => [value & 0xff, value >>> 8 & 0xff, value >>> 16 & 0xff, value >>> 24]

const nothing = new Uint8Array(0)

/** An access to an index. */
interface Access {
  readonly at: number
  readonly value: number
}

/** Keeps a second page with what must be there: all that the peer wrote, and all that the half may write. */
class Duel {
  readonly memory: Uint8Array<ArrayBuffer>
  readonly shadow: Uint8Array<ArrayBuffer>
  readonly half: Half
  readonly side: Side
  readonly slotSize: number
  readonly slots: number
  readonly random: Model.Random
  put: number
  pushed: number
  taken: number
  seen: number
  over: RingError | undefined
  loads: Array<Access> = []
  stores: Array<Access> = []
  copies: Array<Uint8Array> = []
  expected: Fault | undefined

  constructor(seed: number, side: Side) {
    this.random = Model.random(seed)
    const { below } = this.random
    this.side = side
    this.slotSize = [1, 3, 8, 12, 64][below(5)]!
    const isRing = side === "front" || side === "back"
    const fit = 1 + below(12)
    this.slots = isRing ? 2 ** Math.floor(Math.log2(fit)) : fit
    const extra = isRing ? 0 : 4 * below(3)
    this.memory = new Uint8Array(Math.ceil((64 + fit * this.slotSize) / 4) * 4 + extra)
    if (isRing) this.slots = Math.max(this.slots, 2 ** Math.floor(Math.log2((this.memory.length - 64) / this.slotSize)))
    else this.slots = Math.floor((this.memory.length - 64) / this.slotSize)
    const start = u32(below(3) === 0 ? this.random.word() : -below(20))
    this.memory.set(piece(this.random, this.memory.length))
    const options = { slotSize: this.slotSize, eventSize: this.slotSize, start }
    const make = { front: Ring.front, back: Ring.back, producer: EventPage.producer, consumer: EventPage.consumer }
    this.half = make[side](this.memory, options)
    this.shadow = this.memory.slice()
    this.put = this.pushed = this.taken = this.seen = start
  }

  get limit(): number {
    switch (this.side) {
      case "back":
        return u32(this.pushed + this.slots)
      case "consumer":
        return u32(this.taken + this.slots)
      default:
        return this.pushed
    }
  }

  write(offset: number, bytes: ArrayLike<number>): void {
    this.memory.set(bytes, offset)
    this.shadow.set(bytes, offset)
  }

  writeWord(at: number, value: number): void {
    this.write(at * 4, bytesOf(u32(value)))
  }

  /** What the peer does at a moment: nothing, a step that it may do, one that it may not, or anything anywhere. */
  readonly move = (): void => {
    const { below, word } = this.random
    const { peer, peerEvent } = sides[this.side]
    const kind = below(12)
    if (kind < 6) return
    if (kind < 9) this.writeWord(peer, this.seen + below(u32(this.limit - this.seen) + 1))
    else if (kind === 9) {
      if (below(6) === 0) this.writeWord(peer, [this.seen - 1 - below(3), this.limit + 1 + below(3), word(), this.seen + 2 ** 31][below(4)]!)
      else if (peerEvent >= 0) this.writeWord(peerEvent, this.pushed + below(5) - 1)
    } else if (kind === 10) {
      const offset = 64 + below(this.memory.length - 64)
      this.write(offset, piece(this.random, Math.min(1 + below(70), this.memory.length - offset)))
    } else if (below(20) === 0) this.write(0, piece(this.random, this.memory.length))
  }

  /** Runs one operation with the peer in its middle. */
  during<A>(work: () => Result.Result<A, RingError>): A | RingError {
    this.loads = []
    this.stores = []
    this.copies = []
    this.move()
    return Model.answer(Model.watching((event, at, value) => {
      if (event === "loaded") this.loads.push({ at, value })
      // What we store is in the second page as soon as it is in the first.
      if (event === "stores") this.stores.push({ at, value })
      if (event === "stored") this.shadow.set(bytesOf(value), at * 4)
      this.move()
    }, work))
  }

  /** What the loads of the peer's index must have led to: it moved, it did not, or the duel is over. */
  judge(): boolean | "over" {
    let moved: boolean | "over" = false
    for (const { at, value } of this.loads) {
      if (at !== sides[this.side].peer) continue
      if (moved === "over") assert.fail("read on after a fault")
      const distance = u32(value - this.seen)
      if (distance <= u32(this.limit - this.seen)) {
        this.seen = value
        moved = moved || distance > 0
      } else {
        moved = "over"
        const { index } = sides[this.side]
        this.expected = distance < 2 ** 31
          ? { _tag: "TooFar", index, value, seen: this.seen, limit: this.limit }
          : { _tag: "Backwards", index, value, seen: this.seen }
      }
    }
    return moved
  }

  ends(answer: unknown): void {
    assert.ok(answer instanceof RingError, `${this.expected!._tag} is taken`)
    const { reason } = answer
    const said = { _tag: reason._tag, index: reason.index, value: reason.value, seen: reason.seen }
    assert.deepEqual(reason._tag === "TooFar" ? { ...said, limit: reason.limit } : said, this.expected)
    Model.same(this.copies.length, 0)
    this.over = answer
  }

  /** What must have been stored in this operation, and no more. */
  stored(...expected: ReadonlyArray<Access>): void {
    Model.same(this.stores.length, expected.length, "stores")
    expected.forEach(({ at, value }, i) => {
      Model.same(this.stores[i]!.at, at, "where an index is stored")
      Model.same(this.stores[i]!.value, value, "what is stored")
    })
  }

  room(): boolean {
    const inFlight = u32(this.put - this.seen)
    switch (this.side) {
      case "front":
        return u32(this.put - this.taken) < this.slots
      case "back":
        return this.put !== this.taken
      default: {
        if (inFlight >= this.slots) return false
        for (let i = 0; i < inFlight; i++) {
          if (u32(this.seen + i) % this.slots === this.put % this.slots) return false
        }
        return true
      }
    }
  }

  /** One operation: its outcome, if the side has it. */
  step(): string | undefined {
    const { random, half } = this
    const { below } = random
    const operation = (["put", "put", "putMany", "push", "take", "take", "takeMany", "finalCheck", "allTaken"] as const)[below(9)]!
    if (half[operation] === undefined) return undefined
    const many = 1 + below(this.slots + 1)
    const given = operation === "putMany" ? piece(random, many * this.slotSize) : piece(random, below(this.slotSize + 1))
    const into = operation === "take" || operation === "takeMany"
      ? Model.target(operation === "takeMany" ? many * this.slotSize : this.slotSize, () => {
        this.move()
        this.copies.push(this.memory.slice())
      })
      : nothing
    const before = this.room()
    const answer = this.during<boolean | number>(() => {
      switch (operation) {
        case "put":
        case "putMany":
          return half[operation]!(given)
        case "take":
        case "takeMany":
          return half[operation]!(into)
        default:
          return half[operation]!()
      }
    })
    if (this.over !== undefined) {
      Model.same(answer, this.over)
      Model.same(this.loads.length + this.stores.length + this.copies.length, 0, "a half that is over goes on")
    } else if (operation === "put") this.afterPut(answer, given, before)
    else if (operation === "putMany") this.afterPutMany(answer, given)
    else if (operation === "push") this.afterPush(answer)
    else if (operation === "take") this.afterTake(answer, into)
    else if (operation === "takeMany") this.afterTakeMany(answer, into)
    else if (operation === "finalCheck") this.afterFinalCheck(answer)
    else this.afterAllTaken(answer)
    Model.sameBytes(this.memory, this.shadow, `the page after ${operation}`)
    this.move()
    if (!(answer instanceof RingError)) return `${operation} ${Boolean(answer)}`
    return this.loads.length > 0 ? answer.reason._tag : "over"
  }

  at(index: number): number {
    return 64 + index % this.slots * this.slotSize
  }

  afterPut(answer: unknown, given: Uint8Array, before: boolean): void {
    // A producer looks again where it saw no room; others look at nothing.
    Model.same(this.loads.length, this.side === "producer" && !before ? 1 : 0)
    if (this.judge() === "over") return this.ends(answer)
    Model.same(answer, this.room())
    if (answer !== true) return
    const whole = new Uint8Array(this.slotSize)
    whole.set(given)
    this.shadow.set(whole, this.at(this.put))
    this.put = u32(this.put + 1)
  }

  afterPutMany(answer: unknown, given: Uint8Array): void {
    Model.same(this.loads.length, 0)
    let count = 0
    for (; count * this.slotSize < given.length && this.room(); count++) {
      this.shadow.set(given.subarray(count * this.slotSize, (count + 1) * this.slotSize), this.at(this.put))
      this.put = u32(this.put + 1)
    }
    Model.same(answer, count)
  }

  afterPush(answer: unknown): void {
    const { own, peerEvent } = sides[this.side]
    const [from, to] = [this.pushed, this.put]
    this.pushed = to
    if (from === to) {
      Model.same(answer, false)
      this.stored()
      Model.same(this.loads.length, 0)
      return
    }
    this.stored({ at: own, value: to })
    if (peerEvent < 0) return Model.same(answer, true)
    Model.same(this.loads.length, 1)
    Model.same(this.loads[0]!.at, peerEvent)
    // The event is one of the indexes after what was shown before, up to what is shown now.
    const crossed = Array.from({ length: u32(to - from) }, (_, i) => u32(from + 1 + i))
    Model.same(answer, crossed.includes(this.loads[0]!.value))
  }

  afterTake(answer: unknown, into: Uint8Array): void {
    const had = this.seen !== this.taken
    Model.same(this.loads.length, had ? 0 : 1)
    const moved = this.judge()
    if (moved === "over") return this.ends(answer)
    Model.same(answer, had || moved)
    Model.same(this.copies.length, answer === true ? 1 : 0, "a slot is copied once")
    if (answer !== true) return
    const at = this.at(this.taken)
    Model.sameBytes(into, this.copies[0]!.subarray(at, at + this.slotSize), "what was taken is what stood in that slot when it was copied")
    this.taken = u32(this.taken + 1)
    if (this.side === "consumer") this.stored({ at: 0, value: this.taken })
    else this.stored()
  }

  afterTakeMany(answer: unknown, into: Uint8Array): void {
    const fit = into.length / this.slotSize
    Model.same(this.loads.length, u32(this.seen - this.taken) < fit ? 1 : 0)
    if (this.judge() === "over") return this.ends(answer)
    const count = Math.min(fit, u32(this.seen - this.taken))
    Model.same(answer, count)
    const slots = Array.from({ length: count }, (_, i) => this.at(u32(this.taken + i)))
    const isWrapped = slots.indexOf(64) > 0
    Model.same(this.copies.length, count === 0 ? 0 : isWrapped ? 2 : 1, "slots are copied once")
    slots.forEach((at, i) => {
      const copied = this.copies[isWrapped && i >= slots.indexOf(64) ? 1 : 0]!.subarray(at, at + this.slotSize)
      Model.sameBytes(into.subarray(i * this.slotSize, (i + 1) * this.slotSize), copied, "what was taken at once")
    })
    this.taken = u32(this.taken + count)
    Model.same(this.stores.length, 0)
  }

  afterFinalCheck(answer: unknown): void {
    const { ownEvent } = sides[this.side]
    const had = this.seen !== this.taken
    const moved = this.judge()
    if (moved === "over") return this.ends(answer)
    Model.same(answer, had || moved)
    const armed = this.stores.length > 0
    Model.same(this.loads.length, had ? 0 : armed ? 2 : 1)
    if (answer === false) assert.ok(armed)
    if (armed) this.stored({ at: ownEvent, value: u32(this.taken + 1) })
  }

  afterAllTaken(answer: unknown): void {
    Model.same(this.loads.length, 1)
    this.stored()
    if (this.judge() === "over") return this.ends(answer)
    Model.same(answer, this.seen === this.pushed)
  }
}

/** All that can come of cases, for the tally. */
export const outcomes: ReadonlyArray<string> = halves.flatMap((half) => {
  const operations = {
    front: ["put", "putMany", "push", "take", "takeMany", "finalCheck"],
    back: ["put", "putMany", "push", "take", "takeMany", "finalCheck"],
    producer: ["put", "push", "allTaken"],
    consumer: ["take"]
  }[half]
  const all = [...operations.flatMap((name) => [`${name} true`, `${name} false`]), "Backwards", "TooFar", "over"]
  return all.map((outcome) => `${half}: ${outcome}`)
})

const one = (seed: number, tally: Map<string, number>) => {
  const side = halves[seed % halves.length]!
  const duel = new Duel(seed, side)
  // What comes after the end is the same again and again.
  for (let i = 0, after = 0; i < 40 && after < 4; i++) {
    const outcome = duel.step()
    if (duel.over !== undefined) after++
    if (outcome !== undefined) tally.set(`${side}: ${outcome}`, (tally.get(`${side}: ${outcome}`) ?? 0) + 1)
  }
}

/** Plays so many cases, of each half as many, and adds up what they came to. Dies of the case where the library is at fault. */
export const play = (seed: number, cases: number, tally: Map<string, number>): Effect.Effect<void> =>
  Traces.without(Effect.suspend(() => {
    for (let i = 0; i < cases; i++) {
      try {
        one(seed + i, tally)
      } catch (cause) {
        return Effect.die(new Error(`${String(cause)}\nAgain: npm run hostile -- --of rings --cases 1 --seed ${seed + i}`, { cause }))
      }
    }
    return Effect.void
  }))
