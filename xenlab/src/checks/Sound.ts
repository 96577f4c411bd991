/**
 * Plays and records with `aplay` and `arecord` in a guest whose kernel is Debian's, through its own sound driver: the
 * command hears it in dom0, sample by sample.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Boot from "../Boot.ts"
import * as Heard from "../Heard.ts"
import * as Grants from "../Grants.ts"
import { place } from "../Image.ts"
import { type Event, type Machine, output, type Process, type ProcessError, run, sh } from "../Machine.ts"
import { type Check, CheckError, type Lab, same } from "../Plan.ts"
import type { Kind } from "../Target.ts"
import type { Guest } from "../Toolstack.ts"

/** What the command in dom0 is told to do; it can be killed, and started anew. */
export interface Context {
  readonly dom0: Machine
  readonly guest: Guest
  /** Ends the one that runs, if any, and starts another. */
  readonly serve: (args?: ReadonlyArray<string>) => Effect.Effect<Process, ProcessError>
  readonly backend: () => Process
}

const page = 4096

/** Formats as xenstore and as ALSA name them, with the bytes of a sample. */
const formats = { u8: ["U8", 1], s16_le: ["S16_LE", 2], s32_le: ["S32_LE", 4], float_le: ["FLOAT_LE", 4] } as const

/** `xl` has a name of its own for floating point, which Linux's driver passes over. */
const forXl = Object.keys(formats).join(";").replace("float_", "f32_")

const rates = [8000, 11025, 16000, 22050, 32000, 44100, 48000, 64000, 96000]

/** Two devices: one that plays and records, and one more that plays. */
const card = [
  `vsnd=[['card, backend=0, buffer-size=${1040 * page}, short-name=Lab, long-name=The lab, channels-min=1, channels-max=6, ` +
  `sample-rates=${rates.join(";")}, sample-formats=${forXl}',`,
  "'pcm, name=both', 'stream, unique-id=0, type=P', 'stream, unique-id=1, type=C',",
  "'pcm, name=other', 'stream, unique-id=2, type=P']]"
].join(" ")

/** Where dom0 keeps what it hears. */
const folder = "/tmp/heard"

const serving = ["node", `${place}/cli.mjs`, "sound", "--unpaced", "--json", "--wav", folder]

/** Starts the command, then a guest that has a card. */
export const acquire = Effect.fnUntraced(function*(lab: Boot.Booted, kind: Kind) {
  const { dom0 } = lab
  let scope: Scope.Closeable | undefined
  let backend: Process | undefined
  const around = yield* Effect.scope
  const stop = Effect.suspend(() => scope === undefined ? Effect.void : Scope.close(scope, Exit.void))
  const serve: Context["serve"] = Effect.fnUntraced(function*(args = []) {
    yield* stop
    scope = yield* Scope.fork(around)
    backend = yield* Scope.provide(dom0.start([...serving, ...args]), scope)
    // `xl` waits ten seconds for a backend, and no longer.
    yield* backend.expect("serving")
    return backend
  })
  yield* serve()
  const started = yield* Boot.startGuest(lab, { name: `sound-${kind}`, kind, processor: 1, devices: [card] })
  const guest = yield* started
  const node = `/local/domain/${guest.domain}/device/vsnd/0/sample-formats`
  yield* output(dom0, ["xenstore-write", node, Object.keys(formats).join(",")])
  yield* sh(guest, "modprobe snd_xen_front; until [ -e /dev/snd/pcmC0D1p ]; do usleep 100000; done")
  const context: Context = { dom0, guest, serve, backend: () => backend! }
  yield* context.backend().expect("card")
  return context
})

/** Whether a grant is this guest's. */
export const concerns = ({ guest }: Context, { granter }: Grants.Active): boolean => granter === guest.domain

/** How a sound is played. */
interface Way {
  readonly format: keyof typeof formats
  readonly rate: number
  readonly channels: number
  readonly bufferFrames: number
  readonly periodFrames: number
  readonly frames: number
}

/** Without blocking: the kernel gives up on a card that is a tenth of a second late, which an emulated one may be. */
const optionsOf = ({ bufferFrames, channels, format, periodFrames, rate }: Way) =>
  `-q -N -t raw -f ${formats[format][0]} -r ${rate} -c ${channels} --buffer-size=${bufferFrames} --period-size=${periodFrames}`

