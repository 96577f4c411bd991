// A guest plays, and dom0 hears: both halves of a sound card, each in a domain of its own.
import * as Backend from "@xen-shbuf/io/sndif/Backend"
import * as Frontend from "@xen-shbuf/io/sndif/Frontend"
import * as Pcm from "@xen-shbuf/io/sndif/Pcm"
import * as Sound from "@xen-shbuf/io/sndif/Sound"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** In dom0: calls `heard` with all that guests play, and lets them record what `spoken` says. */
export const hear = (heard: (guest: number, samples: Uint8Array) => void, spoken: Stream.Stream<Uint8Array>) =>
  Backend.serve({
    playback: ({ peer }) =>
      Sound.chunks((chunks) => Stream.runForEach(chunks, (samples) => Effect.sync(() => heard(peer, samples)))),
    capture: () => Sound.source(spoken)
  })

/** In the guest: plays a sound to its end on the card's first stream. */
export const play = Effect.fnUntraced(function*(samples: Uint8Array) {
  const { lines } = yield* Frontend.connect()
  const open = yield* lines[0]!.open({
    rate: 48_000,
    format: "s16_le",
    channels: 2,
    bufferFrames: 4096,
    periodFrames: 1024
  })
  yield* Pcm.play(open, Stream.make(samples))
}, Effect.scoped)
