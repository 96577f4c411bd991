/**
 * Provides xenstore to a Linux domain: through `/dev/xen/xenbus`, or in the domain where xenstored runs through its socket.
 *
 * Connected at its first use, once for all nodes, transactions and watches. Through the device one request at a time is
 * under way, since the kernel can't take more; the socket takes many.
 *
 * **Gotchas**
 *
 * - A request that is interrupted may have been done all the same. Its answer is thrown away when it comes; through the
 *   device the next request waits for that.
 * - A request through the device can have 4080 bytes (path and value together), through the socket 4096: `TooLong`.
 * - There is no second connection after the first has ended (`StoreGone`), since watches and transactions are gone with
 *   it: build the layer anew.
 * - The process stays alive while somebody waits for an answer or a change, not because of the connection.
 *
 * @since 0.2.0
 */
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as Device from "@xen-shbuf/linux/Device"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { existsSync } from "node:fs"
import * as Connection from "./internal/Connection.ts"
import * as Kernel from "./internal/Kernel.ts"
import * as StoreDriver from "./internal/StoreDriver.ts"
import * as Transports from "./internal/Transports.ts"

/**
 * How xenstore is reached.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** "socket" or "device"; unless set, the socket where there is one, else the device. */
  readonly transport?: "socket" | "device" | undefined
  /** xenstored's socket, `/run/xenstored/socket` unless set. */
  readonly socket?: string | undefined
  /** The kernel's device, `/dev/xen/xenbus` unless set. */
  readonly xenbus?: string | undefined
}

/**
 * The socket and the device, unless set otherwise.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaultPaths = { socket: "/run/xenstored/socket", xenbus: "/dev/xen/xenbus" } as const

/**
 * Connects to nothing yet; what it opens later is closed with the scope.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (options: Options = {}): Effect.Effect<XenStore.XenStore["Service"], never, Scope.Scope> => {
  const { socket = defaultPaths.socket, transport, xenbus = defaultPaths.xenbus } = options
  const device = Transports.device(Kernel.loading("Reaching xenstore", Kernel.native), xenbus)
  const open: Connection.Open = (listener) =>
    (transport ?? (existsSync(socket) ? "socket" : "device")) === "socket"
      ? Transports.socket(socket)(listener)
      : device(listener)
  return Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Connection.make(open)),
      (connection) => Effect.sync(() => connection.close(closed))
    ),
    (connection) => XenStore.make(StoreDriver.make(connection))
  )
}

/** The answer after the end of the layer's scope. @internal */
export const closed = Device.closed("xenstore")

/**
 * Xenstore as the domain that this process runs in sees it.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (options?: Options): Layer.Layer<XenStore.XenStore> =>
  Layer.effect(XenStore.XenStore, make(options))