const sizeOf = ({ channels, format, frames }: Way) => frames * channels * formats[format][1]

/** Makes a sound in the guest that nobody has heard before; gives its hash. */
const compose = Effect.fnUntraced(function*(guest: Machine, file: string, bytes: number) {
  const said = yield* sh(guest, `head -c ${bytes} /dev/urandom > ${file}; sha256sum ${file}`)
  return said.split(" ")[0]!
})

/** The next event of a kind; others are passed over. */
const next = Effect.fnUntraced(function*(process: Process, event: string, stream?: string) {
  for (;;) {
    const line = JSON.parse(yield* process.nextLine) as Event
    if (line.event === event && (stream === undefined || line["stream"] === stream)) return line
  }
})

/** A file of a domain. */
const pull = (machine: Machine, file: string) =>
  Effect.map(sh(machine, `base64 ${file}`, { patience: "5 minutes" }), (text) => Buffer.from(text, "base64"))

/**
 * Compares what was heard with the file that `aplay` has played: it must be the file and silence, at most a buffer. After an
 * underrun `aplay` writes anew, so then a part is heard twice, once for each that it tells of. Gives the underruns.
 */
const compare = Effect.fnUntraced(function*(
  { dom0, guest }: Context,
  file: string,
  { bufferFrames, channels, format, ...way }: Way,
  stderr: string,
  closed: Event
) {
  const underruns = stderr.split("\n").filter((line) => line.startsWith("underrun!!!")).length
  const size = sizeOf({ bufferFrames, channels, format, ...way })
  const buffer = bufferFrames * channels * formats[format][1]
  const heard = closed["bytes"] as number
  const rest = heard - size
  if (rest < 0) return yield* new CheckError({ message: `${-rest} of ${size} bytes were not heard` })
  const silence = format === "u8" ? "\\200" : "\\000"
  const [expected] = (yield* sh(guest, `(cat ${file}; head -c ${rest} /dev/zero | tr '\\000' '${silence}') | sha256sum`)).split(" ")
  if (expected === closed["sha256"] && rest <= buffer) return underruns
  const sounds = [yield* pull(guest, file), Heard.samples(yield* pull(dom0, String(closed["file"])))] as const
  const times = Heard.repeats(...sounds, buffer, (byte) => byte === (format === "u8" ? 0x80 : 0))
  if (times === undefined) return yield* new CheckError({ message: `what was heard is not what was played: ${heard} bytes, not ${size}` })
  if (times > underruns) {
    return yield* new CheckError({ message: `the sound went back ${times} times, and aplay told of ${underruns} underruns` })
  }
  return underruns
})

const played = Effect.fnUntraced(function*(context: Context, way: Way, patience: Duration.Input = "5 minutes") {
  const { backend, dom0, guest } = context
  const file = "/tmp/sound"
  yield* compose(guest, file, sizeOf(way))
  const ended = yield* run(guest, ["sh", "-c", `aplay -D hw:0,0 ${optionsOf(way)} ${file}`], { patience })
  yield* same("what aplay said", [ended.code, ended.stderr.replaceAll(/^underrun!!!.*\n/gm, "")], [0, ""])
  const closed = yield* next(backend(), "closed", "0/0")
  const underruns = yield* compare(context, file, way, ended.stderr, closed)
  yield* sh(dom0, `rm -f ${folder}/*`)
  return `${underruns} underruns`
})

const way = (over: Partial<Way>): Way => ({
  format: "s16_le",
  rate: 16_000,
  channels: 2,
  bufferFrames: 8192,
  periodFrames: 2048,
  frames: 40 * 2048,
  ...over
})

/**
 * Buffers on both sides of one page and of one page of a directory; all formats; one to six channels; 8 to 96 kHz. Most last
 * half a second: an emulated guest is often late by a tenth.
 */
