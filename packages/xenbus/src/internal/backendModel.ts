import type { DomainId } from "@xen-shbuf/core/DomainId"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { ConnectionError } from "../ConnectionError.ts"
import type { Device, Nodes } from "../Device.ts"

/**
 * A frontend that has published what it shares, and waits for us.
 *
 * @category models
 * @since 0.2.0
 */
export interface Connection extends Device {
  /** Tells the frontend that we have joined what it shares: our state is Connected. To be run once, when that is so. */
  readonly ready: Effect.Effect<void, ConnectionError>
  /** Writes nodes of our half, all at once; they are removed at the end of the connection. */
  readonly write: (nodes: Nodes) => Effect.Effect<void, ConnectionError>
}

/**
 * What there is to say about the devices of a type.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<E, R, AE = never, AR = never> {
  /** The kind of device, as in the names of xenstore: `vdispl`, `vkbd`, `vsnd`. */
  readonly type: string
  /**
   * Whether a frontend's devices are served here, asked when one is seen first; the others are left as they are, for
   * another backend. All, unless given.
   */
  readonly serves?: ((frontend: DomainId) => Effect.Effect<boolean, never, AR>) | undefined
  /**
   * What a device's frontend is told beforehand: nodes of our half, such as `versions`, written each time before the
   * state InitWait, and removed when the device is Closed.
   */
  readonly advertise?: ((device: Device) => Effect.Effect<Nodes, AE, AR>) | undefined
  /**
   * Serves one connection, in a scope of its own: reads what the frontend published, joins it, runs
   * {@link Connection.ready}, and goes on. It is interrupted when the frontend closes, begins anew, or is gone. When it
   * returns or fails the device is closed, a failure is logged with its cause, and a frontend that comes back is served
   * anew.
   */
  readonly handler: (connection: Connection) => Effect.Effect<void, E, R>
  /**
   * A node that frontends write together with all else that they publish. A frontend has published when it is there, and
   * publishes anew when it changes, whatever the state says besides: for frontends that may say Connected before they have
   * published, as Linux's keyboards.
   */
  readonly publishes?: string | undefined
  /**
   * Devices at one time: 256 in dom0 and 100 in a guest unless given. More are left waiting, and a warning is logged. Each
   * takes a watch, of which Xen lets a guest have 128 in all: who serves several types there gives each its part.
   */
  readonly maxDevices?: number | undefined
  /**
   * When a device may go back to InitWait: at once for the first time, then after this schedule's delays, so that a guest
   * that comes and goes costs no more than that. From 10 milliseconds doubling to 10 seconds unless given; it begins anew
   * for a device that was quiet for a minute.
   */
  readonly restarts?: Schedule.Schedule<unknown> | undefined
  /**
   * How long the end of `serve` waits for frontends to let go, and tries to say Closed where xenstore refuses: 2 seconds
   * unless given.
   */
  readonly closeWithin?: Duration.Input | undefined
}
