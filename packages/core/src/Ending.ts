/**
 * Ends what a peer may have mapped: with its consent, or after a time without it.
 *
 * Xen has no revocation, and Linux does not tell whether a grant is still in use. So a release says nothing about the
 * peer: pages that it has mapped stay its own to read and write until it unmaps. Only the peer can tell that it has.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as SharedMemory from "./SharedMemory.ts"

/**
 * What became of a buffer that was to end.
 *
 * - `Released`: the peer has consented, and our side is released.
 * - `Kept`: the peer has not consented in time; nothing has changed, the buffer is as usable as before.
 * - `Abandoned`: the peer has not consented in time; our side is released. Pages that the peer has mapped stay its own
 *   until it unmaps, and Linux gives neither them nor their references to anybody else meanwhile.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = { readonly _tag: "Released" } | { readonly _tag: "Kept" } | { readonly _tag: "Abandoned" }

/**
 * Ends a buffer before its scope does, when the peer consents.
 *
 * An interruption, or a failure of `consent`, leaves the buffer as it is. May be repeated; after an end it only waits,
 * so that `Released` then says that the peer of an abandoned buffer has let go at last. Where the buffer's scope, or
 * another `end`, is ending it at the same time, all of them wait until its pages are gone.
 *
 * @category models
 * @since 0.1.0
 */
export type EndByConsent = <E, R>(options: {
  /** Succeeds when the peer has let go: its answer to a message, its signal, or `byteCleared`. */
  readonly consent: Effect.Effect<unknown, E, R>
  /** How long to wait for the consent; it is interrupted then, and one that can't be is left to itself. */
  readonly within: Duration.Input
  /** What to do with the buffer then. */
  readonly otherwise: "keep" | "abandon"
}) => Effect.Effect<Outcome, E, R>

/**
 * The consent of a peer whose `unmapNotify` clears this byte, which was not 0 before: waits until it is 0.
 *
 * Looks at it every 10 milliseconds, or as often as `every` says. The kernel clears the byte just before it unmaps, so
 * this waits as long once more afterwards. Any writer of the byte can give this consent. `OutOfRange` for a byte that
 * the memory does not have. Memory that has ended can't tell any more: then it waits for ever.
 *
 * @category consents
 * @since 0.1.0
 */
export const byteCleared: (
  bytes: SharedMemory.Readable,
  offset: number,
  every?: Duration.Input
) => Effect.Effect<void, SharedMemory.OutOfRange> = Effect.fnUntraced(function*(bytes, offset, every = "10 millis") {
  let byte: number | undefined
  while (byte !== 0) {
    if (SharedMemory.hasEnded(bytes)) return yield* Effect.never
    byte = bytes[offset]
    if (byte === undefined) {
      return yield* Effect.fail(SharedMemory.outOfRange(offset, 1, bytes.length))
    }
    yield* Effect.sleep(every)
  }
})
