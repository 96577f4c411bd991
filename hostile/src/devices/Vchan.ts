/**
 * Vchans with a hostile peer: one end, against a peer that writes what it likes, where it likes, between any two accesses
 * of ours; and a client, against the page of a hostile server. Judges by rules of its own, and shares no code with the
 * library. A case is a number.
 */
import * as Protocol from "@xen-shbuf/io/libxenvchan/Protocol"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Result from "effect/Result"
import * as assert from "node:assert/strict"
import { random, type Random, target, watching } from "../../../packages/xenbus/test/Model.ts"
import type { Fault } from "./Rings.ts"

const u32 = (index: number) => index >>> 0

type Side = Protocol.End["side"]

/** What a case came to: words for the tally. */
export type Outcome = string

/** Where a side finds its words, in the page: offsets in bytes. */
const places = {
  server: { taken: 0, peerProd: 4, peerCons: 8, written: 12, ask: 22, asked: 23, peerLive: 20, names: ["left.prod", "right.cons"] },
  client: { taken: 8, peerProd: 12, peerCons: 0, written: 4, ask: 23, asked: 22, peerLive: 21, names: ["right.prod", "left.cons"] }
} as const

/** Bytes to take pieces of: making new ones for each write would be most of the work. */
const pool = random(1).bytes(2 ** 16)

const piece = ({ below }: Random, length: number): Uint8Array => {
  const at = below(pool.length - length)
  return pool.subarray(at, at + length)
}

const sameBytes = (a: Uint8Array, b: Uint8Array, what: string) => {
  if (Buffer.compare(a, b) === 0) return
  const at = a.findIndex((byte, i) => byte !== b[i])
  assert.fail(`${what}: byte ${at} is ${a[at]}, not ${b[at]}`)
}

/** A direction, as it must be. */
interface Direction {
  /** Where the ring lies in memory. */
  readonly at: number
  readonly size: number
  readonly peerWord: number
  readonly name: string
  ours: number
  seen: number
  over: RingError | undefined
}

/** Memory as a server makes it, and the end that is to be tested in it. */
const make = (side: Side, random: Random) => {
  const { below, word } = random
  const orders = ([[10, 11], [11, 10], [10, 12], [12, 11], [12, 12], [12, 13]] as const)[below(6)]!
  const [left, right] = orders
  const pages = orders.map((order) => order < 12 ? 0 : 2 ** (order - 12))
  const memory = new Uint8Array((1 + pages[0]! + pages[1]!) * 4096)
  memory.set(piece(random, 64), below(memory.length - 64))
  const start = { left: u32(below(2) === 0 ? word() : -below(6000)), right: u32(below(2) === 0 ? word() : -below(6000)) }
  const refs = Uint32Array.from({ length: memory.length / 4096 }, (_, i) => 8 + i)
  let end = Protocol.server(memory, { left, right }, refs, start)
  const at = { left: left < 12 ? 2 ** left : 4096, right: right < 12 ? 2 ** right : 4096 * (1 + pages[0]!) }
  if (side === "client") {
    const page = memory.subarray(0, 4096)
    const claim = Result.getOrThrow(Protocol.claimOf(page.slice()))
    const rings = { left: memory.subarray(4096, 4096 * (1 + pages[0]!)), right: memory.subarray(4096 * (1 + pages[0]!)) }
    end = Result.getOrThrow(Protocol.client(page, claim, rings))
  }
  const [inn, out] = side === "server" ? ["left", "right"] as const : ["right", "left"] as const
  const { names, peerCons, peerProd } = places[side]
  const size = { left: 2 ** left, right: 2 ** right }
  const read: Direction = { at: at[inn], size: size[inn], peerWord: peerProd, name: names[0], ours: start[inn], seen: start[inn], over: undefined }
  const write: Direction = { at: at[out], size: size[out], peerWord: peerCons, name: names[1], ours: start[out], seen: start[out], over: undefined }
  // A client has read where the server stands; a server has not looked yet, so its peer may be as far back as can be.
  if (side === "server") write.seen = u32(write.ours - write.size)
  return { memory, end, read, write }
}

