// Guests in memory whose screens are served, and a browser that looks at them.
import { DomainId } from "@xen-shbuf/core/DomainId"
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as StorePath from "@xen-shbuf/core/StorePath"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as DisplayFrontend from "@xen-shbuf/io/displif/Frontend"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import * as KeyboardFrontend from "@xen-shbuf/io/kbdif/Frontend"
import type { Event } from "@xen-shbuf/io/kbdif/Protocol"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import * as SoundFrontend from "@xen-shbuf/io/sndif/Frontend"
import * as Guests from "@xen-shbuf/screen/Guests"
import * as Screens from "@xen-shbuf/screen/Screens"
import * as Server from "@xen-shbuf/screen/Server"
import * as Sounds from "@xen-shbuf/screen/Sounds"
import * as SoundWire from "@xen-shbuf/screen/SoundWire"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Wire from "@xen-shbuf/screen/Wire"
import Chromium from "@sparticuz/chromium"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import { existsSync, mkdtempSync, renameSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core"

/** The browser of the npm registry, unpacked beside its package, where another version has another place: whole, or not at all. */
const unpacked = async (): Promise<string> => {
  const folder = join(dirname(createRequire(import.meta.url).resolve("@sparticuz/chromium")), "unpacked")
  if (existsSync(folder)) return join(folder, "chromium")
  // It unpacks into the folder for temporary files, and takes for whole whatever somebody has left there.
  const fresh = mkdtempSync(`${folder}-`)
  const before = process.env["TMPDIR"]
  process.env["TMPDIR"] = fresh
  try {
    await Chromium.executablePath()
    if (!existsSync(folder)) renameSync(fresh, folder)
  } finally {
    if (before === undefined) delete process.env["TMPDIR"]
    else process.env["TMPDIR"] = before
    rmSync(fresh, { recursive: true, force: true })
  }
  return join(folder, "chromium")
}

/**
 * Debian's Chromium where it is installed, else the one from the npm registry. The arguments that come with that are for
 * functions in a cloud: as a single process it dies with the first context that is closed.
 */
export const launch = async (...more: ReadonlyArray<string>): Promise<Browser> => {
  const installed = "/usr/bin/chromium"
  const executablePath = existsSync(installed) ? installed : await unpacked()
  return chromium.launch({ executablePath, args: ["--no-sandbox", ...more] })
}

/** Says of a test that failed with its browser dead that this is what happened. */
export const surviving = (browser: Browser) => <A, E, R>(test: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.catchCause(test, (cause) =>
    browser.isConnected()
      ? Effect.failCause(cause)
      : Effect.die(new Error(`The browser has died: ${Cause.pretty(cause).slice(-2000)}`)))

/** What there is to see and to hear. */
export type Shown = Screens.Screens | Sounds.Sounds

export const shown: Layer.Layer<Shown> = Layer.merge(Screens.layer(), Sounds.layer())

type Services = GrantTable | EventChannels | XenStore | Shown

export const inDomain = (id: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, TestXen.layerDomain(id))

const dom0 = inDomain(0)

/** A Xen of its own for a test, in which nothing is left at the end. */
export const checked = <A, E>(test: Effect.Effect<A, E, TestXen.TestXen | Shown | Scope.Scope>) =>
  Ledger.checked(test).pipe(Effect.provide(Layer.merge(TestXen.layer({ sharedPages: 8192 }), shown)))

/** The toolstack makes a guest with a display, and a keyboard unless told otherwise. */
export const addGuest = Effect.fnUntraced(function*(
  id: number,
  name: string,
  resolution: string,
  options: { readonly hasKeyboard?: boolean } = {}
) {
  yield* inDomain(id)(Effect.void)
  yield* dom0(Effect.gen(function*() {
    const { write } = yield* XenStore
    yield* write(`${StorePath.ofDomain(DomainId.make(id))}/name`, name)
    yield* Toolstack.addDevice({ type: "vdispl", frontend: id, frontendNodes: { "0/resolution": resolution } })
    if (options.hasKeyboard !== false) yield* Toolstack.addDevice({ type: "vkbd", backendType: "vinput", frontend: id })
  }))
})

/** The toolstack gives a guest a sound card, too: a stream that plays, and one that records. */
export const addCard = (id: number, description: Partial<Configuration.Description> = {}) =>
  dom0(Toolstack.addDevice({
    type: "vsnd",
    frontend: id,
    frontendNodes: Configuration.toNodes({
      shortName: "Card",
      bufferSize: 2 ** 18,
      channelsMax: 6,
      rates: [8000, 44_100, 48_000, 96_000],
      formats: ["s16_le", "float_le", "mu_law"],
      ...description,
      devices: [{ streams: [{ type: "playback", uniqueId: "p" }, { type: "capture", uniqueId: "c" }] }]
    })
  }))

/** A guest's sound card: the stream that plays, and the one that records. */
export const openCard = Effect.fnUntraced(function*(id: number) {
  const { lines } = yield* inDomain(id)(SoundFrontend.connect())
  return { playback: lines[0]!, capture: lines[1]! }
})

/** Shows guests on screens beside the test. */
export const showGuests = (options: Guests.Options = {}): Effect.Effect<void, never, TestXen.TestXen | Shown | Scope.Scope> =>
  Guests.serve({ frameRate: Infinity, ...options }).pipe(
    (serving: Effect.Effect<never, unknown, Services>) => dom0(serving),
    Effect.forkScoped,
    Effect.asVoid
  )

/** Serves the page until the scope ends, and gives its address. */
export const serve = (options: Partial<Server.Listening> = {}): Effect.Effect<URL, unknown, Shown | Scope.Scope> =>
  Effect.map(Layer.build(Server.layer({ port: 0, ...options })), (context) => {
    const { address } = Context.get(context, HttpServer.HttpServer)
    const url = new URL(`http://127.0.0.1:${"port" in address ? address.port : 0}${Server.pathOf(options)}`)
    if (options.token !== undefined) url.searchParams.set("token", options.token)
    return url
  })

/** The toolstack gives a guest another display. */
export const addDisplay = (frontend: number, id: number, resolution: string) =>
  dom0(Toolstack.addDevice({ type: "vdispl", frontend, id, frontendNodes: { "0/resolution": resolution } }))

/** The monitor of a guest's display, on: `show` draws pixels of XR24 there and waits until they are taken. */
export const openMonitor = Effect.fnUntraced(function*(
  id: number,
  format: PixelFormat.PixelFormat = PixelFormat.XR24,
  displayId = 0
) {
  return yield* inDomain(id)(Effect.gen(function*() {
    const display = yield* DisplayFrontend.connect({ id: displayId })
    const connector = display.connectors[0]!
    const { resolution } = connector
    const buffer = yield* display.createBuffer({ ...resolution, format })
    const framebuffer = yield* buffer.attach()
    yield* connector.configure(framebuffer)
    const lineLength = resolution.width * format.bytesPerPixel
    const show = (pixels: Uint8Array) =>
      Effect.suspend(() => {
        for (let y = 0; y < resolution.height; y++) {
          buffer.bytes.set(pixels.subarray(y * lineLength, (y + 1) * lineLength), y * buffer.pitch)
        }
        return connector.flip(framebuffer)
      })
    /** Shows the upper left corner alone, as a screen of that size. */
    const configure = (size: { readonly width: number; readonly height: number }) =>
      Effect.flatMap(buffer.attach(size), connector.configure)
    return { ...resolution, show, configure, disable: connector.disable }
  }))
})

/** A guest's keyboard: what happens there, one after the other. */
export const openKeyboard = Effect.fnUntraced(function*(id: number) {
  return yield* inDomain(id)(Effect.gen(function*() {
    const { events } = yield* KeyboardFrontend.connect()
    const queue = yield* Queue.unbounded<Event>()
    yield* Effect.forkScoped(Effect.ignore(Stream.runForEach(events, (event) => Queue.offer(queue, event))))
    return queue
  }))
})

/** Pixels of XR24 that differ everywhere. */
export const noise = (count: number, seed: number): Uint8Array<ArrayBuffer> => {
  const words = new Uint32Array(count)
  let state = seed
  for (let i = 0; i < count; i++) {
    state = Math.imul(state ^ state >>> 15, 0x2c1b_3c6d) + 0x9e37_79b9 | 0
    words[i] = state
  }
  return new Uint8Array(words.buffer)
}

/** What a canvas has of pixels of XR24. */
export const toCanvas = (pixels: Uint8Array): Uint8Array => {
  const rgba = new Uint8Array(pixels.length)
  for (let i = 0; i < pixels.length; i += 4) rgba.set([pixels[i + 2]!, pixels[i + 1]!, pixels[i]!, 255], i)
  return rgba
}

const hash = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

/**
 * Waits until a page's canvas shows just these pixels. It looks at a copy: whoever asks a canvas first for its context says
 * whether it is opaque, and a page that has not drawn yet would be the second.
 */
export const shows = (page: Page, rgba: Uint8Array, { seconds = 30 } = {}): Effect.Effect<void> =>
  Effect.promise(() =>
    page.evaluate(`(async () => {
      const canvas = document.querySelector("canvas")
      const end = performance.now() + ${seconds * 1000}
      while (performance.now() < end) {
        const { height, width } = canvas
        const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })
        copy.drawImage(canvas, 0, 0)
        const { data } = copy.getImageData(0, 0, width, height)
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data))
        if (Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === "${hash(rgba)}") return
        await new Promise((resolve) => requestAnimationFrame(resolve))
      }
      throw new Error("the canvas does not show what it should")
    })()`)
  )

/** Opens a page, in which a script runs before all others, for as long as the scope is open. */
export const open = (
  browser: Browser,
  url: URL,
  options: BrowserContextOptions = {},
  script?: string
): Effect.Effect<Page, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const context = await browser.newContext({ viewport: { width: 1000, height: 800 }, ...options })
      if (script !== undefined) await context.addInitScript(script)
      const page = await context.newPage()
      await page.goto(url.href)
      return page
    }),
    (page) => Effect.promise(() => page.context().close())
  )

