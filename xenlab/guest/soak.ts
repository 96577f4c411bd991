/**
 * Shares random buffers between two domains for many cycles, in both modes, and says now and then what it uses.
 *
 * Usage: node soak.mjs front PEER CYCLES    shares; says "control" first, then a "sample" ten times, each of which ends
 *                                           at a line of input
 *        node soak.mjs back PEER DIRECTORY  maps what the other shares, and says a "sample" whenever the other does
 *        node soak.mjs both PEER CYCLES     both in one process, with PEER, its own domain, on the other side
 *
 * The two agree on what is next through a page that they share.
 */
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Effect from "effect/Effect"
import { nextLine, say, usage } from "./Program.ts"

const page = 4096

/** Words of the page: the front writes a turn, the back its number when it is done. */
const turn = 0
const done = 1
const kind = 2
const directory = 3
const byteLength = 4
const value = 5

const kinds = { map: 1, provide: 2, check: 3, sample: 4, end: 5 }
type Kind = keyof typeof kinds

const words = (bytes: SharedMemory.Writable) => {
  const { buffer, byteOffset } = SharedMemory.unsafeBytes(bytes) // For Atomics.
  return new Int32Array(buffer, byteOffset, 8)
}

const until = Effect.fnUntraced(function*(isSo: () => boolean, patience: number) {
  for (const end = performance.now() + patience; !isSo();) {
    if (performance.now() > end) return yield* Effect.die(new Error("the other side does not answer"))
    yield* Effect.sleep("1 millis")
  }
})

/** The front asks, and waits until it is done. */
const ask = Effect.fnUntraced(function*(
  control: Int32Array,
  what: Kind,
  buffer: { readonly directory: number; readonly byteLength: number; readonly value: number }
) {
  control[kind] = kinds[what]
  control[directory] = buffer.directory
  control[byteLength] = buffer.byteLength
  control[value] = buffer.value
  const next = Atomics.load(control, turn) + 1
  Atomics.store(control, turn, next)
  yield* until(() => Atomics.load(control, done) === next, 60_000)
})

const holds = (bytes: SharedMemory.Readable, value: number, what: string) => {
  const at = SharedMemory.unsafeBytes(bytes).findIndex((byte) => byte !== value)
  return at < 0 ? Effect.void : Effect.die(new Error(`${what}: byte ${at} of ${bytes.length} is ${bytes[at]}, not ${value}`))
}

/** Small mostly, sometimes up to a hundred pages, and seldom a directory of two pages. */
const randomLength = (): number => {
  const luck = Math.random()
  const pages = luck < 0.95 ? 16 : luck < 0.998 ? 100 : 1200
  return 1 + Math.floor(Math.random() * pages * page)
}

/** One buffer, from its beginning to its end. */
const cycle = Effect.fnUntraced(function*(control: Int32Array, peer: number, n: number) {
  const size = randomLength()
  const ours = n % 250 + 1
  const theirs = ours + 1
  if (Math.random() < 0.5) {
    const buffer = yield* SharedBuffer.alloc({ peer, byteLength: size })
    buffer.bytes.fill(ours)
    yield* ask(control, "map", { directory: buffer.directory, byteLength: size, value: ours })
    yield* holds(buffer.bytes, theirs, "what the back wrote")
  } else {
    const buffer = yield* SharedBuffer.allocByBackend({ peer, byteLength: size })
    yield* ask(control, "provide", { directory: buffer.directory, byteLength: size, value: ours })
    yield* Effect.scoped(Effect.gen(function*() {
      const { bytes } = yield* buffer.map()
      yield* holds(bytes, ours, "what the back provides")
      bytes.fill(theirs)
    }))
    yield* ask(control, "check", { directory: 0, byteLength: 0, value: theirs })
  }
}, Effect.scoped)

const front = Effect.fnUntraced(function*(peer: number, cycles: number, isAlone: boolean) {
  const shared = yield* SharedBuffer.alloc({ peer, byteLength: page })
  yield* say("control", { directory: shared.directory })
  const control = words(shared.bytes)
  if (isAlone) yield* Effect.forkScoped(back(peer, shared.directory, true))
  for (let n = 1; n <= cycles; n++) {
    yield* cycle(control, peer, n)
    if (n * 10 % cycles < 10) {
      yield* ask(control, "sample", { directory: 0, byteLength: 0, value: 0 })
      yield* say("sample", { cycle: n, ...usage() })
      yield* nextLine
    }
  }
  yield* ask(control, "end", { directory: 0, byteLength: 0, value: 0 })
}, Effect.scoped)

const back = Effect.fnUntraced(function*(peer: number, at: number, isAlone: boolean) {
  const { bytes } = yield* PeerBuffer.map({ peer, directory: at, byteLength: page })
  const control = words(bytes)
  let seen = 0
  const next = Effect.gen(function*() {
    yield* until(() => Atomics.load(control, turn) !== seen, 300_000)
    seen = Atomics.load(control, turn)
    const location = { peer, directory: control[directory]!, byteLength: control[byteLength]! }
    return { location, kind: control[kind], value: control[value]! }
  })
  const answer = Effect.sync(() => void Atomics.store(control, done, seen))
  for (;;) {
    const request = yield* next
    switch (request.kind) {
      case kinds.map:
        yield* Effect.scoped(Effect.gen(function*() {
          const { bytes } = yield* PeerBuffer.map(request.location)
          yield* holds(bytes, request.value, "what the front shares")
          bytes.fill(request.value + 1)
        }))
        break
      case kinds.provide:
        yield* Effect.scoped(Effect.gen(function*() {
          const { bytes } = yield* PeerBuffer.allocForFrontend(request.location)
          bytes.fill(request.value)
          yield* answer
          // The front has unmapped before it asks for this.
          yield* holds(bytes, (yield* next).value, "what the front wrote")
        }))
        break
      case kinds.sample:
        if (!isAlone) yield* say("sample", usage())
        break
      case kinds.end:
        return yield* answer
    }
    yield* answer
  }
}, Effect.scoped)

const [role, peer, argument] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const program = role === "back" ? back(peer, argument, false) : front(peer, argument, role === "both")
await Effect.runPromise(program.pipe(Effect.provide(GntDev.layer())))
process.exit(0)
