import { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as Backend from "@xen-shbuf/io/sndif/Backend"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import * as Frontend from "@xen-shbuf/io/sndif/Frontend"
import * as Pcm from "@xen-shbuf/io/sndif/Pcm"
import * as Protocol from "@xen-shbuf/io/sndif/Protocol"
import type { TestXen } from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { NoTestXen } from "../Failure.ts"
import * as Melody from "../Melody.ts"

const guest = 1
const rate = 48_000

/** The guest's card. */
export const description: Configuration.Description = {
  shortName: "Band",
  longName: "A band in memory",
  devices: [{ streams: [{ type: "playback", uniqueId: "melody" }] }]
}

/** What can go wrong with a guest in memory. */
export type Error = NoTestXen | Effect.Error<ReturnType<typeof playing>>

const inDomain = (xen: TestXen["Service"], id: number) => <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const services = Context.make(GrantTable, yield* xen.domain(id)).pipe(
      Context.add(EventChannels, yield* xen.eventChannels(id)),
      Context.add(XenStore, yield* xen.store(id))
    )
    return yield* Effect.provide(program, services)
  })

/** The melody, once. */
export const once = Stream.suspend(() => Stream.make(Melody.render(rate)))

/** The melody, and a second of silence, for ever. */
export const forEver = Stream.forever(Stream.concat(once, Stream.make(new Uint8Array(4 * rate))))

/** What the guest does: plays a melody to its end. */
export const perform = Effect.fnUntraced(function*(melody: Stream.Stream<Uint8Array>) {
  const { lines } = yield* Frontend.connect()
  const open = yield* lines[0]!.open({ rate, format: "s16_le", channels: 2, bufferFrames: 8192, periodFrames: 2048 })
  yield* Pcm.play(open, melody)
}, Effect.scoped)

/** The card of a guest that repeats what it hears. */
export const echoDescription: Configuration.Description = {
  shortName: "Echo",
  longName: "An echo in memory",
  devices: [{ streams: [{ type: "playback", uniqueId: "echo" }, { type: "capture", uniqueId: "voice" }] }]
}

/** What the guest does: plays what it records, for ever. */
export const echo = Effect.fnUntraced(function*() {
  const { lines } = yield* Frontend.connect()
  const params = { rate, format: "s16_le", channels: 1, bufferFrames: 16_384, periodFrames: 2048 } as const
  const playback = yield* lines[0]!.open(params)
  const capture = yield* lines[1]!.open(params)
  yield* Pcm.play(playback, Pcm.record(capture))
}, Effect.scoped)

const playing = Effect.fnUntraced(function*<E, R>(xen: TestXen["Service"], options: Backend.Options<E, R>) {
  const dom0 = inDomain(xen, 0)
  yield* xen.store(guest)
  yield* dom0(Toolstack.addDevice({
    type: Protocol.type,
    frontend: guest,
    frontendNodes: Configuration.toNodes(description)
  }))
  const serving = yield* Effect.forkScoped(dom0(Backend.serve(options)))
  yield* inDomain(xen, guest)(perform(once))
  yield* Fiber.interrupt(serving)
}, Effect.scoped)

/** Lets a guest of a Xen in memory play a melody on a card that is served with these options. */
export const play = <E, R>(options: Backend.Options<E, R>): Effect.Effect<void, Error, Exclude<R, Scope.Scope>> =>
  Effect.scoped(Effect.gen(function*() {
    const TestXen = yield* Effect.promise(() => import("@xen-shbuf/testkit/TestXen"))
    const xen = yield* Effect.catchDefect(TestXen.make(), (defect) =>
      Effect.fail(new NoTestXen({
        reason: { _tag: "MachineLacks" },
        message: defect instanceof Error ? defect.message : String(defect)
      })))
    yield* playing(xen, options)
  }))
