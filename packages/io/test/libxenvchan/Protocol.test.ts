import { assert, describe, it } from "@effect/vitest"
import * as Protocol from "@xen-shbuf/io/libxenvchan/Protocol"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as TestSchema from "effect/testing/TestSchema"
import { readFileSync } from "node:fs"
import { random, sameBytes, watching } from "../../../xenbus/test/Model.ts"

const fixture = readFileSync(new URL("fixtures/steps.txt", import.meta.url), "utf8").trim().split("\n")

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const ok = <A>(result: Result.Result<A, unknown>): A => Result.getOrThrow(result)

/** Memory for a server, and references that count from 100. */
const allocate = (orders: Protocol.Orders) => {
  const pages = 1 + Protocol.pagesFor(orders.left) + Protocol.pagesFor(orders.right)
  return { memory: new Uint8Array(pages * 4096), refs: Uint32Array.from({ length: pages }, (_, i) => 100 + i) }
}

/** The client that a page claims, in the memory of its server. */
const connect = (memory: Uint8Array<ArrayBuffer>): Protocol.End => {
  const page = memory.subarray(0, 4096)
  const claim = ok(Protocol.claimOf(page.slice()))
  const pagesOf = (refs: Uint32Array) => {
    const at = ((refs[0] ?? 100) - 100) * 4096
    return memory.subarray(at, at + refs.length * 4096)
  }
  return ok(Protocol.client(page, claim, { left: pagesOf(claim.left), right: pagesOf(claim.right) }))
}

const pair = (orders: Protocol.Orders, start?: { readonly left: number; readonly right: number }) => {
  const { memory, refs } = allocate(orders)
  const server = Protocol.server(memory, orders, refs, start)
  return { memory, server, client: connect(memory) }
}

/** What the functions of C's library do, in terms of an end: when they ask for a signal is their choice. */
const likeC = (end: Protocol.End, bytes: (count: number) => Uint8Array, came: (bytes: Uint8Array) => void) => {
  const isOpen = () => ({ closed: 0, connected: 1, absent: 2 })[end.peer]
  const dataFor = (wanted: number) => {
    const ready = ok(end.ready())
    return ready >= wanted ? ready : ok(end.askForData())
  }
  const spaceFor = (wanted: number) => {
    const space = ok(end.space())
    return space >= wanted ? space : ok(end.askForSpace())
  }
  const read = (count: number) => {
    const into = new Uint8Array(count)
    assert.strictEqual(ok(end.read(into)), count)
    came(into)
    return count
  }
  const write = (count: number) => ok(end.write(bytes(count)))
  const functions: { readonly [name: string]: (wanted: number) => number } = {
    w: (wanted) => isOpen() === 0 ? -1 : write(Math.min(spaceFor(wanted), wanted)),
    s: (wanted) => isOpen() === 0 ? -1 : spaceFor(wanted) >= wanted ? write(wanted) : 0,
    r: (wanted) => read(Math.min(dataFor(wanted), wanted)),
    v: (wanted) => dataFor(wanted) >= wanted ? read(wanted) : 0,
    d: () => ok(end.askForData()),
    b: () => ok(end.askForSpace()),
    o: isOpen
  }
  return functions
}

