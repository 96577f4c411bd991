/** Frames of sound in a row, which are read at any pace: one that is no whole number of frames is worked out from many. */

/** Zero crossings of the sinc function on each side, and places between two of them that its table has. */
const lobes = 16
const resolution = 256

/** Frames on each side that one is worked out from, at most: as many lobes as there are at an eighth of a rate. */
export const reach = 8 * lobes

/** The sinc function, under a window of Blackman's. */
const table = Float32Array.from({ length: lobes * resolution + 2 }, (_, i) => {
  const t = i / resolution
  if (t === 0) return 1
  if (t >= lobes) return 0
  const window = 0.42 + 0.5 * Math.cos(Math.PI * t / lobes) + 0.08 * Math.cos(2 * Math.PI * t / lobes)
  return Math.sin(Math.PI * t) / (Math.PI * t) * window
})

const weightAt = (distance: number): number => {
  const place = Math.abs(distance) * resolution
  const index = Math.floor(place)
  if (index >= lobes * resolution) return 0
  const before = table[index]!
  return before + (table[index + 1]! - before) * (place - index)
}

export class Reel {
  readonly channels: number
  /** Frames that there is room for, some behind the place where it is read included. */
  readonly #capacity: number
  readonly #frames: Float32Array
  /** The next frame to read, and how far the place is beyond it. Both count from the first frame on. */
  #start = 0
  #phase = 0
  #end = 0

  constructor(channels: number, capacity: number) {
    this.channels = channels
    this.#capacity = capacity
    this.#frames = new Float32Array(channels * capacity)
  }

  /** Frames that are to come. */
  get length(): number {
    return this.#end - this.#start
  }

  /** Whether the place is a frame, and not between two. */
  get isOnFrame(): boolean {
    return this.#phase === 0
  }

  /** Adds frames; the oldest are lost where there is no room. */
  push(samples: Float32Array) {
    const { channels } = this
    for (let at = 0; at + channels <= samples.length; at += channels) {
      this.#frames.set(samples.subarray(at, at + channels), this.#end % this.#capacity * channels)
      this.#end++
    }
    // What the sinc function looks back at stays.
    this.drop(Math.max(0, this.length + reach - this.#capacity))
  }

  drop(frames: number) {
    this.#start += frames
  }

  /** Forgets the part of a frame that the place is beyond one. */
  snap() {
    this.#phase = 0
  }

  /** Reads the frame at the place, then goes on by so many frames. */
  read(step: number, into: Float32Array) {
    if (step === 1 && this.#phase === 0) {
      const at = this.#start % this.#capacity * this.channels
      into.set(this.#frames.subarray(at, at + this.channels))
    } else this.#interpolate(Math.min(1, 1 / step), into)
    const place = this.#phase + step
    const whole = Math.floor(place)
    this.#phase = place - whole
    this.#start = Math.min(this.#end, this.#start + whole)
  }

  /** Nothing above `cutoff`, as a part of what the frames can hold, comes through: it would come back as something else. */
  #interpolate(cutoff: number, into: Float32Array) {
    const { channels } = this
    const near = Math.min(lobes / cutoff, reach)
    const first = Math.max(0, this.#end - this.#capacity, Math.ceil(this.#start + this.#phase - near))
    const last = Math.min(this.#end - 1, Math.floor(this.#start + this.#phase + near))
    into.fill(0)
    for (let frame = first; frame <= last; frame++) {
      const weight = cutoff * weightAt((frame - this.#start - this.#phase) * cutoff)
      const at = frame % this.#capacity * channels
      for (let channel = 0; channel < channels; channel++) {
        into[channel] = into[channel]! + weight * this.#frames[at + channel]!
      }
    }
  }
}
