/**
 * Reads the nodes of a device: what the peer wrote, and what the toolstack wrote for us.
 *
 * @since 0.2.0
 */
import type { DomainId } from "@xen-shbuf/core/DomainId"
import type * as XenStore from "@xen-shbuf/core/XenStore"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { ConnectionError } from "./ConnectionError.ts"

/**
 * Values to write, by the names of their nodes relative to the device: `{ "ring-ref": "8", "0/event-channel": "12" }`.
 *
 * @category models
 * @since 0.2.0
 */
export type Nodes = Readonly<Record<string, XenStore.Value>>

/**
 * Reads nodes of one half of a device; names are relative to it, such as `ring-ref` or `0/ring-ref`.
 *
 * @category models
 * @since 0.2.0
 */
export interface Reader {
  /** What a schema makes of a node's text. `InvalidNode` where it refuses it, and where the node is missing. */
  readonly read: <A>(node: string, schema: Schema.Codec<A, string>) => Effect.Effect<A, ConnectionError>
  /** The same for a node that may be missing. */
  readonly readOptional: <A>(
    node: string,
    schema: Schema.Codec<A, string>
  ) => Effect.Effect<Option.Option<A>, ConnectionError>
  /** The names right below a node, or below the device itself; none where it is missing. `InvalidNode` for more than 1024. */
  readonly directory: (node?: string) => Effect.Effect<ReadonlyArray<string>, ConnectionError>
}

/**
 * One device as either half sees it. It reads what the peer wrote, which may be anything; {@link Device.own} reads our own
 * half, where the toolstack leaves its settings.
 *
 * @category models
 * @since 0.2.0
 */
export interface Device extends Reader {
  /** The kind of device, as in the names of xenstore: `vdispl`, `vkbd`, `vsnd`. */
  readonly type: string
  /** Which device of this type and this frontend, 0 to 2^32 - 1. */
  readonly id: number
  /** The frontend's domain. */
  readonly frontend: DomainId
  /** The backend's domain. */
  readonly backend: DomainId
  /** Where the frontend's nodes are. */
  readonly frontendPath: string
  /** Where the backend's nodes are. */
  readonly backendPath: string
  /** Reads our own half. */
  readonly own: Reader
}
