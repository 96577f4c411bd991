import { assert, describe, it } from "@effect/vitest"
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import type { VchanError } from "@xen-shbuf/io/libxenvchan/VchanError"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Machine from "../../../xenbus/test/Machine.ts"

const ids = { server: 5, client: 7 }
type Side = keyof typeof ids

/** How a vchan may end, or be refused, around a restore: that of the other domain is one of the peer's going away. */
const told: ReadonlySet<string> = new Set(["Suspended", "PeerGone", "PeerClosed"])

const warned: Array<string> = []

const loud = Logger.layer([
  Logger.make(({ logLevel, message }) => {
    if (logLevel === "Warn" || logLevel === "Error") warned.push(String(message))
  })
])

/**
 * Bytes to and fro for ever, in one vchan after the other, where the domain of one end is saved and restored before one of its
 * operations. Gives whether there was such a one.
 */
const play = (whom: Side, at: number, as: number) =>
  Ledger.checked(Effect.gen(function*() {
    const machine = yield* Machine.make
    const now = { ...ids }
    let reached = false
    let [rounds, before] = [0, 0]
    const others = new Set<string>()
    /** That it has moved, as the user of the other end is told by the toolstack. */
    const moved = yield* Deferred.make<void>()
    const restore: Machine.Disturb = (operation) => {
      if (operation.at !== at) return undefined
      reached = true
      before = rounds
      now[whom] = as
      Effect.runSync(machine.xen.suspendAndResume(whom === "server" ? ids.server : ids.client, { as }))
      return undefined
    }
    const again = <R>(one: Effect.Effect<void, VchanError, R>) =>
      Effect.forever(Effect.catch(one, ({ reason }) =>
        Effect.sync(() => {
          if (!told.has(reason._tag)) others.add(reason._tag)
        })))
    const serving = Effect.scoped(Effect.gen(function*() {
      const vchan = yield* Server.listen({ peer: now.client, path: "data/vchan", readSize: 1024, writeSize: 4096 })
      const into = new Uint8Array(10)
      for (let n = 1; n > 0;) {
        n = yield* vchan.read(into)
        if (n > 0) yield* vchan.write(into.slice(0, n))
      }
    }))
    const asking = Effect.scoped(Effect.gen(function*() {
      const vchan = yield* Client.connect({ peer: now.server, path: `/local/domain/${now.server}/data/vchan` })
      yield* vchan.write(Uint8Array.of(1))
      yield* vchan.read(new Uint8Array(1))
      rounds++
      return yield* vchan.closed
    }))
    const server = yield* machine.process(ids.server, whom === "server" ? restore : undefined)
    const client = yield* machine.process(ids.client, whom === "client" ? restore : undefined)
    // Who is at the other end looks its peer up anew.
    const perhapsMoved = <R>(one: Effect.Effect<void, VchanError, R>, is: boolean) =>
      is ? Effect.suspend(() => now[whom] !== ids[whom] ? one : Effect.raceFirst(one, Deferred.await(moved))) : one
    const fibers = [
      yield* server.start(again(perhapsMoved(serving, whom === "client"))),
      yield* client.start(again(perhapsMoved(asking, whom === "server")))
    ]
    yield* machine.settle
    if (reached) {
      yield* Deferred.succeed(moved, undefined)
      yield* machine.settle
      assert.isAbove(rounds, before, `operation ${at}: ${JSON.stringify(fibers.map((fiber) => fiber.pollUnsafe()))}`)
    }
    assert.isAbove(rounds, 0)
    yield* Effect.forEach(fibers, Fiber.interrupt)
    for (const { held } of [server, client]) assert.deepStrictEqual(held, { watches: 0, ports: 0 }, `operation ${at}`)
    return { reached, others }
  })).pipe(Effect.provide(loud), Effect.provide(TestXen.layer(), { local: true }))

describe.each(["server", "client"] as const)("a %s of a vchan whose domain is saved and restored, at whatever operation,", (whom) => {
  it.live("is told why, joins again, and leaves nothing", () =>
    Effect.gen(function*() {
      const others = new Set<string>()
      let at = 1
      for (; at < 500; at++) {
        const played = yield* play(whom, at, 9)
        for (const reason of played.others) others.add(reason)
        if (!played.reached) break
      }
      assert.isAbove(at, 15)
      assert.isBelow(at, 500)
      assert.deepStrictEqual([[...others], warned], [[], []])
    }), 240_000)
})