/** Keeps all that a page gives to the browser's loudspeaker, block by block, each channel for itself. */
export const recorder = `
  window.heard = []
  const processor = "registerProcessor('recorder', class extends AudioWorkletProcessor {" +
    "process([input]) { this.port.postMessage(input.map((channel) => channel.slice())); return true } })"
  const url = URL.createObjectURL(new Blob([processor], { type: "text/javascript" }))
  const { addModule } = AudioWorklet.prototype
  AudioWorklet.prototype.addModule = async function(own) {
    await addModule.call(this, url)
    return addModule.call(this, own)
  }
  const { connect } = AudioNode.prototype
  AudioNode.prototype.connect = function(to, ...rest) {
    if (to instanceof AudioDestinationNode) {
      const node = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 })
      node.port.onmessage = ({ data }) => window.heard.push(data)
      connect.call(this, node)
    }
    return connect.call(this, to, ...rest)
  }
`

/** A connection on which pictures never come; what is said in words does. */
export const withoutPictures = `
  const { addEventListener } = WebSocket.prototype
  WebSocket.prototype.addEventListener = function(type, listener) {
    addEventListener.call(this, type, (event) => {
      if (type !== "message" || typeof event.data === "string") listener(event)
    })
  }
`

/** Notes what a page receives and sends, and unpacks pictures never. */
export const neverUnpacked = `
  window.said = []
  Response.prototype.arrayBuffer = () => new Promise(() => {})
  const { addEventListener, send } = WebSocket.prototype
  WebSocket.prototype.send = function(data) {
    window.said.push(JSON.parse(data).type)
    send.call(this, data)
  }
  WebSocket.prototype.addEventListener = function(type, listener) {
    addEventListener.call(this, type, (event) => {
      if (type === "message" && typeof event.data !== "string") window.said.push("picture")
      listener(event)
    })
  }
`

