import { assert, describe, it } from "@effect/vitest"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Ring from "@xen-shbuf/xenbus/Ring"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TestSchema from "effect/testing/TestSchema"
import { readFileSync } from "node:fs"
import * as Model from "./Model.ts"

const fixture = (name: string) => readFileSync(new URL(`fixtures/${name}`, import.meta.url), "utf8").trim().split("\n")

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const pair = (memory: SharedMemory.Writable, options: Ring.Options) => ({
  front: Ring.front(memory, options),
  back: Ring.back(memory, options)
})

describe("Ring", () => {
  // From a C program on Xen's headers: xen_displif_sring, xen_sndif_sring and __CONST_RING_SIZE(…, 4096).
  it("the layout is that of C", () => {
    assert.strictEqual(Ring.headerSize, 64)
    assert.strictEqual(Ring.slotsIn(4096, 64), 32)
    assert.deepStrictEqual([0, 1, 31, 32, 0xffff_ffff].map((i) => Ring.offsetOf(i, 32, 64)), [64, 128, 2048, 64, 2048])
    assert.deepStrictEqual([[4096, 112], [4096, 12], [4096, 8], [8192, 64], [4096, 4032], [4096, 4033], [64, 1]].map(
      ([length, size]) => Ring.slotsIn(length!, size!)
    ), [32, 256, 256, 64, 1, 0, 0])
  })

  it("a new ring is what Linux's frontends leave for a backend, whatever was there before", () => {
    const memory = new Uint8Array(4096).fill(0xee)
    Ring.front(memory, { slotSize: 64 })
    const expected = new Uint8Array(4096)
    expected.set([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])
    assert.deepStrictEqual(memory, expected)
    memory.fill(0xee)
    Ring.back(memory, { slotSize: 64 })
    assert.isTrue(memory.every((byte) => byte === 0xee))
  })

  it("the requests of Linux's display driver go through, byte for byte", () => {
    const memory = new Uint8Array(4096)
    const { back, front } = pair(memory, { slotSize: 64 })
    const requests = fixture("displif-requests.txt").map((line) => Buffer.from(line.split(" ")[1]!, "hex"))
    assert.strictEqual(requests.length, 30)
    for (const request of requests) assert.isTrue(Model.answer(front.put(request)))
    assert.isTrue(Model.answer(front.push()))
    assert.strictEqual(Buffer.from(memory).toString("hex", 0, 16), "1e000000010000000000000001000000")
    assert.strictEqual(Buffer.from(memory).toString("hex", 64, 64 + 30 * 64), Buffer.concat(requests).toString("hex"))
    const into = new Uint8Array(64)
    for (const request of requests) {
      assert.isTrue(Model.answer(back.take(into)))
      assert.deepStrictEqual(Buffer.from(into), request)
    }
    assert.isFalse(Model.answer(back.take(into)))
  })

  it("both halves do what the macros of io/ring.h do, step by step", () => {
    let memory = new Uint8Array(0)
    let halves: ReturnType<typeof pair> | undefined
    let [size, n, header] = [0, 0, ""]
    const value = (half: Ring.Half) => {
      const into = new Uint8Array(size)
      return Model.answer(half.take(into)) === true ? into[0]! : -1
    }
    const put = (half: Ring.Half) => {
      const done = Model.answer(half.put(new Uint8Array(size).fill(n + 1)))
      if (done === true) n++
      return done
    }
    let rings = 0
    fixture("ring-h.txt").forEach((line, number) => {
      const [step, first, ...rest] = line.split(" ")
      if (step === "ring") {
        const [pages, start, slots] = rest.map(Number)
        ;[size, n, rings] = [Number(first), 0, rings + 1]
        memory = new Uint8Array(pages! * 4096)
        halves = pair(memory, { slotSize: size, start: start! })
        assert.strictEqual(halves.front.slots, slots)
        return
      }
      if (step === "page") {
        const hash = memory.reduce((hash, byte) => Math.imul(hash ^ byte, 16_777_619) >>> 0, 2_166_136_261)
        return assert.strictEqual(hash, Number(first), `line ${number + 1}`)
      }
      const { back, front } = halves!
      const steps: { readonly [step: string]: () => unknown } = {
        q: () => put(front),
        Q: () => Model.answer(front.push()),
        t: () => value(back),
        a: () => put(back),
        A: () => Model.answer(back.push()),
        r: () => value(front),
        f: () => Model.answer(front.finalCheck()),
        b: () => Model.answer(back.finalCheck())
      }
      if (rest.length > 0) header = rest.join(" ")
      assert.strictEqual(Number(steps[step!]!()), Number(first), `line ${number + 1}: ${line}`)
      assert.strictEqual([...new Uint32Array(memory.buffer, 0, 4)].map((word) => word.toString(16)).join(" "), header, line)
    })
    assert.strictEqual(rings, 5)
  })

  it.prop("both halves are what a model with indexes that never wrap says, in every byte", {
    seed: Schema.Natural,
    slotSize: Schema.Union([between(1, 300), Schema.Literals([1, 8, 12, 64, 112, 128])]),
    length: between(400, 1000),
    before: Schema.Union([between(0, 100), Schema.Literal(2 ** 31)])
  }, ({ before, length, seed, slotSize }) => {
    const { below, bytes } = Model.random(seed)
    const memory = new Uint8Array(length - length % 4)
    const start = 2 ** 32 - before - 1
    const model = new Model.RingModel(memory.length, slotSize, start)
    const halves = pair(memory, { slotSize, start })
    assert.strictEqual(halves.front.slots, model.slots)
    const into = new Uint8Array(slotSize + 3)
    // Long runs of one kind reach a full and an empty ring; the rest is mixed.
    for (let step = 0; step < 60; step++) {
      const half = below(2) === 0 ? "front" : "back"
      const self = halves[half]
      const kind = below(8)
      for (let repeat = below(3) === 0 ? below(model.slots + 2) : 1; repeat > 0; repeat--) {
        if (kind < 2) {
          const given = bytes(below(4) === 0 ? below(slotSize + 1) : slotSize)
          assert.strictEqual(Model.answer(self.put(given)), model.put(half, given))
        } else if (kind === 2) assert.strictEqual(Model.answer(self.push()), model.push(half))
        else if (kind < 5) {
          into.fill(0xaa)
          const expected = model.take(half)
          assert.strictEqual(Model.answer(self.take(into)), expected !== undefined)
          const whole = new Uint8Array(slotSize + 3).fill(0xaa)
          if (expected !== undefined) whole.set(expected)
          Model.sameBytes(into, whole, "what was taken")
        } else if (kind === 5) assert.strictEqual(Model.answer(self.finalCheck()), model.finalCheck(half))
        else if (kind === 6) {
          const given = bytes(slotSize * below(model.slots + 2))
          let count = 0
          while (count * slotSize < given.length && model.put(half, given.subarray(count * slotSize, (count + 1) * slotSize))) count++
          assert.strictEqual(Model.answer(self.putMany(given)), count)
        } else {
          const many = new Uint8Array(slotSize * (1 + below(model.slots + 1)) + below(slotSize)).fill(0xaa)
          const whole = many.slice()
          let count = 0
          for (let taken; (count + 1) * slotSize <= many.length && (taken = model.take(half)) !== undefined; count++) {
            whole.set(taken, count * slotSize)
          }
          assert.strictEqual(Model.answer(self.takeMany(many)), count)
          Model.sameBytes(many, whole, "what was taken at once")
        }
        assert.strictEqual(self.room, model.room(half))
        Model.sameBytes(memory, model.page, "the page")
      }
    }
  }, { timeout: 30_000 })

  it("an index is stored after what it announces, and loaded before it; thresholds are loaded after the store", () => {
    const memory = new Uint8Array(4096)
    const { back, front } = pair(memory, { slotSize: 64 })
    const log: Array<string> = []
    const into = Model.target(64, () => log.push("copy"))
    Model.watching((event, at) => {
      if (event === "stores" || event === "loads") log.push(`${event} ${at} ${memory[64]}`)
    }, () => {
      front.put([7])
      front.push()
      back.take(into)
      back.take(into)
      back.put([9])
      back.push()
      back.finalCheck()
      front.take(into)
      front.finalCheck()
    })
    assert.deepStrictEqual(log, [
      "stores 0 7", "loads 1 7",
      "loads 0 7", "copy", "loads 0 7",
      "stores 2 9", "loads 3 9",
      "loads 0 9", "stores 1 9", "loads 0 9",
      "loads 2 9", "copy",
      "loads 2 9", "stores 3 9", "loads 2 9"
    ])
  })

  it("a batch takes one load of the peer's index, and a copy for each end of the ring", () => {
    const memory = new Uint8Array(4096)
    const { back, front } = pair(memory, { slotSize: 64, start: 30 })
    const log: Array<string> = []
    const into = Model.target(64 * 5, () => log.push("copy"))
    Model.watching((event, at) => {
      if (event === "stores" || event === "loads") log.push(`${event} ${at}`)
    }, () => {
      front.putMany(new Uint8Array(64 * 7).fill(7))
      front.push()
      back.takeMany(into)
      back.takeMany(into.subarray(0, 64 * 2))
      back.takeMany(into)
    })
    assert.deepStrictEqual(log, ["stores 0", "loads 1", "loads 0", "copy", "copy", "loads 0"])
  })

  it("what comes between the two looks of a final check is not slept through", () => {
    const memory = new Uint8Array(4096)
    const { back, front } = pair(memory, { slotSize: 64 })
    front.put([1])
    let notify: unknown
    const more = Model.watching((event, at) => {
      if (event === "stores" && at === 1) notify = Model.answer(front.push())
    }, () => Model.answer(back.finalCheck()))
    // Either the frontend is told to signal, or the backend sees the request by itself.
    assert.deepStrictEqual([more, notify], [true, true])
  })

  it("a backend that comes back begins with the responses that were shown, and takes again what has none", () => {
    const memory = new Uint8Array(4096)
    const { back, front } = pair(memory, { slotSize: 64, start: 0xffff_fffe })
    const into = new Uint8Array(64)
    for (const n of [1, 2, 3]) front.put([n])
    front.push()
    for (let i = 0; i < 3; i++) back.take(into)
    back.put([1])
    back.push()
    const { rspProd: start } = Schema.decodeSync(Ring.HeaderFromBytes)(memory.slice(0, 64))
    const again = Ring.back(memory, { slotSize: 64, start })
    assert.deepStrictEqual([2, 3].map(() => [Model.answer(again.take(into)), into[0]]), [[true, 2], [true, 3]])
    assert.isFalse(Model.answer(again.take(into)))
  })

  it.effect("a header is the same bytes again, but for what is private", () =>
    Effect.gen(function*() {
      yield* new TestSchema.Asserts(Ring.HeaderFromBytes).verifyRoundTripEffect({ runs: 100 })
      const memory: SharedMemory.Writable = new Uint8Array(4096).map((_, i) => i + 1)
      const header = yield* SharedMemory.decode(memory, Ring.HeaderFromBytes, { length: Ring.headerSize })
      assert.deepStrictEqual(header, {
        reqProd: 0x0403_0201,
        reqEvent: 0x0807_0605,
        rspProd: 0x0c0b_0a09,
        rspEvent: 0x100f_0e0d
      })
      const bytes = yield* Schema.encodeEffect(Ring.HeaderFromBytes)(header)
      assert.deepStrictEqual([...bytes], Array.from({ length: 64 }, (_, i) => i < 16 ? i + 1 : 0))
    }))

  it("arguments that make no sense throw, and change nothing", () => {
    const memory = new Uint8Array(4096).fill(0xee)
    for (const slotSize of [0, -1, 1.5, NaN, Infinity, 4033]) {
      assert.throws(() => Ring.front(memory, { slotSize }), RangeError)
      assert.throws(() => Ring.back(memory, { slotSize }), RangeError)
    }
    assert.throws(() => Ring.front(memory.subarray(1), { slotSize: 64 }), RangeError)
    assert.isTrue(memory.every((byte) => byte === 0xee))
    const { back, front } = pair(memory, { slotSize: 64 })
    const before = memory.slice()
    assert.throws(() => front.put(new Uint8Array(65)), RangeError)
    assert.throws(() => front.putMany(new Uint8Array(65)), RangeError)
    assert.deepStrictEqual([memory, front.room], [before, 32])
    front.put([5])
    front.push()
    for (const use of [() => back.take(new Uint8Array(63)), () => back.takeMany(new Uint8Array(63))]) {
      assert.throws(use, RangeError)
    }
    const into = new Uint8Array(64)
    assert.deepStrictEqual([Model.answer(back.take(into)), into[0]], [true, 5])
  })

  it("after the end of the memory's scope every use throws", () => {
    const memory = new Uint8Array(4096)
    const { back, front } = pair(memory, { slotSize: 64 })
    front.put([1])
    memory.buffer.transfer(0)
    const slot = new Uint8Array(64)
    const uses = [
      () => front.put([1]),
      () => front.putMany(slot),
      () => front.push(),
      () => back.take(slot),
      () => back.takeMany(slot),
      () => back.finalCheck()
    ]
    for (const use of uses) assert.throws(use, TypeError)
  })

  it("nothing is allocated for a slot", () => {
    const { back, front } = pair(new Uint8Array(4096), { slotSize: 64 })
    const slot = new Uint8Array(64)
    const rounds = (count: number) => {
      for (let i = 0; i < count; i++) {
        front.put(slot)
        front.push()
        back.take(slot)
        back.finalCheck()
        back.put(slot)
        back.push()
        front.take(slot)
        front.finalCheck()
      }
    }
    rounds(50_000)
    globalThis.gc!()
    const before = process.memoryUsage().heapUsed
    rounds(50_000)
    // Two slots a round: less than a byte for each.
    assert.isBelow(process.memoryUsage().heapUsed - before, 100_000)
  })
})
