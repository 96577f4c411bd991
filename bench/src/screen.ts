/**
 * What it costs to show a guest's screen in a browser: our processor time for a frame, what travels, memory for a viewer,
 * and the frames a second that arrive on a page.
 */
import * as TestCard from "@xen-shbuf/cli/TestCard"
import * as DisplayFrontend from "@xen-shbuf/io/displif/Frontend"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import * as Encoding from "@xen-shbuf/screen/Encoding"
import * as Picture from "@xen-shbuf/screen/Picture"
import * as Screens from "@xen-shbuf/screen/Screens"
import * as Server from "@xen-shbuf/screen/Server"
import * as Viewer from "@xen-shbuf/screen/Viewer"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Socket from "effect/socket/Socket"
import type { Browser, Page } from "playwright-core"
import * as World from "../../packages/screen/test/World.ts"
import * as Measure from "./Measure.ts"
import * as Report from "./Report.ts"

const width = 1920
const height = 1080

/** The parts of a frame that change, as an area whose content is one of two. */
const changes = {
  nothing: { left: 0, top: 0, width: 0, height: 0 },
  "a twentieth": { left: 700, top: 400, width: 480, height: 216 },
  everything: { left: 0, top: 0, width, height }
} as const
type Change = keyof typeof changes

/** Two frames that differ in such a part: the test card, and there its pixels from elsewhere. */
const framesOf = (change: Change) => {
  const card = new Uint32Array(TestCard.draw(width, height).slice().buffer)
  const other = card.slice()
  const { height: rows, left, top, width: columns } = changes[change]
  for (let y = top; y < top + rows; y++) {
    for (let x = left; x < left + columns; x++) {
      other[y * width + x] = card[(y + 111) % height * width + (x + 333) % width]! ^ 0x10_10_10
    }
  }
  return [card, other].map((words) => ({
    width,
    height,
    pitch: width * 4,
    format: PixelFormat.XR24,
    bytes: new Uint8Array(words.buffer)
  }))
}

interface Cost {
  readonly change: Change
  readonly tiles: number
  /** Processor time of all threads, in µs. */
  readonly compare: number
  readonly deflate: number
  readonly zstd: number
  readonly deflated: number
  readonly zstandard: number
}

const cost = Effect.fnUntraced(function*(change: Change, rounds: number) {
  const frames = framesOf(change)
  const picture = new Picture.Picture(width, height)
  let shown = 0
  const show = () => picture.show(frames[shown++ % 2]!)
  const compare = yield* Effect.forEach(Array.from({ length: rounds }), () => Measure.batch(show)(4))
  const since = picture.version
  const tiles = show()
  const packing = Effect.fnUntraced(function*(encoding: "deflate-raw" | "zstd") {
    let byteLength = 0
    const once = Effect.suspend(() => {
      // Another picture of the same content: nobody else has packed it.
      const copy: Picture.Picture = Object.create(picture)
      return Effect.map(Encoding.packChanges(copy, since, encoding), ({ pixels }) => {
        byteLength = pixels.length
      })
    })
    const times = tiles === 0 ? [0] : yield* Effect.forEach(Array.from({ length: rounds }), () => Measure.batchEffect(once)(2))
    return { time: Measure.spread(times).median, byteLength }
  })
  const deflate = yield* packing("deflate-raw")
  const zstd = yield* packing("zstd")
  const row: Cost = {
    change,
    tiles,
    compare: Measure.spread(compare).median,
    deflate: deflate.time,
    zstd: zstd.time,
    deflated: deflate.byteLength,
    zstandard: zstd.byteLength
  }
  return row
})

const goal = 6000

const kibibytes = (bytes: number) => `${(bytes / 1024).toFixed(0)} KiB`

const costs = Effect.fnUntraced(function*(pairs: number) {
  const rounds = Math.max(10, Math.min(100, pairs / 4))
  const rows = yield* Effect.forEach(Object.keys(changes) as Array<Change>, (change) => cost(change, rounds))
  return Report.section<Cost>({
    name: "screen",
    title: "A frame on its way to a browser",
    about: "Our processor time, all threads, for a frame of 1920×1080 pixels: to copy and compare it, and to pack what has " +
      "changed, once for all viewers that are equally far. The test card, and in an area of it other parts of it.",
    columns: [
      { title: "what changes", show: ({ change }) => change },
      { title: "tiles of 510", show: ({ tiles }) => String(tiles) },
      { title: "compare", show: ({ compare }) => Report.time(compare) },
      { title: "deflate", show: ({ deflate }) => Report.time(deflate) },
      { title: "zstd", show: ({ zstd }) => Report.time(zstd) },
      { title: "deflated", show: ({ deflated }) => kibibytes(deflated) },
      { title: "with zstd", show: ({ zstandard }) => kibibytes(zstandard) },
      {
        title: "goal, with deflate",
        show: ({ change, compare, deflate }) =>
          change === "a twentieth" ? Report.atMost(goal, compare + deflate, Report.time) : ""
      }
    ],
    rows,
    plots: []
  })
})