/** One end against a peer that does anything at any moment. */
class Duel {
  readonly random: Random
  readonly side: Side
  readonly memory: Uint8Array
  readonly shadow: Uint8Array
  readonly end: Protocol.End
  readonly inn: Direction
  readonly out: Direction
  /** What our accesses saw, in this operation. */
  loads: Array<{ readonly at: number; readonly value: number }> = []
  copies: Array<Uint8Array> = []
  owed = false
  /** What is being written: it must be there when our index is stored. */
  given: Uint8Array = new Uint8Array(0)
  readonly outcomes = new Set<Outcome>()

  constructor(random: Random) {
    this.random = random
    this.side = random.below(2) === 0 ? "server" : "client"
    const { end, memory, read, write } = make(this.side, random)
    this.end = end
    this.memory = memory
    this.shadow = memory.slice()
    this.inn = read
    this.out = write
  }

  put(offset: number, bytes: ArrayLike<number>) {
    this.memory.set(bytes, offset)
    this.shadow.set(bytes, offset)
  }

  putWord(offset: number, value: number) {
    this.put(offset, new Uint8Array(Uint32Array.of(u32(value)).buffer))
  }

  /** How far the peer's index can be. */
  limit(way: Direction): number {
    return way === this.inn ? u32(way.ours + way.size) : way.ours
  }

  /** What the peer does at a moment: nothing, a step that it may do, one that it may not, or anything anywhere. */
  readonly move = () => {
    const { below, word } = this.random
    const way = below(2) === 0 ? this.inn : this.out
    const kind = below(16)
    if (kind < 8) return
    if (kind < 12) this.putWord(way.peerWord, way.seen + below(u32(this.limit(way) - way.seen) + 1))
    else if (kind === 12) this.put(20 + below(4), [below(4) === 0 ? below(256) : below(4)])
    else if (kind === 13) this.put(24 + below(this.memory.length - 96), piece(this.random, 1 + below(64)))
    else if (kind === 14 && below(6) === 0) {
      const lies = [way.seen - 1 - below(3), this.limit(way) + 1 + below(3), word(), way.seen + 2 ** 31]
      this.putWord(way.peerWord, lies[below(4)]!)
    } else if (below(60) === 0) this.put(0, piece(this.random, 24 + below(100)))
  }

  /** Runs one operation with the peer in its middle. */
  during<A>(work: () => A): A {
    const { ask, asked, taken, written } = places[this.side]
    this.loads = []
    this.copies = []
    this.owed = false
    this.move()
    return watching((event, at, value) => {
      if (event === "loaded") this.loads.push({ at: at * 4, value })
      if (event === "stores") {
        assert.ok(at * 4 === taken || at * 4 === written, "an index of the peer's is stored")
        const way = at * 4 === taken ? this.inn : this.out
        if (way === this.out) this.wrote(u32(value - way.ours))
        else this.copies.push(this.memory.slice(way.at, way.at + way.size))
        way.ours = value
      }
      if (event === "stored") this.shadow.set(new Uint8Array(Uint32Array.of(value).buffer), at * 4)
      this.move()
      if (event === "raises") this.change(at, ask, (byte) => byte | value)
      if (event === "lowers") {
        this.owed ||= (this.memory[20 + at]! & ~value & 0xff) !== 0
        this.change(at, asked, (byte) => byte & value)
      }
    }, work)
  }

  /** What is about to happen to a flag. */
  change(flag: number, expected: number, to: (byte: number) => number) {
    assert.equal(20 + flag, expected, "a flag of the peer's is changed")
    this.shadow[20 + flag] = to(this.memory[20 + flag]!)
  }

  wrote(count: number) {
    const { at, ours, size } = this.out
    const first = Math.min(count, size - ours % size)
    this.shadow.set(this.given.subarray(0, first), at + ours % size)
    this.shadow.set(this.given.subarray(first, count), at)
    sameBytes(this.memory.subarray(at, at + size), this.shadow.subarray(at, at + size), "the ring when its index is stored")
  }

  /** What the loads of a peer's index must have led to: its error, if it broke the rules. */
  judge(way: Direction, before: number): Fault | undefined {
    const limit = way === this.inn ? u32(before + way.size) : before
    for (const { at, value } of this.loads) {
      if (at !== way.peerWord) continue
      const distance = u32(value - way.seen)
      if (distance > u32(limit - way.seen)) {
        const what = { index: way.name, value, seen: way.seen }
        return distance < 2 ** 31 ? { _tag: "TooFar", ...what, limit } : { _tag: "Backwards", ...what }
      }
      way.seen = value
    }
    return undefined
  }

