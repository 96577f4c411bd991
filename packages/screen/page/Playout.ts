/**
 * Plays frames that come over a network, unevenly, without gaps: keeps some in store, as few as it gets along with, and a bit
 * more whenever they did not last.
 *
 * Where card and guest have the same clock, or nearly, each sample is played as it came. Where the store grows or shrinks
 * over seconds, it is played a little faster or slower, by less than anybody hears.
 */
import { reach, Reel } from "./Reel.ts"

/** In seconds: the least store and the most, and what beyond it is too late to be played. */
const least = 0.06
const most = 0.3
const tooLate = 0.25

/** Seconds over which the store is measured. */
const slowness = 4

/** How much faster or slower: less than a tenth of a half-tone. */
const correction = 0.005

export interface Report {
  /** Seconds in store. */
  readonly stored: number
  /** Times that nothing was there in time, though the guest went on. */
  readonly gaps: number
  /** Seconds that did not come, or came too late. */
  readonly lost: number
  /** The loudest sample of each channel since the last report. */
  readonly peaks: ReadonlyArray<number>
  /** Whether there is nothing more to tell until there is something to play. */
  readonly isLast: boolean
}

export class Playout {
  readonly #reel: Reel
  readonly #rate: number
  /** Frames that go by in one of the output's. */
  readonly #ratio: number
  readonly #frame: Float32Array
  readonly #peaks: Float32Array
  gains: ReadonlyArray<number> = []
  /** In frames. */
  #target: number
  /** In frames, over seconds. */
  #level = 0
  #faster = 0
  #isFlowing = false
  #waited = 0
  /** Whether the guest has stopped since the last frame was played: then nothing is missing. */
  #hasStopped = true
  #isRunning = false
  #next: number | undefined
  #gaps = 0
  #lost = 0

  /** Frames of so many channels, so many a second, for an output with its own rate. */
  constructor(channels: number, rate: number, output: number) {
    this.#reel = new Reel(channels, Math.ceil(2 * rate) + reach)
    this.#rate = rate
    this.#ratio = rate / output
    this.#frame = new Float32Array(channels)
    this.#peaks = new Float32Array(channels)
    this.#target = least * rate
  }

  set isRunning(isRunning: boolean) {
    this.#isRunning = isRunning
    if (!isRunning) this.#hasStopped = true
    else if (this.#isFlowing) this.#hasStopped = false
  }

  /** Adds interleaved samples, the first of them `frame` frames after the guest's first. */
  add(samples: Float32Array, frame: number) {
    const { channels } = this.#reel
    if (this.#next !== undefined && frame > this.#next) this.#lost += frame - this.#next
    this.#next = frame + samples.length / channels
    this.#reel.push(samples)
  }

  /** Fills the output, a channel each. Those of the guest's that it has no place for are measured, and not heard. */
  render(outputs: ReadonlyArray<Float32Array>, places: ReadonlyArray<number>) {
    const length = outputs[0]?.length ?? 0
    for (const output of outputs) output.fill(0)
    if (!this.#begins(length)) return
    this.#adjust(length)
    for (let i = 0; i < length; i++) {
      if (this.#reel.length === 0) {
        this.#isFlowing = false
        this.#waited = 0
        return
      }
      this.#read()
      for (let place = 0; place < outputs.length; place++) {
        const source = places[place]!
        if (source >= 0) outputs[place]![i] = this.#frame[source]!
      }
    }
  }

  /** Whether there is enough to play, or has been for as long as it would take to come. */
  #begins(length: number): boolean {
    if (this.#isFlowing) return true
    const stored = this.#reel.length
    if (stored === 0) return false
    this.#waited += length * this.#ratio
    const target = this.#hasStopped ? this.#target : Math.min(most * this.#rate, 1.5 * this.#target)
    if (stored < target && this.#waited < target) return false
    if (!this.#hasStopped) this.#gaps++
    this.#target = target
    this.#hasStopped = !this.#isRunning
    this.#isFlowing = true
    this.#faster = 0
    this.#level = Math.max(target, stored)
    return true
  }

  #adjust(length: number) {
    const late = this.#reel.length - this.#target - tooLate * this.#rate
    if (late > 0) {
      const dropped = Math.floor(this.#reel.length - this.#target)
      this.#reel.drop(dropped)
      this.#lost += dropped
      this.#level = this.#reel.length
    }
    this.#level += (this.#reel.length - this.#level) * length * this.#ratio / (slowness * this.#rate)
    // The end of a sound takes what is in store.
    if (!this.#isRunning) this.#faster = 0
    else if (this.#faster > 0 && this.#level <= this.#target || this.#faster < 0 && this.#level >= this.#target) this.#faster = 0
    else if (this.#level > this.#target + 0.04 * this.#rate) this.#faster = correction
    else if (this.#level < 0.5 * this.#target) this.#faster = -correction
  }

  #read() {
    const reel = this.#reel
    // Between two frames from the last correction: on to the next one.
    const isSettling = this.#ratio === 1 && this.#faster === 0 && !reel.isOnFrame
    const before = reel.length
    reel.read(isSettling ? 1 + correction : this.#ratio * (1 + this.#faster), this.#frame)
    if (isSettling && before - reel.length > 1) reel.snap()
    for (let channel = 0; channel < reel.channels; channel++) {
      const sample = this.#frame[channel]! * (this.gains[channel] ?? 1)
      this.#frame[channel] = sample
      this.#peaks[channel] = Math.max(this.#peaks[channel]!, Math.abs(sample))
    }
  }

  report(): Report {
    const peaks = [...this.#peaks]
    this.#peaks.fill(0)
    const stored = this.#reel.length / this.#rate
    const isLast = !this.#isFlowing && stored === 0 && peaks.every((peak) => peak === 0)
    return { stored, gaps: this.#gaps, lost: this.#lost / this.#rate, peaks, isLast }
  }
}

/**
 * Where Linux's channels go, by their number: for each of the browser's, which are left, right, centre, low, side left and side
 * right where they are six, the guest's, or -1. Linux has the rear ones before the centre.
 */
export const placesOf = (channels: number): ReadonlyArray<number> => {
  switch (channels) {
    case 1:
      return [0]
    case 2:
      return [0, 1]
    case 3:
      return [0, 1, 2, -1, -1, -1]
    case 4:
      return [0, 1, 2, 3]
    case 5:
      return [0, 1, 4, -1, 2, 3]
    default:
      return [0, 1, 4, 5, 2, 3]
  }
}
