/**
 * One end of a vchan: bytes to and from one other domain, in order, through two rings that both share.
 *
 * @since 0.2.0
 */
import type * as DomainId from "@xen-shbuf/core/DomainId"
import type * as Effect from "effect/Effect"
import type * as Sink from "effect/Sink"
import type * as Stream from "effect/Stream"
import type { VchanError } from "./VchanError.ts"

/**
 * One end of a vchan, for as long as its scope. After it, everything dies.
 *
 * Nothing can be closed by half: whoever closes his end ends both directions, and the peer may still read what it had
 * not read by then. When our scope ends, or this process does (with `kill -9`, too), the peer is told so.
 *
 * @category models
 * @since 0.2.0
 */
export interface Vchan {
  /** The domain at the other end. */
  readonly peer: DomainId.DomainId
  /** Whether we have offered it, or have joined it. */
  readonly side: "server" | "client"
  /** Bytes of the ring that we read: what is under way to us at most. */
  readonly readSize: number
  /** Bytes of the ring that we write: what is under way to the peer at most. */
  readonly writeSize: number
  /** Succeeds when the client has come; at once at the client's end. What is written before waits for it. */
  readonly connected: Effect.Effect<void, VchanError>
  /**
   * Copies what has come into the beginning of `into`, and answers how many bytes that is; waits for one at least. 0 when
   * the peer has closed and all is read. `PeerGone` where its domain is gone. Dies where `into` is moved away meanwhile.
   */
  readonly read: (into: Uint8Array) => Effect.Effect<number, VchanError>
  /**
   * Writes all bytes, and waits for the peer to make room as often as it takes: don't change them meanwhile. Those of
   * writes by several fibers do not mix. An interruption may leave a part written. `PeerClosed` once the peer has closed.
   * Dies where `bytes` are moved away meanwhile.
   */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, VchanError>
  /** What comes, as private copies, until the peer closes. The pieces are not those that were written. */
  readonly stream: Stream.Stream<Uint8Array<ArrayBuffer>, VchanError>
  /** Writes all that it is given. */
  readonly sink: Sink.Sink<void, Uint8Array, never, VchanError>
  /** Succeeds when the peer has read all that was written: to be waited for before closing. `PeerClosed`, as `write`. */
  readonly drained: Effect.Effect<void, VchanError>
  /** Succeeds when the peer has closed; there may still be something to read. */
  readonly closed: Effect.Effect<void, VchanError>
}
