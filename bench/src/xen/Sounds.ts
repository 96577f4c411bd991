/**
 * Measures what a guest with Linux's own sound driver plays: the library as the backend in dom0 against a C program that does
 * nothing but answer the ring. Each has a guest of its own.
 */
import * as Effect from "effect/Effect"
import * as Boot from "../../../xenlab/src/Boot.ts"
import * as Image from "../../../xenlab/src/Image.ts"
import { type Machine, sh } from "../../../xenlab/src/Machine.ts"
import { type Kind, Target } from "../../../xenlab/src/Target.ts"
import * as Report from "../Report.ts"
import * as Served from "./Served.ts"

/** A backend in dom0, and its guest. */
interface Side {
  readonly backend: Served.Backend
  readonly guest: Machine
}

const rate = 48_000
// Linux takes a card for broken that is late by somewhat more than its buffer, which an emulated one may be.
const bufferFrames = 16_384
const periodFrames = 1024
const card = `vsnd=[['card, backend=0, buffer-size=${bufferFrames * 4}, sample-rates=${rate}, sample-formats=s16_le', ` +
  "'pcm, name=card', 'stream, unique-id=0, type=P']]"

/** Periods that a backend measures. As many more fill the buffer, and end the sound, as it has periods. */
const periods = 300
const frames = (periods + 2 * bufferFrames / periodFrames) * periodFrames

// With blocking, a period is written at a time; without, whatever there is room for.
const play = `aplay -q -D hw:0,0 -t raw -f S16_LE -r ${rate} -c 2 --buffer-size=${bufferFrames} ` +
  `--period-size=${periodFrames} --samples=${frames} /dev/zero`

/** Boots the guest of a backend that waits for it. */
const guestOf = Effect.fnUntraced(function*(
  lab: Boot.Booted,
  backend: Served.Backend,
  { kind, name, processor }: { readonly kind: Kind; readonly name: string; readonly processor: number }
) {
  const guest = yield* yield* Boot.startGuest(lab, { name: `${kind}-${name}`, kind, processor, devices: [card] })
  yield* sh(guest, "modprobe snd_xen_front")
  yield* backend.process.expect("connected")
  yield* sh(guest, "until [ -e /dev/snd/pcmC0D0p ]; do usleep 100000; done")
  const side: Side = { backend, guest }
  return { side, domain: guest.domain }
})

/** Plays a sound: µs of a period. */
const sound = Effect.fnUntraced(function*({ backend, guest }: Side) {
  yield* sh(guest, play, { patience: "5 minutes" })
  const { micros } = yield* backend.process.expect("played")
  return Number(micros) / periods
})

const compare = Effect.fnUntraced(function*(lab: Boot.Booted, kind: Kind, isQuick: boolean) {
  const { dom0 } = lab
  const c = yield* Served.start(dom0, ["taskset", "1", `${Image.place}/sound`, String(periods)])
  const { domain, side: theirs } = yield* guestOf(lab, c, { kind, name: "c", processor: 1 })
  const argv = ["taskset", "1", "node", `${Image.place}/sound.mjs`, String(periods), String(domain)]
  const node = yield* Served.start(dom0, argv)
  const { side: ours } = yield* guestOf(lab, node, { kind, name: "node", processor: 2 })

  const work = (side: Side) => ({ pid: side.backend.pid, once: sound(side), times: frames / periodFrames })
  // V8 and the emulator compile what runs often.
  yield* sound(theirs)
  for (let left = isQuick ? 1 : 40; left > 0; left--) yield* sound(ours)
  const both = { ours: work(ours), theirs: work(theirs) }
  const rows = yield* Served.compare(dom0, both, { kind, what: "a period, as fast as the guest plays", rounds: isQuick ? 1 : 7 })
  return { rows, counted: yield* Served.count(dom0, both, kind) }
}, Effect.scoped)

/** Measures it all. */
export const sections = Effect.fnUntraced(function*(lab: Boot.Booted, where: string, isQuick: boolean) {
  const { arch } = yield* Target
  const measured = yield* Effect.forEach(arch.guests, ({ kind }) => compare(lab, kind, isQuick))
  return [
    Report.section<Served.Time>({
      name: "xen-sounds",
      title: "A period of sound on a real Xen",
      about: `A guest with Linux's own sound driver plays ${periods} periods of ${periodFrames} frames, stereo in 16 bits, ` +
        "with `aplay`, as fast as it can. In dom0 the library hands each period, mapped, to a player that looks at one " +
        "sample; in another guest's turn a C program answers the ring and does nothing else (`bench/c/sound.c`).",
      where,
      columns: Served.timeColumns,
      rows: measured.flatMap(({ rows }) => rows),
      plots: []
    }),
    Report.section<Served.Counted>({
      name: "xen-sounds-calls",
      title: "System calls of a period of sound",
      about: "Of the same sounds, all threads, counted with strace, opening and closing included: a signal to the guest for " +
        "the response and one for the event (`ioctl`), and one from it, which is read, and written back so that the next " +
        "may come. The protocol asks for these four. C waits in `read`; Node looks with `epoll_pwait` before it waits with it.",
      where,
      columns: Served.callColumns(3),
      rows: measured.flatMap(({ counted }) => counted),
      plots: []
    })
  ]
})
