/**
 * Two rings of bytes between a server and a client, as `xen/include/public/io/libxenvchan.h` lays them out: the client
 * writes the left one, the server the right one. The server grants all pages.
 *
 * Pure and synchronous: works on memory that is shared already, and never waits. The indexes of an end are private, as are
 * the sizes of its rings; what the peer writes is read once and checked. Each byte is copied once.
 *
 * @since 0.2.0
 */

import * as GrantRef from "@xen-shbuf/core/GrantRef"
import * as Page from "@xen-shbuf/core/Page"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Ordered from "@xen-shbuf/xenbus/Ordered"
import { ahead, PeerIndex } from "@xen-shbuf/xenbus/PeerIndex"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { InvalidOrders, InvalidRingRef } from "./VchanError.ts"

/**
 * The size of the biggest ring in bytes: more references than it needs do not fit.
 *
 * @category constants
 * @since 0.2.0
 */
export const maxRingSize = 2 ** 20

/**
 * Where the byte is that says whether an end is there: 0 for one that has ended, 1 for one that is there, and 2 for a
 * client that has not come yet.
 *
 * @category constants
 * @since 0.2.0
 */
export const liveOffset = { client: 20, server: 21 } as const

/** Where the references to the pages of rings begin: first those of the left one. */
const refsOffset = 24

/** The words of the page, by their place, and its bytes after them, from `live` on. */
const word = { leftCons: 0, leftProd: 1, rightCons: 2, rightProd: 3 } as const
const flag = { clientLive: 0, serverLive: 1, clientNotify: 2, serverNotify: 3 } as const

/** `VCHAN_NOTIFY_WRITE` and `VCHAN_NOTIFY_READ`: signal when you have written, when you have read. */
const notify = { write: 1, read: 2 } as const

const index = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff }))
const byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xff }))
const order = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff }))
const Indexes = Schema.Struct({
  /** Bytes read, modulo 2^32: the reader of the ring writes it. */
  cons: index,
  /** Bytes written, modulo 2^32: the writer of the ring writes it. */
  prod: index
})

/**
 * The page's header: any words, as they stand in shared memory.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Header = Schema.Struct({
  /** What was read and written of the ring that the client writes. */
  left: Indexes,
  /** The same of the ring that the server writes. */
  right: Indexes,
  /** The binary logarithm of the left ring's size in bytes, 16 bits; the server writes it. */
  leftOrder: order,
  /** That of the right ring's. */
  rightOrder: order,
  /** Whether the client is there: see {@link liveOffset}. */
  clientLive: byte,
  /** Whether the server is there. */
  serverLive: byte,
  /** What the server wants the client to signal: 1 when it has written, 2 when it has read, 3 for both. */
  clientNotify: byte,
  /** What the client wants the server to signal. */
  serverNotify: byte
})

/**
 * The page's header.
 *
 * @category models
 * @since 0.2.0
 */
export type Header = typeof Header.Type

/**
 * Bytes of the page before the references to its rings' pages.
 *
 * @category constants
 * @since 0.2.0
 */
export const headerSize = refsOffset

const decodeHeader = ({ buffer, byteLength, byteOffset }: Uint8Array): Header => {
  const view = new DataView(buffer, byteOffset, byteLength)
  const indexes = (cons: number, prod: number) => ({ cons: view.getUint32(cons * 4, true), prod: view.getUint32(prod * 4, true) })
  return {
    left: indexes(word.leftCons, word.leftProd),
    right: indexes(word.rightCons, word.rightProd),
    leftOrder: view.getUint16(16, true),
    rightOrder: view.getUint16(18, true),
    clientLive: view.getUint8(liveOffset.client),
    serverLive: view.getUint8(liveOffset.server),
    clientNotify: view.getUint8(22),
    serverNotify: view.getUint8(23)
  }
}

const encodeHeader = (header: Header): Uint8Array => {
  const bytes = new Uint8Array(headerSize)
  const view = new DataView(bytes.buffer)
  const { left, right } = header
  ;[left.cons, left.prod, right.cons, right.prod].forEach((index, i) => view.setUint32(i * 4, index, true))
  view.setUint16(16, header.leftOrder, true)
  view.setUint16(18, header.rightOrder, true)
  bytes.set([header.clientLive, header.serverLive, header.clientNotify, header.serverNotify], liveOffset.client)
  return bytes
}

/**
 * The 24 bytes of a header to its fields and back; decode it from a copy of shared memory:
 * `SharedMemory.decode(page, Protocol.HeaderFromBytes, { length: Protocol.headerSize })`.
 *
 * @category schemas
 * @since 0.2.0
 */
