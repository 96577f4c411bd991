/**
 * What Xen does about event channels, as far as notifications need it: ports that are open, and signals over them.
 */
import type { Port } from "@xen-shbuf/core/Port"

/** The event channels of one domain. */
export interface EventChannels {
  /** Its open ports are 1 up to this. */
  ports: number
  /** The ports over which it was signalled, in their order. */
  readonly signals: Array<number>
}

export const make = (): EventChannels => ({ ports: 0, signals: [] })

/** Opens one more port. */
export const bind = (self: EventChannels): Port => ++self.ports as Port

export const isOpen = (self: EventChannels, port: number): boolean => port <= self.ports

export const signal = (self: EventChannels, port: number): void => void self.signals.push(port)
