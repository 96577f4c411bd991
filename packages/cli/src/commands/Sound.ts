/**
 * `xen-shbuf sound`: serves the sound cards of guests.
 *
 * @since 0.2.0
 */
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import * as Backend from "@xen-shbuf/io/sndif/Backend"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import * as Samples from "@xen-shbuf/io/sndif/Samples"
import * as Sounds from "@xen-shbuf/io/sndif/Sound"
import * as Command from "effect/cli/Command"
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import * as Band from "../internal/Band.ts"
import { FreshFiles } from "../internal/FreshFiles.ts"
import { count, grouped, Output } from "../Output.ts"
import * as Wav from "../Wav.ts"

/** What was asked for. */
interface Wishes {
  /** Where each opening of a stream becomes a file of its own. */
  readonly files: FreshFiles | undefined
  readonly toStdout: boolean
  readonly input: string | undefined
  readonly hasLevels: boolean
}

/** Who plays or records what, in words. */
const who = ({ card, id, peer, stream }: Sounds.Opened) => {
  const name = card.shortName === "" ? `card ${id}` : `card ${id} (${card.shortName})`
  return `domain ${peer}, ${name}, stream ${stream.device}/${stream.index}`
}

const fieldsOf = ({ id, peer, stream }: Sounds.Opened) => ({
  guest: peer,
  card: id,
  stream: `${stream.device}/${stream.index}`
})

const bars = "▁▂▃▄▅▆▇█"

/** A level as a bar, from -48 dB on, and as a number. */
const meter = (peak: number): string => {
  const decibels = Samples.toDecibels(peak)
  const height = Math.max(0, Math.min(bars.length - 1, Math.floor((decibels + 48) / 6)))
  return `${bars[height]} ${Number.isFinite(decibels) ? decibels.toFixed(1) : "-∞"} dB`
}

const decibelsOf = (peaks: ReadonlyArray<number>) =>
  peaks.map((peak) => Math.round(Math.max(-200, Samples.toDecibels(peak)) * 10) / 10)

/** What has gone through a stream since it was opened. */
class Tally {
  readonly hash = createHash("sha256")
  bytes = 0
  peaks: ReadonlyArray<number> = []
  /** The same for the present second. */
  second: ReadonlyArray<number> = []
  #left: number
  readonly #opened: Sounds.Opened

  constructor(opened: Sounds.Opened) {
    this.#opened = opened
    this.#left = opened.rate * opened.frameSize
  }

  /** Notes a copy of samples; true where a second is over. */
  add(bytes: Uint8Array): boolean {
    const { channels, format, frameSize, rate } = this.#opened
    const louder = (now: ReadonlyArray<number>, before: ReadonlyArray<number>) =>
      now.map((peak, i) => Math.max(peak, before[i] ?? 0))
    const peaks = Samples.peaks(format, channels, bytes)
    if (this.#left <= 0) {
      this.#left += rate * frameSize
      this.second = []
    }
    this.hash.update(bytes)
    this.bytes += bytes.length
    this.#left -= bytes.length
    this.peaks = louder(peaks, this.peaks)
    this.second = louder(peaks, this.second)
    return this.#left <= 0
  }
}

/** What is new of a state, in words. */
const changeOf = (before: Sounds.State, { muted, running, slips, volume }: Sounds.State): string => {
  if (running !== before.running) return `${running[0]!.toUpperCase()}${running.slice(1)}`
  if (slips !== before.slips) return "The guest was late"
  if (volume !== before.volume) return `Volume ${volume.map((decibels) => `${decibels} dB`).join(", ")}`
  return `Muted channels: ${muted.flatMap((isMuted, i) => isMuted ? [i + 1] : []).join(", ") || "none"}`
}

/** Says that a stream is open, how its state changes, and at last what has gone through it. */
const follow = Effect.fnUntraced(function*(opened: Sounds.Opened, more: { readonly file?: string | undefined }) {
  const { event } = yield* Output
  const { bufferSize, channels, format, frameSize, periodSize, rate, stream } = opened
  const tally = new Tally(opened)
  const verb = stream.direction === "playback" ? "plays" : "records"
  const what = `${format}, ${grouped(rate)} Hz, ${count(channels, "channel")}`
  yield* event(
    { event: "opened", ...fieldsOf(opened), direction: stream.direction, rate, format, channels, bufferSize, periodSize, ...more },
    `Open: ${who(opened)} ${verb} ${what}${more.file === undefined ? "" : `, ${more.file}`}`
  )
  yield* Effect.addFinalizer(() =>
    Effect.flatMap(opened.state, ({ slips }) => {
      const { bytes, hash, peaks } = tally
      const seconds = bytes / frameSize / rate
      const sha256 = hash.digest("hex")
      const loud = peaks.length === 0 ? "" : `, at most ${peaks.map(meter).join("  ")}`
      return event(
        { event: "closed", ...fieldsOf(opened), bytes, seconds, slips, sha256, decibels: decibelsOf(peaks), ...more },
        `Closed: ${who(opened)} after ${seconds.toFixed(2)} s${loud}, ${count(slips, "slip")}`
      )
    }))
  let before = yield* opened.state
  yield* opened.changes.pipe(
    Stream.drop(1),
    Stream.runForEach((state) => {
      const text = changeOf(before, state)
      before = state
      return event({ event: "state", ...fieldsOf(opened), ...state }, `${text}: ${who(opened)}`)
    }),
    Effect.forkScoped
  )
  return tally
})

