/**
 * One end of a vchan through the library, which sends and takes so many bytes and tells their hashes: the same as
 * `c/vchan.c`, with its arguments and events.
 *
 * Usage: node vchan.mjs server|client PEER PATH LEFT RIGHT SEND TAKE CHUNK [WARM]
 */
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import type { Vchan } from "@xen-shbuf/io/libxenvchan/Vchan"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Effect from "effect/Effect"
import { say } from "./Program.ts"

const [side, peer, path, left, right, send, take, chunk, warm] = process.argv.slice(2)

/** Numbers that look random, and a hash of them, word by word. */
class Numbers {
  state: number
  a = 1
  b = 1
  count = 0

  constructor(seed: number) {
    this.state = seed
  }

  fill(words: Uint32Array): void {
    let { a, b, state } = this
    for (let i = 0; i < words.length; i++) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      const word = words[i] = state
      a = Math.imul(a ^ word, 16_777_619)
      b = (b << 5 | b >>> 27) + Math.imul(word, 2_654_435_761) | 0
    }
    Object.assign(this, { a, b, state })
  }

  hash(words: Uint32Array): void {
    let { a, b } = this
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!
      a = Math.imul(a ^ word, 16_777_619)
      b = (b << 5 | b >>> 27) + Math.imul(word, 2_654_435_761) | 0
    }
    Object.assign(this, { a, b })
  }

  toString(): string {
    return [this.a, this.b].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("")
  }
}

const isPlain = warm !== undefined
const out = new Numbers(side === "server" ? 1 : 2)
const inn = new Numbers(0)
let began = performance.now()

const tell = (event: string, more: object = {}) =>
  Effect.suspend(() => {
    const millis = Math.round((performance.now() - began) * 10) / 10
    return say(event, { sent: out.count, out: String(out), taken: inn.count, in: String(inn), millis, ...more })
  })

const sending = Effect.fnUntraced(function*({ write }: Vchan) {
  const words = new Uint32Array(Number(chunk) / 4)
  const bytes = new Uint8Array(words.buffer)
  while (out.count < Number(send)) {
    const count = Math.min(bytes.length, Number(send) - out.count)
    if (!isPlain) out.fill(words.subarray(0, count / 4))
    yield* write(bytes.subarray(0, count))
    out.count += count
    // The first bytes are sent before the clock begins.
    if (out.count >= Number(warm) && out.count - count < Number(warm)) began = performance.now()
  }
})

const taking = Effect.fnUntraced(function*({ read }: Vchan) {
  const bytes = new Uint8Array(2 ** 20 + 4)
  const words = new Uint32Array(bytes.buffer)
  for (let rest = 0; inn.count < Number(take);) {
    const count = yield* read(bytes.subarray(rest, rest + Math.min(2 ** 20, Number(take) - inn.count)))
    if (count === 0) return false
    inn.count += count
    if (isPlain) continue
    const whole = Math.floor((rest + count) / 4)
    inn.hash(words.subarray(0, whole))
    rest = (rest + count) % 4
    bytes.copyWithin(0, whole * 4, whole * 4 + rest)
  }
  return true
})

/** C's server lies in one page where both sizes are small: ours has the same sizes. */
const open = side === "server"
  ? Server.listen({ peer: Number(peer), path: path!, readSize: Number(left), writeSize: Number(right) })
  : Client.connect({ peer: Number(peer), path: path! })

const main = Effect.gen(function*() {
  const vchan = yield* open
  if (side === "server") yield* tell("listening")
  yield* vchan.connected
  began = performance.now()
  yield* tell("connected")
  const [isWhole] = yield* Effect.all([taking(vchan), sending(vchan)], { concurrency: 2 })
  yield* vchan.drained
  yield* tell(isWhole ? "done" : "closed")
  return isWhole
}).pipe(
  Effect.catchTag("VchanError", (error) => Effect.as(tell("closed", { reason: error.reason._tag, message: error.message }), false))
)

const isDone = await Effect.runPromise(Effect.scoped(main).pipe(Effect.provide(XenDevices.layer())))
// Standard input is read from, and would keep the process.
process.exit(isDone ? 0 : 1)
