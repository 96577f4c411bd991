/**
 * A guest that knows no rules against the keyboard's backend, and a backend that knows none against the frontend, in memory.
 */
import * as Backend from "@xen-shbuf/io/kbdif/Backend"
import * as Frontend from "@xen-shbuf/io/kbdif/Frontend"
import * as Protocol from "@xen-shbuf/io/kbdif/Protocol"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as XenbusBackend from "@xen-shbuf/xenbus/Backend"
import type { Device } from "@xen-shbuf/xenbus/Device"
import * as XenbusFrontend from "@xen-shbuf/xenbus/Frontend"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { random, type Random } from "../../../packages/xenbus/test/Model.ts"

type Tally = Map<string, number>

const guest = 3

const inDomain = (id: number) => <A, F, R>(effect: Effect.Effect<A, F, R>) => Effect.provide(effect, TestXen.layerDomain(id))

const withKeyboard = <A, F, R>(id: number, use: Effect.Effect<A, F, R>) =>
  Effect.gen(function*() {
    yield* inDomain(guest)(Effect.void)
    const device = { type: "vkbd", backendType: "vinput", frontend: guest, id }
    yield* inDomain(0)(Toolstack.addDevice({ ...device, frontendNodes: {}, backendNodes: {} }))
    const result = yield* inDomain(guest)(use)
    yield* inDomain(0)(Toolstack.removeDevice(device))
    return result
  })

const counter = (tally: Tally) => {
  let done = 0
  return {
    count: (outcome: string) => {
      done++
      tally.set(outcome, (tally.get(outcome) ?? 0) + 1)
    },
    done: () => done
  }
}

/** Any event, for any other. */
const event = (dice: Random): Protocol.Event => ({ _tag: "Key", pressed: dice.below(2) > 0, code: dice.below(256) })

/** Events for guests whose index runs wild, who ask for what is not offered, or who take nothing. */
export const takers = (seed: number, atLeast: number, tally: Tally) =>
  Effect.scoped(Effect.gen(function*() {
    const dice = random(seed)
    const { count, done } = counter(tally)
    const keyboards = yield* Queue.unbounded<Backend.Keyboard>()
    yield* Effect.forkScoped(inDomain(0)(Backend.serve({ maxKeyboards: 100_000, use: (keyboard) => Queue.offer(keyboards, keyboard) })))
    const nonsense = () => dice.of(["0", "1", "2", "4294967295", "-1", "yes", ""])
    const publish = (device: Device) =>
      Effect.map(XenbusFrontend.share(device, { ref: Protocol.node.page, port: Protocol.node.port }), (shared) => ({
        ...shared,
        nodes: dice.below(4) > 0 ? shared.nodes : {
          ...shared.nodes,
          [Protocol.node.requestAbsolutePointer]: nonsense(),
          [Protocol.node.requestMultiTouch]: nonsense()
        }
      }))
    const session = (id: number) =>
      Effect.scoped(Effect.gen(function*() {
        const { published } = yield* XenbusFrontend.connect({ type: "vkbd", id, publish })
        const keyboard = yield* Queue.take(keyboards)
        for (let n = dice.below(1000); n > 0; n--) {
          const sent = yield* Effect.result(keyboard.send(event(dice)))
          count(sent._tag === "Failure" ? sent.failure.reason._tag : sent.success ? "sent" : "no room")
          if (sent._tag === "Failure") return
          if (dice.below(800) === 0) for (let i = 0; i < 4; i++) published.bytes[i] = dice.below(256)
        }
      }))
    for (let id = 0; done() < atLeast; id++) {
      // What a guest is refused for is its own affair.
      yield* withKeyboard(id, Effect.catch(session(id), ({ reason }) => Effect.sync(() => count(`not connected: ${reason._tag}`))))
    }
  }))

/** Events of backends whose index runs wild, who offer nonsense, or say what nobody knows. */
export const givers = (seed: number, atLeast: number, tally: Tally) =>
  Effect.scoped(Effect.gen(function*() {
    const dice = random(seed)
    const { count, done } = counter(tally)
    const nonsense = () => dice.of(["0", "1", "1", "1", "1", "1", "1", "4294967295", "-1", "x"])
    yield* Effect.forkScoped(inDomain(0)(XenbusBackend.serve({
      type: "vinput",
      maxDevices: 100_000,
      advertise: () => Effect.succeed({ [Protocol.node.absolutePointer]: nonsense(), [Protocol.node.multiTouch]: nonsense() }),
      handler: (connection) =>
        Effect.gen(function*() {
          const { bytes, channel } = yield* XenbusBackend.open(connection, { ref: Protocol.node.page, port: Protocol.node.port })
          yield* connection.ready
          for (let produced = 0; ;) {
            for (let n = 1 + dice.below(40); n > 0; n--, produced++) {
              for (let i = 0; i < 40; i++) bytes[1024 + produced % 51 * 40 + i] = i === 0 ? dice.below(7) : dice.below(256)
            }
            const word = dice.below(20) === 0 ? dice.word() : produced
            for (let i = 0; i < 4; i++) bytes[4 + i] = word >>> 8 * i & 0xff
            yield* channel.notify
            yield* channel.wait
          }
        })
    })))
    for (let id = 0; done() < atLeast; id++) {
      const session = Effect.scoped(Effect.gen(function*() {
        const { events } = yield* Frontend.connect({ id })
        yield* Stream.runForEach(Stream.take(events, 200), (event) => Effect.sync(() => count(event._tag)))
      }))
      yield* withKeyboard(id, Effect.catch(session, ({ _tag, reason }) => Effect.sync(() => count(`${_tag} ${reason._tag}`))))
    }
  }))
