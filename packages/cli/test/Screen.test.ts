import { assert, describe, it } from "@effect/vitest"
import * as Film from "@xen-shbuf/cli/Film"
import * as TestCard from "@xen-shbuf/cli/TestCard"
import * as SoundWire from "@xen-shbuf/screen/SoundWire"
import type * as Wire from "@xen-shbuf/screen/Wire"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { decode } from "fast-png"
import { EncodedPacketSink, type EncodedPacket, FilePathSource, Input, WEBM } from "mediabunny"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import sharp from "sharp"
import { run, start } from "./fixtures/run.ts"

const inXen = (name: string, test: () => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Effect.provide(test(), TestXen.layer()))

/** Runs `screen` on a free port, and gives the address that it says. */
const listening = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const command = yield* start(0, "screen", "--json", ...args)
  const { event, url } = yield* command.next
  assert.strictEqual(event, "listening")
  return { ...command, url: String(url) }
})

const status = (url: string, options?: RequestInit) =>
  Effect.promise(async () => {
    const response = await fetch(url, options)
    await response.arrayBuffer()
    return response.status
  })

/** A WebSocket of the page's. */
const dial = Effect.fnUntraced(function*(url: string, path: string) {
  const messages = yield* Queue.unbounded<string | ArrayBuffer>()
  const socket = yield* Effect.acquireRelease(
    Effect.sync(() => new WebSocket(`${url.replace("http", "ws")}${path}`, { headers: { origin: new URL(url).origin } })),
    (socket) => Effect.sync(() => socket.close())
  )
  socket.binaryType = "arraybuffer"
  socket.addEventListener("message", ({ data }: MessageEvent) => Queue.offerUnsafe(messages, data as string | ArrayBuffer))
  yield* Effect.callback<void>((resume) => socket.addEventListener("open", () => resume(Effect.void)))
  return { next: Queue.take(messages), send: (text: string) => socket.send(text) }
})

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "xen-shbuf-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
)

/** One colour all over. */
const plain = (width: number, height: number, colour: readonly [number, number, number]): Film.Picture => ({
  width,
  height,
  rgb: Uint8Array.from({ length: width * height * 3 }, (_, i) => colour[i % 3]!)
})

/** The packets of a film, and what it is. */
const readFilm = (file: string) =>
  Effect.promise(async () => {
    const input = new Input({ source: new FilePathSource(file), formats: [WEBM] })
    const track = (await input.getPrimaryVideoTrack())!
    const packets: Array<EncodedPacket> = []
    for await (const packet of new EncodedPacketSink(track).packets()) packets.push(packet)
    return { track, packets }
  })

/** What a key frame of VP8 shows in the middle, by way of WebP. */
const middleOf = (frame: Uint8Array) =>
  Effect.promise(async () => {
    const webp = Buffer.alloc(20 + frame.length + frame.length % 2)
    webp.write("RIFF", 0)
    webp.writeUInt32LE(webp.length - 8, 4)
    webp.write("WEBPVP8 ", 8)
    webp.writeUInt32LE(frame.length, 16)
    webp.set(frame, 20)
    const { data, info } = await sharp(webp).raw().toBuffer({ resolveWithObject: true })
    const at = (Math.floor(info.height / 2) * info.width + Math.floor(info.width / 2)) * info.channels
    return [...data.subarray(at, at + 3)]
  })