const level = Effect.fnUntraced(function*(opened: Sounds.Opened, { second }: Tally) {
  const { event } = yield* Output
  yield* event(
    { event: "level", ...fieldsOf(opened), decibels: decibelsOf(second) },
    `${second.map(meter).join("  ")}  ${who(opened)}`
  )
})

/** Standard output takes one stream at a time. */
class Mouth {
  isTaken = false

  readonly take = Effect.acquireRelease(
    Effect.sync(() => {
      if (this.isTaken) return false
      this.isTaken = true
      return true
    }),
    (isOurs) => Effect.sync(() => {
      if (isOurs) this.isTaken = false
    })
  )
}

const notWritten = (file: string, why: string) => ({ reason }: PlatformError) =>
  new Wav.WavError({ file, reason: { _tag: "NotWritten" }, detail: `${why} (${reason._tag})` })

/** A file of its own for an opening. */
const nextFile = (files: FreshFiles, { id, peer, stream }: Sounds.Opened) => {
  const name = `${peer}-${id}-${stream.device}-${stream.index}`
  return Effect.mapError(files.next(name, ".wav"), notWritten(name, "no file for the sound can be made"))
}

/** Nothing is left of a file that can't hold the sound. */
const writer = (file: string, opened: Sounds.Opened) =>
  Effect.tapError(Wav.writer(file, opened), () =>
    FileSystem.FileSystem.use((fs) => Effect.ignore(fs.remove(file))))

const player = Effect.fnUntraced(function*(wishes: Wishes, mouth: Mouth, opened: Sounds.Opened) {
  const file = wishes.files === undefined ? undefined : yield* nextFile(wishes.files, opened)
  const tally = yield* follow(opened, { ...(file === undefined ? {} : { file }) })
  const write = file === undefined ? undefined : yield* writer(file, opened)
  const stdio = yield* Stdio.Stdio
  const isHeard = wishes.toStdout && (yield* mouth.take)
  const aloud = isHeard
    ? yield* Sounds.chunks((chunks) => Effect.ignore(Stream.run(chunks, stdio.stdout({ endOnDone: false }))))
    : undefined
  const output = yield* Output
  const play: Sounds.Player<Wav.WavError>["play"] = (bytes) => Effect.suspend(() => {
    const copy = bytes.slice()
    const isSecond = tally.add(copy)
    const steps: Array<Effect.Effect<void, Wav.WavError>> = []
    if (aloud !== undefined) steps.push(aloud.play(bytes))
    if (isSecond && wishes.hasLevels) steps.push(Effect.provideService(level(opened, tally), Output, output))
    if (write !== undefined) steps.push(write(copy))
    return Effect.all(steps, { discard: true })
  })
  return { play }
})

const recorder = Effect.fnUntraced(function*({ input }: Wishes, opened: Sounds.Opened) {
  const tally = yield* follow(opened, { ...(input === undefined ? {} : { file: input }) })
  if (input === undefined) return { record: () => Effect.succeed(0) }
  const { stdin } = yield* Stdio.Stdio
  const bytes = input === "-" ? Stream.orDie(stdin) : yield* Wav.reader(input, opened)
  const source = yield* Sounds.source(bytes)
  const record: Sounds.Recorder<Wav.WavError>["record"] = (into) =>
    Effect.tap(source.record(into), (length) => Effect.sync(() => tally.add(into.slice(0, length))))
  return { record }
})

