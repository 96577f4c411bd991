/**
 * Measures how fast bytes go through a vchan, with the library at its ends and with C's libxenvchan.
 */
import * as Effect from "effect/Effect"
import * as CPeer from "../../../xenlab/src/CPeer.ts"
import * as Image from "../../../xenlab/src/Image.ts"
import type { Machine } from "../../../xenlab/src/Machine.ts"
import { say } from "../../../xenlab/src/Progress.ts"
import * as Measure from "../Measure.ts"
import * as Report from "../Report.ts"

/** Who sends, and who takes. */
interface Ends {
  readonly sender: "the library" | "C"
  readonly taker: "the library" | "C"
}

const programs = { "the library": ["node", `${Image.place}/vchan.mjs`], C: [CPeer.program] }

/** A guest that sends to dom0. */
export interface Pair {
  readonly dom0: Machine
  readonly guest: Machine
  readonly id: number
}

/** Bytes that are sent before any counts: V8 optimises in earnest what was called some thousand times. */
const warmUp = { quick: 32e6, full: 256e6 }

/** How many bytes, in writes of `chunk`, after `warm` others. */
interface Amount {
  readonly bytes: number
  readonly chunk: number
  readonly warm: number
}

/** Sends them from the guest to dom0, which serves: µs until all is read. */
const run = Effect.fnUntraced(function*({ dom0, guest, id }: Pair, { sender, taker }: Ends, { bytes, chunk, warm }: Amount) {
  const all = String(warm + bytes)
  const path = "/local/domain/0/data/bench"
  const rings = ["65536", "65536"]
  const options = { patience: "9 minutes" } as const
  const server = yield* dom0.start(
    [...programs[taker], "server", String(id), path, ...rings, "0", all, String(chunk), String(warm)],
    options
  )
  yield* server.expect("listening")
  const client = yield* guest.start(
    [...programs[sender], "client", "0", path, ...rings, all, "0", String(chunk), String(warm)],
    options
  )
  yield* client.expect("connected")
  const done = yield* client.expect("done")
  yield* client.completed
  yield* server.completed
  return Number(done["millis"]) * 1000
}, Effect.scoped)

interface Row extends Ends {
  readonly chunk: number
  readonly bytes: number
  readonly ratio: Measure.Ratio
}

/** MB/s of bytes in so many µs. */
const speed = (bytes: number, micros: number) => `${(bytes / micros).toFixed(1)} MB/s`

/** Measures it all: each run of ours has a run of C's beside it. */
export const section = Effect.fnUntraced(function*(pair: Pair, where: string, isQuick: boolean) {
  const rows: Array<Row> = []
  const c: Ends = { sender: "C", taker: "C" }
  const warm = isQuick ? warmUp.quick : warmUp.full
  for (const [chunk, bytes] of [[4096, 32e6], [65_536, 64e6]] as const) {
    const amount: Amount = { bytes: isQuick ? bytes / 4 : bytes, chunk, warm }
    for (const ends of [
      { sender: "the library", taker: "the library" },
      { sender: "the library", taker: "C" },
      { sender: "C", taker: "the library" }
    ] as const) {
      const samples: Array<Measure.Sample> = []
      const pairs = isQuick ? 1 : 5
      for (let n = 0; n < pairs; n++) {
        const theirs = yield* run(pair, c, amount)
        samples.push({ ours: yield* run(pair, ends, amount), theirs })
      }
      const row: Row = { ...ends, chunk, bytes: amount.bytes, ratio: Measure.ratio(samples) }
      rows.push(row)
      yield* say(`writes of ${chunk} by ${ends.sender}, taken by ${ends.taker}: ${Report.times(1 / row.ratio.median)} of C's`)
    }
  }
  return Report.section<Row>({
    name: "xen-vchan",
    title: "Bytes through a vchan",
    about: "A guest sends to dom0 through a ring of 65 536 bytes, in writes of one size, until all is read: the throughput " +
      `against that of C's libxenvchan at both ends, run beside it, each after ${warm / 1e6} MB that do not count. The taker ` +
      "reads as much as there is.",
    where,
    columns: [
      { title: "writes of", show: ({ chunk }) => `${chunk} bytes` },
      { title: "sent by", show: ({ sender }) => sender },
      { title: "taken by", show: ({ taker }) => taker },
      { title: "of C's", show: ({ ratio }) => Report.times(1 / ratio.median) },
      { title: "quartiles", show: ({ ratio }) => Report.quartiles({ low: 1 / ratio.high, median: 1, high: 1 / ratio.low }) },
      { title: "ours", show: ({ bytes, ratio }) => speed(bytes, ratio.ours) },
      { title: "C", show: ({ bytes, ratio }) => speed(bytes, ratio.theirs) },
      { title: "target", show: ({ ratio }) => Report.atLeast(0.7, 1 / ratio.median) }
    ],
    rows,
    plots: []
  })
})
