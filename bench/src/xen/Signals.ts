/**
 * Measures event channels and xenstore between dom0 and guests against C: `bench/guest/signals.ts` and
 * `bench/c/signals.c` do the same, in turn.
 */
import * as Effect from "effect/Effect"
import * as Image from "../../../xenlab/src/Image.ts"
import type { Machine, Process } from "../../../xenlab/src/Machine.ts"
import { say } from "../../../xenlab/src/Progress.ts"
import type { Kind } from "../../../xenlab/src/Toolstack.ts"
import * as Measure from "../Measure.ts"
import * as Report from "../Report.ts"

/** A guest with its number. */
export interface Guest {
  readonly machine: Machine
  readonly id: number
  readonly kind: Kind
}

/** Gives the numbers of an answer. */
const ask = Effect.fnUntraced(function*(process: Process, name: string, path = "-", a = 0, b = 0) {
  yield* process.send(`${name} ${path} ${a} ${b}\n`)
  const line = yield* process.nextLine
  if (!line.startsWith("ok ")) return yield* process.fail(`${name} ${path} ${a} ${b}: ${line}`)
  return line.split(" ").slice(1).map(Number) as Array<number> & readonly [number]
})

const start = Effect.fnUntraced(function*(machine: Machine, ...argv: ReadonlyArray<string>) {
  const process = yield* machine.start(["taskset", "1", ...argv], { patience: "10 minutes" })
  if ((yield* process.nextLine) !== "ready") return yield* process.fail("is not ready")
  return process
})

const ours = (machine: Machine) => start(machine, "node", "--expose-gc", `${Image.place}/signals.mjs`)
const theirs = (machine: Machine) => start(machine, `${Image.place}/signals`)

interface Row {
  readonly where: string
  readonly what: string
  readonly ratio: Measure.Ratio
  readonly target?: number
}

/** What to repeat. */
interface Job {
  readonly where: string
  readonly what: string
  readonly command: string
  readonly paths?: { readonly c: string; readonly node: string }
  readonly target?: number
}

/** The program in C, and ours. */
interface Both {
  readonly c: Process
  readonly node: Process
}

/** How long a batch should be, in µs, and how long to warm up at most. */
const batchLength = 50_000
const warmUpLength = 20e6

/** Does it often, since V8 and the emulator compile what runs often; then tells how many are a batch. */
const warmUp = Effect.fnUntraced(function*<E>(batch: (times: number) => Effect.Effect<number, E>, runs: number) {
  let times = 10
  let best = Infinity
  for (let done = 0, spent = 0; done < runs && spent < warmUpLength; done += times) {
    const micros = yield* batch(times)
    spent += micros * times
    best = Math.min(best, Math.max(1, micros))
    times = Math.max(10, Math.round(batchLength / best))
  }
  return times
})

const measure = Effect.fnUntraced(function*(
  { command, paths = { c: "-", node: "-" }, target, what, where }: Job,
  { c, node }: Both,
  isQuick: boolean
) {
  const batch = (process: Process, path: string) => (times: number) =>
    Effect.map(ask(process, command, path, times), ([nanos]) => nanos / times / 1000)
  const ours = batch(node, paths.node)
  const theirs = batch(c, paths.c)
  const times = { ours: yield* warmUp(ours, isQuick ? 100 : 20_000), theirs: yield* warmUp(theirs, 100) }
  const samples: Array<Measure.Sample> = []
  while (samples.length < (isQuick ? 5 : 11)) {
    // Each goes first every other time.
    if (samples.length % 2 === 0) {
      const first = yield* theirs(times.theirs)
      samples.push({ ours: yield* ours(times.ours), theirs: first })
    } else samples.push({ ours: yield* ours(times.ours), theirs: yield* theirs(times.theirs) })
  }
  const row: Row = { where, what, ratio: Measure.ratio(samples), ...(target === undefined ? {} : { target }) }
  const { median, ours: us, theirs: them } = row.ratio
  yield* say(`${where}: ${what}: ${Report.times(median)} (${Report.quartiles(row.ratio)}), ${Report.time(us)}, C ${Report.time(them)}`)
  return row
})

/** A channel that `process` has joined, and of which the other end answers each signal by one. */
const answered = Effect.fnUntraced(function*(process: Process, domain: number, peer: Process, port: number) {
  yield* ask(process, "join", "-", domain, port)
  yield* ask(peer, "answer")
})

