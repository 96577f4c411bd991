import { assert, describe, it } from "@effect/vitest"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import * as Screens from "@xen-shbuf/screen/Screens"
import * as Viewer from "@xen-shbuf/screen/Viewer"
import type * as Wire from "@xen-shbuf/screen/Wire"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import { connect } from "node:net"
import { inflateRawSync } from "node:zlib"
import * as World from "./World.ts"

const served = (name: string, test: () => Effect.Effect<void, unknown, World.Shown | Scope.Scope>) =>
  it.live(name, () => Effect.provide(Effect.scoped(test()), World.shown))

/** A screen whose driver is the test: what people do there comes into a queue. */
const openScreen = Effect.fnUntraced(function*(guest: number, width = 128, height = 64) {
  const { open } = yield* Screens.Screens
  const inputs = yield* Queue.unbounded<Wire.Input>()
  const screen = yield* open({ guest, name: `guest-${guest}`, connector: 0, input: (input) => Queue.offer(inputs, input) })
  const bytes = new Uint8Array(width * height * 4)
  const show = () => screen.show({ width, height, pitch: width * 4, format: PixelFormat.XR24, bytes })
  show()
  return { ...screen, inputs, show, bytes, words: new Uint32Array(bytes.buffer) }
})

const get = (url: URL | string, headers: Record<string, string> = {}) => Effect.promise(() => fetch(url, { headers }))

const statusOf = (url: URL | string, headers?: Record<string, string>) =>
  Effect.tap(get(url, headers), (response) => Effect.promise(() => response.arrayBuffer())).pipe(
    Effect.map(({ status }) => status)
  )

/** Sends bytes to the server as they are, and waits for the end. */
const send = (url: URL, bytes: string | Uint8Array) =>
  Effect.callback<string>((resume) => {
    const socket = connect(Number(url.port), url.hostname)
    let answer = ""
    socket.setEncoding("latin1").on("data", (text: string) => {
      answer += text
    }).on("error", () => {}).on("close", () => resume(Effect.succeed(answer)))
    socket.end(bytes)
  })

