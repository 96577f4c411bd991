import { assert, describe, it } from "@effect/vitest"
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import type { Vchan } from "@xen-shbuf/io/libxenvchan/Vchan"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { afterAll } from "vitest"
import * as Xen from "./native/Xen.ts"

const built = mkdtempSync(join(tmpdir(), "vchan-"))
const program = join(built, "vchan")
const missing = Xen.compile(program)
afterAll(() => rmSync(built, { recursive: true }))

const base = "/tool/vchan"

/** The C program's numbers that look random, and their hash. */
const numbers = (seed: number, count: number) => {
  const words = new Uint32Array(count / 4)
  let state = seed
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[i] = state
  }
  return words
}

const hash = (words: Uint32Array) => {
  let [a, b] = [1, 1]
  for (const word of words) {
    a = Math.imul(a ^ word, 16_777_619)
    b = (b << 5 | b >>> 27) + Math.imul(word, 2_654_435_761) | 0
  }
  return [a, b].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("")
}

/** Starts the C program; `next` is its next event. */
const startC = (folder: string, ...args: ReadonlyArray<string | number>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(program, args.map(String), { env: { ...process.env, XEN_FOLDER: folder } })
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
      const next = Effect.promise(async () =>
        JSON.parse((await lines.next()).value ?? "null") as { readonly event: string; readonly in: string; readonly out: string })
      return { child, next }
    }),
    ({ child }) =>
      Effect.promise(async () => {
        if (child.exitCode === null && child.kill("SIGKILL")) await once(child, "exit")
      })
  )

/** Sends and takes so many bytes at once, in pieces. */
const pass = (vchan: Vchan, sent: Uint8Array, chunk: number) => {
  const taken = new Uint8Array(sent.length)
  const sending = Effect.gen(function*() {
    for (let at = 0; at < sent.length; at += chunk) yield* vchan.write(sent.subarray(at, at + chunk))
  })
  const taking = Effect.gen(function*() {
    for (let at = 0; at < taken.length;) at += yield* vchan.read(taken.subarray(at))
  })
  return Effect.as(Effect.andThen(Effect.all([sending, taking], { concurrency: 2 }), vchan.drained), new Uint32Array(taken.buffer))
}

/** Ours and C's at the two ends, in two processes at the same time. */
const exchange = Effect.fnUntraced(function*(side: "server" | "client", [left, right]: readonly [number, number], chunk: number) {
  const bytes = 4_000_000
  const folder = yield* Xen.folder
  const inFolder = Effect.provide(Xen.layer(folder))
  const sent = numbers(side === "server" ? 1 : 2, bytes)
  const c = (side: "server" | "client") => startC(folder, side, 0, base, left, right, bytes, bytes, chunk)
  const [vchan, peer] = side === "server"
    ? yield* Effect.gen(function*() {
      const vchan = yield* inFolder(Server.listen({ peer: 0, path: base, readSize: left, writeSize: right }))
      yield* Xen.publish(folder, base)
      const peer = yield* c("client")
      yield* vchan.connected
      return [vchan, peer] as const
    })
    : yield* Effect.gen(function*() {
      const peer = yield* c("server")
      assert.strictEqual((yield* peer.next).event, "listening")
      yield* Xen.heard(folder, base)
      return [yield* inFolder(Client.connect({ peer: 0, path: base })), peer] as const
    })
  assert.strictEqual((yield* peer.next).event, "connected")
  const [taken, done] = yield* Effect.all([pass(vchan, new Uint8Array(sent.buffer), chunk), peer.next], { concurrency: 2 })
  assert.deepStrictEqual([done.event, done.in, hash(taken)], ["done", hash(sent), done.out])
})

/** C's library itself at the other end: what signals are asked for and sent while both run is what is tested here. */
const title = "libxenvchan with Debian's library at the other end, without Xen"
describe.skipIf(missing !== undefined)(missing === undefined ? title : `${title} (not run: ${missing})`, () => {
  for (const side of ["server", "client"] as const) {
    for (const [sizes, chunk] of [
      [[65_536, 65_536], 65_536],
      [[4096, 65_536], 4096],
      [[1024, 2048], 5000],
      [[2048, 2 ** 20], 1000]
    ] as const) {
      it.live(`our ${side} and C's, rings of ${sizes[0]} and ${sizes[1]} bytes, writes of ${chunk}: 4 MB each way`, () =>
        exchange(side, sizes, chunk).pipe(Effect.scoped, Effect.provide(TestXen.layer())), 60_000)
    }
  }
})
