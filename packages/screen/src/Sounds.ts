/**
 * Knows the streams of guests' sound cards, who listens to them, and who speaks.
 *
 * A driver opens a sound for as long as the card is connected, and an opening of it whenever the guest opens the stream. What
 * a guest plays goes to all who listen to it now, in chunks of {@link chunkSeconds} and {@link chunkBytes} at most; nobody is
 * waited for, and what nobody listens to is not even looked at, nor what no sound card plays. What a guest records is what all
 * who speak to it have said.
 *
 * @since 0.2.0
 */
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import { bytesOf, type SampleFormat } from "@xen-shbuf/io/sndif/SampleFormat"
import * as Samples from "@xen-shbuf/io/sndif/Samples"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Listeners } from "./internal/Listeners.ts"
import { Mouth } from "./internal/Mouth.ts"
import type * as SoundWire from "./SoundWire.ts"

/**
 * There are as many sounds as the application allows.
 *
 * @category errors
 * @since 0.2.0
 */
export class TooManySounds extends Schema.TaggedError<TooManySounds>()("TooManySounds", {
  /** As many as there may be. */
  most: Schema.Int
}) {
  override get message() {
    return `There are ${this.most} streams of sound cards already, which is as many as are heard here.`
  }
}

/**
 * The most time of a stream that goes to those who listen in one piece, in seconds.
 *
 * @category constants
 * @since 0.2.0
 */
export const chunkSeconds = 0.02

/**
 * The most of a stream that goes to those who listen in one piece, in bytes of its samples: as many channels at such a rate as a
 * guest likes are no reason for a message of any size.
 *
 * @category constants
 * @since 0.2.0
 */
export const chunkBytes = 2 ** 16

/**
 * The most frames a second, and samples of a frame, that are heard: as many as sound cards have.
 *
 * @category constants
 * @since 0.2.0
 */
export const mostHeard = { rate: 384_000, channels: 8 } as const

/**
 * What a driver tells of a sound when it opens it.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** The domain whose stream it is. */
  readonly guest: number
  /** The card's name; empty where it has none. */
  readonly card: string
  /** Which of the card's streams it is: device and stream, such as "0/1". */
  readonly stream: string
  /** Whether the guest plays, or records. */
  readonly direction: "playback" | "capture"
}

/**
 * What a guest opens a stream as.
 *
 * @category models
 * @since 0.2.0
 */
export interface Params {
  /** Frames a second. */
  readonly rate: number
  /** Samples of a frame. */
  readonly channels: number
  /** How they are written down. */
  readonly format: SampleFormat
}

/**
 * What a guest plays or records at present: from its opening the stream to its closing it.
 *
 * @category models
 * @since 0.2.0
 */
export interface Opening {
  /**
   * Hands whole frames to those who listen, now; the memory is not looked at any more when this returns. `now` tells
   * milliseconds on the clock that is told to pages: it is asked only if somebody listens.
   */
  readonly play: (bytes: SharedMemory.Readable, now: () => number) => void
  /** Fills in whole frames of what is said, from the beginning on, and gives how many bytes of them there are. */
  readonly record: (into: SharedMemory.Writable) => number
  /** Says whether the stream runs, and how loud the guest wants each channel. */
  readonly setState: (state: Pick<SoundWire.OpenInfo, "isRunning" | "gains">) => void
}

/**
 * A stream of a guest's sound card.
 *
 * @category models
 * @since 0.2.0
 */
export interface Sound {
  /** Names it for as long as the server runs. */
  readonly id: number
  /** What a page is told of it. */
  readonly info: SoundWire.SoundInfo
  /** The guest opens the stream, and closes it when the scope does. One at a time. */
  readonly begin: (params: Params) => Effect.Effect<Opening, never, Scope.Scope>
}

/**
 * Who speaks.
 *
 * @category models
 * @since 0.2.0
 */