const ways: ReadonlyArray<readonly [name: string, way: Way]> = [
  ["16 bits, stereo", way({})],
  ["48 kHz", way({ rate: 48_000, bufferFrames: 24_576, periodFrames: 6144, frames: 20 * 6144 })],
  ["8 bits, mono, 8 kHz, one page", way({ format: "u8", channels: 1, rate: 8000, bufferFrames: page, periodFrames: 1024 })],
  ["one page and a little", way({ format: "u8", channels: 1, rate: 8000, bufferFrames: 4160, periodFrames: 1040, frames: 40 * 1040 })],
  ["less than a page", way({ format: "u8", channels: 1, rate: 8000, bufferFrames: 4000, periodFrames: 1000, frames: 40 * 1000 })],
  ["two periods", way({ bufferFrames: 8192, periodFrames: 4096 })],
  ["32 bits, six channels, 96 kHz", way({
    format: "s32_le",
    channels: 6,
    rate: 96_000,
    bufferFrames: 40_960,
    periodFrames: 10_240,
    frames: 10 * 10_240
  })],
  ["float, stereo, 44.1 kHz, a buffer that is no power of two", way({
    format: "float_le",
    rate: 44_100,
    bufferFrames: 22_000,
    periodFrames: 5500,
    frames: 20 * 5500
  })],
  ["1023 pages: a full page of the directory", way({
    format: "s32_le",
    rate: 96_000,
    bufferFrames: 1023 * page / 8,
    periodFrames: 1023 * page / 32,
    frames: 5 * 1023 * page / 32
  })],
  ["1024 pages: a second page of the directory", way({
    format: "s32_le",
    rate: 96_000,
    bufferFrames: 1024 * page / 8,
    periodFrames: 1024 * page / 32,
    frames: 5 * 1024 * page / 32
  })],
  ["less than a buffer", way({ frames: 2048 })]
]

const everyWay: Check<Context> = {
  name: "aplay: what is played is heard, sample by sample",
  limit: "20 minutes",
  run: Effect.fnUntraced(function*(context, part) {
    for (const [name, way] of ways) {
      const start = performance.now()
      const exit = yield* Effect.exit(played(context, way))
      const detail = Exit.isSuccess(exit)
        ? exit.value
        : `${String(Cause.squash(exit.cause))}\n${(yield* Effect.flip(context.backend().fail("the command said"))).output.slice(-2000)}`
      yield* part(`aplay: ${name}`, Exit.isSuccess(exit), performance.now() - start, detail)
    }
  })
}

const both: Check<Context> = {
  name: "two streams at once",
  run: Effect.fnUntraced(function*(context) {
    const { backend, guest } = context
    const sound = way({})
    for (const device of [0, 1]) yield* compose(guest, `/tmp/sound-${device}`, sizeOf(sound))
    const play = (device: number) => `aplay -D hw:0,${device} ${optionsOf(sound)} /tmp/sound-${device} 2>/tmp/said-${device}`
    yield* sh(guest, `${play(0)} & ${play(1)} & wait`, { patience: "5 minutes" })
    const closed = [yield* next(backend(), "closed"), yield* next(backend(), "closed")]
    for (const device of [0, 1]) {
      const stderr = yield* sh(guest, `cat /tmp/said-${device}`)
      const heard = closed.find(({ stream }) => stream === `${device}/0`)!
      yield* compare(context, `/tmp/sound-${device}`, sound, stderr, heard)
    }
  })
}

/** Starts to play something long, and waits until it is on its way. */
const begin = Effect.fnUntraced(function*({ backend, guest }: Context) {
  const long = way({ frames: 2048 * 1000 })
  yield* compose(guest, "/tmp/long", sizeOf(long))
  const playing = yield* guest.start(["sh", "-c", `exec aplay -D hw:0,0 ${optionsOf(long)} /tmp/long`])
  yield* next(backend(), "state")
  return playing
})

/** What was heard must be how the long sound begins. */
const isBeginning = Effect.fnUntraced(function*({ guest }: Context, closed: Event) {
  const bytes = closed["bytes"] as number
  const said = yield* sh(guest, `head -c ${bytes} /tmp/long | sha256sum`)
  yield* same("the hash of what was heard", closed["sha256"], said.split(" ")[0])
})