const upgrade = (headers: string) =>
  `GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
  `Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n${headers}\r\n`

describe("a viewer", () => {
  served("has two messages on their way to it, whatever happens, and then all that is new at once", () =>
    Effect.gen(function*() {
      const screen = yield* openScreen(1)
      const url = yield* World.serve()
      const slow = yield* World.connect(url)
      const quick = yield* World.connect(url)
      const shown: Array<number> = []
      for (const viewer of [slow, quick]) {
        const { screens } = yield* viewer.nextList
        viewer.send({ type: "watch", screen: screens[0]!.id, encodings: ["raw"] })
        const { sequence, tiles } = yield* viewer.nextTiles
        assert.deepStrictEqual(tiles, [0, 1])
        shown.push(sequence)
      }
      quick.send({ type: "shown", sequence: shown[1]! })
      // Each frame reaches who is quick.
      for (let frame = 1; frame <= 100; frame++) {
        screen.words[frame % 2 * 64] = frame
        screen.show()
        const { pixels, sequence, tiles } = yield* quick.nextTiles
        assert.deepStrictEqual(tiles, [frame % 2])
        assert.strictEqual(new Uint32Array(pixels.slice().buffer)[0], frame)
        quick.send({ type: "shown", sequence })
      }
      assert.strictEqual(yield* slow.waiting, 0)
      // What was never sent counts for nothing.
      slow.send({ type: "shown", sequence: (shown[0]! + 1) % 2 ** 32 })
      slow.send({ type: "shown", sequence: shown[1]! })
      slow.send({ type: "key", code: "KeyA", down: true })
      yield* Queue.take(screen.inputs)
      assert.strictEqual(yield* slow.waiting, 0)
      slow.send({ type: "shown", sequence: shown[0]! })
      const { frames, pixels, tiles } = yield* slow.nextTiles
      assert.deepStrictEqual([frames, tiles], [101, [0, 1]])
      assert.strictEqual(new Uint32Array(pixels.slice().buffer)[0], 100)
      assert.strictEqual(new Uint32Array(pixels.slice().buffer)[64 * 64], 99)
    }))

  served("hears of screens that come, go and change, and is sent no more of one that it left", () =>
    Effect.gen(function*() {
      const first = yield* openScreen(1)
      const viewer = yield* World.connect(yield* World.serve())
      const { screens, sequence: came } = yield* viewer.nextList
      assert.deepStrictEqual(screens, [
        { id: screens[0]!.id, guest: 1, name: "guest-1", display: 0, connector: 0, width: 128, height: 64, state: "connected", input: false }
      ])
      viewer.send({ type: "shown", sequence: came })
      yield* Effect.scoped(Effect.gen(function*() {
        const second = yield* openScreen(2, 64, 64)
        // It came, and then had a size.
        yield* viewer.nextList
        const { screens, sequence } = yield* viewer.nextList
        assert.deepStrictEqual(screens.map(({ guest, width }) => [guest, width]), [[1, 128], [2, 64]])
        viewer.send({ type: "shown", sequence })
        viewer.send({ type: "watch", screen: screens[0]!.id, encodings: ["raw"] })
        assert.strictEqual((yield* viewer.nextTiles).screen, screens[0]!.id)
        viewer.send({ type: "watch", screen: screens[1]!.id, encodings: ["deflate-raw"] })
        const tiles = yield* viewer.nextTiles
        assert.strictEqual(tiles.screen, screens[1]!.id)
        assert.deepStrictEqual(new Uint8Array(inflateRawSync(tiles.pixels)), second.bytes)
        first.words.fill(7)
        first.show()
        viewer.send({ type: "shown", sequence: tiles.sequence })
      }))
      const { screens: left, sequence } = yield* viewer.nextList
      assert.deepStrictEqual(left.map(({ guest }) => guest), [1])
      viewer.send({ type: "shown", sequence })
      first.setTakesInput(true)
      assert.isTrue((yield* viewer.nextList).screens[0]!.input)
    }))

  served("lets go of all that it held when it goes, and of what it holds when it looks elsewhere", () =>
    Effect.gen(function*() {
      const { inputs } = yield* openScreen(1)
      yield* openScreen(2)
      const url = yield* World.serve()
      yield* Effect.scoped(Effect.gen(function*() {
        const viewer = yield* World.connect(url)
        const { screens } = yield* viewer.nextList
        viewer.send({ type: "key", code: "KeyA", down: true })
        viewer.send({ type: "watch", screen: screens[0]!.id, encodings: [] })
        viewer.send({ type: "key", code: "KeyB", down: true })
        viewer.send({ type: "watch", screen: screens[1]!.id, encodings: [] })
        viewer.send({ type: "watch", screen: screens[0]!.id, encodings: [] })
        viewer.send({ type: "button", button: 1, down: true })
        viewer.send({ type: "touch", finger: 3, phase: "down", x: 1, y: 2 })
        viewer.send({ type: "key", code: "KeyC", down: true })
        viewer.send({ type: "key", code: "KeyC", down: false })
        const seen = yield* Effect.all(Array.from({ length: 6 }, () => Queue.take(inputs)))
        assert.deepStrictEqual(seen.slice(0, 2), [
          { type: "key", code: "KeyB", down: true },
          { type: "key", code: "KeyB", down: false }
        ])
      }))
      assert.deepStrictEqual(yield* Effect.all([Queue.take(inputs), Queue.take(inputs)]), [
        { type: "button", button: 1, down: false },
        { type: "touch", finger: 3, phase: "up", x: 1, y: 2 }
      ])
    }))

  served("is cut off for what no page says, and nobody else", () =>
    Effect.gen(function*() {
      const screen = yield* openScreen(1)
      const url = yield* World.serve()
      const good = yield* World.connect(url)
      const { screens } = yield* good.nextList
      good.send({ type: "watch", screen: screens[0]!.id, encodings: ["raw"] })
      const { sequence } = yield* good.nextTiles
      const rubbish = [
        "", "{", "null", "[]", "{}", `{"type":"watch"}`, `{"type":"shown","sequence":-1}`, `{"type":"shown","sequence":1.5}`,
        `{"type":"key","code":"KeyA"}`, `{"type":"key","code":"${"A".repeat(33)}","down":true}`, "[".repeat(4000),
        `{"type":"pointer","x":65536,"y":0}`, `{"type":"touch","finger":10,"phase":"up","x":0,"y":0}`,
        `{"type":"watch","screen":1,"encodings":["brotli"]}`, `{"type":"wheel","steps":1e9}`, `{"__proto__":{"type":"shown"}}`,
        Uint8Array.of(0), Uint8Array.from({ length: 4096 }, (_, i) => i)
      ]
      for (const text of rubbish) {
        const bad = yield* World.connect(url)
        bad.say(text)
        assert.strictEqual((yield* bad.closed).code, 1008, String(text))
      }
      const giant = yield* World.connect(url)
      giant.say("x".repeat(Viewer.maxMessageSize + 1))
      assert.strictEqual((yield* giant.closed).code, 1009)
      // Frames that break the protocol itself.
      const origin = upgrade(`Origin: http://localhost\r\n`)
      const broken = [
        [0x81, 0x01, 0x41], [0x83, 0x80, 0, 0, 0, 0], [0x8f, 0xff, ...Array.from({ length: 12 }, () => 0xff)], [0xf1, 0x80, 0, 0, 0, 0]
      ]
      for (const frame of broken) assert.include(yield* send(url, Buffer.concat([Buffer.from(origin), Buffer.from(frame)])), "101")
      // Keys that a guest can't have are no mistake.
      good.send({ type: "key", code: "BrightnessUp", down: true })
      good.send({ type: "shown", sequence })
      screen.words.fill(9)
      screen.show()
      assert.deepStrictEqual((yield* good.nextTiles).tiles, [0, 1])
    }))

  it.effect("that says to have seen what it has not read is sent no more, whatever it asks for", () =>
    Effect.gen(function*() {
      const screen = yield* openScreen(1)
      const page = yield* World.pageOf((socket) => Viewer.serve(socket, { messagesPerSecond: Infinity }))
      for (let sequence = 0; sequence < 200; sequence++) {
        yield* page.say(JSON.stringify({ type: "watch", screen: screen.id, encodings: [] }))
        yield* page.say(JSON.stringify({ type: "shown", sequence }))
        screen.setTakesInput(sequence % 2 === 0)
        screen.show()
        yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      }
      assert.strictEqual(yield* page.unread, 0)
      assert.strictEqual(yield* page.heard, Viewer.mostUnderway)
    }).pipe(Effect.scoped, Effect.provide(World.shown)))

  served("that floods is read slowly, and slows down nobody", () =>
    Effect.gen(function*() {
      const screen = yield* openScreen(1)
      const url = yield* World.serve({ messagesPerSecond: 100 })
      const good = yield* World.connect(url)
      const { screens } = yield* good.nextList
      const watch: Wire.ViewerMessage = { type: "watch", screen: screens[0]!.id, encodings: ["raw"] }
      good.send(watch)
      let { sequence } = yield* good.nextTiles
      const flood = yield* World.connect(url)
      yield* flood.next
      // Each would be a whole picture.
      for (let i = 0; i < 20_000; i++) flood.send(watch)
      for (let frame = 1; frame < 50; frame++) {
        good.send({ type: "shown", sequence })
        screen.words.fill(frame)
        screen.show()
        sequence = (yield* good.nextTiles).sequence
      }
      assert.isAtMost(yield* flood.waiting, 1)
      // It can't do more than a second's worth before it waits.
      flood.send({ type: "key", code: "KeyA", down: true })
      assert.strictEqual(yield* Queue.size(screen.inputs), 0)
    }))
})