describe("Film", () => {
  it.live("has every picture at its time, fitted into the first one's size", () =>
    Effect.gen(function*() {
      const file = join(yield* temporary, "film.webm")
      const colours = [[200, 30, 40], [10, 220, 30], [20, 30, 240]] as const
      yield* Effect.scoped(Effect.gen(function*() {
        const { add } = yield* Film.open(file)
        yield* add(plain(64, 48, colours[0]), 0, 0.1)
        yield* add(plain(64, 48, colours[1]), 0.5, 0.1)
        yield* add(plain(200, 100, colours[2]), 2, 0.1)
      }))
      const { packets, track } = yield* readFilm(file)
      assert.deepStrictEqual([yield* Effect.promise(() => track.getCodec()), yield* Effect.promise(() => track.getCodedWidth())], ["vp8", 64])
      assert.deepStrictEqual(packets.map(({ timestamp, type }) => [timestamp, type]), [[0, "key"], [0.5, "key"], [2, "key"]])
      for (const [i, { data }] of packets.entries()) {
        const middle = yield* middleOf(data)
        for (const [channel, value] of colours[i]!.entries()) assert.approximately(middle[channel]!, value, 6)
      }
    }))

  it.live("says why it can't be written", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.scoped(Effect.flatMap(Film.open("/proc/film.webm"), ({ add }) => add(plain(8, 8, [0, 0, 0]), 0, 1))))
      assert.strictEqual(error.reason._tag, "NotWritten")
    }))
})

