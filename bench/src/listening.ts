/**
 * What it costs to hear a guest in a browser: our processor time for a second, the delay that the page says, and what is
 * missing.
 */
import * as Pcm from "@xen-shbuf/io/sndif/Pcm"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Browser } from "playwright-core"
import * as World from "../../packages/screen/test/World.ts"
import * as Report from "./Report.ts"

const params = { rate: 48_000, format: "s16_le", channels: 2, bufferFrames: 4096, periodFrames: 1024 } as const

const settling = 3
const seconds = 60

interface Row {
  readonly pages: number
  /** Our processor time of a second, in µs. */
  readonly time: number
  /** What each page says. */
  readonly said: ReadonlyArray<string>
}

/** A second of noise. */
const second = new Uint8Array(4 * params.rate)
for (let i = 0; i < second.length; i++) second[i] = Math.imul(i + 1, 0x9e37_79b1) >>> 24

const listen = Effect.fnUntraced(function*(browser: Browser, pages: number) {
  yield* World.showGuests()
  yield* World.addGuest(1, "guest", "640x480")
  yield* World.addCard(1)
  yield* World.openMonitor(1)
  const { playback } = yield* World.openCard(1)
  const open = yield* World.inDomain(1)(playback.open(params))
  yield* Effect.forkScoped(Pcm.play(open, Stream.forever(Stream.make(second))))
  const url = yield* World.serve()
  const all = yield* Effect.forEach(Array.from({ length: pages }), () => World.open(browser, url))
  for (const page of all) yield* Effect.promise(() => page.getByRole("button", { name: "Sound", exact: true }).click())
  yield* Effect.sleep(settling * 1000)
  const before = process.cpuUsage()
  yield* Effect.sleep(seconds * 1000)
  const { system, user } = process.cpuUsage(before)
  const said = yield* Effect.forEach(all, (page) => Effect.promise(() => page.locator(".facts").first().innerText()))
  const row: Row = { pages, time: (system + user) / seconds, said }
  return row
}, Effect.scoped, Effect.provide(Layer.merge(TestXen.layer({ sharedPages: 8192 }), World.shown)))

/** The parts of what pages say, such as "delay 70 ms". */
const partsOf = (said: ReadonlyArray<string>, pattern: RegExp) => said.map((text) => pattern.exec(text)?.[1] ?? "none")

/** Measures it all. */
export const run = Effect.fnUntraced(function*() {
  const browser = yield* Effect.acquireRelease(Effect.promise(() => World.launch()), (browser) => Effect.promise(() => browser.close()))
  const rows = yield* Effect.forEach([0, 1, 4], (pages) => Effect.orDie(listen(browser, pages)))
  return [Report.section<Row>({
    name: "sound-browser",
    title: "A guest's sound in a browser",
    about: `A guest plays stereo in 16 bits at 48,000 Hz for ${seconds} seconds, in periods of ${params.periodFrames} frames, and ` +
      "pages in a headless Chromium on the same machine play what arrives, into a loudspeaker that is none. Processor time of " +
      "a second: of both halves of the card, the Xen between them, and the server, which are one process. Delay and gaps are " +
      "what the pages say at the end.",
    columns: [
      { title: "pages that listen", show: ({ pages }) => String(pages) },
      { title: "our processor time, a second", show: ({ time }) => Report.time(time) },
      { title: "delay", show: ({ said }) => partsOf(said, /delay (\d+ ms)/).join(", ") },
      { title: "gaps", show: ({ said }) => partsOf(said, /ms · (.+)$/).join("; ") }
    ],
    rows,
    plots: []
  })]
}, Effect.scoped)
