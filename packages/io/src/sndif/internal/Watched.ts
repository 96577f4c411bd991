/**
 * A value that may be watched. However often it changes, a watcher that is slow keeps the newest only: what it costs is not
 * up to the guest.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"

export class Watched<A> {
  #value: A
  readonly #changes: PubSub.PubSub<A>
  /** The value now, and whenever it is another. */
  readonly changes: Stream.Stream<A>

  private constructor(value: A, changes: PubSub.PubSub<A>) {
    this.#value = value
    this.#changes = changes
    this.changes = Stream.fromPubSub(changes)
    PubSub.publishUnsafe(changes, value)
  }

  static make<A>(value: A): Effect.Effect<Watched<A>> {
    return Effect.map(PubSub.sliding<A>({ capacity: 1, replay: 1 }), (changes) => new Watched(value, changes))
  }

  get value(): A {
    return this.#value
  }

  update(change: (value: A) => A): Effect.Effect<void> {
    return Effect.suspend(() => {
      const value = change(this.#value)
      if (Equal.equals(value, this.#value)) return Effect.void
      this.#value = value
      return Effect.asVoid(PubSub.publish(this.#changes, value))
    })
  }
}
