import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** Those who want to hear of something. */
export class Listeners<A extends ReadonlyArray<unknown> = []> {
  readonly #all = new Set<(...news: A) => void>()

  /** Calls back until the function that it gives is called. */
  put(listener: (...news: A) => void): () => void {
    // One of its own: who is put twice is also taken away twice.
    const own = (...news: A) => listener(...news)
    this.#all.add(own)
    return () => void this.#all.delete(own)
  }

  /** Calls back for as long as the scope is open. */
  readonly add = (listener: (...news: A) => void): Effect.Effect<void, never, Scope.Scope> =>
    Effect.asVoid(Effect.acquireRelease(Effect.sync(() => this.put(listener)), (remove) => Effect.sync(remove)))

  get isEmpty(): boolean {
    return this.#all.size === 0
  }

  call(...news: A) {
    for (const listener of [...this.#all]) listener(...news)
  }
}