describe("screen", () => {
  /** Records the demonstration until all files are begun, and gives their names. */
  const recorded = Effect.fnUntraced(function*(pngs: string, films: string) {
    const { interrupt, next } = yield* listening("--demo", "--listen", "0", "--png", pngs, "--record", films)
    const files = new Map<unknown, string>()
    while (files.size < 4) {
      const { event, file, guest } = yield* next
      files.set(`${event} ${guest}`, String(file))
    }
    yield* interrupt
    return files
  })

  inXen("--png and --record write what is shown, without a viewer, and over nothing that another run has written", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      const pngs = join(folder, "pictures")
      const films = join(folder, "films")
      const files = yield* recorded(pngs, films)
      const picture = decode(readFileSync(files.get("pictures 1")!))
      const card = TestCard.draw(1280, 720)
      assert.deepStrictEqual([picture.width, picture.height, picture.channels], [1280, 720, 3])
      // All but the ball, and a frame around it.
      let other = 0
      for (let i = 0; i < 1280 * 720; i++) if (picture.data[3 * i] !== card[4 * i + 2]) other++
      assert.isAtMost(other, 132 * 132)
      yield* readFilm(files.get("film 2")!)
      const written = () =>
        new Map([pngs, films].flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
          .map((file) => [file, readFileSync(file, "latin1")]))
      const before = written()
      const others = yield* recorded(pngs, films)
      const after = written()
      for (const [file, content] of before) assert.isTrue(after.get(file) === content, file)
      for (const file of others.values()) assert.isFalse(before.has(file), file)
    }))

  inXen("serves nothing where what it is to record can't be", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      const bin = new URL("../src/bin.ts", import.meta.url).href
      const program = `
        import { registerHooks } from "node:module"
        registerHooks({
          resolve: (name, context, next) => {
            if (name === "sharp") throw new Error("no sharp for this machine")
            return next(name, context)
          }
        })
        process.argv.push("bin", "screen", "--listen", "0", "--demo", "--json", "--record", ${JSON.stringify(join(folder, "films"))})
        await import(${JSON.stringify(bin)})`
      const { status, stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" })
      assert.strictEqual(status, 1)
      const { event, message, reason } = JSON.parse(stdout)
      assert.deepStrictEqual([event, reason], ["error", "NoEncoder"])
      assert.include(message, "npm install sharp")
      assert.include(message, "no sharp for this machine")
      assert.deepStrictEqual(readdirSync(folder), [])
      writeFileSync(join(folder, "file"), "")
      for (const flag of ["--png", "--record"]) {
        const { stdout } = yield* run(0, "screen", "--json", "--listen", "0", flag, join(folder, "file", "below"))
        assert.deepStrictEqual(stdout.map((text) => JSON.parse(text).tag), ["PngNotWritten"])
      }
    }))

  inXen("says its address, shows the page there, and ends at once when it is told to", () =>
    Effect.gen(function*() {
      const { interrupt, url } = yield* listening("--demo", "--listen", "0")
      assert.match(url, /^http:\/\/127\.0\.0\.1:[0-9]+\/$/)
      assert.strictEqual(yield* status(url), 200)
      // Browsers keep connections for more to come.
      yield* interrupt
      assert.isTrue(yield* Effect.promise(() => fetch(url).then(() => false, () => true)))
    }))

  inXen("wants a token where others can reach it, under a path, on IPv6 as well", () =>
    Effect.gen(function*() {
      const { url } = yield* listening("--listen", "[::]:0", "--path", "screens/xen")
      const { pathname, port, searchParams } = new URL(url)
      assert.strictEqual(pathname, "/screens/xen/")
      const token = searchParams.get("token")!
      assert.match(token, /^[\w-]{22}$/)
      const at = `http://[::1]:${port}/screens/xen`
      assert.strictEqual(yield* status(`${at}/?token=${token}`), 200)
      assert.strictEqual(yield* status(`${at}?token=${token}`), 200)
      assert.strictEqual(yield* status(`${at}/`), 403)
      assert.strictEqual(yield* status(`${at}/?token=${token}x`), 403)
      assert.strictEqual(yield* status(`${at}/socket`), 403)
      assert.strictEqual(yield* status(`http://[::1]:${port}/?token=${token}`), 404)
    }))

  inXen("takes a token of one's own, on loopback, too", () =>
    Effect.gen(function*() {
      const { url } = yield* listening("--listen", "127.0.0.1:0", "--token", "a b&c")
      assert.strictEqual(new URL(url).searchParams.get("token"), "a b&c")
      assert.strictEqual(yield* status(url), 200)
      assert.strictEqual(yield* status(url.replace(/\?.*/, "")), 403)
    }))

  inXen("takes no empty token, which everybody has", () =>
    Effect.gen(function*() {
      for (const address of ["0.0.0.0:0", "127.0.0.1:0"]) {
        const { stdout } = yield* run(0, "screen", "--json", "--listen", address, "--token", "")
        const { message, reason } = JSON.parse(stdout.at(-1)!)
        assert.strictEqual(reason, "InvalidValue")
        assert.include(message, "a text that nobody guesses")
      }
    }))

  inXen("--demo has guests that play, unless nobody wants to hear it", () =>
    Effect.gen(function*() {
      const { url } = yield* listening("--demo", "--listen", "0")
      const line = yield* dial(url, "sound")
      line.send(JSON.stringify({ type: "listen", guest: 1 }))
      for (let isHeard = false; !isHeard;) {
        const message = yield* line.next
        isHeard = message instanceof ArrayBuffer && SoundWire.samplesOf(SoundWire.decodeChunk(message)!).some((sample) => sample !== 0)
      }
      const quiet = yield* listening("--demo", "--listen", "0", "--no-sound")
      const viewer = yield* dial(quiet.url, "socket")
      for (let screens: ReadonlyArray<unknown> = []; screens.length < 2;) {
        const list = JSON.parse((yield* viewer.next) as string) as Wire.ServerMessage
        screens = list.screens
        assert.deepStrictEqual(list.audible, [])
        viewer.send(JSON.stringify({ type: "shown", sequence: list.sequence }))
      }
    }))

  inXen("takes no microphone where nobody may do anything, or nobody hears it", () =>
    Effect.gen(function*() {
      for (const other of ["--view-only", "--no-sound"]) {
        const { stderr } = yield* run(0, "screen", "--microphone", other)
        assert.include(stderr.join(), other)
      }
    }))

  inXen("says why it can't listen", () =>
    Effect.gen(function*() {
      const taken = createServer()
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void taken.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => taken.close())
      )
      const address = taken.address()
      const port = typeof address === "object" ? address?.port : undefined
      const { stdout } = yield* run(0, "screen", "--json", "--listen", `127.0.0.1:${port}`)
      const { message, reason, tag } = JSON.parse(stdout.at(-1)!)
      assert.deepStrictEqual([tag, reason], ["NotListening", "EADDRINUSE"])
      assert.include(message, `127.0.0.1:${port}`)
      for (const nonsense of ["localhost", "::1:80", "[::1]", "a:b", "1.2.3.4:70000", ""]) {
        const { stdout } = yield* run(0, "screen", "--json", "--listen", nonsense)
        assert.strictEqual(JSON.parse(stdout.at(-1)!).reason, "InvalidValue", nonsense)
      }
    }))
})
