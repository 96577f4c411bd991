import { assert, describe, it } from "@effect/vitest"
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { createHash, randomBytes } from "node:crypto"
import { run, start } from "./fixtures/run.ts"

const [server, client] = [5, 7]
const path = `/local/domain/${server}/data/pipe`

const listen = (...args: ReadonlyArray<string>) =>
  start(server, "vchan", "listen", "--peer", String(client), "--path", path, "--json", ...args)
const connect = (...args: ReadonlyArray<string>) =>
  start(client, "vchan", "connect", "--peer", String(server), "--path", path, "--json", ...args)

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

/** Waits until so many bytes have come. */
const has = Effect.fnUntraced(function*(received: Effect.Effect<Uint8Array>, count: number) {
  while ((yield* received).length < count) yield* Effect.yieldNow
})

const inXen = (name: string, test: () => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Ledger.checked(test()).pipe(Effect.provide(TestXen.layer())), 30_000)

describe("vchan", () => {
  inXen("joins two domains until the side that was told to close has sent all", () =>
    Effect.gen(function*() {
      const connecting = yield* connect("--close")
      const listening = yield* listen("--read-size", "1024", "--write-size", "2048")
      assert.deepStrictEqual(yield* listening.nextError, { event: "listening" })
      assert.deepStrictEqual(yield* listening.nextError, { event: "connected", readSize: 1024, writeSize: 2048 })
      assert.deepStrictEqual(yield* connecting.nextError, { event: "connected", readSize: 2048, writeSize: 1024 })
      yield* connecting.send(new TextEncoder().encode("question"))
      yield* has(listening.received, 8)
      yield* listening.send(new TextEncoder().encode("answer"))
      yield* has(connecting.received, 6)
      yield* connecting.closeInput
      for (const { end } of [connecting, listening]) {
        const { exit, stderr, stdout } = yield* end
        assert.isTrue(Exit.isSuccess(exit))
        assert.deepStrictEqual([stdout, JSON.parse(stderr.at(-1)!)], [[], { event: "closed" }])
      }
      assert.deepStrictEqual([text(yield* listening.received), text(yield* connecting.received)], ["question", "answer"])
    }))

  inXen("ends where its input fails, though its peer says nothing", () =>
    Effect.gen(function*() {
      const listening = yield* listen()
      const connecting = yield* connect("--close")
      yield* connecting.nextError
      yield* connecting.failInput
      const { exit } = yield* connecting.end
      assert.isTrue(Exit.isFailure(exit))
      assert.isTrue(Exit.isSuccess((yield* listening.end).exit))
    }))

  inXen("passes much both ways at once, whatever the pieces", () =>
    Effect.gen(function*() {
      const [there, back] = [randomBytes(700_000), randomBytes(300_001)]
      const listening = yield* listen("--read-size", "4096")
      const connecting = yield* connect()
      const piece = (bytes: Uint8Array) => (function*() {
        for (let at = 0; at < bytes.length; at += 40_009) yield bytes.subarray(at, at + 40_009)
      })()
      yield* Effect.forEach(piece(there), (bytes) => connecting.send(bytes))
      yield* Effect.forEach(piece(back), (bytes) => listening.send(bytes))
      yield* Effect.all([has(listening.received, there.length), has(connecting.received, back.length)], { concurrency: 2 })
      assert.strictEqual(sha256(yield* listening.received), sha256(there))
      assert.strictEqual(sha256(yield* connecting.received), sha256(back))
      yield* connecting.interrupt
      assert.isTrue(Exit.isSuccess((yield* listening.end).exit))
    }))

  inXen("goes on at the end of its input, to take what still comes", () =>
    Effect.gen(function*() {
      const listening = yield* listen()
      yield* listening.closeInput
      const connecting = yield* connect("--close")
      yield* listening.nextError
      yield* listening.nextError
      yield* connecting.send(new TextEncoder().encode("late"))
      yield* connecting.closeInput
      assert.isTrue(Exit.isSuccess((yield* listening.end).exit))
      assert.strictEqual(text(yield* listening.received), "late")
    }))

  inXen("fails where the peer ends before it has read all, and says so once", () =>
    Effect.gen(function*() {
      const listening = yield* listen("--write-size", "4096")
      // It takes one byte, and goes.
      yield* Effect.gen(function*() {
        const vchan = yield* Client.connect({ peer: server, path })
        yield* listening.send(new Uint8Array(10_000))
        yield* vchan.read(new Uint8Array(1))
      }).pipe(Effect.scoped, Effect.provide(TestXen.layerDomain(client)))
      const { exit, stderr } = yield* listening.end
      assert.isTrue(Exit.isFailure(exit))
      const said = stderr.map((line) => JSON.parse(line) as { readonly event: string; readonly reason?: string })
      assert.deepStrictEqual(said.filter(({ event }) => event === "error").map(({ reason }) => reason), ["PeerClosed"])
    }))

  inXen("refuses what makes no sense", () =>
    Effect.gen(function*() {
      const bad = ["--peer", "7", "--path", "a//b"]
      const { exit, stderr } = yield* run(server, "vchan", "listen", ...bad)
      assert.isTrue(Exit.isFailure(exit))
      assert.include(stderr.join("\n"), "a path of xenstore")
      const big = yield* run(server, "vchan", "listen", "--peer", "7", "--path", path, "--read-size", "1048577")
      assert.include(big.stderr.join("\n"), "1 to 1048576")
    }))
})