export interface Speaker {
  /** Says samples of one channel to a stream that records, at its rate; to any other they are lost. */
  readonly say: (sound: number, samples: Int16Array) => void
}

/**
 * The streams of guests' sound cards.
 *
 * @category services
 * @since 0.2.0
 */
export class Sounds extends Context.Service<Sounds, {
  /** Opens a sound for as long as the scope is open. */
  readonly open: (options: Options) => Effect.Effect<Sound, TooManySounds, Scope.Scope>
  /** All sounds, by their guests, in the order in which they came. */
  readonly all: () => ReadonlyArray<Sound>
  /** Hands over all that a guest plays, for as long as the scope is open. The chunks belong to all who listen. */
  readonly listen: (guest: number, take: (chunk: SoundWire.Chunk) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Somebody who speaks, for as long as the scope is open. */
  readonly speaker: Effect.Effect<Speaker, never, Scope.Scope>
  /** Calls back whenever a sound comes, goes or changes, for as long as the scope is open. */
  readonly onChange: (changed: () => void) => Effect.Effect<void, never, Scope.Scope>
}>()("@xen-shbuf/screen/Sounds") {}

/** Whether it can be heard here, or be said. */
const isHeard = ({ channels, format, rate }: Params) =>
  Samples.isNumeric(format) && rate <= mostHeard.rate && channels <= mostHeard.channels

/** All that 16 bits hold goes as such. */
const isNarrow = (format: SampleFormat) => bytesOf(format)! <= 2

/** What is louder than a card can be is as loud as that. */
const encode = (format: SampleFormat, copy: Uint8Array<ArrayBuffer>): Pick<SoundWire.Chunk, "encoding" | "bytes"> => {
  if (format === "s16_le") return { encoding: "s16", bytes: copy }
  const samples = Samples.toFloat32(format, copy)
  for (let i = 0; i < samples.length; i++) samples[i] = Math.max(-1, Math.min(1, samples[i]!))
  return isNarrow(format)
    ? { encoding: "s16", bytes: Samples.fromFloat32("s16_le", samples) }
    : { encoding: "f32", bytes: Samples.fromFloat32("float_le", samples) }
}

type Takers = Listeners<[SoundWire.Chunk]>

class SoundImpl implements Sound {
  readonly id: number
  readonly #options: Options
  readonly #changed: Listeners
  readonly #takers: () => Takers | undefined
  #openings = 0
  #open: SoundWire.OpenInfo | null = null
  /** What is said, by whom. */
  readonly #mouths = new Map<Speaker, Mouth>()

  constructor(id: number, options: Options, changed: Listeners, takers: () => Takers | undefined) {
    this.id = id
    this.#options = options
    this.#changed = changed
    this.#takers = takers
  }