  /** Checks an operation of a direction: `expected` is what it answers once the peer's index has been judged. */
  check<A>(way: Direction, result: Result.Result<A, RingError>, before: number, expected: (answer: A) => void) {
    if (way.over !== undefined) {
      assert.ok(Result.isFailure(result) && result.failure === way.over, "an end that is over goes on")
      assert.equal(this.loads.length, 0, "the peer's index is read again")
      return
    }
    assert.ok(this.loads.length <= 1, "the peer's index is read twice")
    const fault = this.judge(way, before)
    if (fault === undefined) {
      assert.ok(Result.isSuccess(result), "a sound index is refused")
      expected(result.success)
    } else {
      assert.ok(Result.isFailure(result), `${fault._tag} is taken`)
      const { reason } = result.failure
      const said: Fault = { _tag: reason._tag, index: reason.index, value: reason.value, seen: reason.seen }
      assert.deepEqual(reason._tag === "TooFar" ? { ...said, limit: reason.limit } : said, fault)
      assert.equal(way.ours, before, "something moved on the strength of a wrong index")
      way.over = result.failure
      this.outcomes.add(`${way.name} ${fault._tag}`)
    }
  }

  readonly operations: ReadonlyArray<() => void> = [
    () => this.read(),
    () => this.read(),
    () => this.take(),
    () => this.write(),
    () => this.write(),
    () => this.look("ready", this.inn),
    () => this.look("space", this.out),
    () => this.look("askForData", this.inn),
    () => this.look("askForSpace", this.out),
    () => this.peer()
  ]

  some(): number {
    const { below } = this.random
    return below(3) === 0 ? below(4) : below(5000)
  }

  read() {
    const before = this.inn.ours
    let snapshots: Array<Uint8Array> = []
    const into = target(this.some(), () => {
      this.move()
      snapshots.push(this.memory.slice(this.inn.at, this.inn.at + this.inn.size))
    })
    const result = this.during(() => this.end.read(into))
    this.check(this.inn, result, before, (count) => {
      assert.equal(count, Math.min(into.length, u32(this.inn.seen - before)))
      this.came(into.subarray(0, count), before, snapshots)
      snapshots = []
    })
  }

  take() {
    const before = this.inn.ours
    const most = this.some()
    const result = this.during(() => this.end.take(most))
    this.check(this.inn, result, before, (bytes) => {
      const { seen, size } = this.inn
      assert.equal(bytes.length, Math.min(most, u32(seen - before), size - before % size))
      this.came(bytes, before, this.copies)
    })
  }

  /** What was read is what stood in the ring when it was copied, and our index says so. */
  came(bytes: Uint8Array, before: number, snapshots: ReadonlyArray<Uint8Array>) {
    const { ours, size } = this.inn
    assert.equal(ours, u32(before + bytes.length), "our index")
    const first = Math.min(bytes.length, size - before % size)
    assert.equal(snapshots.length >= (bytes.length === 0 ? 0 : first < bytes.length ? 2 : 1), true)
    if (first > 0) sameBytes(bytes.subarray(0, first), snapshots[0]!.subarray(before % size, before % size + first), "read")
    if (first < bytes.length) sameBytes(bytes.subarray(first), snapshots[1]!.subarray(0, bytes.length - first), "read on")
    this.outcomes.add(bytes.length === 0 ? "nothing to read" : "read")
  }

  write() {
    const before = this.out.ours
    this.given = piece(this.random, this.some())
    const result = this.during(() => this.end.write(this.given))
    this.check(this.out, result, before, (count) => {
      const { seen, size } = this.out
      assert.equal(count, Math.min(this.given.length, size - u32(before - seen)))
      assert.equal(this.out.ours, u32(before + count), "our index")
      this.outcomes.add(count === this.given.length ? "written" : "no space")
    })
  }

  look(operation: "ready" | "space" | "askForData" | "askForSpace", way: Direction) {
    const result = this.during(() => this.end[operation]())
    this.check(way, result, way.ours, (count) => {
      assert.equal(count, way === this.inn ? u32(way.seen - way.ours) : way.size - u32(way.ours - way.seen))
    })
  }

  peer() {
    const said = this.end.peer
    const live = this.memory[places[this.side].peerLive]
    assert.equal(said, live === 0 ? "closed" : live === 2 && this.side === "server" ? "absent" : "connected")
    this.outcomes.add(said)
  }

