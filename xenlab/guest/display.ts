/**
 * Shows the displays of all guests, that is: compares every picture with what `draw.c` must have drawn; and gives all guests
 * a keyboard. It obeys a command a line, and answers each with one event.
 *
 * Usage: node display.mjs OPTIONS, a JSON object: `allocate`, `frameRate` (null: no limit)
 */
import * as DisplayBackend from "@xen-shbuf/io/displif/Backend"
import type { Connector } from "@xen-shbuf/io/displif/Display"
import type { Frame, Picture } from "@xen-shbuf/io/displif/Picture"
import * as KeyboardBackend from "@xen-shbuf/io/kbdif/Backend"
import type { Event } from "@xen-shbuf/io/kbdif/Protocol"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as Noise from "./Noise.ts"
import { nextLine, say } from "./Program.ts"

/** What the host can ask for. */
export type Request =
  /** Answers with what was seen since it was asked before, by the connectors' names. */
  | { readonly do: "report" }
  /** Sends events to the keyboards of all guests. */
  | { readonly do: "send"; readonly events: ReadonlyArray<Event> }

/** What was seen of one connector. */
export interface Seen {
  /** Frames that were right in every pixel. */
  right: number
  wrong: number
  dark: number
  width: number
  height: number
  format: string
}

export interface Options {
  readonly allocate: boolean
  readonly frameRate: number | null
  /** Whether pictures are looked at; else flips are acknowledged as they come. */
  readonly look: boolean
}

const options = JSON.parse(process.argv[2]!) as Options

const seen = new Map<string, Seen>()
const keyboards = new Set<KeyboardBackend.Keyboard>()

/** Whether a frame is the noise, its lines moved up by some number, which its first pixel says. */
const isRight = (frame: Frame, noise: Buffer, target: Buffer): boolean => {
  if (!frame.copyInto(target)) return false
  const split = target.readUInt32LE(0) * frame.width * 4
  if (split >= noise.length) return false
  const rest = noise.length - split
  return target.compare(noise, split, noise.length, 0, rest) === 0 && target.compare(noise, 0, split, rest) === 0
}

const look = (connector: Connector) => {
  const name = connector.uniqueId ?? `${connector.index}`
  let noise: Buffer = Buffer.alloc(0)
  let target: Buffer = Buffer.alloc(0)
  return (picture: Picture) => {
    const counts = seen.get(name) ?? { right: 0, wrong: 0, dark: 0, width: 0, height: 0, format: "" }
    seen.set(name, counts)
    if (picture._tag === "Dark") return void counts.dark++
    const size = picture.width * picture.height * 4
    if (noise.length !== size) {
      noise = Buffer.from(Noise.noise(Number(name), picture.width, picture.height).buffer)
      target = Buffer.alloc(size)
    }
    Object.assign(counts, { width: picture.width, height: picture.height, format: picture.format.name })
    if (isRight(picture, noise, target)) counts.right++
    else counts.wrong++
  }
}

const displays = DisplayBackend.serve({
  allocate: options.allocate,
  frameRate: options.frameRate ?? Infinity,
  show: ({ connectors, guest, id }) =>
    Effect.gen(function*() {
      yield* Effect.addFinalizer(() => say("gone", { guest, id }))
      yield* say("connected", { guest, id, connectors: connectors.map(({ resolution }) => resolution) })
      if (!options.look) return yield* Effect.never
      yield* Effect.forEach(connectors, (connector) => {
        const see = look(connector)
        return Stream.runForEach(connector.pictures, (picture) => Effect.sync(() => see(picture)))
      }, { concurrency: "unbounded", discard: true })
    })
})

const keys = KeyboardBackend.serve({
  offer: { touch: { width: 1024, height: 768, contacts: 2 } },
  use: (keyboard) =>
    Effect.gen(function*() {
      keyboards.add(keyboard)
      yield* Effect.addFinalizer(() => Effect.sync(() => keyboards.delete(keyboard)))
      yield* say("keyboard", { guest: keyboard.guest, features: keyboard.features })
      return yield* Effect.never
    })
})

/** What is logged is an event like others. */
const logger = Logger.make(({ cause, message }) => {
  const text = [message, ...cause.reasons.length === 0 ? [] : [Cause.pretty(cause)]].flat().map(String).join(" ")
  process.stdout.write(`${JSON.stringify({ event: "log", text })}\n`)
})

const obey = Effect.gen(function*() {
  yield* say("ready", { pid: process.pid })
  for (let line = yield* nextLine; line !== undefined; line = yield* nextLine) {
    const request = JSON.parse(line) as Request
    if (request.do === "report") {
      yield* say("report", { seen: Object.fromEntries(seen) })
      seen.clear()
    } else {
      for (const keyboard of keyboards) yield* keyboard.send(...request.events)
      yield* say("sent", { keyboards: keyboards.size })
    }
  }
})

await Effect.runPromise(
  Effect.raceFirst(obey, Effect.all([displays, keys], { concurrency: "unbounded", discard: true })).pipe(
    Effect.provide(Layer.mergeAll(XenDevices.layer(), Logger.layer([logger])))
  )
)
