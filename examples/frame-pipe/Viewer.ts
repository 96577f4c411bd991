/** The backend: reads the frames that a frontend publishes. */
import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { Signals } from "./Signals.ts"

/** The frames of a frontend, each a copy of our own, until the frontend has no more. */
export const frames = (
  peer: number
): Stream.Stream<Uint8Array, GrantTableError | DirectoryError, GrantTable | Signals> =>
  Stream.unwrap(Effect.gen(function*() {
    const { announced, free, full, released } = yield* Signals
    // Finalizers run in reverse: this one when the buffer is unmapped, or was never mapped.
    yield* Effect.addFinalizer(() => Deferred.succeed(released, undefined))
    const { directory, frameLength, slots } = yield* Deferred.await(announced)
    const { bytes } = yield* PeerBuffer.map({ peer, directory, byteLength: slots * frameLength, access: "read-only" })
    return Stream.fromQueue(full).pipe(Stream.mapEffect((slot) => {
      const frame = bytes.slice(slot * frameLength, (slot + 1) * frameLength)
      return Effect.as(Queue.offer(free, slot), frame)
    }))
  }))
