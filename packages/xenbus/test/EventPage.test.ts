import { assert, describe, it } from "@effect/vitest"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as EventPage from "@xen-shbuf/xenbus/EventPage"
import * as Schema from "effect/Schema"
import * as Model from "./Model.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const pair = (memory: SharedMemory.Writable, options: EventPage.Options) => ({
  consumer: EventPage.consumer(memory, options),
  producer: EventPage.producer(memory, options)
})

describe("EventPage", () => {
  // From a C program on Xen's headers: XENDISPL_IN_RING_LEN, XENSND_IN_RING_LEN, XENKBD_IN_RING_LEN.
  it("the layout is that of C", () => {
    const memory = new Uint8Array(4096).fill(0xee)
    assert.strictEqual(EventPage.producer(memory, { eventSize: 64 }).places, 63)
    assert.strictEqual(EventPage.producer(memory, { eventSize: 40, offset: 1024, length: 2048 }).places, 51)
    const { consumer, producer } = pair(memory, { eventSize: 64 })
    assert.deepStrictEqual(memory, new Uint8Array(4096))
    for (let n = 1; n <= 63; n++) assert.isTrue(Model.answer(producer.put([n])))
    assert.isFalse(Model.answer(producer.put([64])))
    assert.deepStrictEqual([...memory.subarray(0, 8)], [0, 0, 0, 0, 0, 0, 0, 0])
    assert.isTrue(Model.answer(producer.push()))
    assert.isFalse(Model.answer(producer.push()))
    const expected = new Uint8Array(4096)
    expected[4] = 63
    for (let n = 1; n <= 63; n++) expected[n * 64] = n
    assert.deepStrictEqual(memory, expected)
    const into = new Uint8Array(64)
    assert.deepStrictEqual([Model.answer(consumer.take(into)), into[0]], [true, 1])
    expected[0] = 1
    assert.deepStrictEqual(memory, expected)
    assert.isTrue(Model.answer(producer.put([64])))
    assert.strictEqual(producer.index, 64)
    expected[64] = 64
    assert.deepStrictEqual(memory, expected)
  })

  it.prop("no event is lost, repeated or damaged, also where indexes wrap and places don't follow", {
    seed: Schema.Natural,
    eventSize: between(1, 70),
    places: between(1, 70),
    offset: between(8, 80),
    before: Schema.Union([between(0, 200), Schema.Literal(2 ** 31)])
  }, ({ before, eventSize, offset, places, seed }) => {
    const { below, bytes } = Model.random(seed)
    const extra = below(eventSize)
    const memory = new Uint8Array(offset + places * eventSize + extra + 8)
    const start = 2 ** 32 - before - 1
    const { consumer, producer } = pair(memory, { eventSize, offset, length: places * eventSize + extra, start })
    assert.strictEqual(producer.places, places)
    // Written from the documented layout: indexes that never wrap, and which place holds an event that was not taken.
    const model = new Uint8Array(memory.length)
    const view = new DataView(model.buffer)
    let [put, pushed, taken] = [BigInt(start), BigInt(start), BigInt(start)]
    const header = () => [taken, pushed].forEach((index, i) => view.setUint32(i * 4, Number(BigInt.asUintN(32, index)), true))
    const place = (index: bigint) => Number(BigInt.asUintN(32, index)) % places
    const held: Array<{ readonly place: number; readonly event: Uint8Array }> = []
    header()
    for (let step = 0; step < 80; step++) {
      const kind = below(4)
      for (let repeat = below(3) === 0 ? below(places + 2) : 1; repeat > 0; repeat--) {
        if (kind === 0) {
          if (put > pushed) assert.isTrue(Model.answer(producer.push()))
          else assert.isFalse(Model.answer(producer.push()))
          pushed = put
        } else if (kind < 3) {
          const event = bytes(below(3) === 0 ? below(eventSize + 1) : eventSize)
          const room = held.length < places && held.every((other) => other.place !== place(put))
          assert.strictEqual(producer.index, Number(BigInt.asUintN(32, put)))
          assert.strictEqual(Model.answer(producer.put(event)), room)
          if (room) {
            const whole = new Uint8Array(eventSize)
            whole.set(event)
            held.push({ place: place(put), event: whole })
            model.set(whole, offset + place(put) * eventSize)
            put++
          }
        } else {
          const into = new Uint8Array(eventSize)
          assert.strictEqual(Model.answer(consumer.take(into)), taken < pushed)
          if (taken < pushed) {
            taken++
            Model.sameBytes(into, held.shift()!.event, "the event")
          }
        }
        header()
        Model.sameBytes(memory, model, "the page")
        if (below(2) === 0) assert.strictEqual(Model.answer(producer.allTaken()), taken === pushed)
      }
    }
  }, { timeout: 30_000 })

  it("the peer has taken all only where it says so, and can't say what it can't have", () => {
    const memory = new Uint8Array(4096)
    const { producer } = pair(memory, { eventSize: 64 })
    producer.put([7])
    producer.push()
    memory[0] = 2
    assert.strictEqual((Model.answer(producer.allTaken()) as { readonly _tag: string })._tag, "RingError")
    memory[0] = 1
    assert.strictEqual((Model.answer(producer.allTaken()) as { readonly _tag: string })._tag, "RingError")
  })

  it("an index is stored after what it announces or gives back, and loaded before it", () => {
    const memory = new Uint8Array(4096)
    const { consumer, producer } = pair(memory, { eventSize: 2016 })
    const log: Array<string> = []
    const into = Model.target(2016, () => log.push("copy"))
    Model.watching((event, at) => {
      if (event === "stores" || event === "loads") log.push(`${event} ${at} ${memory[64]}`)
    }, () => {
      producer.put([7])
      producer.push()
      consumer.take(into)
      consumer.take(into)
      producer.put([8])
      producer.put([9])
    })
    assert.deepStrictEqual(log, ["stores 1 7", "loads 1 7", "copy", "stores 0 7", "loads 1 7", "loads 0 7"])
  })

  it.prop("a backend that comes back goes on where the page stands, and loses no event that was not taken", {
    put: between(0, 63),
    taken: between(0, 63),
    start: Schema.Union([Schema.Literal(0), between(2 ** 32 - 70, 2 ** 32 - 1)])
  }, ({ put, start, taken }) => {
    const memory = new Uint8Array(4096)
    const { consumer, producer } = pair(memory, { eventSize: 64, start })
    const into = new Uint8Array(64)
    const seen: Array<number> = []
    const take = (most: number) => {
      for (let n = 0; n < most && Model.answer(consumer.take(into)); n++) seen.push(into[0]!)
    }
    let all = 0
    while (all < put && Model.answer(producer.put([all]))) all++
    producer.push()
    take(taken)
    // One that was put and not shown is lost with its process.
    producer.put([255])
    const again = EventPage.producer(memory, { eventSize: 64 })
    assert.strictEqual(again.index, (start + all) >>> 0)
    while (all < 100 && Model.answer(again.put([all]))) all++
    again.push()
    take(100)
    assert.deepStrictEqual(seen, Array.from({ length: all }, (_, n) => n))
    assert.isTrue(Model.answer(again.allTaken()))
  })

  it("a backend that comes back to indexes that can't be begins at the frontend's", () => {
    for (const [consumed, produced] of [[5, 4], [5, 69], [0, 2 ** 31]] as const) {
      const memory = new Uint8Array(4096)
      new Uint32Array(memory.buffer).set([consumed, produced])
      const producer = EventPage.producer(memory, { eventSize: 64 })
      assert.deepStrictEqual([...new Uint32Array(memory.buffer, 0, 2)], [consumed, consumed])
      for (let n = 0; n < 63; n++) assert.isTrue(Model.answer(producer.put([n])))
      assert.isFalse(Model.answer(producer.put([63])))
    }
  })

  it("arguments that make no sense throw, and change nothing", () => {
    const memory = new Uint8Array(4096).fill(0xee)
    for (const options of [
      { eventSize: 0 },
      { eventSize: 1.5 },
      { eventSize: NaN },
      { eventSize: 4033 },
      { eventSize: 64, offset: 7 },
      { eventSize: 64, offset: 64.5 },
      { eventSize: 64, length: 63 },
      { eventSize: 64, length: 4033 },
      { eventSize: 64, offset: 4096 }
    ]) {
      assert.throws(() => EventPage.consumer(memory, options), RangeError)
      assert.throws(() => EventPage.producer(memory, options), RangeError)
    }
    assert.isTrue(memory.every((byte) => byte === 0xee))
    const { consumer, producer } = pair(memory, { eventSize: 64 })
    assert.throws(() => producer.put(new Uint8Array(65)), RangeError)
    assert.strictEqual(producer.index, 0)
    producer.put([5])
    producer.push()
    assert.throws(() => consumer.take(new Uint8Array(63)), RangeError)
    const into = new Uint8Array(64)
    assert.deepStrictEqual([Model.answer(consumer.take(into)), into[0]], [true, 5])
  })

  it("after the end of the memory's scope every use throws", () => {
    const memory = new Uint8Array(4096)
    const { consumer, producer } = pair(memory, { eventSize: 64 })
    producer.put([1])
    memory.buffer.transfer(0)
    for (const use of [() => producer.put([1]), () => producer.push(), () => consumer.take(new Uint8Array(64))]) {
      assert.throws(use, TypeError)
    }
  })
})
