/**
 * What requests and responses cost in a ring, against C on Xen's own macros in the same page.
 */
import * as Page from "@xen-shbuf/core/Page"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as Ring from "@xen-shbuf/xenbus/Ring"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import koffi from "koffi"
import { existsSync } from "node:fs"
import * as Cc from "./Cc.ts"
import * as Measure from "./Measure.ts"
import * as Report from "./Report.ts"

type Rounds = (page: Uint8Array, atATime: number, times: number) => number

/** Compiles the C side, and loads it; `undefined` without a C compiler or Xen's header (Debian's package libxen-dev). */
const compile = Effect.gen(function*() {
  if (!existsSync("/usr/include/xen/io/ring.h")) return undefined
  const library = yield* Cc.library(["ring.c"])
  if (library === undefined) return undefined
  const rounds: Rounds = koffi.load(library).func("double rounds(void *, uint32_t, size_t)")
  return rounds
})

const slotSize = 64

const is = <A>(answer: Result.Result<A, RingError>): A => Result.getOrThrow(answer)

const halves = (page: Uint8Array<ArrayBuffer>) => ({
  front: Ring.front(page, { slotSize }),
  back: Ring.back(page, { slotSize })
})

/** So many requests at a time, there and back: what a frontend and a backend do, but for the signals. */
const oneByOne = (page: Uint8Array<ArrayBuffer>, atATime: number) => {
  const { back, front } = halves(page)
  const request = new Uint8Array(slotSize).fill(7)
  const response = new Uint8Array(slotSize).fill(9)
  const taken = new Uint8Array(slotSize)
  return () => {
    let signals = 0
    for (let n = 0; n < atATime; n++) front.put(request)
    if (is(front.push())) signals++
    do {
      while (is(back.take(taken))) back.put(response)
      if (is(back.push())) signals++
    } while (is(back.finalCheck()))
    do {
      while (is(front.take(taken))) { /* the answer */ }
    } while (is(front.finalCheck()))
    if (signals !== 2) throw new Error(`${signals} signals`)
  }
}

/** The same in a batch each way. */
const inBatches = (page: Uint8Array<ArrayBuffer>, atATime: number) => {
  const { back, front } = halves(page)
  const requests = new Uint8Array(atATime * slotSize).fill(7)
  const responses = new Uint8Array(atATime * slotSize).fill(9)
  const taken = new Uint8Array(atATime * slotSize)
  return () => {
    let signals = 0
    front.putMany(requests)
    if (is(front.push())) signals++
    do {
      for (let n = 0; (n = is(back.takeMany(taken))) > 0;) {
        back.putMany(n === atATime ? responses : responses.subarray(0, n * slotSize))
      }
      if (is(back.push())) signals++
    } while (is(back.finalCheck()))
    do {
      while (is(front.takeMany(taken)) > 0) { /* the answers */ }
    } while (is(front.finalCheck()))
    if (signals !== 2) throw new Error(`${signals} signals`)
  }
}

const ways = [
  { atATime: 1, how: "one by one", round: oneByOne },
  { atATime: 32, how: "one by one", round: oneByOne },
  { atATime: 32, how: "in a batch", round: inBatches }
]

interface Row {
  readonly atATime: number
  readonly how: string
  readonly ratio: Measure.Ratio | undefined
}

const goal = 2

const columns: ReadonlyArray<Report.Column<Row>> = [
  { title: "requests at a time", show: ({ atATime }) => String(atATime) },
  { title: "ours takes and puts them", show: ({ how }) => how },
  { title: "ours / C", show: ({ ratio }) => ratio === undefined ? "not run: no C compiler, or no libxen-dev" : Report.times(ratio.median) },
  { title: "quartiles", show: ({ ratio }) => ratio === undefined ? "" : Report.quartiles(ratio) },
  { title: "target", show: ({ ratio }) => ratio === undefined ? "" : Report.atMost(goal, ratio.median) },
  { title: "ours, a request", show: ({ atATime, ratio }) => ratio === undefined ? "" : `${(ratio.ours / atATime * 1000).toFixed(0)} ns` },
  { title: "C, a request", show: ({ atATime, ratio }) => ratio === undefined ? "" : `${(ratio.theirs / atATime * 1000).toFixed(0)} ns` }
]

/** One and 32 requests at a time, the latter in a batch, too. */
export const run = Effect.fnUntraced(function*(pairs: number) {
  const rounds = yield* compile
  const fd = Result.getOrThrow(MappedMemory.memfd("ring", Page.size))
  const region = Result.getOrThrow(MappedMemory.map([{ fd, offset: 0, byteLength: Page.size }], "read-write"))
  MappedMemory.close(fd)
  const page = new Uint8Array(region.buffer)
  const rows: Array<Row> = []
  for (const { atATime, how, round } of ways) {
    const theirs: Measure.Batch = (times) =>
      Effect.sync(() => {
        const micros = rounds!(page, atATime, times)
        if (micros < 0) throw new Error(`C refuses: ${micros}`)
        return micros
      })
    // Made anew for each batch: C's loop begins with a new ring, too.
    const ours: Measure.Batch = (times) => Effect.suspend(() => Measure.batch(round(page, atATime))(times))
    rows.push({
      atATime,
      how,
      ratio: rounds && Measure.ratio(yield* Measure.sampleBatches(ours, theirs, pairs))
    })
  }
  return [Report.section({
    name: "rings",
    title: "Rings",
    about: "Requests and responses of 64 bytes, there and back in one page by both halves in one thread, without the signals: " +
      "written, shown, copied out, answered, copied out, with each last look. In turn with C that does the same on the macros of " +
      `Xen's \`io/ring.h\` in the same page (\`bench/c/ring.c\`, \`cc -O2\`): ${pairs} pairs of batches of a millisecond, CPU ` +
      "time, medians and quartiles of the ratios.",
    columns,
    rows,
    plots: []
  })]
}, Effect.scoped)
