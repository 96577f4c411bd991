/**
 * A guest's display as a backend hands it over: connectors with what they show.
 *
 * @since 0.2.0
 */
import type * as DomainId from "@xen-shbuf/core/DomainId"
import type * as Stream from "effect/Stream"
import type { Picture } from "./Picture.ts"
import type { Resolution } from "./Protocol.ts"

/**
 * One connector of a display: a monitor.
 *
 * @category models
 * @since 0.2.0
 */
export interface Connector {
  /** Its number, from 0. */
  readonly index: number
  /** How the toolstack calls it, if it does. */
  readonly uniqueId: string | undefined
  /** The pixels that it shows. */
  readonly resolution: Resolution
  /**
   * What it shows: first the picture of now, then each next one. A picture is yours until you ask for the next, and a page
   * flip is acknowledged when all who look at the connector have asked for the next, and not before its turn: so take what
   * you need and go on. Who is slow misses pictures, and slows the guest down. Without anybody who looks, flips are
   * acknowledged at their turn. Ends with the connection.
   */
  readonly pictures: Stream.Stream<Picture>
}

/**
 * One display of a guest, connected.
 *
 * @category models
 * @since 0.2.0
 */
export interface Display {
  /** Whose it is. */
  readonly guest: DomainId.DomainId
  /** Which of the guest's displays, from 0. */
  readonly id: number
  /** All that the toolstack has given it, by their numbers. */
  readonly connectors: ReadonlyArray<Connector>
}
