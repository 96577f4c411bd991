import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Lets through so much a second; the rest waits for the next one. */
export class Throttle {
  readonly #perSecond: number
  #second = 0
  #count = 0

  constructor(perSecond: number) {
    this.#perSecond = perSecond
  }

  /** Waits for the next second where there was too much in this one. */
  readonly pass = Effect.fnUntraced(function*(this: Throttle) {
    const now = yield* Clock.currentTimeMillis
    if (now >= this.#second + 1000 || now < this.#second) {
      this.#second = now
      this.#count = 0
    }
    if (++this.#count <= this.#perSecond) return
    yield* Effect.sleep(this.#second + 1000 - now)
    this.#second = yield* Clock.currentTimeMillis
    this.#count = 1
  }).bind(this)
}