const card = Effect.fnUntraced(function*({ card, id, peer }: Backend.Connected) {
  const { event } = yield* Output
  const streams = Configuration.streamsOf(card).map(({ device, direction, index, settings, uniqueId }) => ({
    stream: `${device}/${index}`,
    direction,
    uniqueId,
    ...settings
  }))
  const name = card.longName === "" ? card.shortName : card.longName
  yield* event(
    { event: "card", guest: peer, card: id, name, streams },
    [
      `Connected: domain ${peer}, card ${id}${name === "" ? "" : ` (${name})`}`,
      ...streams.map(({ direction, formats, stream }) => `   ${stream} ${direction}: ${formats.join(", ")}`)
    ].join("\n")
  )
  yield* Effect.addFinalizer(() =>
    event({ event: "gone", guest: peer, card: id }, `Gone: domain ${peer}, card ${id}`))
})

/** What the application does with the streams. */
const optionsOf = Effect.fnUntraced(function*(wishes: Wishes, pace: Backend.Options["pace"]) {
  const mouth = new Mouth()
  // Not the scope of the command: each stream has its own.
  const services = Context.make(Output, yield* Output).pipe(
    Context.add(Stdio.Stdio, yield* Stdio.Stdio),
    Context.add(FileSystem.FileSystem, yield* FileSystem.FileSystem)
  )
  const provide = <A, E>(effect: Effect.Effect<A, E, Output | Stdio.Stdio | FileSystem.FileSystem | Scope.Scope>) =>
    Effect.provide(effect, services)
  const options: Backend.Options<Wav.WavError, Scope.Scope> = {
    pace,
    // Linux's driver takes as much as the toolstack says, and few ask for more.
    limits: { bufferSize: 2 ** 24 },
    connected: (connected) => provide(card(connected)),
    playback: (opened) => provide(player(wishes, mouth, opened)),
    capture: (opened) => provide(recorder(wishes, opened))
  }
  return options
})

/**
 * Serves the sound cards of guests until it is interrupted, or with `--demo` lets a guest in memory play.
 *
 * @category commands
 * @since 0.2.0
 */
export const sound = Command.make("sound", {
  wav: Flag.String("wav").pipe(
    Flag.withMetavar("folder"),
    Flag.optional,
    Flag.withDescription("Write what guests play to WAV files in this folder, a new one for each time that a stream is opened")
  ),
  stdout: Flag.Boolean("stdout").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Write the samples of one stream at a time to standard output; all else goes to standard error")
  ),
  input: Flag.String("input").pipe(
    Flag.withMetavar("file"),
    Flag.optional,
    Flag.withDescription("What guests record: a WAV file, or - for samples on standard input; silence without it")
  ),
  unpaced: Flag.Boolean("unpaced").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Let guests play and record as fast as they can, instead of in real time")
  ),
  levels: Flag.Boolean("levels").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Print how loud each second is, as a picture of it and in dB of full scale")
  ),
  demo: Flag.Boolean("demo").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Let a guest of an in-memory Xen play a melody; takes Linux, but no Xen")
  )
}, Effect.fnUntraced(function*({ demo, input, levels, stdout, unpaced, wav }) {
  const folder = Option.getOrUndefined(wav)
  if (folder === "") return yield* new CliError.ValidationError({ message: "--wav takes the name of a folder." })
  if (folder !== undefined) {
    const fs = yield* FileSystem.FileSystem
    yield* Effect.mapError(fs.makeDirectory(folder, { recursive: true }), notWritten(folder, "no such folder can be made"))
  }
  if (folder !== undefined || Option.isSome(input)) yield* Wav.load
  const wishes: Wishes = {
    files: folder === undefined ? undefined : new FreshFiles(folder),
    toStdout: stdout,
    input: Option.getOrUndefined(input),
    hasLevels: levels
  }
  const serving = Effect.gen(function*() {
    const { event } = yield* Output
    const options = yield* optionsOf(wishes, unpaced ? "unpaced" : "real-time")
    if (demo) return yield* Band.play(options)
    // For who waits for it: `xl` gives a backend ten seconds.
    yield* event({ event: "serving" }, "Serving the sound cards of guests; Ctrl-C ends it.")
    return yield* Backend.serve(options)
  }) as Effect.Effect<void, Band.Error | Wav.WavError, Output | Stdio.Stdio | FileSystem.FileSystem | GrantTable | EventChannels | XenStore>
  const output = yield* Output
  // Standard output is for the samples then.
  const quiet = { ...output, event: output.aside, hint: () => Effect.void }
  yield* Effect.provideService(serving, Output, stdout ? quiet : output)
})).pipe(
  Command.withDescription(
    "Serve the sound cards (vsnd) of guests: what they play goes to WAV files or standard output, what they record comes " +
      "from a WAV file or standard input. Prints which cards there are, what plays on them, and how loud."
  ),
  Command.withShortDescription("Hear what guests play, and give them something to record")
)
