/**
 * Counts the system calls of each operation, the library's and C's, with strace: what the main thread asks for between
 * two calls of access("/mark"), which arm64 knows as faccessat alone. Dom0 is its own peer.
 */
import * as Effect from "effect/Effect"
import * as Image from "../../../xenlab/src/Image.ts"
import { type ProcessError, sh } from "../../../xenlab/src/Machine.ts"
import { say } from "../../../xenlab/src/Progress.ts"
import * as Native from "../../guest/Native.ts"
import * as Report from "../Report.ts"
import * as Domain from "./Domain.ts"

/** What a call is for. Calls that are not here are V8's own: memory, clocks, locks between its threads. */
const purposes: Readonly<Record<string, string>> = {
  "ALLOC_GREF": "allocates pages and grants them",
  "mmap": "maps the device's pages into the process",
  // Not expected of a main thread; counted all the same, so that it shows.
  "madvise DONTFORK": "keeps them out of forked children, where they would stay in use",
  "munmap": "unmaps them",
  "mmap in place": "puts private memory in the place of the device's pages, which unmaps them; its addresses go back when " +
    "V8 has collected the view, by a munmap that is not counted here",
  "DEALLOC_GREF": "ends the grants (C does so while they are mapped, and they end with that)",
  "MAP_GRANT_REF": "notes which grants the next mmap shall map",
  "UNMAP_GRANT_REF": "forgets them",
  "GET_OFFSET_FOR_VADDR": "C: asks the device what it was that is mapped at an address; the library remembers",
  "mmap memory": "C: allocates a long request to the device",
  "munmap memory": "C: frees it"
}

const requests: Readonly<Record<string, string>> = {
  "0x184705": "ALLOC_GREF",
  "0x104706": "DEALLOC_GREF",
  "0x184700": "MAP_GRANT_REF",
  "0x104701": "UNMAP_GRANT_REF",
  "0x184702": "GET_OFFSET_FOR_VADDR"
}

/** MAP_FIXED: not where Linux likes, but where something is mapped. */
const fixed = 0x10

/** How often each call was made. */
type Counts = Readonly<Record<string, number>>

/** The name of a call in raw output of strace. `memory` collects the addresses of mappings that are no device's. */
const nameOf = (line: string, memory: Set<string>): string => {
  const [, name = line, text = "", result = ""] = /^(\w+)\((.*)\)\s+= (\S+)/.exec(line) ?? []
  const parts = text.split(", ")
  if (name === "ioctl") return requests[parts[1] ?? ""] ?? `ioctl ${parts[1]}`
  if (name === "madvise" && parts[2] === "0xa") return "madvise DONTFORK"
  if (name === "mmap" && parts[4] === "-1") {
    if ((Number(parts[3]) & fixed) !== 0) return "mmap in place"
    memory.add(result)
    return "mmap memory"
  }
  if (name === "munmap" && memory.delete(parts[0] ?? "")) return "munmap memory"
  return name
}