export const HeaderFromBytes: Schema.Codec<Header, Uint8Array> = Schema.Uint8Array.check(
  Schema.makeFilter((bytes: Uint8Array) => bytes.length === headerSize, { expected: `${headerSize} bytes` })
).pipe(Schema.decodeTo(
  Header,
  SchemaTransformation.transform<Header, Uint8Array>({ decode: decodeHeader, encode: encodeHeader })
))

/**
 * The sizes of both rings, as binary logarithms: 10 to 20. Those of 10 and 11 lie in the page itself.
 *
 * @category models
 * @since 0.2.0
 */
export interface Orders {
  /** That of the ring that the client writes. */
  readonly left: number
  /** That of the ring that the server writes. */
  readonly right: number
}

/**
 * Pages of its own that a ring of this order has, 0 for one that lies in the page.
 *
 * @category conversions
 * @since 0.2.0
 */
export const pagesFor = (order: number): number => order < 12 ? 0 : 2 ** (order - 12)

/** Where a ring that lies in the page begins: at a multiple of its size. */
const offsetInPage = (order: number): number => 2 ** order

const orderFor = (size: number): number => Math.max(12, Math.ceil(Math.log2(size)))

/**
 * The smallest rings with so many bytes, at most {@link maxRingSize}: as C's library chooses them, in the page where they
 * fit into it.
 *
 * @category conversions
 * @since 0.2.0
 */
export const ordersFor = (left: number, right: number): Orders => {
  const [small, large] = [10, 11]
  if (left <= 1024 && right <= 2048) return { left: small, right: large }
  if (left <= 2048 && right <= 1024) return { left: large, right: small }
  if (left <= 2048) return { left: large, right: orderFor(right) }
  return { left: orderFor(left), right: right <= 2048 ? large : orderFor(right) }
}

const orderFault = ({ left, right }: Orders): string | undefined => {
  for (const order of [left, right]) {
    if (order < 10 || order > 20) return "their binary logarithms are 10 to 20"
  }
  if (left === right && left < 12) return "both lie at the same place in the page"
  const refsEnd = refsOffset + 4 * (pagesFor(left) + pagesFor(right))
  for (const order of [left, right]) {
    if (order < 12 && refsEnd > offsetInPage(order)) return "the references run into a ring in the page"
  }
  return undefined
}

/**
 * Checks the orders that a server has written.
 *
 * @category conversions
 * @since 0.2.0
 */
export const checkOrders = (orders: Orders): Result.Result<Orders, InvalidOrders> => {
  const detail = orderFault(orders)
  return detail === undefined ? Result.succeed(orders) : Result.fail(new InvalidOrders({ ...orders, detail }))
}

/**
 * What a server's page claims.
 *
 * @category models
 * @since 0.2.0
 */
export interface Claim {
  /** What stands at the page's beginning. */
  readonly header: Header
  /** The sizes of both rings, which can be. */
  readonly orders: Orders
  /** References to the pages of the left ring; none where it lies in the page. */
  readonly left: Uint32Array<ArrayBuffer>
  /** References to the pages of the right ring; none where it lies in the page. */
  readonly right: Uint32Array<ArrayBuffer>
}

/**
 * Takes all that a client believes a server out of a private copy of its page, and checks it.
 *
 * @category conversions
 * @since 0.2.0
 */
export const claimOf = (page: Uint8Array): Result.Result<Claim, InvalidOrders | InvalidRingRef> => {
  const header = decodeHeader(page.subarray(0, headerSize))
  return Result.flatMap(
    checkOrders({ left: header.leftOrder, right: header.rightOrder }),
    (orders): Result.Result<Claim, InvalidRingRef> => {
      const pages = pagesFor(orders.left)
      const words = new Uint32Array(page.slice(refsOffset, refsOffset + 4 * (pages + pagesFor(orders.right))).buffer)
      const refs = { left: words.slice(0, pages), right: words.slice(pages) }
      for (const ring of ["left", "right"] as const) {
        const bad = refs[ring].findIndex((ref) => !GrantRef.isGrantRef(ref))
        if (bad >= 0) return Result.fail(new InvalidRingRef({ ring, page: bad, ref: refs[ring][bad]! }))
      }
      return Result.succeed({ header, orders, ...refs })
    }
  )
}

/**
 * One end of a vchan.
 *
 * An end that has found its peer out answers everything of that direction with the same error. After the end of the
 * memory's scope all throw a TypeError.
 *
 * @category models
 * @since 0.2.0
 */