  get info(): SoundWire.SoundInfo {
    return { id: this.id, ...this.#options, open: this.#open }
  }

  begin = (params: Params): Effect.Effect<Opening, never, Scope.Scope> =>
    Effect.acquireRelease(Effect.sync(() => this.#begin(params)), () => Effect.sync(() => this.#end()))

  #end() {
    this.#open = null
    this.#mouths.clear()
    this.#changed.call()
  }

  #begin(params: Params): Opening {
    const { channels, format, rate } = params
    const isNumeric = isHeard(params)
    const gains = Array.from({ length: channels }, () => 1)
    this.#openings = (this.#openings + 1) >>> 0
    this.#open = { opening: this.#openings, rate, channels, format, isNumeric, isRunning: false, gains }
    this.#changed.call()
    const frameSize = (bytesOf(format) ?? 1) * channels
    const { id } = this
    const opening = this.#openings
    const room = Math.floor(chunkBytes / (isNarrow(format) ? 2 : 4) / channels)
    const length = Math.max(1, Math.min(room, Math.floor(chunkSeconds * rate))) * frameSize
    let frame = 0
    return {
      play: (bytes, now) => {
        const takers = this.#takers()
        const frames = Math.floor(bytes.length / frameSize)
        if (takers !== undefined && isNumeric) {
          const time = now()
          for (let at = 0; at < frames * frameSize; at += length) {
            const part = bytes.slice(at, Math.min(at + length, frames * frameSize))
            takers.call({ sound: id, opening, rate, channels, frame: frame + at / frameSize, time, ...encode(format, part) })
          }
        }
        frame += frames
      },
      record: (into) => this.#record(into, params, frameSize),
      setState: ({ gains, isRunning }) => this.#setState(gains, isRunning)
    }
  }

  #record(into: SharedMemory.Writable, { channels, format }: Params, frameSize: number): number {
    if (this.#mouths.size === 0) return 0
    const mixed = new Float32Array(Math.floor(into.length / frameSize))
    let frames = 0
    for (const mouth of this.#mouths.values()) frames = Math.max(frames, mouth.mixInto(mixed))
    const samples = new Float32Array(frames * channels)
    for (let i = 0; i < samples.length; i++) samples[i] = mixed[Math.floor(i / channels)]!
    into.set(Samples.fromFloat32(format, samples))
    return frames * frameSize
  }

  #setState(gains: ReadonlyArray<number>, isRunning: boolean) {
    const open = this.#open
    if (open === null) return
    if (open.isRunning === isRunning && open.gains.every((gain, i) => gain === gains[i])) return
    this.#open = { ...open, gains, isRunning }
    this.#changed.call()
  }

  say(speaker: Speaker, samples: Int16Array) {
    if (this.#open?.isNumeric !== true || this.#options.direction !== "capture") return
    const mouth = this.#mouths.get(speaker) ?? new Mouth(this.#open.rate)
    this.#mouths.set(speaker, mouth)
    mouth.add(samples)
  }

  silence(speaker: Speaker) {
    this.#mouths.delete(speaker)
  }
}

/**
 * Sounds, 256 unless told otherwise.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = ({ most = 256 }: { readonly most?: number | undefined } = {}): Sounds["Service"] => {
  const sounds = new Map<number, SoundImpl>()
  const changed = new Listeners()
  /** Who listens to a guest; none that is empty. */
  const takers = new Map<number, Takers>()
  let made = 0
  const add = (options: Options) =>
    Effect.suspend(() => {
      if (sounds.size >= most) return Effect.fail(new TooManySounds({ most }))
      const sound = new SoundImpl(++made, options, changed, () => takers.get(options.guest))
      sounds.set(sound.id, sound)
      changed.call()
      return Effect.succeed(sound)
    })
  const remove = ({ id }: Sound) =>
    Effect.sync(() => {
      sounds.delete(id)
      changed.call()
    })
  const put = (guest: number, take: (chunk: SoundWire.Chunk) => void) => {
    const all = takers.get(guest) ?? new Listeners<[SoundWire.Chunk]>()
    takers.set(guest, all)
    const remove = all.put(take)
    return () => {
      remove()
      if (all.isEmpty) takers.delete(guest)
    }
  }
  const quiet = (speaker: Speaker) =>
    Effect.sync(() => {
      for (const sound of sounds.values()) sound.silence(speaker)
    })
  return Sounds.of({
    open: (options) => Effect.acquireRelease(add(options), remove),
    all: () => [...sounds.values()].toSorted((a, b) => a.info.guest - b.info.guest || a.id - b.id),
    listen: (guest, take) =>
      Effect.asVoid(Effect.acquireRelease(Effect.sync(() => put(guest, take)), (remove) => Effect.sync(remove))),
    speaker: Effect.acquireRelease(
      Effect.sync((): Speaker => {
        const speaker: Speaker = { say: (id, samples) => sounds.get(id)?.say(speaker, samples) }
        return speaker
      }),
      quiet
    ),
    onChange: changed.add
  })
}

/**
 * Provides an application with its sounds; see `make`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (limits?: { readonly most?: number | undefined }): Layer.Layer<Sounds> =>
  Layer.sync(Sounds, () => make(limits))
