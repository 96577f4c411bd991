import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { ConnectionError } from "../ConnectionError.ts"
import type { Device, Nodes } from "../Device.ts"

/**
 * What a frontend shares with its backend: nodes that say where, and whatever else the frontend needs.
 *
 * @category models
 * @since 0.2.0
 */
export interface Publication {
  /** Written all at once before the state Initialised, and removed at the end of the connection. */
  readonly nodes: Nodes
}

/**
 * A device whose backend has joined what we shared. Its nodes are the backend's.
 *
 * @category models
 * @since 0.2.0
 */
export interface Connection<P extends Publication = Publication> extends Device {
  /** What `publish` made. */
  readonly published: P
  /**
   * Fails when the connection is over: `PeerClosed`, `PeerGone`, `Suspended`. A backend that is killed says nothing, and
   * neither does this then.
   */
  readonly ended: Effect.Effect<never, ConnectionError>
}

/**
 * Which device to connect, and how.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<P extends Publication, E = never, R = never> {
  /** The kind of device, as in the names of xenstore: `vdispl`, `vkbd`, `vsnd`. */
  readonly type: string
  /** Which device of this type: 0 unless given. */
  readonly id?: number | undefined
  /** Shares what the protocol wants, in the scope of the connection, when the backend is there to hear of it. */
  readonly publish: (device: Device) => Effect.Effect<P, E, R>
  /** How long the end waits for the backend to let go: 5 seconds unless given. */
  readonly closeWithin?: Duration.Input | undefined
}

/**
 * Which device to connect again and again, and what for.
 *
 * @category models
 * @since 0.2.0
 */
export interface RunOptions<P extends Publication, A, E = never, R = never, UE = never, UR = never>
  extends Options<P, E, R>
{
  /** Uses one connection, in a scope of its own; interrupted when the connection is over. */
  readonly use: (connection: Connection<P>) => Effect.Effect<A, UE, UR>
  /**
   * The delays between connections: from 10 milliseconds doubling to 10 seconds unless given. They begin anew after a
   * minute. Where they are over, it fails with what ended the last connection.
   */
  readonly restarts?: Schedule.Schedule<unknown> | undefined
}
