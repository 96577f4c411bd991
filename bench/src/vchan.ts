/**
 * How fast bytes go through a vchan between two domains in memory, against copying them in and out.
 */
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Measure from "./Measure.ts"
import * as Report from "./Report.ts"

/** Bytes of one iteration, and of a ring. */
const amount = 2 ** 20
const ringSize = 65_536

interface Row {
  readonly chunk: number
  readonly ratio: Measure.Ratio
}

/** The same bytes through a plain ring: what can't be done without. */
const copies = (chunk: Uint8Array, into: Uint8Array) => {
  const ring = new Uint8Array(ringSize)
  return () => {
    for (let at = 0; at < amount; at += chunk.length) {
      ring.set(chunk, at % ringSize)
      into.set(ring.subarray(at % ringSize, at % ringSize + chunk.length))
    }
  }
}

const measure = Effect.fnUntraced(function*(pairs: number, chunk: number) {
  const path = "/local/domain/1/data/bench"
  const taker = yield* Server.listen({ peer: 2, path, readSize: ringSize }).pipe(Effect.provide(TestXen.layerDomain(1)))
  const sender = yield* Client.connect({ peer: 1, path }).pipe(Effect.provide(TestXen.layerDomain(2)))
  const [bytes, into] = [new Uint8Array(chunk), new Uint8Array(ringSize)]
  const sending = Effect.gen(function*() {
    for (let at = 0; at < amount; at += chunk) yield* sender.write(bytes)
  })
  const taking = Effect.gen(function*() {
    for (let at = 0; at < amount;) at += yield* taker.read(into)
  })
  const both = Effect.all([taking, sending], { concurrency: 2, discard: true })
  return yield* Measure.compareEffect(both, copies(bytes, into), pairs)
}, Effect.scoped)

/** Measures it all. */
export const run = Effect.fnUntraced(function*(pairs: number) {
  const rows: Array<Row> = []
  for (const chunk of [4096, 65_536]) {
    rows.push({ chunk, ratio: yield* Effect.provide(measure(pairs, chunk), TestXen.layer()) })
  }
  const speed = (micros: number) => `${(amount / micros).toFixed(0)} MB/s`
  return [Report.section<Row>({
    name: "vchan",
    title: "A vchan in memory",
    about: "1 MiB from one domain of the in-memory Xen to another, in one process, through a ring of 64 KiB: writes of one " +
      "size, reads of whatever is there, with the signals between them. Beside it the same bytes copied into a plain ring " +
      "and out of it. Processor time.",
    columns: [
      { title: "writes of", show: ({ chunk }) => `${chunk} bytes` },
      { title: "vchan", show: ({ ratio }) => speed(ratio.ours) },
      { title: "plain copies", show: ({ ratio }) => speed(ratio.theirs) },
      { title: "ratio of the times", show: ({ ratio }) => Report.times(ratio.median) },
      { title: "quartiles", show: ({ ratio }) => Report.quartiles(ratio) }
    ],
    rows,
    plots: []
  })]
})
