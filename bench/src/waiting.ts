/**
 * The ways in which Node can hear from a device, against each other: what each costs while nothing happens, and when
 * something does.
 */
import * as Arrivals from "@xen-shbuf/linux/Arrivals"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import koffi from "koffi"
import { read as readInPool, stat, writeSync } from "node:fs"
import { Worker } from "node:worker_threads"
import * as Apart from "./Apart.ts"
import * as Measure from "./Measure.ts"
import * as Report from "./Report.ts"

const libc = koffi.load(null)
const poll = libc.func("int poll(void*, unsigned long, int)")
const exit = libc.func("void _exit(int)")
const fcntl = libc.func("int fcntl(int, int, long)")
const system = SystemCalls.native()

/** Descriptors to read from, that do not wait themselves. */
const opened = (count: number, flags = SystemCalls.O_NONBLOCK) =>
  Array.from({ length: count }, () => {
    const ends = new Int32Array(2)
    system.pipe(ends, SystemCalls.O_CLOEXEC | flags)
    return { from: ends[0]!, to: ends[1]! }
  })

/** Calls `heard` with a descriptor that had something, which has been read then, until it is stopped. */
type Way = (fds: ReadonlyArray<number>, heard: (fd: number) => void) => () => void

const byte = new Uint8Array(8)

/** What is read of descriptors that are ready. */
const drain = (fds: ReadonlyArray<number>, heard: (fd: number) => void) => {
  for (const fd of fds) if (system.read(fd, byte) > 0) heard(fd)
}

const pollfds = (fds: ReadonlyArray<number>) => {
  const words = new Int32Array(fds.length * 2)
  fds.forEach((fd, i) => words.set([fd, 1], 2 * i))
  return words
}

/** What a thread of its own does: waits for all, says so, and goes on when it is told that they were read. */
const waiter = (tell: string) => `
  const { parentPort, workerData } = require("node:worker_threads")
  const koffi = require(workerData.koffi)
  const poll = koffi.load(null).func("int poll(void*, unsigned long, int)")
  const { flags, words } = workerData
  for (;;) {
    poll(words, words.length / 2, -1)
    Atomics.store(flags, 1, 0)
    ${tell}
    Atomics.wait(flags, 1, 0)
  }
`

const worker = (source: string, fds: ReadonlyArray<number>) => {
  const flags = new Int32Array(new SharedArrayBuffer(8))
  const thread = new Worker(waiter(source), {
    eval: true,
    workerData: { flags, words: pollfds(fds), koffi: import.meta.resolve("koffi").slice("file://".length) }
  })
  const goOn = () => {
    Atomics.store(flags, 1, 1)
    Atomics.notify(flags, 1)
  }
  return { flags, thread, goOn }
}

const ways = {
  "the event loop (chosen)": (fds, heard) => {
    const arrivals = Arrivals.make(system)
    const readings = fds.map((fd) => {
      const reading = Result.getOrThrow(
        arrivals.read(fd, new Uint8Array(8), { data: () => heard(fd), end: () => {} })
      )
      reading.hold(true)
      return reading
    })
    return () => {
      for (const { close } of readings) close()
    }
  },
  "a thread that polls, and messages": (fds, heard) => {
    const { goOn, thread } = worker("parentPort.postMessage(0)", fds)
    thread.on("message", () => {
      drain(fds, heard)
      goOn()
    })
    return () => void thread.terminate()
  },
  "a thread that polls, and Atomics.waitAsync": (fds, heard) => {
    const { flags, goOn, thread } = worker("Atomics.store(flags, 0, 1); Atomics.notify(flags, 0)", fds)
    let isStopped = false
    const next = () => {
      const { value } = Atomics.waitAsync(flags, 0, 0)
      void Promise.resolve(value).then(() => {
        if (isStopped) return
        Atomics.store(flags, 0, 0)
        drain(fds, heard)
        goOn()
        next()
      })
    }
    next()
    return () => {
      isStopped = true
      void thread.terminate()
    }
  },
  "koffi's asynchronous poll": (fds, heard) => {
    const words = pollfds(fds)
    let isStopped = false
    const next = () =>
      poll.async(words, fds.length, -1, () => {
        if (isStopped) return
        drain(fds, heard)
        next()
      })
    next()
    return () => {
      isStopped = true
    }
  },
  "a blocked read in libuv's pool": (fds, heard) => {
    let isStopped = false
    for (const fd of fds) {
      fcntl(fd, 4, 0)
      const next = () =>
        readInPool(fd, byte, 0, 8, null, () => {
          if (isStopped) return
          heard(fd)
          next()
        })
      next()
    }
    return () => {
      isStopped = true
    }
  },
  "the signal SIGIO": (fds, heard) => {
    for (const fd of fds) {
      fcntl(fd, 8, process.pid)
      fcntl(fd, 4, 0o4000 | 0o20000)
    }
    const listener = () => drain(fds, heard)
    process.on("SIGIO", listener)
    return () => void process.off("SIGIO", listener)
  }
} satisfies Record<string, Way>