export interface End {
  /** Whether we have made the rings, or have joined them. */
  readonly side: "server" | "client"
  /** Bytes of the ring that we read. */
  readonly readSize: number
  /** Bytes of the ring that we write. */
  readonly writeSize: number
  /** Whether the peer is there. What it wrote before it ended can still be read: so ask this first, then for bytes. */
  readonly peer: "absent" | "connected" | "closed"
  /** Bytes that have come and were not read yet. */
  ready(): Result.Result<number, RingError>
  /** Bytes that can be written now. */
  space(): Result.Result<number, RingError>
  /** Copies what has come, as much as `into` takes. How much that was: 0 if there is nothing. */
  read(into: Uint8Array): Result.Result<number, RingError>
  /** A copy of what has come, at most so many bytes, and up to the end of the ring: empty if there is nothing. */
  take(most: number): Result.Result<Uint8Array<ArrayBuffer>, RingError>
  /** Writes as much as there is space for. How much that was: 0 if there is none. */
  write(bytes: Uint8Array): Result.Result<number, RingError>
  /**
   * To be asked before waiting for bytes: asks the peer to signal when it writes, then looks once more. How many there
   * are: with enough of them, don't wait.
   */
  askForData(): Result.Result<number, RingError>
  /** To be asked before waiting for space: asks the peer to signal when it reads, then looks once more. */
  askForSpace(): Result.Result<number, RingError>
  /**
   * Whether the peer asked to be signalled for something that was read or written since the last time that this was
   * asked: then it must be.
   */
  owesSignal(): boolean
}

/** A ring, as one side sees it, and our own index of it. */
interface Way<Memory> {
  readonly memory: Memory
  readonly size: number
  readonly ourWord: number
  ours: number
  readonly peer: PeerIndex
}

/** The words and flags that a side uses. */
const sides = {
  server: { read: "left", write: "right", peerLive: flag.clientLive, ask: flag.clientNotify, asked: flag.serverNotify },
  client: { read: "right", write: "left", peerLive: flag.serverLive, ask: flag.serverNotify, asked: flag.clientNotify }
} as const

class EndImpl implements End {
  readonly side: "server" | "client"
  readonly #words: Ordered.Words
  readonly #flags: Ordered.Flags
  readonly #in: Way<SharedMemory.Readable>
  readonly #out: Way<SharedMemory.Writable>
  #owes = false

