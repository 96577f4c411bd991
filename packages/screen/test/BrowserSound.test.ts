import { afterAll, assert, describe, it } from "@effect/vitest"
import type * as SoundFrontend from "@xen-shbuf/io/sndif/Frontend"
import * as Pcm from "@xen-shbuf/io/sndif/Pcm"
import type * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import type { Browser, BrowserContextOptions, Page } from "playwright-core"
import * as World from "./World.ts"

/** A microphone that beeps, and a person who says what they say when the browser asks. */
const launch = (answer: "" | "=deny") => World.launch("--use-fake-device-for-media-stream", `--use-fake-ui-for-media-stream${answer}`)

let started: Browser | undefined
afterAll(() => started?.close())

/** One for all tests, or a new one where a test has left it dead. */
const running = Effect.promise(async () => {
  if (!started?.isConnected()) started = await launch("")
  return started
})

const inXen = (
  name: string,
  test: (browser: Browser) => Effect.Effect<void, unknown, TestXen.TestXen | World.Shown | Scope.Scope>
) => it.live(name, () => Effect.flatMap(running, (browser) => World.surviving(browser)(World.checked(test(browser)))))

const run = <A>(program: () => Promise<A>) => Effect.promise(program)

interface Options {
  readonly page?: BrowserContextOptions
  readonly microphone?: boolean
}

/** A guest with a screen and a sound card, and a page that looks at it and listens. */
const listening = Effect.fnUntraced(function*(browser: Browser, id: number, options: Options = {}) {
  yield* World.addGuest(id, `guest-${id}`, "64x64")
  yield* World.addCard(id)
  yield* World.openMonitor(id)
  const card = yield* World.openCard(id)
  const url = yield* World.serve({ microphone: options.microphone })
  const page = yield* World.open(browser, url, { bypassCSP: true, ...options.page }, World.recorder)
  yield* run(() => page.getByRole("button", { name: "Sound", exact: true }).click())
  yield* run(() => page.getByText("Card, stream 0/0").waitFor())
  return { ...card, page, url }
})

const params: SoundFrontend.Params = { rate: 48_000, format: "s16_le", channels: 2, bufferFrames: 8192, periodFrames: 2048 }

/** Plays all of it. */
const play = (id: number, line: SoundFrontend.Line, over: Partial<SoundFrontend.Params>, samples: Uint8Array) =>
  World.inDomain(id)(Effect.scoped(Effect.flatMap(line.open({ ...params, ...over }), (open) => Pcm.play(open, Stream.make(samples)))))

/** The same frame, for as long as the scope is open. */
const playForEver = (id: number, line: SoundFrontend.Line, over: Partial<SoundFrontend.Params>, frame: Uint8Array) =>
  World.inDomain(id)(Effect.flatMap(line.open({ ...params, ...over }), (open) => {
    const second = Uint8Array.from({ length: 48_000 * frame.length }, (_, i) => frame[i % frame.length]!)
    return Effect.forkScoped(Pcm.play(open, Stream.forever(Stream.make(second))))
  }))

/** A frame for each number, none of which is silent. */
const numbered = (frames: number) =>
  new Uint8Array(Int16Array.from({ length: 2 * frames }, (_, i) => {
    const frame = i >> 1
    return i % 2 === 0 ? frame % 30_000 + 1 : Math.floor(frame / 30_000) + 1
  }).buffer)

/** The numbers of all frames that a page has played since it was last asked, in their order; null for one that the guest did not play. */
const numbersHeard = (page: Page) =>
  run(() =>
    page.evaluate<ReadonlyArray<number>>(`window.heard.splice(0).flatMap(([left, right]) => {
      const numbers = []
      for (let i = 0; left !== undefined && i < left.length; i++) {
        const [low, high] = [left[i] * 32768, (right ?? left)[i] * 32768]
        if (low === 0 && high === 0) continue
        numbers.push(Number.isInteger(low) && Number.isInteger(high) ? (high - 1) * 30000 + low - 1 : null)
      }
      return numbers
    })`)
  )

/** Waits until a page has played something, and then nothing for half a second. */
const fallsSilent = (page: Page) =>
  run(() =>
    page.waitForFunction(`(() => {
      const isSilent = (block) => block.every((channel) => channel.every((sample) => sample === 0))
      return !window.heard.every(isSilent) && window.heard.slice(-200).every(isSilent)
    })()`)
  )

