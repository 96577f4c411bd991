// A guest draws, and dom0 looks: both halves of a display, each in a domain of its own.
import * as Backend from "@xen-shbuf/io/displif/Backend"
import * as Frontend from "@xen-shbuf/io/displif/Frontend"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** In dom0: calls `seen` with every picture of every guest, as red, green, blue and alpha. */
export const look = (seen: (guest: number, rgba: Uint8Array) => void) =>
  Backend.serve({
    show: ({ connectors, guest }) =>
      Effect.forEach(connectors, ({ pictures }) =>
        Stream.runForEach(pictures, (picture) =>
          Effect.sync(() => {
            if (picture._tag === "Dark") return
            const rgba = new Uint8Array(picture.width * picture.height * 4)
            PixelFormat.toRgba(picture, rgba)
            seen(guest, rgba)
          })), { concurrency: "unbounded", discard: true })
  })

/** In the guest: fills its first connector with one colour after the other. */
export const draw = Effect.fnUntraced(function*(colours: ReadonlyArray<readonly [blue: number, green: number, red: number]>) {
  const display = yield* Frontend.connect()
  const connector = display.connectors[0]!
  const buffers = yield* Effect.forEach([0, 1], () => display.createBuffer(connector.resolution))
  const framebuffers = yield* Effect.forEach(buffers, (buffer) => buffer.attach())
  yield* connector.configure(framebuffers[0]!)
  for (const [i, colour] of colours.entries()) {
    const back = (i + 1) % 2
    for (let at = 0; at < buffers[back]!.bytes.length; at += 4) buffers[back]!.bytes.set(colour, at)
    yield* connector.flip(framebuffers[back]!)
  }
}, Effect.scoped)