/** A viewer that shows all at once, without a network. */
const viewer = Effect.fnUntraced(function*(screen: number) {
  const said: Array<string> = [JSON.stringify({ type: "watch", screen, encodings: ["deflate-raw"] })]
  let wake = () => {}
  const pull: Effect.Effect<readonly [string], Socket.SocketError> = Effect.callback((resume) => {
    const next = () => {
      const text = said.shift()
      if (text === undefined) wake = next
      else {
        wake = () => {}
        resume(Effect.succeed([text]))
      }
    }
    next()
  })
  const write = (message: string | Uint8Array | Socket.CloseEvent) =>
    Effect.sync(() => {
      const sequence: number = typeof message === "string"
        ? JSON.parse(message).sequence
        : message instanceof Uint8Array
        ? new DataView(message.buffer).getUint32(8, true)
        : 0
      said.push(JSON.stringify({ type: "shown", sequence }))
      wake()
    })
  yield* Effect.forkScoped(Viewer.serve(
    Socket.make({
      reader: Effect.succeed({ pull, upgrade: Socket.SocketUpgradeError.unsupported }),
      writer: Effect.succeed({ write, writeAll: (all) => Effect.forEach(all, write, { discard: true }) })
    }),
    { messagesPerSecond: 1e6 }
  ))
})

const viewers = 100

/** Bytes that are in use after a garbage collection. */
const memory = Effect.promise(async () => {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
})

const openScreen = Effect.flatMap(Screens.Screens, ({ open }) =>
  open({ guest: 1, name: "guest", connector: 0, input: () => Effect.void }))

const memoryOfViewers = Effect.fnUntraced(function*() {
  const screen = yield* openScreen
  const frames = framesOf("a twentieth")
  const play = Effect.fnUntraced(function*() {
    for (let frame = 0; frame < 20; frame++) {
      screen.show(frames[frame % 2]!)
      yield* Effect.sleep(10)
    }
  })
  yield* play()
  const before = yield* memory
  yield* Effect.forEach(Array.from({ length: viewers }), () => viewer(screen.id), { discard: true })
  yield* play()
  return ((yield* memory) - before) / viewers
}, Effect.scoped, Effect.provide(World.shown))

interface Seen {
  readonly what: string
  readonly shown: number
  /** Our processor time in µs, for a frame that arrived; of a second where none did. */
  readonly time: number
}

const seconds = 4

/** Frames that arrive on a page in a headless Chromium while a guest shows 60 a second. */
const watch = Effect.fnUntraced(function*(browser: Browser, change: Change | "no frames") {
  const context = yield* Layer.build(Server.layer({ port: 0 }))
  const { address } = Context.get(context, HttpServer.HttpServer)
  const screen = yield* openScreen
  const frames = framesOf(change === "no frames" ? "nothing" : change)
  screen.show(frames[0]!)
  const page = yield* Effect.promise(() => browser.newPage())
  yield* Effect.promise(() => page.addInitScript(`
    globalThis.shown = 0
    const { send } = WebSocket.prototype
    WebSocket.prototype.send = function(text) { if (text.includes('"shown"')) shown++; return send.call(this, text) }
  `))
  yield* Effect.promise(() => page.goto(`http://127.0.0.1:${"port" in address ? address.port : 0}/`))
  yield* Effect.promise(() => page.evaluate(`(async () => {
    while (shown < 2) await new Promise((resolve) => requestAnimationFrame(resolve))
  })()`))
  const before = process.cpuUsage()
  const begin = performance.now()
  const first: number = yield* Effect.promise(() => page.evaluate<number>("shown"))
  if (change === "no frames") yield* Effect.sleep(seconds * 1000)
  for (let frame = 1; performance.now() - begin < seconds * 1000; frame++) {
    screen.show(frames[frame % 2]!)
    yield* Effect.sleep(Math.max(0, begin + frame * 1000 / 60 - performance.now()))
  }
  const { system, user } = process.cpuUsage(before)
  const shown = (yield* Effect.promise(() => page.evaluate<number>("shown"))) - first
  yield* Effect.promise(() => page.close())
  const row: Seen = { what: change, shown: shown / seconds, time: (system + user) / Math.max(shown, seconds) }
  return row
}, Effect.scoped, Effect.provide(World.shown))

const withBrowser = Effect.acquireRelease(Effect.promise(() => World.launch()), (browser) => Effect.promise(() => browser.close()))

const arrivals = Effect.fnUntraced(function*() {
  const browser = yield* withBrowser
  const rows = yield* Effect.forEach(["a twentieth", "everything", "nothing", "no frames"] as const, (change) =>
    watch(browser, change))
  const perViewer = yield* memoryOfViewers()
  return Report.section<Seen>({
    name: "screen-browser",
    title: "A guest's screen in a browser",
    about: "A guest shows 60 frames of 1920×1080 pixels a second, and a page in a headless Chromium without a GPU on the same " +
      `machine draws what arrives. A viewer takes ${kibibytes(perViewer)} of our memory (the mean of ${viewers}, after a ` +
      "garbage collection), beside what is on its way to it. Of frames that change nothing none travels.",
    columns: [
      { title: "what changes", show: ({ what }) => what },
      { title: "frames a second on the page", show: ({ shown }) => shown.toFixed(1) },
      {
        title: "our processor time",
        show: ({ shown, time }) => `${Report.time(time)} ${shown > 0 ? "a frame that arrived" : "a second"}`
      }
    ],
    rows,
    plots: []
  })
}, Effect.scoped)