  constructor(
    side: "server" | "client",
    page: SharedMemory.Readable,
    read: SharedMemory.Readable,
    write: SharedMemory.Writable,
    { cons, prod }: { readonly cons: number; readonly prod: number }
  ) {
    this.side = side
    const words = this.#words = Ordered.words(page, 4)
    this.#flags = Ordered.flags(page, liveOffset.client, 4)
    const [inn, out] = [sides[side].read, sides[side].write]
    this.#in = {
      memory: read,
      size: read.length,
      ourWord: word[`${inn}Cons`],
      ours: cons,
      peer: new PeerIndex(`${inn}.prod`, words, word[`${inn}Prod`], cons)
    }
    this.#out = {
      memory: write,
      size: write.length,
      ourWord: word[`${out}Prod`],
      ours: prod,
      // A client that comes back may find any part of the ring unread.
      peer: new PeerIndex(`${out}.cons`, words, word[`${out}Cons`], (prod - write.length) >>> 0)
    }
  }

  get readSize() {
    return this.#in.size
  }

  get writeSize() {
    return this.#out.size
  }

  get peer() {
    const live = Ordered.loadFlags(this.#flags, sides[this.side].peerLive)
    if (live === 0) return "closed"
    return live === 2 && this.side === "server" ? "absent" : "connected"
  }

  ready(): Result.Result<number, RingError> {
    const { ours, peer, size } = this.#in
    if (peer.broken !== undefined) return peer.broken
    const read = peer.read(ours + size >>> 0)
    return Result.isSuccess(read) ? Result.succeed(ahead(peer.seen, ours)) : Result.fail(read.failure)
  }

  space(): Result.Result<number, RingError> {
    const { ours, peer, size } = this.#out
    if (peer.broken !== undefined) return peer.broken
    const read = peer.read(ours)
    return Result.isSuccess(read) ? Result.succeed(size - ahead(ours, peer.seen)) : Result.fail(read.failure)
  }

  /** What was there when we last looked at the peer's index; looks again only where that is too little. */
  #ready(wanted: number): Result.Result<number, RingError> {
    const { ours, peer } = this.#in
    const known = ahead(peer.seen, ours)
    return known >= wanted && peer.broken === undefined ? Result.succeed(wanted) : this.ready()
  }

  read(into: Uint8Array): Result.Result<number, RingError> {
    const ready = this.#ready(into.length)
    if (Result.isFailure(ready)) return ready
    const count = Math.min(ready.success, into.length)
    const { memory, ours, size } = this.#in
    const at = ours & (size - 1)
    const first = Math.min(count, size - at)
    if (first > 0) into.set(memory.subarray(at, at + first))
    if (first < count) into.set(memory.subarray(0, count - first), first)
    this.#consume(count)
    return Result.succeed(count)
  }

  take(most: number): Result.Result<Uint8Array<ArrayBuffer>, RingError> {
    const ready = this.ready()
    if (Result.isFailure(ready)) return Result.fail(ready.failure)
    const { memory, ours, size } = this.#in
    const at = ours & (size - 1)
    const count = Math.min(ready.success, most, size - at)
    const bytes = memory.slice(at, at + count)
    this.#consume(count)
    return Result.succeed(bytes)
  }

  write(bytes: Uint8Array): Result.Result<number, RingError> {
    const out = this.#out
    const known = out.size - ahead(out.ours, out.peer.seen)
    const space = known >= bytes.length && out.peer.broken === undefined ? Result.succeed(known) : this.space()
    if (Result.isFailure(space)) return space
    const count = Math.min(space.success, bytes.length)
    const at = out.ours & (out.size - 1)
    const first = Math.min(count, out.size - at)
    if (first > 0) out.memory.set(first === bytes.length ? bytes : bytes.subarray(0, first), at)
    if (first < count) out.memory.set(bytes.subarray(first, count), 0)
    this.#move(out, count, notify.write)
    return Result.succeed(count)
  }

  askForData(): Result.Result<number, RingError> {
    Ordered.raise(this.#flags, sides[this.side].ask, notify.write)
    return this.ready()
  }

  askForSpace(): Result.Result<number, RingError> {
    Ordered.raise(this.#flags, sides[this.side].ask, notify.read)
    return this.space()
  }

  owesSignal(): boolean {
    const owes = this.#owes
    this.#owes = false
    return owes
  }

  #consume(count: number) {
    this.#move(this.#in, count, notify.read)
  }

  /** Shows how far we are, then looks whether the peer waits for it. */
  #move(way: Way<unknown>, count: number, bit: number): void {
    if (count === 0) return
    way.ours = (way.ours + count) >>> 0
    Ordered.store(this.#words, way.ourWord, way.ours)
    if (Ordered.lower(this.#flags, sides[this.side].asked, bit)) this.#owes = true
  }
}

/** The memory of a ring: in the page, or the pages that it has. */
const ringOf = <M extends SharedMemory.Readable>(page: M, order: number, own: M): M =>
  (order < 12 ? page.subarray(offsetInPage(order), 2 * offsetInPage(order)) : own) as M

/**
 * The server's end of a new vchan in `memory`, which is shared already: the page, then the pages of the left ring, then
 * those of the right one, each with its place in `refs`. Clears the page and writes all of it: to be made before the client
 * hears of it. Indexes begin with 0 unless given; a client takes them from the page.
 *
 * @category constructors
 * @since 0.2.0
 */
export const server = (
  memory: SharedMemory.Writable,
  orders: Orders,
  refs: Uint32Array,
  start: { readonly left: number; readonly right: number } = { left: 0, right: 0 }
): End => {
  const page = memory.subarray(0, Page.size)
  const rightAt = Page.size * (1 + pagesFor(orders.left))
  const left = ringOf(page, orders.left, memory.subarray(Page.size, rightAt))
  const right = ringOf(page, orders.right, memory.subarray(rightAt, rightAt + Page.size * pagesFor(orders.right)))
  page.fill(0)
  page.set(new Uint8Array(refs.slice(1).buffer), refsOffset)
  page.set(encodeHeader({
    left: { cons: start.left, prod: start.left },
    right: { cons: start.right, prod: start.right },
    leftOrder: orders.left,
    rightOrder: orders.right,
    clientLive: 2,
    serverLive: 1,
    clientNotify: notify.write,
    serverNotify: 0
  }))
  return new EndImpl("server", page, left, right, { cons: start.left, prod: start.right })
}

/**
 * The client's end in a server's page, and the pages of its rings where they have some, which are mapped already: it goes
 * on where a client before it left off. Fails where the indexes can't be; else says that the client is there, so signal
 * the server.
 *
 * @category constructors
 * @since 0.2.0
 */
export const client = (
  page: SharedMemory.Writable,
  { header, orders }: Claim,
  own: { readonly left: SharedMemory.Writable; readonly right: SharedMemory.Readable }
): Result.Result<End, RingError> => {
  const left = ringOf(page, orders.left, own.left)
  const right = ringOf<SharedMemory.Readable>(page, orders.right, own.right)
  const end = new EndImpl("client", page, right, left, { cons: header.right.cons, prod: header.left.prod })
  return Result.map(Result.all([end.ready(), end.space()]), () => {
    const flags = Ordered.flags(page, liveOffset.client, 4)
    Ordered.storeFlags(flags, flag.clientLive, 1)
    Ordered.storeFlags(flags, flag.serverNotify, notify.write)
    return end
  })
}
