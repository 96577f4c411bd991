/**
 * The library's side of the benchmark of page flips: shows the displays of all guests but one to a viewer that looks at one
 * pixel of each picture. Flips are acknowledged as soon as they are taken. `bench/c/display.c` is the C side.
 *
 * Usage: node display.mjs GUEST, the one that somebody else serves
 */
import * as Backend from "@xen-shbuf/io/displif/Backend"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { say } from "../../xenlab/guest/Program.ts"

const other = Number(process.argv[2])

/** Where pixels go, so that no compiler finds out that nobody needs them. */
let sink = 0

const serving = Backend.serve({
  frameRate: Infinity,
  serves: (guest) => Effect.succeed(guest !== other),
  show: ({ connectors, guest }) =>
    Effect.andThen(
      say("connected", { guest }),
      Effect.forEach(connectors, ({ pictures }) =>
        Stream.runForEach(pictures, (picture) =>
          Effect.sync(() => {
            if (picture._tag === "Frame") sink ^= picture.bytes[0]!
          })), { concurrency: "unbounded", discard: true })
    )
})

await Effect.runPromise(
  Effect.andThen(say("ready", { pid: process.pid }), serving).pipe(Effect.provide(XenDevices.layer()))
)
void sink
