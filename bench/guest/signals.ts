/**
 * Does what is measured of event channels and xenstore; `bench/c/signals.c` does the same with C's libraries.
 *
 * Reads commands from standard input, one a line: NAME PATH A B. Answers each with "ok NUMBER" or "error TEXT": a port, or
 * the nanoseconds that all repetitions took.
 */
import { type EventChannel, EventChannels } from "@xen-shbuf/core/EventChannels"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import * as Abi from "../../packages/xen-devices/src/internal/Abi.ts"
import { nextLine } from "../../xenlab/guest/Program.ts"

const print = (text: string) => Effect.sync(() => void process.stdout.write(`${text}\n`))

const repeat = <E, R>(times: number, job: Effect.Effect<unknown, E, R>): Effect.Effect<void, E, R> =>
  Effect.suspend(() => {
    let i = 0
    return Effect.whileLoop({ while: () => i < times, body: () => job, step: () => i++ })
  })

const clock = () => Number(process.hrtime.bigint())

/** What an idle process uses: bytes, and µs of processor time in five seconds. */
const idle = Effect.gen(function*() {
  yield* Effect.sleep("1 second")
  globalThis.gc?.()
  const { rss } = process.memoryUsage()
  const begin = process.cpuUsage()
  yield* Effect.sleep("5 seconds")
  const { system, user } = process.cpuUsage(begin)
  return { rss, micros: system + user }
})

/** Sends a signal to itself and takes it, by system calls alone: nobody waits for it in an event loop. */
const bareSignals = () => {
  const system = SystemCalls.native()
  const fd = system.open("/dev/xen/evtchn", SystemCalls.O_RDWR | SystemCalls.O_CLOEXEC)
  const port = system.ioctl(fd, Abi.BIND_UNBOUND_PORT, Uint32Array.of(0))
  const other = Uint32Array.of(system.ioctl(fd, Abi.BIND_INTERDOMAIN, Uint32Array.of(0, port)))
  const taken = new Uint8Array(4)
  const take = () => {
    system.read(fd, taken)
    system.write(fd, taken)
  }
  take()
  return Effect.sync(() => {
    system.ioctl(fd, Abi.NOTIFY, other)
    take()
  })
}

class UnknownCommand extends Data.TaggedError("UnknownCommand")<{ readonly name: string }> {}

const main = Effect.gen(function*() {
  const channels = yield* EventChannels
  const store = yield* XenStore
  let channel: EventChannel | undefined
  let other: EventChannel | undefined
  let changes: Effect.Effect<unknown, unknown> | undefined
  let bare: Effect.Effect<unknown> | undefined

  /** What one repetition does; the other commands are done once. */
  const job = (name: string, path: string): Effect.Effect<unknown, unknown> | undefined => {
    switch (name) {
      case "rounds":
        return Effect.andThen(channel!.notify, channel!.wait)
      case "itself":
        return Effect.andThen(other!.notify, channel!.wait)
      case "notify":
        return channel!.notify
      case "calls":
        return bare!
      case "read":
        return store.read(path)
      case "write":
        return store.write(path, "4711")
      case "watch":
        return Effect.andThen(store.write(path, "4711"), changes!)
    }
    return undefined
  }

  const once = Effect.fnUntraced(function*(name: string, path: string, a: number, b: number) {
    switch (name) {
      case "listen":
        channel = yield* channels.listen({ peer: a })
        return channel.port
      case "join":
        channel = yield* channels.join({ peer: a, port: b })
        yield* channel.wait
        return 0
      case "own":
        channel = yield* channels.listen({ peer: 0 })
        other = yield* channels.join({ peer: 0, port: channel.port })
        yield* other.wait
        bare = bareSignals()
        return 0
      case "answer":
        yield* Effect.andThen(channel!.wait, channel!.notify).pipe(Effect.forever, Effect.forkScoped)
        return 0
      case "watchHere":
        changes = yield* Effect.map(Stream.toPull(store.watch(path)), Pull.catchDone(() => Effect.void))
        yield* changes
        return 0
      case "many":
        yield* Effect.forEach(Array.from({ length: a }), () =>
          Effect.gen(function*() {
            const one = yield* channels.listen({ peer: 0 })
            yield* Effect.forkScoped(one.wait, { startImmediately: true })
          }), { discard: true })
        yield* Effect.forEach(Array.from({ length: a }), (_, i) =>
          Effect.forkScoped(Stream.runDrain(store.watch(`${path}/${i}`)), { startImmediately: true }), { discard: true })
        // Answered after all of them.
        yield* store.write(path, "")
        return 0
      default:
        return yield* new UnknownCommand({ name })
    }
  })

  const obey = Effect.fnUntraced(function*(line: string) {
    const [name = "", path = "", a = "", b = ""] = line.split(" ")
    if (name === "idle") {
      const { micros, rss } = yield* idle
      return `${rss} ${micros}`
    }
    const repeated = job(name, path)
    if (repeated === undefined) return String(yield* once(name, path, Number(a), Number(b)))
    const begin = clock()
    yield* repeat(Number(a), repeated)
    return String(clock() - begin)
  })

  yield* print("ready")
  for (let line = yield* nextLine; line !== undefined; line = yield* nextLine) {
    yield* Effect.matchEffect(obey(line), {
      onSuccess: (answer) => print(`ok ${answer}`),
      onFailure: (error) => print(`error ${String(error)}`)
    })
  }
})

await Effect.runPromise(Effect.scoped(main).pipe(Effect.provide(XenDevices.layer())))
process.exit(0)