const violations = async (page: Page) => {
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"))
  const found = await page.evaluate(`axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + ": " + nodes.map(({ html }) => html).join(" ")))`)
  return found as ReadonlyArray<string>
}

const floats = (...samples: ReadonlyArray<number>) => new Uint8Array(Float32Array.from(samples).buffer)

describe("a browser", () => {
  inXen("plays what a guest plays, sample by sample", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      const { page, playback } = yield* listening(browser, 3)
      const frames = 24_000
      let numbers: ReadonlyArray<number> = []
      // A machine that is busy loses something, or catches up, but not every time.
      while (numbers.length !== frames || !numbers.every((number, i) => number === i)) {
        yield* play(3, playback, {}, numbered(frames))
        yield* fallsSilent(page)
        numbers = yield* numbersHeard(page)
      }
    }))

  inXen("plays other rates, formats and channels, each where it belongs, as loud as the guest and the person want", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      const { page, playback } = yield* listening(browser, 3)
      const shows = (level: string) => run(() => page.locator(`.meter[aria-valuetext='${level}']`).waitFor())
      yield* Effect.scoped(Effect.gen(function*() {
        const over = { format: "float_le", channels: 6 } as const
        yield* playForEver(3, playback, over, floats(0.1, 0.2, 0.3, 0.4, 0.5, 0.25))
        // Front, centre, low, then the sides, which Linux calls rear.
        yield* World.hears(page, [0.1, 0.2, 0.5, 0.25, 0.3, 0.4])
        yield* run(() => page.getByText("48,000 Hz · 5.1 · delay").waitFor())
      }))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* playForEver(3, playback, { rate: 44_100, channels: 1 }, new Uint8Array(Int16Array.of(8192).buffer))
        yield* World.hears(page, [0.25])
        yield* shows("-12 dB")
        yield* run(() => page.getByText("44,100 Hz · mono · delay").waitFor())
        // With the keyboard alone. Half as far is a quarter as loud.
        yield* run(async () => {
          await page.getByRole("slider", { name: "Volume of Card, stream 0/0" }).focus()
          for (let i = 0; i < 10; i++) await page.keyboard.press("ArrowLeft")
        })
        yield* World.hears(page, [0.0625])
        yield* run(async () => {
          await page.keyboard.press("Tab")
          await page.keyboard.press("Space")
        })
        yield* World.hears(page, [0])
        // Who hears nothing, or does not want to, still sees it: on a busy machine a decibel louder for a moment.
        yield* shows("-12 dB")
        // It is kept.
        yield* run(() => page.reload())
        yield* run(() => page.getByRole("button", { name: "Sound", exact: true }).click())
        yield* run(() => page.getByRole("button", { name: "Mute Card", pressed: true }).waitFor())
        assert.strictEqual(yield* run(() => page.getByRole("slider").inputValue()), "50")
        yield* run(() => page.getByRole("button", { name: "Mute Card" }).click())
        yield* World.hears(page, [0.0625])
      }))
      yield* Effect.scoped(World.inDomain(3)(Effect.gen(function*() {
        const open = yield* playback.open({ ...params, channels: 2 })
        const samples = new Uint8Array(Int16Array.from({ length: 96_000 }, () => 8192).buffer)
        yield* Effect.forkScoped(Pcm.play(open, Stream.forever(Stream.make(samples))))
        yield* World.hears(page, [0.0625, 0.0625])
        yield* open.mute([false, true], true)
        yield* World.hears(page, [0.0625, 0])
      })))
    }))

  inXen("comes back by itself when the connection was lost, and ends when it is told to", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      yield* World.addGuest(3, "guest-3", "64x64")
      yield* World.addCard(3)
      yield* World.openMonitor(3)
      const { playback } = yield* World.openCard(3)
      yield* playForEver(3, playback, { channels: 1 }, new Uint8Array(Int16Array.of(4096).buffer))
      const first = yield* Scope.make()
      const url = yield* Scope.provide(World.serve(), first)
      const page = yield* World.open(browser, url, { bypassCSP: true }, World.recorder)
      const button = page.getByRole("button", { name: "Sound", exact: true })
      yield* run(() => button.click())
      yield* World.hears(page, [0.125])
      yield* Scope.close(first, Exit.void)
      yield* run(() => page.getByText("Connection lost, trying again …").waitFor())
      yield* World.serve({ port: Number(url.port) })
      yield* World.hears(page, [0.125])
      yield* run(() => button.click())
      yield* run(() => page.getByRole("meter").waitFor({ state: "hidden" }))
      assert.strictEqual(yield* run(() => button.getAttribute("aria-pressed")), "false")
    }))

  inXen("has nothing for sound where a guest has none, and takes nothing of it before somebody wants it", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      yield* World.addGuest(3, "loud", "64x64")
      yield* World.addGuest(4, "quiet", "64x64")
      yield* World.addCard(3)
      yield* Effect.all([World.openMonitor(3), World.openMonitor(4)])
      yield* World.openCard(3)
      const page = yield* World.open(browser, yield* World.serve())
      const button = page.getByRole("button", { name: "Sound", exact: true })
      const asked: Array<string> = []
      yield* run(() => button.waitFor())
      page.on("request", (request) => asked.push(new URL(request.url()).pathname))
      page.on("websocket", (socket) => asked.push(new URL(socket.url()).pathname))
      yield* run(() => page.getByRole("button", { name: "quiet" }).click())
      yield* run(() => button.waitFor({ state: "hidden" }))
      assert.isFalse(yield* run(() => page.getByRole("region", { name: "Sound" }).isVisible()))
      assert.deepStrictEqual(asked, [])
    }))

  inXen("lets a guest record what a person says who has allowed it, at the guest's rate", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      const { capture, page } = yield* listening(browser, 3, { microphone: true })
      const button = page.getByRole("button", { name: "Microphone for Card, stream 0/1" })
      const record = World.inDomain(3)(Effect.map(capture.open({ ...params, rate: 8000, channels: 1 }), (open) =>
        Stream.map(Pcm.record(open), (bytes) => Math.max(...new Int16Array(bytes.buffer).map(Math.abs)))))
      const recorded = yield* record
      // Nobody has been asked yet.
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(recorded, 3)), [0, 0, 0])
      yield* run(() => button.click())
      yield* run(() => page.getByText("8,000 Hz · mono and hears you").waitFor())
      // The beeps of Chromium's own microphone.
      yield* Stream.runDrain(Stream.takeUntil(recorded, (peak) => peak > 1000))
      yield* run(() => button.click())
      yield* run(() => page.getByText("8,000 Hz · mono and hears nothing").waitFor())
      // The beeps that are under way are over, and then there are no more: a second is the longest time between two.
      let silent = 0
      yield* Stream.runDrain(Stream.takeUntil(recorded, (peak) => {
        silent = peak === 0 ? silent + 1 : 0
        return silent * params.periodFrames >= 3 * 8000
      }))
    }))

  inXen("takes no microphone that the person has not allowed, and offers none that the server does not want", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      const strict = yield* Effect.acquireRelease(run(() => launch("=deny")), (browser) => run(() => browser.close()))
      const { capture, page } = yield* listening(strict, 3, { microphone: true })
      yield* run(() => page.getByRole("button", { name: "Microphone" }).click())
      yield* run(() => page.getByText("the browser does not allow the microphone").waitFor())
      const record = World.inDomain(3)(Effect.map(capture.open({ ...params, rate: 8000, channels: 1 }), Pcm.record))
      assert.isTrue((yield* Stream.runCollect(Stream.take(yield* record, 5))).every((bytes) => bytes.every((byte) => byte === 0)))
      const other = yield* listening(browser, 4)
      assert.strictEqual(yield* run(() => other.page.getByRole("button", { name: "Microphone" }).count()), 0)
    }))

  inXen("has a page for everybody, on a phone, too", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      for (const [id, viewport] of [[3, { width: 1280, height: 900 }], [4, { width: 360, height: 740 }]] as const) {
        const { page, playback } = yield* listening(browser, id, { microphone: true, page: { viewport } })
        yield* run(() => page.getByRole("button", { name: `guest-${id}` }).click())
        yield* playForEver(id, playback, { channels: 2 }, new Uint8Array(Int16Array.of(16_384, -3000).buffer))
        yield* run(() => page.locator(".meter[aria-valuetext='-6 dB, -21 dB']").waitFor())
        assert.deepStrictEqual(yield* run(() => violations(page)), [])
        const [inner, scroll] = yield* run(() =>
          page.evaluate<[number, number]>("[innerWidth, document.documentElement.scrollWidth]")
        )
        assert.isAtMost(scroll, inner)
      }
    }))
})
