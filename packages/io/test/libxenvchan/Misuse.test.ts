/** What programs do that they should not: they are told so, and the vchan goes on. */
import { assert, describe, it } from "@effect/vitest"
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

const path = "/local/domain/5/data/vchan"

const pair = Effect.gen(function*() {
  const sizes = { readSize: 1024, writeSize: 1024 }
  const server = yield* Server.listen({ peer: 7, path, ...sizes }).pipe(Effect.provide(TestXen.layerDomain(5)))
  const client = yield* Client.connect({ peer: 5, path }).pipe(Effect.provide(TestXen.layerDomain(7)))
  return { server, client }
})

const inXen = <E>(name: string, test: Effect.Effect<void, E, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Ledger.checked(Effect.scoped(test)).pipe(Effect.provide(TestXen.layer())), 30_000)

/** Starts an effect that is to wait, and gives what it dies of. */
const dying = Effect.fnUntraced(function*<A, E>(effect: Effect.Effect<A, E>) {
  const fiber = yield* Effect.forkScoped(effect, { startImmediately: true })
  for (let i = 0; i < 20; i++) yield* Effect.yieldNow
  assert.isUndefined(fiber.pollUnsafe(), "it does not wait")
  return Effect.map(Fiber.await(fiber), sentence)
})

const sentence = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isFailure(exit) && Cause.hasDies(exit.cause) ? String(Cause.squash(exit.cause)) : String(exit)

describe("bytes that are moved away", () => {
  inXen("while they are written end the write, and no other", Effect.gen(function*() {
    const { client, server } = yield* pair
    const bytes = new Uint8Array(5000).fill(1)
    const write = yield* dying(server.write(bytes))
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
    const into = new Uint8Array(server.writeSize)
    assert.strictEqual(yield* client.read(into), server.writeSize)
    assert.include(yield* write, "moved away")
    yield* server.write(Uint8Array.of(2))
    assert.strictEqual(yield* client.read(into), 1)
    assert.strictEqual(into[0], 2)
  }))

  inXen("while they are to be read into end the read, and what came is not lost", Effect.gen(function*() {
    const { client, server } = yield* pair
    const into = new Uint8Array(10)
    const read = yield* dying(client.read(into))
    into.buffer.transfer()
    yield* server.write(Uint8Array.of(3))
    assert.include(yield* read, "moved away")
    assert.strictEqual(yield* client.read(new Uint8Array(10)), 1)
  }))

  inXen("before are no empty ones", Effect.gen(function*() {
    const { server } = yield* pair
    const bytes = new Uint8Array(10)
    const [write, read] = [server.write(bytes), server.read(bytes)]
    bytes.buffer.transfer()
    for (const use of [write, read, server.write(bytes), server.read(bytes)]) {
      assert.include(sentence(yield* Effect.exit(use)), "moved away")
    }
  }))
})
