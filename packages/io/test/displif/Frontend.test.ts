import { assert, describe, it } from "@effect/vitest"
import type { DisplayError } from "@xen-shbuf/io/displif/DisplayError"
import * as Frontend from "@xen-shbuf/io/displif/Frontend"
import * as Protocol from "@xen-shbuf/io/displif/Protocol"
import * as Exploration from "@xen-shbuf/testkit/Exploration"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as World from "./World.ts"

const node = Protocol.node

/** What a backend answers: undefined for nothing. Page flips are followed by events with these ids. */
type Answer = (request: Protocol.Request, right: Protocol.Response) => Protocol.Response | undefined

const serve = (answer: Answer, ids: ReadonlyArray<number>) =>
  Backend.serve({
    type: "vdispl",
    advertise: () => Effect.succeed({ versions: "1,2" }),
    handler: (connection) =>
      Effect.gen(function*() {
        const refs = { ref: `0/${node.requestRing}`, port: `0/${node.requestPort}`, slotSize: 64 }
        const { channel, ring } = yield* Backend.openRing(connection, refs)
        const out = yield* Backend.openEvents(connection, {
          ref: `0/${node.eventPage}`,
          port: `0/${node.eventPort}`,
          eventSize: 64
        })
        yield* connection.ready
        const slot = new Uint8Array(64)
        for (;; yield* channel.wait) {
          while (yield* Effect.fromResult(ring.take(slot))) {
            const request = Protocol.decodeRequest(slot)
            const told = answer(request, { id: request.id, operation: slot[2]!, status: 0, edidSize: 0 })
            if (told === undefined) continue
            yield* Effect.fromResult(ring.put(Protocol.encodeResponse(told)))
            yield* Effect.fromResult(ring.push())
            yield* channel.notify
            if (request._tag !== "PgFlip") continue
            for (const id of ids) {
              const event = Protocol.encodeEvent({ _tag: "PgFlip", id, fbCookie: request.fbCookie })
              yield* Effect.fromResult(out.events.put(event))
            }
            yield* Effect.fromResult(out.events.push())
            yield* out.channel.notify
          }
          yield* Effect.fromResult(ring.finalCheck())
        }
      })
  })

const inXen = (
  name: string,
  { answer, ids = [0] }: { readonly answer: Answer; readonly ids?: ReadonlyArray<number> },
  test: (display: Frontend.Display) => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope | World.Services>
) =>
  it.effect(name, () =>
    World.checked(Effect.gen(function*() {
      yield* World.addDisplay(3, ["8x8"], { beAlloc: "1" })
      yield* Effect.forkScoped(World.dom0(serve(answer, ids)))
      yield* World.inDomain(3)(Effect.scoped(Effect.flatMap(Frontend.connect(), test)))
    })), 30_000)

const reason = <A, R>(effect: Effect.Effect<A, DisplayError, R>) => Effect.map(Effect.flip(effect), ({ reason }) => reason)

const create = (display: Frontend.Display) => display.createBuffer({ width: 8, height: 8 })

const settle = Effect.forEach(Array.from({ length: 20 }), () => Effect.promise(() => new Promise(setImmediate)))

describe("displif/Frontend, and a backend that", () => {
  inXen("refuses: its number is told, and nothing is held", { answer: (_, right) => ({ ...right, status: -28 }) }, (display) =>
    Effect.gen(function*() {
      const { holdings } = yield* TestXen.TestXen
      const before = yield* holdings
      assert.deepInclude(yield* reason(create(display)), { _tag: "Refused", errno: 28 })
      assert.deepInclude(yield* reason(display.connectors[0]!.edid), { _tag: "Refused", errno: 28 })
      // The scope goes on.
      assert.deepStrictEqual(yield* holdings, before)
    }))

  const wrong: Record<string, Answer> = {
    "answers with a positive status": (_, right) => ({ ...right, status: 1 }),
    "answers another operation": (_, right) => ({ ...right, operation: right.operation + 1 }),
    "answers what nobody asked": (_, right) => ({ ...right, id: right.id + 1 })
  }
  for (const [what, answer] of Object.entries(wrong)) {
    inXen(`${what}: it is not asked again`, { answer }, (display) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* reason(create(display)))._tag, "WrongAnswer")
        assert.strictEqual((yield* reason(display.ended))._tag, "WrongAnswer")
        assert.strictEqual((yield* reason(display.connectors[0]!.disable))._tag, "WrongAnswer")
      }))
  }

  for (const edidSize of [127, 129, 32_896, 0xffff_ffff]) {
    inXen(`claims ${edidSize} bytes of EDID`, { answer: (_, right) => ({ ...right, edidSize }) }, (display) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* reason(display.connectors[0]!.edid))._tag, "WrongAnswer")
        yield* create(display)
      }))
  }

  inXen("does not answer: it is waited for as long as Linux does", { answer: () => undefined }, (display) =>
    Effect.gen(function*() {
      const asked = yield* Effect.forkScoped(reason(display.connectors[0]!.disable))
      yield* settle
      yield* TestClock.adjust(2999)
      yield* settle
      assert.isUndefined(asked.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(asked))._tag, "NoAnswer")
    }))

  inXen("is asked again after a question that was given up, at whatever step", { answer: (_, right) => right }, (display) =>
    Effect.gen(function*() {
      const { disable } = display.connectors[0]!
      const interruptions = yield* Exploration.interruptEach((disturbed) => Effect.andThen(disturbed(disable), disable))
      assert.isAbove(interruptions, 10)
    }))

  inXen("sends events out of order: they are not believed", { answer: (_, right) => right, ids: [1, 2, 7] }, (display) =>
    Effect.gen(function*() {
      const framebuffer = yield* Effect.flatMap(create(display), (buffer) => buffer.attach())
      const flip = yield* Effect.forkScoped(display.connectors[0]!.flip(framebuffer))
      yield* settle
      assert.isUndefined(flip.pollUnsafe())
    }))

  inXen("fills no directory in: nothing is mapped", { answer: (_, right) => right }, (display) =>
    Effect.map(reason(display.createBuffer({ width: 8, height: 8, byBackend: true })), ({ _tag }) =>
      assert.strictEqual(_tag, "DirectoryError")))
})
