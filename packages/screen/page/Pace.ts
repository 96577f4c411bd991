/** Counts the frames a second that a guest shows; costs nothing while it shows none. */
export class Pace {
  perSecond = 0
  readonly #changed: (perSecond: number) => void
  #since: { readonly time: number; readonly frames: number } | undefined
  #frames = 0
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(changed: (perSecond: number) => void) {
    this.#changed = changed
  }

  /** So many frames were shown up to now. */
  saw(frames: number) {
    this.#frames = frames
    this.#since ??= { time: performance.now(), frames }
    this.#timer ??= setTimeout(() => this.#count(), 1000)
  }

  reset() {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#since = undefined
    this.perSecond = 0
  }

  #count() {
    const since = this.#since!
    const time = performance.now()
    this.perSecond = Math.round((this.#frames - since.frames) * 1000 / (time - since.time))
    this.#changed(this.perSecond)
    this.#timer = undefined
    if (this.perSecond === 0) {
      this.#since = undefined
      return
    }
    this.#since = { time, frames: this.#frames }
    // Once more, to say so when no more come.
    this.#timer = setTimeout(() => this.#count(), 1000)
  }
}
