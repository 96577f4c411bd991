import { randomInt } from "node:crypto"

/**
 * A bounded number of messages on their way to a page. Each has a number that nobody can guess: only a page that has read one can
 * say so.
 */
export class Underway {
  readonly #most: number
  #numbers: Array<number> = []

  constructor(most: number) {
    this.#most = most
  }

  get size(): number {
    return this.#numbers.length
  }

  get isFull(): boolean {
    return this.size >= this.#most
  }

  /** The number of a message that is on its way now. */
  add(): number {
    const number = randomInt(2 ** 32)
    this.#numbers.push(number)
    return number
  }

  /** The message with this number has come, and all before it. False where none with it is on its way. */
  confirm(number: number): boolean {
    const at = this.#numbers.indexOf(number)
    this.#numbers = this.#numbers.slice(at + 1)
    return at >= 0
  }
}