interface Delay {
  readonly change: Change
  /** From the flip, in µs. */
  readonly taken: Measure.Spread
  readonly painted: Measure.Spread
}

/** The same clock as a page has: ms. */
const clock = () => performance.timeOrigin + performance.now()

/** When the page had drawn the picture of this number: its own clock. */
const paintedAt = (page: Page, number: number) =>
  Effect.promise(() => page.evaluate<number>(`(async () => {
    while (painted.length <= ${number}) await new Promise((resolve) => { onPainted = resolve })
    return painted[${number}]
  })()`))

/** A guest's connector, and a framebuffer for each of some frames. The first one is shown. */
const monitorOf = Effect.fnUntraced(function*(frames: ReturnType<typeof framesOf>) {
  const display = yield* DisplayFrontend.connect()
  const connector = display.connectors[0]!
  const framebuffers = yield* Effect.forEach(frames, ({ bytes }) =>
    Effect.flatMap(display.createBuffer(connector.resolution), (buffer) => {
      buffer.bytes.set(bytes)
      return buffer.attach()
    }))
  yield* connector.configure(framebuffers[0]!)
  return { connector, framebuffers }
})

/** Flips of a guest in memory, one at a time, between two buffers that differ. */
const delay = Effect.fnUntraced(function*(browser: Browser, change: Change, rounds: number) {
  yield* World.addGuest(1, "guest", `${width}x${height}`)
  yield* World.showGuests()
  const { connector, framebuffers } = yield* World.inDomain(1)(monitorOf(framesOf(change)))
  const url = yield* World.serve()
  const page = yield* Effect.acquireRelease(
    Effect.promise(() => browser.newPage()),
    (page) => Effect.promise(() => page.close())
  )
  yield* Effect.promise(() => page.addInitScript(`
    globalThis.painted = []
    globalThis.onPainted = () => {}
    const { putImageData } = CanvasRenderingContext2D.prototype
    const { send } = WebSocket.prototype
    let hasDrawn = false
    CanvasRenderingContext2D.prototype.putImageData = function(...all) {
      hasDrawn = true
      return putImageData.apply(this, all)
    }
    WebSocket.prototype.send = function(text) {
      if (hasDrawn && text.includes('"shown"')) {
        hasDrawn = false
        painted.push(performance.timeOrigin + performance.now())
        onPainted()
      }
      return send.call(this, text)
    }
  `))
  yield* Effect.promise(() => page.goto(url.href))
  yield* paintedAt(page, 0)
  const taken: Array<number> = []
  const painted: Array<number> = []
  const warmUp = 10
  for (let flip = 1; flip <= warmUp + rounds; flip++) {
    const begin = clock()
    yield* connector.flip(framebuffers[flip % 2]!)
    const end = clock()
    const seen = yield* paintedAt(page, flip)
    if (flip <= warmUp) continue
    taken.push((end - begin) * 1000)
    painted.push((seen - begin) * 1000)
  }
  const row: Delay = { change, taken: Measure.spread(taken), painted: Measure.spread(painted) }
  return row
}, Effect.scoped, Effect.provide(Layer.merge(TestXen.layer({ sharedPages: 8192 }), World.shown)))

const delays = Effect.fnUntraced(function*() {
  const browser = yield* withBrowser
  const rows = yield* Effect.forEach(["a twentieth", "everything"] as const, (change) => delay(browser, change, 50))
  const columns = (title: string, of: (row: Delay) => Measure.Spread): ReadonlyArray<Report.Column<Delay>> => [
    { title, show: (row) => Report.time(of(row).median) },
    { title: "quartiles", show: (row) => `${Report.time(of(row).low)} to ${Report.time(of(row).high)}` }
  ]
  return Report.section<Delay>({
    name: "screen-delay",
    title: "From a guest's flip to a browser's canvas",
    about: "A guest in memory flips between two buffers of 1920×1080 pixels, one flip at a time, by displif's frontend: until " +
      "it hears that its pixels were taken, and until a page in a headless Chromium without a GPU, on the same machine, has " +
      "put them on its canvas. Guest, backend and server are one process.",
    columns: [
      { title: "what changes", show: ({ change }) => change },
      ...columns("acknowledged", ({ taken }) => taken),
      ...columns("on the canvas", ({ painted }) => painted)
    ],
    rows,
    plots: []
  })
}, Effect.scoped)

export const run = Effect.fnUntraced(function*(pairs: number) {
  return [yield* costs(pairs), yield* arrivals(), yield* delays()]
})
