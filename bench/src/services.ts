/**
 * How many signals and operations on xenstore the in-memory Xen does in a second.
 */
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Measure from "./Measure.ts"
import * as Report from "./Report.ts"

interface Job {
  readonly name: string
  /** What is counted each time. */
  readonly counts: number
  /** How many a second are aimed at. */
  readonly target: number
  readonly run: Effect.Effect<unknown, unknown>
}

/** Channels of two domains, of which one is signalled; behind it a fiber of the peer answers each signal. */
const signals = Effect.fnUntraced(function*(xen: TestXen.TestXen["Service"]) {
  const ours = yield* xen.eventChannels(1)
  const theirs = yield* xen.eventChannels(2)
  const pair = Effect.fnUntraced(function*() {
    const listening = yield* ours.listen({ peer: 2 })
    const joined = yield* theirs.join({ peer: 1, port: listening.port })
    yield* joined.wait
    return { listening, joined }
  })
  const alone = yield* pair()
  const answered = yield* pair()
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(answered.joined.wait, answered.joined.notify)))
  const among = yield* Effect.replicateEffect(pair(), 1000).pipe(Effect.map((pairs) => pairs[500]!))
  const taken = ({ joined, listening }: typeof alone) => Effect.andThen(joined.notify, listening.wait)
  const there = Effect.andThen(answered.listening.notify, answered.listening.wait)
  return [
    { name: "a signal, taken by the same fiber", counts: 1, target: 20_000, run: taken(alone) },
    { name: "the same, among 1000 channels", counts: 1, target: 20_000, run: taken(among) },
    { name: "a signal to another fiber, and its answer", counts: 2, target: 20_000, run: there }
  ] satisfies ReadonlyArray<Job>
})

/** A guest with as many nodes as it may have, or nearly. */
const store = Effect.fnUntraced(function*(xen: TestXen.TestXen["Service"]) {
  const guest = yield* xen.store(1)
  for (let i = 0; i < 900; i++) yield* guest.write(`data/${i % 30}/${i}`, "x".repeat(16))
  const at = "data/7/7"
  const other = "data/8/8"
  const changes = yield* Stream.toPull(guest.watch(other))
  yield* changes
  const jobs: ReadonlyArray<readonly [name: string, run: Effect.Effect<unknown, unknown>]> = [
    ["read a node", guest.read(at)],
    ["write a node", guest.write(at, "some sixteen bytes")],
    ["list 30 names", guest.directory("data/7")],
    ["make a node and remove it", Effect.andThen(guest.write("data/7/new", ""), guest.remove("data/7/new"))],
    [
      "read and write in a transaction",
      guest.transaction((nodes) => Effect.andThen(nodes.read(at), nodes.write(at, "some sixteen bytes")))
    ],
    ["write a node that is watched, and hear of it", Effect.andThen(guest.write(other, "x"), changes)]
  ]
  return jobs.map(([name, run]): Job => ({ name, counts: 1, target: 5000, run }))
})

/** How long a job takes, in µs, and how many that are a second. */
interface Row {
  readonly job: string
  readonly time: Measure.Spread
  readonly second: number
  readonly target: number
}

const measure = Effect.fnUntraced(function*({ counts, name, run, target }: Job, batches: number) {
  const batch = Measure.batchEffect(run)
  yield* batch(2000)
  const time = Measure.spread(yield* Effect.replicateEffect(batch(500), batches))
  return { job: name, time, second: 1e6 * counts / time.median, target } satisfies Row
})

const whole = (value: number) => value.toFixed(0)

/** One table: event channels, then xenstore. */
export const run = Effect.fnUntraced(function*(batches: number) {
  const xen = yield* TestXen.make({ ports: 2000 })
  const jobs: ReadonlyArray<Job> = [...yield* signals(xen), ...yield* store(xen)]
  const rows = yield* Effect.forEach(jobs, (job) => measure(job, batches))
  return [
    Report.section({
      name: "services",
      title: "Event channels and xenstore of the in-memory Xen",
      about: "What a test does with the two services, repeated in one fiber: two domains with a channel between them, and a " +
        "guest with 900 nodes in xenstore, near its quota. To make a node takes as long as it takes to count all that the " +
        `guest has. Medians and quartiles of ${batches} batches of 500, CPU time of all threads.`,
      columns: [
        { title: "what", show: ({ job }: Row) => job },
        { title: "time", show: ({ time }) => Report.time(time.median) },
        { title: "quartiles", show: ({ time }) => `${Report.time(time.low)} to ${Report.time(time.high)}` },
        { title: "a second", show: ({ second }) => whole(second) },
        { title: "target", show: ({ second, target }) => Report.atLeast(target, second, whole) }
      ],
      rows,
      plots: []
    })
  ]
}, Effect.scoped)