/** The calls between the first mark and the second, the third and the fourth, and so on. */
export const parse = (trace: string): ReadonlyArray<Counts> => {
  const memory = new Set<string>()
  // Every other stretch is between the end of one and the beginning of the next.
  const stretches = trace.split(/^(?:access\(|faccessat\(-100, )"\/mark".*\n/m).filter((_, i) => i % 2 === 1)
  return stretches.map((stretch) => {
    const counts: Record<string, number> = {}
    for (const line of stretch.split("\n")) {
      if (line === "") continue
      const name = nameOf(line, memory)
      counts[name] = (counts[name] ?? 0) + 1
    }
    return counts
  })
}

/** What is made every time. V8 does things of its own now and then. */
const always = (all: ReadonlyArray<Counts>): Counts => {
  const [first = {}] = all
  const counts = Object.keys(first).map((name) => [name, Math.min(...all.map((counts) => counts[name] ?? 0))] as const)
  return Object.fromEntries(counts.filter(([, count]) => count > 0))
}

const operations = ["share", "alloc", "map", "walk", "provide", "mapProvided"] as const

/** The library repeats an operation five times on its own. */
const repetitions = 5

type Failure = ProcessError | Domain.Refused

/** Something that runs under strace and does operations. */
interface Traced {
  readonly run: (operation: Domain.Operation, buffer: Domain.Buffer) => Effect.Effect<unknown, Failure>
  /** Shares a directory for `mapProvided`, and gives its reference. */
  readonly directory: (buffer: Domain.Buffer) => Effect.Effect<number, Failure>
  /** Ends it, and gives what was counted of each operation, in order. */
  readonly end: Effect.Effect<ReadonlyArray<ReadonlyArray<Counts>>, Failure>
}

const trace = "/tmp/trace"

/** Groups what was counted: each name has so many repetitions, and some names are of no interest. */
const grouped = (names: ReadonlyArray<string | undefined>, all: ReadonlyArray<Counts>, each: number) =>
  names.flatMap((name, i) => name === undefined ? [] : [all.slice(i * each, (i + 1) * each)])

const strace = ["strace", "-X", "raw", "-e", "signal=none", "-o", trace]

const marked = (dom0: Domain.Domain) =>
  // Most of the trace of Node is how it starts.
  Effect.map(sh(dom0.machine, `awk '/"\\/mark"/{on=!on; print; next} on' ${trace}`), parse)

const library = Effect.fnUntraced(function*(dom0: Domain.Domain, tableSize: number) {
  const process = yield* dom0.machine.start([...strace, ...Domain.argv(tableSize)], { patience: "5 minutes" })
  yield* process.expect("ready")
  let count = 0
  const traced: Traced = {
    run: (operation, buffer) =>
      Effect.andThen(Effect.sync(() => count++), Domain.ask(process, { do: "mark", operation, ...buffer })),
    directory: (buffer) =>
      Effect.map(Domain.ask(process, { do: "directories", ...buffer }), ({ directory }) => Number(directory)),
    end: Effect.gen(function*() {
      yield* process.closeInput
      yield* process.completed
      return grouped(Array.from({ length: count }, () => ""), yield* marked(dom0), repetitions)
    })
  }
  return traced
})

const c = Effect.fnUntraced(function*(dom0: Domain.Domain) {
  const process = yield* dom0.machine.start([...strace, `${Image.place}/grants`, "marks"])
  const names: Array<string | undefined> = []
  const command = Effect.fnUntraced(function*(name: string, buffer: Domain.Buffer, isCounted: boolean) {
    names.push(isCounted ? name : undefined)
    yield* process.send(Native.command(name, buffer, 1))
    const line = yield* process.nextLine
    if (!line.startsWith("ok ")) return yield* process.fail(`${name}: ${line}`)
    return Number(line.split(" ")[2])
  })
  const traced: Traced = {
    run: Effect.fnUntraced(function*(operation, buffer) {
      if (operation === "map") yield* command("holdRefs", buffer, false)
      yield* command(operation, buffer, true)
      if (operation === "map") yield* command("releaseRefs", buffer, false)
    }),
    directory: (buffer) => command("holdDirectory", buffer, false),
    end: Effect.gen(function*() {
      yield* process.closeInput
      yield* process.completed
      return grouped(names, yield* marked(dom0), 1)
    })
  }
  return traced
})

interface Row {
  readonly operation: string
  readonly pages: number
  readonly ours: Counts
  readonly theirs: Counts
}

/** Has all operations done at all sizes. */
const runAll = Effect.fnUntraced(function*(traced: Traced, holder: Domain.Domain, sizes: ReadonlyArray<number>) {
  for (const pages of sizes) {
    const buffer = { peer: 0, pages, directory: 0 }
    const shared = yield* Domain.ask(holder.process, { do: "alloc", ...buffer })
    const empty = yield* Domain.ask(holder.process, { do: "directories", ...buffer })
    const own = yield* traced.directory(buffer)
    yield* Domain.ask(holder.process, { do: "provide", ...buffer, directory: own })
    for (const operation of operations) {
      const directory = operation === "provide" ? empty["directory"] : shared["directory"]
      yield* traced.run(operation, { ...buffer, directory: Number(directory) })
    }
    yield* Domain.ask(holder.process, { do: "release" })
  }
  return yield* traced.end
})

const isCounted = (name: string): boolean => name in purposes
const total = (counts: Counts): number =>
  Object.entries(counts).reduce((sum, [name, count]) => isCounted(name) ? sum + count : sum, 0)
const list = (counts: Counts): string =>
  Object.entries(counts).filter(([name]) => isCounted(name)).map(([name, count]) =>
    count === 1 ? name : `${count} ${name}`).join(", ")

/** Counts it all. The holder is a second process in dom0. */
export const sections = Effect.fnUntraced(function*(
  dom0: Domain.Domain,
  tableSize: number,
  where: string,
  isQuick: boolean
) {
  const sizes = isQuick ? [1, 1024] : [1, 1024, 2025]
  yield* say("counting the system calls of C")
  const theirs = yield* runAll(yield* c(dom0), dom0, sizes)
  yield* say("counting the system calls of the library")
  const ours = yield* runAll(yield* library(dom0, tableSize), dom0, sizes)
  // Where no mark is found nothing would be counted, and nothing is within any target.
  if (ours.some((each) => each.length !== repetitions) || theirs.some((each) => each.length !== 1)) {
    return yield* Effect.die(new Error("strace's output has not the marks of every operation"))
  }
  const rows = sizes.flatMap((pages, i) =>
    operations.map((operation, j): Row => {
      const at = i * operations.length + j
      return { operation, pages, ours: always(ours[at] ?? []), theirs: always(theirs[at] ?? []) }
    })
  )
  const used = Object.entries(purposes).filter(([name]) =>
    rows.some(({ ours, theirs }) => name in ours || name in theirs)
  )
  return [
    Report.section<Row>({
      name: "xen-calls",
      title: "System calls of an operation",
      about: "Counted with strace in dom0, which is its own peer: what the main thread calls every time. What V8 " +
        "does for itself is left out: memory, clocks, locks between its threads.",
      where,
      columns: [
        { title: "operation", show: ({ operation }) => operation },
        { title: "pages", show: ({ pages }) => String(pages) },
        { title: "ours", show: ({ ours }) => String(total(ours)) },
        { title: "C", show: ({ theirs }) => String(total(theirs)) },
        { title: "target", show: ({ ours, theirs }) => Report.atMost(total(theirs), total(ours), String) },
        { title: "the library's", show: ({ ours }) => list(ours) },
        { title: "C's", show: ({ theirs }) => list(theirs) }
      ],
      rows,
      plots: []
    }),
    Report.section<{ readonly call: string; readonly purpose: string }>({
      name: "xen-calls-purposes",
      title: "What the system calls are for",
      about: "Those of the table of system calls.",
      where,
      columns: [
        { title: "call", show: ({ call }) => call },
        { title: "what it does", show: ({ purpose }) => purpose }
      ],
      rows: used.map(([call, purpose]) => ({ call, purpose })),
      plots: []
    })
  ]
})