describe("libxenvchan's Protocol", () => {
  it("the layout is that of C", () => {
    const [, ...offsets] = fixture[0]!.split(" ")
    const at = new Map(Array.from({ length: offsets.length / 2 }, (_, i) => [offsets[2 * i]!, Number(offsets[2 * i + 1])]))
    assert.strictEqual(Protocol.headerSize, at.get("end"))
    assert.deepStrictEqual(Protocol.liveOffset, { client: at.get("cli_live")!, server: at.get("srv_live")! })
    const bytes = Uint8Array.from({ length: 24 }, (_, i) => i + 1)
    const view = new DataView(bytes.buffer)
    const word = (name: string) => view.getUint32(at.get(name)!, true)
    const header = Schema.decodeSync(Protocol.HeaderFromBytes)(bytes)
    assert.deepStrictEqual(header, {
      left: { cons: word("left.cons"), prod: word("left.prod") },
      right: { cons: view.getUint32(at.get("right")!, true), prod: view.getUint32(at.get("right")! + 4, true) },
      leftOrder: view.getUint16(at.get("left_order")!, true),
      rightOrder: view.getUint16(at.get("right_order")!, true),
      clientLive: bytes[at.get("cli_live")!]!,
      serverLive: bytes[at.get("srv_live")!]!,
      clientNotify: bytes[at.get("cli_notify")!]!,
      serverNotify: bytes[at.get("srv_notify")!]!
    })
  })

  it.effect("a header is the same bytes again", () =>
    new TestSchema.Asserts(Protocol.HeaderFromBytes).verifyRoundTripEffect({ runs: 100 }))

  it("both ends do what C's library does, step by step", () => {
    let ends: { memory: Uint8Array<ArrayBuffer>; server: Protocol.End; client: Protocol.End | undefined } | undefined
    let header = ""
    let functions: { [side: string]: ReturnType<typeof likeC> } = {}
    let [vchans, steps] = [0, 0]
    /** The bytes that a side sends, and checks of those that it gets. */
    const traffic = (end: Protocol.End) => {
      const counts = { sent: 0, got: 0 }
      const byte = (k: number, isClient: boolean) => (k * 7 + (k >>> 8) * 13 + (isClient ? 101 : 0)) & 0xff
      const isClient = end.side === "client"
      return likeC(end, (count) => {
        counts.sent += count
        return Uint8Array.from({ length: count }, (_, i) => byte(counts.sent - count + i, isClient))
      }, (bytes) => {
        sameBytes(bytes, Uint8Array.from(bytes, (_, i) => byte(counts.got + i, !isClient)), "what was read")
        counts.got += bytes.length
      })
    }
    fixture.slice(1).forEach((line, number) => {
      const [step, ...words] = line.split(" ")
      const at = `line ${number + 2}: ${line}`
      if (step === "vchan") {
        const [left, right, leftStart, rightStart, pages] = words.map(Number)
        const orders = Protocol.ordersFor(left!, right!)
        const { memory, refs } = allocate(orders)
        assert.strictEqual(refs.length, pages, at)
        const server = Protocol.server(memory, orders, refs, { left: leftStart!, right: rightStart! })
        ends = { memory, server, client: undefined }
        functions = { S: traffic(server) }
        header = words.slice(5).join(" ")
        vchans++
      } else if (step === "memory") {
        const hash = ends!.memory.reduce((hash, byte) => Math.imul(hash ^ byte, 16_777_619) >>> 0, 2_166_136_261)
        assert.strictEqual(hash, Number(words[0]), at)
        return
      } else if (step === "Ci") {
        functions.C = traffic(ends!.client = connect(ends!.memory))
        header = words.slice(3).join(" ")
      } else if (step === "Sx" || step === "Cx") {
        ends!.memory[Protocol.liveOffset[step === "Sx" ? "server" : "client"]] = 0
        header = words.slice(3).join(" ")
      } else {
        steps++
        const [wanted, result, signals] = words.map(Number)
        const end = step!.startsWith("S") ? ends!.server : ends!.client!
        assert.strictEqual(functions[step![0]!]![step![1]!]!(wanted!), result, at)
        assert.strictEqual(Number(end.owesSignal()), signals, at)
        if (words.length > 3) header = words.slice(3).join(" ")
      }
      assert.strictEqual([...new Uint32Array(ends!.memory.buffer, 0, 6)].map((word) => word.toString(16)).join(" "), header, at)
    })
    assert.deepStrictEqual([vchans, steps], [8, 534])
  }, 60_000)

  it.prop("what is written at one end is read at the other, and signals are owed for what was asked for", {
    seed: Schema.Natural,
    left: between(10, 13),
    right: between(10, 13),
    before: between(0, 9000)
  }, ({ before, left, right, seed }) => {
    const { below, bytes } = random(seed)
    const orders = { left, right: left === right && left < 12 ? 12 : right }
    const start = 2 ** 32 - before - 1
    const { client, server } = pair(orders, { left: start, right: start })
    const ends = { server, client }
    const other = { server: "client", client: "server" } as const
    /** What was written to a side and not read, and what it wants to hear of. */
    const inbox = { server: [] as Array<number>, client: [] as Array<number> }
    const size = { server: 2 ** orders.left, client: 2 ** orders.right }
    const wants = { server: new Set(["write"]), client: new Set(["write"]) }
    for (let step = 0; step < 80; step++) {
      const side = below(2) === 0 ? "server" : "client"
      const [self, peer] = [ends[side], other[side]]
      const space = size[peer] - inbox[peer].length
      const some = below(3) === 0 ? below(5) : below(5000)
      let owes = false
      const kind = below(6)
      if (kind < 2) {
        const given = bytes(some)
        const written = ok(self.write(given))
        assert.strictEqual(written, Math.min(some, space))
        inbox[peer].push(...given.subarray(0, written))
        owes = written > 0 && wants[peer].delete("write")
      } else if (kind < 4) {
        let got = new Uint8Array(some)
        if (kind === 2) got = got.subarray(0, ok(self.read(got)))
        else got = ok(self.take(some))
        const all = Math.min(some, inbox[side].length)
        if (kind === 2) assert.strictEqual(got.length, all)
        else assert.isTrue(got.length <= all && (got.length > 0 || all === 0))
        sameBytes(got, Uint8Array.from(inbox[side].splice(0, got.length)), "what was read")
        owes = got.length > 0 && wants[peer].delete("read")
      } else if (kind === 4) {
        wants[side].add("write")
        assert.strictEqual(ok(self.askForData()), inbox[side].length)
      } else {
        wants[side].add("read")
        assert.strictEqual(ok(self.askForSpace()), space)
      }
      assert.strictEqual(self.owesSignal(), owes)
      assert.isFalse(self.owesSignal())
      assert.strictEqual(ok(self.ready()), inbox[side].length)
      assert.strictEqual(ok(self.space()), size[peer] - inbox[peer].length)
    }
  }, { timeout: 60_000 })

  it.prop("whoever waits is signalled, whatever the other side does between any two of its steps", {
    seed: Schema.Natural
  }, ({ seed }) => {
    const { below, bytes } = random(seed)
    const { client, server } = pair({ left: 10, right: 11 })
    /** Signals that have come to a side, and what it waits for: it looks again when one comes, and not before. */
    const states = {
      server: { end: server, signal: false, waits: undefined as "data" | "space" | undefined, busy: false },
      client: { end: client, signal: false, waits: undefined as "data" | "space" | undefined, busy: false }
    }
    let depth = 0
    const act = (side: "server" | "client") => {
      const self = states[side]
      const peer = states[side === "server" ? "client" : "server"]
      if (self.busy || (self.waits !== undefined && !self.signal)) return
      self.busy = true
      depth++
      const isReader = self.waits === undefined ? below(2) === 0 : self.waits === "data"
      self.signal = false
      self.waits = undefined
      const moved = isReader ? ok(self.end.read(new Uint8Array(1 + below(1500)))) : ok(self.end.write(bytes(1 + below(1500))))
      if (self.end.owesSignal()) peer.signal = true
      if (moved === 0 && ok(isReader ? self.end.askForData() : self.end.askForSpace()) === 0) {
        self.waits = isReader ? "data" : "space"
      }
      self.busy = false
      depth--
    }
    for (let step = 0; step < 200; step++) {
      const side = below(2) === 0 ? "server" : "client"
      watching(() => {
        if (depth < 3 && below(3) === 0) act(side === "server" ? "client" : "server")
      }, () => act(side))
      for (const self of Object.values(states)) {
        if (self.waits === undefined || self.signal) continue
        const there = self.waits === "data" ? self.end.ready() : self.end.space()
        assert.strictEqual(ok(there), 0, `${self.end.side} sleeps, and ${self.waits} is there`)
      }
    }
  }, { arbitrary: { runs: 300 }, timeout: 60_000 })

  it("an index is loaded before what it announces is copied, and stored after; who waits asks first, then looks", () => {
    const { client, memory, server } = pair({ left: 10, right: 11 })
    const log: Array<string> = []
    const into = new Uint8Array(1)
    watching((event, at) => {
      if (!event.endsWith("ed") && !event.endsWith("ed flag")) log.push(`${event} ${at} ${memory[1024]} ${into[0]}`)
    }, () => {
      client.write(Uint8Array.of(7))
      server.read(into)
      server.askForData()
      client.askForSpace()
    })
    assert.deepStrictEqual(log, [
      "stores 1 7 0", "lowers 2 7 0",
      "loads 1 7 0", "stores 0 7 7", "lowers 3 7 7",
      "raises 2 7 7", "loads 1 7 7",
      "raises 3 7 7", "loads 0 7 7"
    ])
  })

  it("orders are taken exactly where rings and references do not meet", () => {
    for (let left = 0; left < 40; left++) {
      for (let right = 0; right < 40; right++) {
        const sizes = [left, right]
        const inPage = sizes.map((order) => order === 10 ? [1024, 2048] : order === 11 ? [2048, 4096] : [0, 0])
        const refs = sizes.reduce((sum, order) => sum + (order >= 12 ? 2 ** (order - 12) : 0), 0)
        const regions = [[0, 24 + 4 * refs], ...inPage].filter(([from, to]) => from !== to)
        const overlap = regions.some(([from], i) => regions.some(([a, b], k) => i !== k && from! >= a! && from! < b!))
        const sound = sizes.every((order) => order >= 10 && order <= 20) && !overlap
        const checked = Protocol.checkOrders({ left, right })
        assert.strictEqual(Result.isSuccess(checked), sound, `${left} and ${right}`)
        if (Result.isFailure(checked)) assert.deepInclude(checked.failure, { _tag: "InvalidOrders", left, right })
      }
    }
    for (let left = 0; left <= 2 ** 20; left = left * 2 + 1) {
      for (let right = 0; right <= 2 ** 20; right = right * 2 + 1) {
        const orders = Protocol.ordersFor(left, right)
        assert.isTrue(Result.isSuccess(Protocol.checkOrders(orders)))
        assert.isTrue(2 ** orders.left >= left && 2 ** orders.right >= right)
      }
    }
  })

  it.prop("every reference is checked, each in its place", {
    left: between(10, 20),
    right: between(12, 20),
    place: Schema.Natural,
    bad: Schema.Literals([0, 1, 7, 0xffff_ffff])
  }, ({ bad, left, place, right }) => {
    if (left === 10 && right === 20) return
    const orders = { left, right }
    const { memory, refs } = allocate(orders)
    Protocol.server(memory, orders, refs)
    const page = memory.slice(0, 4096)
    const claim = ok(Protocol.claimOf(page))
    assert.deepStrictEqual([...claim.left, ...claim.right], [...refs.subarray(1)])
    assert.strictEqual(claim.left.length, Protocol.pagesFor(left))
    const at = place % (refs.length - 1)
    new DataView(page.buffer).setUint32(24 + 4 * at, bad, true)
    const refused = Protocol.claimOf(page)
    const inLeft = at < claim.left.length
    const where = inLeft ? { ring: "left" as const, page: at } : { ring: "right" as const, page: at - claim.left.length }
    assert.isTrue(Result.isFailure(refused))
    if (Result.isFailure(refused)) assert.deepInclude(refused.failure, { _tag: "InvalidRingRef", ...where, ref: bad })
  })

  it("a client that comes back goes on where the one before it left off", () => {
    const { client, memory, server } = pair({ left: 12, right: 12 }, { left: 0xffff_ff00, right: 0xffff_fff0 })
    server.write(Uint8Array.of(1, 2, 3))
    client.write(Uint8Array.of(4, 5))
    assert.strictEqual(ok(client.read(new Uint8Array(2))), 2)
    memory[Protocol.liveOffset.client] = 0
    assert.strictEqual(server.peer, "closed")
    const again = connect(memory)
    assert.strictEqual(server.peer, "connected")
    assert.deepStrictEqual([...ok(again.take(10))], [3])
    again.write(Uint8Array.of(6))
    assert.deepStrictEqual([...ok(server.take(10))], [4, 5, 6])
  })

  it("a page whose indexes can't be is refused, and nothing is written into it", () => {
    const { memory, refs } = allocate({ left: 12, right: 12 })
    Protocol.server(memory, { left: 12, right: 12 }, refs)
    for (const [words, index] of [[[0, 4097, 0, 0], "left.cons"], [[0, 0, 5, 4], "right.prod"], [[0, 0, 0, 4097], "right.prod"]] as const) {
      new Uint32Array(memory.buffer, 0, 4).set(words)
      const before = memory.slice()
      const page = memory.subarray(0, 4096)
      const claim = ok(Protocol.claimOf(page.slice()))
      const own = { left: memory.subarray(4096, 8192), right: memory.subarray(8192) }
      const refused: Result.Result<Protocol.End, RingError> = Protocol.client(page, claim, own)
      assert.strictEqual(Result.isFailure(refused) && refused.failure.reason.index, index)
      assert.deepStrictEqual(memory, before)
    }
  })

  it("after the end of the memory's scope every use throws", () => {
    const { client, memory } = pair({ left: 12, right: 12 })
    memory.buffer.transfer(0)
    for (const use of [
      () => client.peer,
      () => client.read(new Uint8Array(1)),
      () => client.take(1),
      () => client.write(new Uint8Array(1)),
      () => client.askForData(),
      () => client.askForSpace()
    ]) assert.throws(use, TypeError)
  })
})