const middle: Check<Context> = {
  name: "aplay stops in the middle, or is killed: what was heard is the beginning",
  run: Effect.fnUntraced(function*(context, part) {
    for (const signal of ["SIGINT", "SIGKILL"] as const) {
      const start = performance.now()
      const playing = yield* begin(context)
      yield* playing.signal(signal)
      const closed = yield* next(context.backend(), "closed")
      yield* isBeginning(context, closed)
      yield* playing.completed
      yield* part(`aplay ends by ${signal} in the middle`, true, performance.now() - start, `${String(closed["seconds"])} s were heard`)
    }
  })
}

const recorded: Check<Context> = {
  name: "arecord: what is recorded is the input, sample by sample",
  run: Effect.fnUntraced(function*(context) {
    const { dom0, guest, serve } = context
    const sound = way({})
    // What the guest plays becomes a file of dom0's, and is what it records then.
    yield* compose(guest, "/tmp/sound", sizeOf(sound))
    yield* output(guest, ["sh", "-c", `aplay -D hw:0,0 ${optionsOf(sound)} /tmp/sound`], { patience: "5 minutes" })
    const closed = yield* next(context.backend(), "closed")
    yield* sh(dom0, `mv ${String(closed["file"])} /tmp/input.wav`)
    yield* serve(["--input", "/tmp/input.wav"])
    yield* next(context.backend(), "card")
    yield* settled(guest)
    const frames = sound.frames + sound.periodFrames
    const { code, stderr } = yield* run(
      guest,
      ["sh", "-c", `arecord -D hw:0,0 ${optionsOf(sound)} --samples=${frames} /tmp/recorded`],
      { patience: "5 minutes" }
    )
    yield* same("what arecord said", [code, stderr], [0, ""])
    const [mine, theirs] = [Heard.samples(yield* pull(dom0, "/tmp/input.wav")), yield* pull(guest, "/tmp/recorded")]
    const differs = mine.findIndex((byte, at) => theirs[at] !== byte)
    yield* same("the first byte that is not the input's", differs, -1)
    yield* serve()
    yield* next(context.backend(), "card")
    yield* settled(guest)
  })
}

/** Waits until the guest's driver has made its devices anew. */
const settled = (guest: Machine) =>
  sh(guest, "usleep 300000; until [ -e /dev/snd/pcmC0D1p ]; do usleep 100000; done")

const restarted: Check<Context> = {
  name: "the command is killed while a guest plays, and starts anew: the guest plays again",
  run: Effect.fnUntraced(function*(context) {
    const playing = yield* begin(context)
    yield* context.backend().signal("SIGKILL")
    yield* context.backend().completed
    yield* context.serve()
    yield* playing.signal("SIGKILL")
    yield* playing.completed
    yield* next(context.backend(), "card")
    yield* settled(context.guest)
    yield* played(context, way({}))
  })
}

const long = (minutes: number): Check<Context> => ({
  name: `${minutes} minutes in one run: not one sample more or less`,
  limit: "30 minutes",
  run: Effect.fnUntraced(function*(context) {
    const rate = 8000
    const sound = way({ channels: 1, rate, bufferFrames: 8000, periodFrames: 2000, frames: minutes * 60 * rate })
    return yield* played(context, sound, Duration.minutes(minutes))
  })
})

const destroyed = (lab: Lab): Check<Context> => ({
  name: "the guest is destroyed while it plays: the command goes on, and nothing stays mapped",
  run: Effect.fnUntraced(function*(context) {
    yield* begin(context)
    yield* run(context.dom0, ["xl", "destroy", String(context.guest.domain)])
    const closed = yield* next(context.backend(), "closed")
    yield* next(context.backend(), "gone")
    yield* Grants.settle(Effect.map(lab.grants, (all) => all.filter((grant) => concerns(context, grant))), [])
    return `${String(closed["seconds"])} s were heard`
  })
})

/** What a guest with a sound card can do. */
export const checks = (soak: boolean): ReadonlyArray<Check<Context>> => [
  everyWay,
  both,
  middle,
  long(soak ? 30 : 5),
  recorded,
  restarted
]

/** Its end. */
export const lastChecks = (lab: Lab): ReadonlyArray<Check<Context>> => [destroyed(lab)]