/** Waits until the last frame that a page has played is this one, nearly. */
export const hears = (page: Page, frame: ReadonlyArray<number>, { seconds = 30 } = {}) =>
  Effect.promise(() =>
    page.waitForFunction(`(() => {
      const expected = ${JSON.stringify(frame)}
      const last = window.heard.splice(0).at(-1)
      return last !== undefined && last.length === expected.length &&
        expected.every((sample, channel) => Math.abs(last[channel].at(-1) - sample) < 0.001)
    })()`, undefined, { timeout: seconds * 1000 })
  )

/** A page that is the test, of a socket that is served without a network, until the scope ends. */
export const pageOf = Effect.fnUntraced(function*<E, R>(serve: (socket: Socket.Socket) => Effect.Effect<void, E, R>) {
  const said = yield* Queue.unbounded<string>()
  const heard = yield* Queue.unbounded<string | Uint8Array | Socket.CloseEvent>()
  // Not at once, as a network does.
  const write = (message: string | Uint8Array | Socket.CloseEvent) =>
    Effect.andThen(Effect.yieldNow, Effect.asVoid(Queue.offer(heard, message)))
  const socket = Socket.make({
    reader: Effect.succeed({
      pull: Effect.map(Queue.take(said), (text) => [text] as const),
      upgrade: Socket.SocketUpgradeError.unsupported
    }),
    writer: Effect.succeed({ write, writeAll: (all) => Effect.forEach(all, write, { discard: true }) })
  })
  yield* Effect.forkScoped(serve(socket))
  return {
    say: (text: string) => Queue.offer(said, text),
    unread: Queue.size(said),
    next: Queue.take(heard),
    heard: Queue.size(heard)
  }
})