  step() {
    this.operations[this.random.below(this.operations.length)]!()
    assert.equal(this.end.owesSignal(), this.owed, "a signal is owed, or not")
    sameBytes(this.memory, this.shadow, "memory")
    this.owed = false
    this.move()
  }
}

/** A server's page with damage, and what a client must say of it. */
const claim = (random: Random): Outcome => {
  const { below, word } = random
  const page = new Uint8Array(4096)
  const view = new DataView(page.buffer)
  const order = () => below(3) === 0 ? below(40) : 10 + below(11)
  const [left, right] = below(8) === 0 ? [word() & 0xffff, order()] : [order(), order()]
  page.set(piece(random, 4096))
  for (let at = 24; at < 4096; at += 4) view.setUint32(at, 8 + (view.getUint32(at, true) >>> 1), true)
  for (const at of [0, 8]) {
    const cons = word()
    view.setUint32(at, cons, true)
    view.setUint32(at + 4, below(4) === 0 ? word() : cons + below(1500), true)
  }
  view.setUint16(16, left, true)
  view.setUint16(18, right, true)
  if (below(3) === 0) view.setUint32(24 + 4 * below(below(2) === 0 ? 8 : 512), [0, 7, 0xffff_ffff, word()][below(4)]!, true)
  if (below(20) === 0) page.set(piece(random, 4096))
  const orders = [view.getUint16(16, true), view.getUint16(18, true)] as const
  const used = new Uint8Array(4096)
  const pages = orders.map((order) => order >= 12 && order <= 20 ? 2 ** (order - 12) : 0)
  used.fill(1, 0, 24 + 4 * (pages[0]! + pages[1]!))
  let isSound = orders.every((order) => order >= 10 && order <= 20)
  for (const order of isSound ? orders : []) {
    if (order >= 12) continue
    if (used.subarray(2 ** order, 2 ** (order + 1)).includes(1)) isSound = false
    used.fill(1, 2 ** order, 2 ** (order + 1))
  }
  const refs = Array.from({ length: pages[0]! + pages[1]! }, (_, i) => view.getUint32(24 + 4 * i, true))
  const result = Protocol.claimOf(page.slice())
  const said = Result.isFailure(result) ? result.failure : undefined
  if (!isSound) {
    assert.equal(said?._tag, "InvalidOrders")
    return "InvalidOrders"
  }
  const bad = refs.findIndex((ref) => ref < 8 || ref === 0xffff_ffff)
  if (bad >= 0) {
    assert.ok(said?._tag === "InvalidRingRef" && said.ref === refs[bad])
    assert.equal((said.ring === "left" ? 0 : pages[0]!) + said.page, bad)
    return "InvalidRingRef"
  }
  assert.ok(Result.isSuccess(result))
  const claimed = [...result.success.left, ...result.success.right]
  assert.ok(claimed.length === refs.length && claimed.every((ref, i) => ref === refs[i]), "other references")
  return orders[0] > 14 || orders[1] > 14 ? "sound, big" : enter(page, result.success, pages)
}

/** A client enters a page whose orders and references are sound: its indexes may not be. */
const enter = (page: Uint8Array<ArrayBuffer>, claim: Protocol.Claim, pages: ReadonlyArray<number>): Outcome => {
  const before = page.slice()
  const view = new DataView(before.buffer)
  const inFlight = (at: number) => u32(view.getUint32(at + 4, true) - view.getUint32(at, true))
  const { left, right } = claim.orders
  const own = { left: new Uint8Array(pages[0]! * 4096), right: new Uint8Array(pages[1]! * 4096) }
  const result = Protocol.client(page, claim, own)
  const isSound = inFlight(0) <= 2 ** left && inFlight(8) <= 2 ** right
  assert.equal(Result.isSuccess(result), isSound)
  if (isSound) before.set([1, before[21]!, before[22]!, 1], 20)
  sameBytes(page, before, "the server's page")
  return isSound ? "entered" : "wrong indexes"
}

/** Plays a case, and says what it came to; throws where the library is at fault. */
export const play = (seed: number): ReadonlyArray<Outcome> => {
  const source = random(seed)
  if (source.below(4) === 0) return [claim(source)]
  const duel = new Duel(source)
  for (let step = 0; step < 24; step++) duel.step()
  return [...duel.outcomes]
}
