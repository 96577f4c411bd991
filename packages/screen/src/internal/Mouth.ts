/** What one person says into one stream: kept until the guest records it. */
export class Mouth {
  readonly #rate: number
  #parts: Array<Int16Array> = []
  #length = 0
  #isFlowing = false

  /** At so many samples a second. */
  constructor(rate: number) {
    this.#rate = rate
  }

  /** Adds samples. What nobody has recorded within two seconds is lost. */
  add(samples: Int16Array) {
    this.#parts.push(samples)
    this.#length += samples.length
    this.#dropTo(2 * this.#rate)
  }

  /** Keeps the newest samples. */
  #dropTo(length: number) {
    let left = this.#length - length
    while (left > 0) left -= this.#take(left).length
  }

  /** The oldest samples, so many at most; some, where there are any. */
  #take(most: number): Int16Array {
    const part = this.#parts[0]!
    const taken = part.subarray(0, most)
    if (taken.length === part.length) this.#parts.shift()
    else this.#parts[0] = part.subarray(most)
    this.#length -= taken.length
    return taken
  }

  /**
   * Adds samples to what others say, and gives how many. What comes over a network comes unevenly: none until there is some more
   * than is wanted, and again none until then when there was too little.
   */
  mixInto(into: Float32Array): number {
    const wanted = into.length
    const enough = wanted + Math.floor(0.06 * this.#rate)
    if (!this.#isFlowing && this.#length < enough) return 0
    // The page's clock is faster, or the guest has not recorded for a while: nobody wants to hear what was said then.
    if (this.#length > enough + wanted + 0.25 * this.#rate) this.#dropTo(enough)
    let at = 0
    while (at < wanted && this.#length > 0) {
      for (const sample of this.#take(wanted - at)) {
        into[at] = into[at]! + sample / 32_768
        at++
      }
    }
    this.#isFlowing = at === wanted
    return at
  }
}