/** A WebSocket that is no page's of ours, and may say anything. */
const dial = Effect.fnUntraced(function*(url: URL, path: string, origin: string) {
  const messages = yield* Queue.unbounded<string | ArrayBuffer>()
  const closed = yield* Deferred.make<{ readonly code: number; readonly reason: string }>()
  const address = new URL(`${path}${url.search}`, url)
  address.protocol = "ws:"
  const socket: WebSocket = yield* Effect.acquireRelease(
    Effect.sync(() => new WebSocket(address, { headers: { origin } })),
    (socket) => Effect.sync(() => socket.close())
  )
  socket.binaryType = "arraybuffer"
  socket.addEventListener("message", ({ data }: MessageEvent) => Queue.offerUnsafe(messages, data as string | ArrayBuffer))
  socket.addEventListener("close", ({ code, reason }) => Deferred.doneUnsafe(closed, Effect.succeed({ code, reason })))
  yield* Effect.callback<void>((resume) => {
    for (const outcome of ["open", "close"] as const) socket.addEventListener(outcome, () => resume(Effect.void))
  })
  return {
    /** Sends anything. */
    say: (data: string | Uint8Array<ArrayBuffer>) => socket.send(data),
    /** The next message as it is. */
    next: Queue.take(messages),
    waiting: Queue.size(messages),
    closed: Deferred.await(closed)
  }
})

/** A viewer that is no page of ours, and may say anything. */
export const connect = (url: URL, options: { readonly origin?: string } = {}) =>
  Effect.map(dial(url, "socket", options.origin ?? url.origin), (line) => ({
    ...line,
    send: (message: Wire.ViewerMessage) => line.say(JSON.stringify(message)),
    /** The next list of screens. */
    nextList: Effect.map(line.next, (text): Wire.ServerMessage => JSON.parse(text as string)),
    /** The next tiles. */
    nextTiles: Effect.map(line.next, (bytes) => Wire.decodeTiles(bytes as ArrayBuffer)!)
  }))

/** The same for one who listens. */
export const connectSound = (url: URL) =>
  Effect.map(dial(url, "sound", url.origin), (line) => ({
    ...line,
    send: (message: SoundWire.PageMessage) => line.say(JSON.stringify(message)),
    /** The next list of sounds, or the time. */
    nextText: Effect.map(line.next, (text): SoundWire.ServerMessage => JSON.parse(text as string)),
    /** The next chunk. */
    nextChunk: Effect.map(line.next, (bytes) => SoundWire.decodeChunk(bytes as ArrayBuffer)!)
  }))