const roundTrips = Effect.fnUntraced(function*(dom0: Machine, { id, kind, machine }: Guest, isQuick: boolean) {
  const [c, node, mixed] = [yield* theirs(dom0), yield* ours(dom0), yield* ours(dom0)]
  const [cPeer, cPeerOfOurs, nodePeer] = [yield* theirs(machine), yield* theirs(machine), yield* ours(machine)]
  const pairs = [[c, cPeer], [node, nodePeer], [mixed, cPeerOfOurs]] as const
  for (const [process, peer] of pairs) {
    const [port] = yield* ask(peer, "listen")
    yield* answered(process, id, peer, port)
  }
  const job = { where: `dom0, ${kind} peer`, command: "rounds" }
  return [
    yield* measure({ ...job, what: "a signal there and back", target: 2 }, { c, node }, isQuick),
    yield* measure({ ...job, what: "the same, with C at the other end" }, { c, node: mixed }, isQuick)
  ]
}, Effect.scoped)

const parts = Effect.fnUntraced(function*(dom0: Machine, isQuick: boolean) {
  const both = { c: yield* theirs(dom0), node: yield* ours(dom0) }
  for (const process of [both.c, both.node]) yield* ask(process, "own")
  const where = "dom0"
  const itself = yield* measure({ where, what: "a signal to itself", command: "itself" }, both, isQuick)
  const calls = yield* measure({ where, what: "the same by its three system calls, without the event loop", command: "calls" }, both, isQuick)
  const notify = yield* measure({ where, what: "sending alone", command: "notify" }, both, isQuick)
  return [itself, calls, notify]
}, Effect.scoped)

/** Each has a node of its own: a change is told to all who watch. */
const paths = { c: "data/bench-c", node: "data/bench-ours" }

const store = Effect.fnUntraced(function*(machine: Machine, where: string, isQuick: boolean) {
  const both: Both = { c: yield* theirs(machine), node: yield* ours(machine) }
  const job = { where, paths }
  const rows = [
    yield* measure({ ...job, what: "xenstore: a write", command: "write", target: 1.5 }, both, isQuick),
    yield* measure({ ...job, what: "xenstore: a read", command: "read", target: 1.5 }, both, isQuick)
  ]
  yield* ask(both.c, "watchHere", paths.c)
  yield* ask(both.node, "watchHere", paths.node)
  const what = "xenstore: a write, until a watch tells of it"
  return [...rows, yield* measure({ ...job, what, command: "watch", target: 2 }, both, isQuick)]
}, Effect.scoped)

interface Idle {
  readonly what: string
  readonly rss: number
  readonly micros: number
}

const many = 1000

const idle = Effect.fnUntraced(function*(dom0: Machine) {
  const process = yield* ours(dom0)
  const look = Effect.fnUntraced(function*(what: string) {
    const [rss, micros = 0] = yield* ask(process, "idle")
    const row: Idle = { what, rss, micros }
    return row
  })
  const before = yield* look("nothing open")
  yield* ask(process, "own")
  yield* ask(process, "watchHere", "data/bench")
  const few = yield* look("two ports and a watch")
  yield* ask(process, "many", "data/bench", many)
  return [before, few, yield* look(`${many} ports and ${many} watches more, somebody waiting at each`)]
}, Effect.scoped)

/** Measures it all. */
export const sections = Effect.fnUntraced(function*(
  dom0: Machine,
  guests: ReadonlyArray<Guest>,
  where: string,
  isQuick: boolean
) {
  const rows = [...yield* parts(dom0, isQuick)]
  for (const guest of guests) rows.push(...yield* roundTrips(dom0, guest, isQuick))
  rows.push(...yield* store(dom0, "dom0, over the socket", isQuick))
  // The device is the same in both kinds.
  for (const { kind, machine } of guests.slice(0, 1)) {
    rows.push(...yield* store(machine, `${kind} guest, over the device`, isQuick))
  }
  return [
    Report.section<Row>({
      name: "xen-signals",
      title: "Event channels and xenstore",
      about: "One at a time, against C with Debian's libxenevtchn and libxenstore, each of which has a program of its own " +
        "at both ends. A signal to itself is sent, waited for and taken in one domain: what it takes beyond its system calls " +
        "is the event loop of Node and a fiber.",
      where,
      columns: [
        { title: "where", show: ({ where }) => where },
        { title: "what", show: ({ what }) => what },
        ...Report.ratioColumns<Row>(({ ratio }) => ratio, "ours", "C"),
        { title: "target", show: ({ ratio, target }) => target === undefined ? "" : Report.atMost(target, ratio.median) }
      ],
      rows,
      plots: []
    }),
    Report.section<Idle>({
      name: "xen-idle",
      title: "What waiting costs while nothing happens",
      about: "A process in dom0, after a garbage collection: its memory, and its processor time of the next five seconds.",
      where,
      columns: [
        { title: "what is open", show: ({ what }) => what },
        { title: "memory", show: ({ rss }) => `${(rss / 2 ** 20).toFixed(1)} MiB` },
        { title: "processor time of 5 s", show: ({ micros }) => Report.time(micros) }
      ],
      rows: yield* idle(dom0),
      plots: []
    })
  ]
})
