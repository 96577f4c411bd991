/**
 * Provides the event channels of a Linux domain through `/dev/xen/evtchn`.
 *
 * The device is opened at its first use, once for all channels. A signal costs one system call to send, and two to take:
 * read, and write back so that the next may come. Nothing runs while nobody signals, whatever waits.
 *
 * **Gotchas**
 *
 * - Listening for a domain that does not exist succeeds, unless Xen's policy is SILO (Debian's default on arm64): then it
 *   looks for the domain at once. SILO also refuses channels between two guests.
 * - A domain that was saved and restored finds its channels dead, without a word from Linux: nothing comes any more. Up to
 *   Linux 6.1 at least, closing one of them ends the process, by a bug of the kernel's.
 * - The process stays alive while somebody waits for a signal, not because a channel is open.
 *
 * @since 0.2.0
 */
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Driver from "./internal/EvtChnDriver.ts"
import * as Kernel from "./internal/Kernel.ts"

/**
 * Where the device is.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** The device, `/dev/xen/evtchn` unless set. */
  readonly evtchn?: string | undefined
}

/**
 * The device, unless set otherwise.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaultPath = "/dev/xen/evtchn"

/**
 * Opens nothing yet; what it opens later is closed with the scope.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (options: Options = {}): Effect.Effect<EventChannels.EventChannels["Service"], never, Scope.Scope> =>
  Effect.map(
    Driver.make(Kernel.loading("Signalling other domains", Kernel.native), options.evtchn ?? defaultPath),
    EventChannels.make
  )

/**
 * The event channels of the domain that this process runs in.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (options?: Options): Layer.Layer<EventChannels.EventChannels> =>
  Layer.effect(EventChannels.EventChannels, make(options))