const takes: Readonly<Record<keyof typeof ways, string>> = {
  "the event loop (chosen)": "none",
  "a thread that polls, and messages": "1",
  "a thread that polls, and Atomics.waitAsync": "1",
  "koffi's asynchronous poll": "1 of libuv's 4",
  "a blocked read in libuv's pool": "1 of libuv's 4 for each",
  "the signal SIGIO": "none"
}

const names = Object.keys(ways) as ReadonlyArray<keyof typeof ways>

interface Row {
  readonly way: string
  /** A signal to a thread that waits in the kernel, and back: µs of the clock, and of all processors. */
  readonly roundTrip: number
  readonly processor: number
  /** Threads that wait: its own, and those of libuv's pool. */
  readonly takes: string
  /** Of an idle second, ms of processor time. */
  readonly idle: number
  /** Until a file's size is known while eight descriptors wait, in µs; none in a second is Infinity. */
  readonly file: number
}

const after = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

const cpu = () => {
  const { system, user } = process.cpuUsage()
  return user + system
}

/** Waits in a blocking read, and answers each byte by one. */
const echo = `
  const { workerData } = require("node:worker_threads")
  const koffi = require(workerData.koffi)
  const libc = koffi.load(null)
  const read = libc.func("long read(int, void*, size_t)")
  const write = libc.func("long write(int, void*, size_t)")
  const byte = new Uint8Array(1)
  while (read(workerData.from, byte, 1) > 0) write(workerData.to, byte, 1)
`

const rounds = 5000

const roundTrips = async (way: Way) => {
  const [ours] = opened(1)
  const [theirs] = opened(1, 0)
  void new Worker(echo, {
    eval: true,
    workerData: { from: theirs!.from, to: ours!.to, koffi: import.meta.resolve("koffi").slice("file://".length) }
  })
  const times: Array<number> = []
  const one = Uint8Array.of(1)
  let began = 0
  const { promise, resolve } = Promise.withResolvers<number>()
  let before = 0
  const begin = () => {
    began = performance.now()
    system.write(theirs!.to, one)
  }
  const stop = way([ours!.from], () => {
    times.push((performance.now() - began) * 1000)
    if (times.length === rounds / 5) before = cpu()
    if (times.length < rounds) begin()
    else resolve((cpu() - before) / (rounds * 4 / 5))
  })
  await after(200)
  begin()
  const processor = await promise
  stop()
  return { roundTrip: Measure.spread(times.slice(rounds / 5)).median, processor }
}

/** How long it takes to ask for a file's size, in µs. */
const ask = () => {
  const begin = performance.now()
  return new Promise<number>((resolve) => stat("/proc/self/status", () => resolve((performance.now() - begin) * 1000)))
}

const asks = async () => {
  const times: Array<number> = []
  for (let n = 0; n < 50; n++) times.push(await ask())
  return Measure.spread(times).median
}

/** While eight wait: what an idle second costs, and what else goes on then. */
const waiting = async (way: Way) => {
  const stop = way(opened(8).map(({ from }) => from), () => {})
  await after(300)
  const begin = cpu()
  await after(1000)
  const idle = (cpu() - begin) / 1000
  const file = await Promise.race([asks(), after(1000).then(() => undefined)])
  stop()
  return { idle, file }
}

const parts = { roundTrips, waiting }

/** Each part in a process of its own, since not every way can be stopped. */
const measure = <A>(name: string, part: keyof typeof parts) => Apart.run<A>(import.meta.filename, [name, part])

const row = Effect.fnUntraced(function*(way: keyof typeof ways) {
  const { processor, roundTrip } = yield* measure<{ readonly roundTrip: number; readonly processor: number }>(way, "roundTrips")
  const { file, idle } = yield* measure<{ readonly idle: number; readonly file?: number }>(way, "waiting")
  const row: Row = { way, roundTrip, processor, takes: takes[way], idle, file: file ?? Infinity }
  return row
})

/** Measures it all. */
export const run = Effect.fnUntraced(function*() {
  const rows = yield* Effect.forEach(names, row)
  return [Report.section<Row>({
    name: "waiting",
    title: "How to hear from a device",
    about: "A byte goes through a pipe to a thread that waits in a blocking read, and one comes back: the median of " +
      `${rounds * 4 / 5} times, by the clock and in processor time of all threads. Then eight pipes of which nothing ` +
      "comes: threads that wait for them, processor time of a second, and how long it takes to ask for a file's size " +
      "meanwhile.",
    columns: [
      { title: "way", show: ({ way }) => way },
      { title: "there and back", show: ({ roundTrip }) => Report.time(roundTrip) },
      { title: "processor", show: ({ processor }) => Report.time(processor) },
      { title: "threads", show: ({ takes }) => takes },
      { title: "an idle second", show: ({ idle }) => Report.time(idle * 1000) },
      { title: "a file's size", show: ({ file }) => file === Infinity ? "not in a second" : Report.time(file) }
    ],
    rows,
    plots: []
  })]
})

if (import.meta.main) {
  const [, , way, part] = process.argv
  const found = await parts[part as keyof typeof parts](ways[way as keyof typeof ways])
  writeSync(1, JSON.stringify(found))
  // Threads that wait in the kernel would keep Node from its own end.
  exit(0)
}
