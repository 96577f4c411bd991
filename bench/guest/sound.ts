/**
 * The library's side of the benchmark of sound: plays what all guests but one write, as fast as they can, and looks at one
 * sample of each part. `bench/c/sound.c` is the C side.
 *
 * Usage: node sound.mjs PERIODS GUEST, tells each time that so many were written since a stream was opened; the guest is the
 * one that somebody else serves
 */
import * as Backend from "@xen-shbuf/io/sndif/Backend"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Effect from "effect/Effect"
import { say } from "../../xenlab/guest/Program.ts"

const [periods, other] = process.argv.slice(2).map(Number)

/** Where samples go, so that no compiler finds out that nobody needs them. */
let sink = 0

const serving = Backend.serve({
  pace: "unpaced",
  serves: (guest) => Effect.succeed(guest !== other),
  connected: ({ peer }) => say("connected", { guest: peer }),
  playback: ({ periodSize }) =>
    Effect.sync(() => {
      let left = periods! * periodSize
      let begin = 0
      return {
        play: (bytes) =>
          Effect.suspend(() => {
            sink ^= bytes[0]!
            if (begin === 0) begin = performance.now()
            if (left <= 0) return Effect.void
            left -= bytes.length
            return left > 0 ? Effect.void : say("played", { micros: (performance.now() - begin) * 1000 })
          })
      }
    })
})

await Effect.runPromise(
  Effect.andThen(say("ready", { pid: process.pid }), serving).pipe(Effect.provide(XenDevices.layer()))
)
void sink
