import { assert, describe, it } from "@effect/vitest"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import * as Protocol from "@xen-shbuf/io/displif/Protocol"
import { XenErrno } from "@xen-shbuf/io/XenErrno"
import * as Frontend from "@xen-shbuf/xenbus/Frontend"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { random } from "../../../xenbus/test/Model.ts"
import * as World from "./World.ts"

const guest = World.inDomain(3)

type Asked = Protocol.Request extends infer R ? R extends Protocol.Request ? Omit<R, "id"> : never : never

/** Connects the guest's display without the library's frontend, which imports no buffers. */
const connect = Effect.fnUntraced(function*() {
  const { published: { ring } } = yield* guest(Frontend.connect({
    type: "vdispl",
    publish: Effect.fnUntraced(function*(device) {
      const ring = yield* Frontend.shareRing(device, { ref: "0/req-ring-ref", port: "0/req-event-channel", slotSize: 64 })
      const events = yield* Frontend.shareEvents(device, { ref: "0/evt-ring-ref", port: "0/evt-event-channel", eventSize: 64 })
      return { ring, nodes: { ...ring.nodes, ...events.nodes } }
    })
  }))
  let id = 0
  /** Asks, and gives the status that is answered. */
  return Effect.fnUntraced(function*(asked: Asked) {
    const slot = Protocol.encodeRequest({ ...asked, id: id++ })
    yield* Effect.fromResult(ring.ring.put(slot))
    yield* ring.pushAndNotify
    while (!(yield* Effect.fromResult(ring.ring.take(slot)))) {
      if (!(yield* Effect.fromResult(ring.ring.finalCheck()))) yield* ring.channel.wait
    }
    return Protocol.decodeResponse(slot).status
  })
})

const resolution = { width: 32, height: 24 }

/** Noise of the guest's own, shared as Linux shares pages that another driver made: it says nothing but their size. */
const share = Effect.fnUntraced(function*(byteLength: number, seed: number) {
  const buffer = yield* guest(SharedBuffer.alloc({ peer: 0, byteLength }))
  const noise = random(seed).bytes(byteLength)
  buffer.bytes.set(noise)
  return { noise, directory: buffer.directory }
})

const inXen = (name: string, test: Parameters<typeof World.checked>[0]) => it.live(name, () => World.checked(test), 30_000)

describe("displif, buffers that are imported", () => {
  inXen("shows the pixels behind any offset, in lines as long as what is known of the buffer says", Effect.gen(function*() {
    yield* World.addDisplay(3, [`${resolution.width}x${resolution.height}`])
    const displays = yield* World.startBackend()
    const ask = yield* connect()
    const seen = yield* World.watch(yield* Queue.take(displays))
    yield* Queue.take(seen)
    const cases = [0, 1, 64, 4095, 4096, 5000].flatMap((dataOffset) =>
      PixelFormat.all.flatMap((format) => [undefined, 40].map((lineWidth) => ({ dataOffset, format, lineWidth }))))
    for (const [i, { dataOffset, format, lineWidth }] of cases.entries()) {
      const { height, width } = resolution
      const pitch = (lineWidth ?? width) * format.bytesPerPixel
      const bufferSize = dataOffset + pitch * height
      // Linux says nothing of an imported buffer's lines, and of a dumb one's all.
      const lines = lineWidth === undefined ? { width: 0, height: 0, bpp: 0 } : { width: lineWidth, height, bpp: 8 * format.bytesPerPixel }
      yield* Effect.scoped(Effect.gen(function*() {
        const { directory, noise } = yield* share(bufferSize, i)
        const create = { _tag: "DbufCreate" as const, dbufCookie: 1n, ...lines, bufferSize, flags: 0, directory, dataOffset }
        const attach = { _tag: "FbAttach" as const, dbufCookie: 1n, fbCookie: 2n, width, height, pixelFormat: format.code }
        assert.strictEqual(yield* ask(create), 0)
        assert.strictEqual(yield* ask({ ...attach, height: height + 1 }), -XenErrno.EINVAL)
        assert.strictEqual(yield* ask(attach), 0)
        const shown = { _tag: "SetConfig" as const, fbCookie: 2n, x: 0, y: 0, width, height, bpp: 8 * format.bytesPerPixel }
        assert.strictEqual(yield* ask(shown), 0)
        const line = width * format.bytesPerPixel
        const expected = Buffer.concat(Array.from({ length: height }, (_, y) =>
          noise.subarray(dataOffset + y * pitch, dataOffset + y * pitch + line)))
        const { pixels } = yield* Queue.take(seen)
        assert.strictEqual(Buffer.compare(pixels, expected), 0, `${format.name} at ${dataOffset}, lines of ${pitch} bytes`)
        assert.strictEqual(yield* ask({ _tag: "DbufDestroy", dbufCookie: 1n }), 0)
        assert.strictEqual((yield* Queue.take(seen)).picture._tag, "Dark")
      }))
    }
  }))

  inXen("refuses an offset beyond the buffer, pixels that end beyond it, and formats that are not known", Effect.gen(function*() {
    yield* World.addDisplay(3, [`${resolution.width}x${resolution.height}`])
    yield* World.startBackend()
    const ask = yield* connect()
    const { directory } = yield* share(8192, 1)
    const imported = { width: 0, height: 0, bpp: 0, bufferSize: 8192, flags: 0, directory }
    const create = (dataOffset: number) => ask({ _tag: "DbufCreate", dbufCookie: 1n, ...imported, dataOffset })
    assert.strictEqual(yield* create(8192), -XenErrno.EINVAL)
    assert.strictEqual(yield* create(2 ** 32 - 1), -XenErrno.EINVAL)
    assert.strictEqual(yield* create(4096), 0)
    const attach = (name: string, width: number, height: number) =>
      ask({ _tag: "FbAttach", dbufCookie: 1n, fbCookie: 2n, width, height, pixelFormat: PixelFormat.codeOf(name) })
    assert.strictEqual(yield* attach("XR24", 32, 33), -XenErrno.EINVAL)
    // Linux offers YUYV as well.
    for (const name of ["YUYV", "UYVY", "NV12", "\0\0\0\0"]) {
      assert.strictEqual(yield* attach(name, 8, 8), -XenErrno.EINVAL, name)
    }
    assert.strictEqual(yield* attach("XR24", 32, 32), 0)
    assert.strictEqual(yield* ask({ _tag: "DbufDestroy", dbufCookie: 1n }), 0)
  }))
})