describe("a server", () => {
  served("answers to loopback's names alone without a token, and sends what keeps other sites out", () =>
    Effect.gen(function*() {
      const url = yield* World.serve()
      const response = yield* get(url)
      assert.strictEqual(response.status, 200)
      assert.include(response.headers.get("content-security-policy"), "default-src 'none'")
      assert.strictEqual(response.headers.get("cross-origin-resource-policy"), "same-origin")
      assert.isNull(response.headers.get("access-control-allow-origin"))
      yield* Effect.promise(() => response.arrayBuffer())
      const request = (host: string) => `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
      for (const host of ["localhost", "127.0.0.1:80", "[::1]:1", "LOCALHOST:5", "127.1.2.3"]) {
        assert.include(yield* send(url, request(host)), "HTTP/1.1 200", host)
      }
      for (const host of ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::2]", "localhost:x"]) {
        assert.include(yield* send(url, request(host)), "HTTP/1.1 421", host)
      }
    }))

  served("lets no page of another site in, nor one without the token", () =>
    Effect.gen(function*() {
      const open = yield* World.serve()
      const locked = yield* World.serve({ token: "a+b &c" })
      const statusOfUpgrade = (url: URL, origin: string, host = "localhost") =>
        Effect.map(
          send(url, upgrade(origin).replace("/socket", `/socket${url.search}`).replace("localhost", host)),
          (answer) => Number(answer.split(" ")[1])
        )
      const from = (origin: string) => `Origin: ${origin}\r\n`
      for (const url of [open, locked]) {
        assert.strictEqual(yield* statusOfUpgrade(url, from("http://localhost")), 101)
        for (const origin of ["http://evil.example", "http://localhost:1", "null", "http://localhost.evil.example", "x"]) {
          assert.strictEqual(yield* statusOfUpgrade(url, from(origin)), 403, origin)
        }
        assert.strictEqual(yield* statusOfUpgrade(url, ""), 403)
      }
      const closed = yield* World.serve({ token: "" })
      for (const query of ["./", "?token="]) assert.strictEqual(yield* statusOf(new URL(query, closed)), 403, query)
      // Behind a proxy, which names what it was opened with.
      const forwarded = `${from("https://screens.example")}X-Forwarded-Host: screens.example\r\n`
      assert.strictEqual(yield* statusOfUpgrade(locked, forwarded), 101)
      assert.strictEqual(yield* statusOfUpgrade(open, forwarded, "screens.example"), 421)
      assert.strictEqual(yield* statusOf(locked), 200)
      for (const query of ["./", "?token=", "?token=a", "?token=a%2Bb%20%26cd", "?tokens=a%2Bb%20%26c"]) {
        const url = new URL(query, locked)
        assert.strictEqual(yield* statusOf(url), 403, query)
        assert.strictEqual(yield* statusOfUpgrade(url, from("http://localhost")), 403, query)
      }
    }))

  served("has room for so many viewers, and for the next one when one goes", () =>
    Effect.gen(function*() {
      yield* openScreen(1)
      const url = yield* World.serve({ viewers: 2 })
      yield* (yield* World.connect(url)).nextList
      yield* Effect.scoped(Effect.gen(function*() {
        const second = yield* World.connect(url)
        yield* second.nextList
        const third = yield* World.connect(url)
        assert.strictEqual((yield* third.closed).code, 1006)
        second.say("rubbish")
        yield* second.closed
      }))
      const next = yield* World.connect(url)
      yield* next.nextList
    }))

  served("lets nobody wait who comes before it is ready", () =>
    Effect.gen(function*() {
      const before = yield* Scope.make()
      const url = yield* Scope.provide(World.serve(), before)
      yield* Scope.close(before, Exit.void)
      const isServed = Effect.scoped(Effect.flatMap(World.connect(url), ({ closed, nextList }) =>
        Effect.raceFirst(Effect.as(nextList, true), Effect.as(closed, false))))
      const asking = yield* Effect.forkScoped(Effect.repeat(isServed, { until: (served) => served }))
      yield* World.serve({ port: Number(url.port) })
      assert.isTrue(yield* Fiber.join(asking))
    }))

  served("outlives whatever comes over its port", () =>
    Effect.gen(function*() {
      const url = yield* World.serve()
      const requests = [
        "\0\0\0\0", "GET", "GET / HTTP/9.9\r\n\r\n", `GET /${"a".repeat(20_000)} HTTP/1.1\r\n\r\n`,
        "GET // HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /%ff?%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\nx",
        "GET /socket HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
        "GET /socket HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        upgrade("Origin: http://localhost\r\n").replace("13", "7"), upgrade("Origin: http://localhost\r\n").replace("AAAA", "")
      ]
      for (const request of requests) assert.notInclude((yield* send(url, request)).slice(0, 12), "HTTP/1.1 5", request)
      assert.strictEqual(yield* statusOf(url), 200)
    }))
})
