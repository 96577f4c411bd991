/** What one person says into one stream: kept until the guest records it, in a ring, however small the pieces are. */
export class Mouth {
  readonly #rate: number
  readonly #ring: Int16Array
  /** The place of the oldest sample. */
  #start = 0
  #length = 0
  #isFlowing = false

  /** At so many samples a second. */
  constructor(rate: number) {
    this.#rate = rate
    this.#ring = new Int16Array(2 * rate)
  }

  /** Adds samples. What nobody has recorded within two seconds is lost. */
  add(samples: Int16Array) {
    for (const sample of samples) {
      if (this.#length === this.#ring.length) this.#drop(1)
      this.#ring[(this.#start + this.#length) % this.#ring.length] = sample
      this.#length++
    }
  }

  /** Forgets the oldest samples. */
  #drop(count: number) {
    this.#start = (this.#start + count) % this.#ring.length
    this.#length -= count
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
    if (this.#length > enough + wanted + 0.25 * this.#rate) this.#drop(this.#length - enough)
    const length = Math.min(wanted, this.#length)
    for (let at = 0; at < length; at++) {
      into[at] = into[at]! + this.#ring[(this.#start + at) % this.#ring.length]! / 32_768
    }
    this.#drop(length)
    this.#isFlowing = length === wanted
    return length
  }
}
