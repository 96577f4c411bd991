/**
 * What a period of sound costs: both halves of a card, between two domains of an in-memory Xen.
 */
import * as Backend from "@xen-shbuf/io/sndif/Backend"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import * as Frontend from "@xen-shbuf/io/sndif/Frontend"
import * as Sound from "@xen-shbuf/io/sndif/Sound"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Measure from "./Measure.ts"
import * as Report from "./Report.ts"

const guest = 1
const params = { rate: 48_000, format: "s16_le", channels: 2, bufferFrames: 4096, periodFrames: 1024 } as const
const periodSize = params.periodFrames * 4
const rounds = 20_000

interface Row {
  readonly player: string
  /** All in µs: processor time of a period, a WRITE there and back, and from the next request to the player. */
  readonly processor: number
  readonly write: number
  readonly delay: number
}

/** When a player has last got something. */
let heard = 0

const hears = Effect.sync(() => {
  heard = performance.now()
})

type Playback = () => Effect.Effect<Sound.Player, never, Scope.Scope>

const players: Readonly<Record<string, Playback>> = {
  "in the guest's memory": () => Effect.succeed({ play: () => hears }),
  "a stream of copies": () => Sound.chunks((chunks) => Stream.runForEach(chunks, () => hears))
}

/** Writes a period, and tells how long that and the next request take. */
const period = Effect.fnUntraced(function*(open: Frontend.OpenStream, number: number) {
  const begin = performance.now()
  yield* open.write(number % 4 * periodSize, periodSize)
  const written = performance.now()
  heard = 0
  yield* open.getVolume()
  for (let turn = 0; heard === 0 && turn < 100; turn++) yield* Effect.yieldNow
  return { write: (written - begin) * 1000, delay: (heard - written) * 1000 }
})

/** Opens the card's stream; dom0 serves it. */
const opened = Effect.fnUntraced(function*(options: Backend.Options<never, Scope.Scope>) {
  const dom0 = TestXen.layerDomain(0)
  yield* Effect.provide(Effect.void, TestXen.layerDomain(guest))
  const frontendNodes = Configuration.toNodes({ devices: [{ streams: [{ type: "playback", uniqueId: "0" }] }] })
  yield* Effect.provide(Toolstack.addDevice({ type: "vsnd", frontend: guest, frontendNodes }), dom0)
  yield* Effect.forkScoped(Effect.provide(Backend.serve(options), dom0))
  const { lines } = yield* Effect.provide(Frontend.connect(), TestXen.layerDomain(guest))
  return yield* lines[0]!.open(params)
})

const measure = Effect.fnUntraced(function*(player: string, playback: Playback) {
  const open = yield* opened({ pace: "unpaced", playback })
  yield* open.write(0, periodSize)
  yield* open.trigger("START")
  const found: Array<Effect.Success<ReturnType<typeof period>>> = []
  let number = 1
  const play = Effect.gen(function*() {
    for (let left = rounds; left > 0; left--) found.push(yield* period(open, number++))
  })
  yield* play
  found.length = 0
  const before = process.cpuUsage()
  yield* play
  const { system, user } = process.cpuUsage(before)
  const row: Row = {
    player,
    processor: (user + system) / rounds,
    write: Measure.spread(found.map(({ write }) => write)).median,
    delay: Measure.spread(found.map(({ delay }) => delay)).median
  }
  return row
}, Effect.scoped, Effect.provide(TestXen.layer()))

/** How late a guest hears of a period's end, in µs after the earliest that there was. */
interface Lateness extends Measure.Spread {
  readonly events: number
  readonly worst: number
}

/** Half a minute by the clock. */
const events = 30 * params.rate / params.periodFrames

const listen = Effect.gen(function*() {
  const open = yield* opened({ pace: "real-time" })
  yield* open.write(0, periodSize * 4)
  yield* open.trigger("START")
  const found: Array<number> = []
  for (let position = 0, number = 0; found.length < events; number++) {
    position = yield* open.moved(position)
    found.push(performance.now() * 1000 - position / 4 / params.rate * 1e6)
    yield* open.write(number % 4 * periodSize, periodSize)
  }
  const earliest = Math.min(...found)
  const late = found.map((at) => at - earliest)
  const lateness: Lateness = { ...Measure.spread(late), worst: Math.max(...late), events: found.length }
  return lateness
}).pipe(Effect.scoped, Effect.provide(TestXen.layer()))

/** Measures it all. */
export const run = Effect.fnUntraced(function*() {
  const all = Effect.forEach(Object.entries(players), ([name, playback]) => Effect.orDie(measure(name, playback)))
  // The first one would pay for what all have in common.
  yield* all
  const rows = yield* all
  const lateness = yield* Effect.orDie(listen)
  return [Report.section<Row>({
    name: "sound",
    title: "A period of sound",
    about: `A guest plays ${rounds} periods of ${params.periodFrames} frames, stereo in 16 bits, as fast as it can, after ` +
      "as many to warm up. Both halves and the Xen between them are in one process: processor time of all three for a " +
      "period and one more request; how long the guest waits for the answer to a WRITE; and how long until the player " +
      "has what it wrote, the next request of the guest included. Medians, but for processor time.",
    columns: [
      { title: "player", show: ({ player }) => player },
      { title: "processor", show: ({ processor }) => Report.time(processor) },
      { title: "a WRITE", show: ({ write }) => Report.time(write) },
      { title: "until it is heard", show: ({ delay }) => Report.time(delay) }
    ],
    rows,
    plots: []
  }), Report.section<Lateness>({
    name: "sound-events",
    title: "When a guest hears of a period's end",
    about: `A guest plays for half a minute by the clock, ${params.periodFrames} frames of ${params.rate} a second in a period, ` +
      "and looks at a clock of its own when the event has come: how much later that is than it would be if all had been as " +
      "quick as the quickest. It does not add up: the next period begins where it should have.",
    columns: [
      { title: "events", show: ({ events }) => String(events) },
      { title: "late, median", show: ({ median }) => Report.time(median) },
      { title: "quartiles", show: ({ high, low }) => `${Report.time(low)} to ${Report.time(high)}` },
      { title: "worst", show: ({ worst }) => Report.time(worst) }
    ],
    rows: [lateness],
    plots: []
  })]
})
