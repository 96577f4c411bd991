import { assert } from "@effect/vitest"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Result from "effect/Result"

/** Numbers that look random; the same for the same seed. */
export const random = (seed: number) => {
  let state = seed * 0x9e37_79b1 + 0x7f4a_7c15 >>> 0 || 1
  const word = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>>= 0
  }
  for (let i = 0; i < 4; i++) word()
  return {
    word,
    below: (limit: number) => word() % limit,
    bytes: (length: number) => {
      const bytes = new Uint8Array(length)
      for (let i = 0; i < length; i++) bytes[i] = word()
      return bytes
    },
    of: <A>(values: ReadonlyArray<A>): A => values[word() % values.length]!
  }
}

export type Random = ReturnType<typeof random>

/** What an operation answered: true, false or how many, or the error of a peer. */
export const answer = <A>(result: Result.Result<A, RingError>): A | RingError =>
  Result.isSuccess(result) ? result.success : result.failure

const mod = (index: bigint) => Number(BigInt.asUintN(32, index))

/** One direction of a ring: its indexes never wrap here. */
interface Direction {
  put: bigint
  pushed: bigint
  taken: bigint
  event: bigint
  readonly sent: Array<Uint8Array>
}

/** Both halves of a ring as one, with all its bytes: written from the documented layout, shares no code with the library. */
export class RingModel {
  readonly page: Uint8Array
  readonly slots: number
  readonly slotSize: number
  readonly requests: Direction
  readonly responses: Direction

  constructor(byteLength: number, slotSize: number, start: number) {
    this.page = new Uint8Array(byteLength)
    this.slotSize = slotSize
    let slots = 1
    while (64 + slots * 2 * slotSize <= byteLength) slots *= 2
    this.slots = slots
    const at = BigInt(start)
    const direction = (): Direction => ({ put: at, pushed: at, taken: at, event: at + 1n, sent: [] })
    this.requests = direction()
    this.responses = direction()
    this.header()
  }

  room(half: "front" | "back"): number {
    const { requests, responses } = this
    return half === "front" ? this.slots - Number(requests.put - responses.taken) : Number(requests.taken - responses.put)
  }

  private ways(half: "front" | "back") {
    return half === "front" ? { out: this.requests, inn: this.responses } : { out: this.responses, inn: this.requests }
  }

  put(half: "front" | "back", bytes: Uint8Array): boolean {
    if (this.room(half) <= 0) return false
    const { out } = this.ways(half)
    const whole = new Uint8Array(this.slotSize)
    whole.set(bytes)
    this.page.set(whole, 64 + Number(out.put % BigInt(this.slots)) * this.slotSize)
    out.sent.push(whole)
    out.put++
    return true
  }

  push(half: "front" | "back"): boolean {
    const { out } = this.ways(half)
    const wanted = out.event > out.pushed && out.event <= out.put
    out.pushed = out.put
    this.header()
    return wanted
  }

  take(half: "front" | "back"): Uint8Array | undefined {
    const { inn } = this.ways(half)
    if (inn.taken === inn.pushed) return undefined
    inn.taken++
    return inn.sent.shift()
  }

  finalCheck(half: "front" | "back"): boolean {
    const { inn } = this.ways(half)
    if (inn.taken < inn.pushed) return true
    inn.event = inn.taken + 1n
    this.header()
    return false
  }

  private header(): void {
    const { requests, responses } = this
    const view = new DataView(this.page.buffer)
    ;[requests.pushed, requests.event, responses.pushed, responses.event].forEach((index, i) =>
      view.setUint32(i * 4, mod(index), true))
  }
}

/** What is told of an index, and of a flag: before it happens, and when it has. */
export type Access =
  | "loads" | "loaded" | "stores" | "stored"
  | "loads flag" | "loaded flag" | "stores flag" | "stored flag"
  | "raises" | "raised" | "lowers" | "lowered"

/** Runs `work` while each access to an index, or a flag, is told of, before and after. */
export const watching = <A>(watch: (event: Access, at: number, value: number) => void, work: () => A): A => {
  const { and, load, or, store } = Atomics
  const patched = Atomics as { and: unknown; load: unknown; or: unknown; store: unknown }
  const told = (
    access: (memory: Int32Array, at: number, value: number) => number,
    of: (isFlag: boolean) => readonly [before: Access, after: Access],
    isLoad = false
  ) =>
  (memory: Int32Array, at: number, value: number) => {
    const [before, after] = of(memory.BYTES_PER_ELEMENT === 1)
    watch(before, at, isLoad ? 0 : value >>> 0)
    const result = access(memory, at, value)
    watch(after, at, (isLoad ? result : value) >>> 0)
    return result
  }
  patched.load = told(load, (isFlag) => isFlag ? ["loads flag", "loaded flag"] : ["loads", "loaded"], true)
  patched.store = told(store, (isFlag) => isFlag ? ["stores flag", "stored flag"] : ["stores", "stored"])
  patched.or = told(or, () => ["raises", "raised"])
  patched.and = told(and, () => ["lowers", "lowered"])
  try {
    return work()
  } finally {
    Object.assign(patched, { and, load, or, store })
  }
}

/** An array to copy a slot into, that tells of each copy before it is made. */
export const target = (length: number, copies: () => void): Uint8Array => {
  const into = new Uint8Array(length)
  return Object.defineProperty(into, "set", {
    value: (from: Uint8Array, offset?: number) => {
      copies()
      Uint8Array.prototype.set.call(into, from, offset)
    }
  })
}

/** The same as `assert.strictEqual`, which takes longer than what the hostile suites do between two calls of it. */
export const same = (a: unknown, b: unknown, message?: string): void => {
  if (a !== b) assert.strictEqual(a, b, message)
}

export const sameBytes = (a: Uint8Array, b: Uint8Array, message: string): void => {
  if (!Buffer.from(a.buffer, a.byteOffset, a.length).equals(Buffer.from(b.buffer, b.byteOffset, b.length))) {
    assert.deepStrictEqual([...a], [...b], message)
  }
}
