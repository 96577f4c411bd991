/**
 * What Xen does about event channels, and what `/dev/xen/evtchn` adds: ports of domains, one bit each, that stay silent
 * from a signal until they are unmasked.
 */
import type { DomainId } from "@xen-shbuf/core/DomainId"
import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import type { Listener } from "@xen-shbuf/core/EventChannels"
import type { Port } from "@xen-shbuf/core/Port"
import type { StackFrame } from "effect/References"
import * as Result from "effect/Result"
import type { Counter, Domain } from "./domain.ts"

/** One end of a channel. */
export interface End {
  readonly id: number
  readonly caller: StackFrame | undefined
  readonly channels: EventChannels
  readonly port: Port
  /** The domain at the other end, or the only one that may join. */
  readonly peer: DomainId
  /** The other end, once it is joined. */
  other: End | undefined
  /** A signal that has come while the port was silent. */
  pending: boolean
  silent: boolean
  /** Who hears; nobody once it is closed, though a notification may keep the port. */
  listener: Listener | undefined
  /** Its opener, and each notification that is armed with it. */
  holders: number
}

/** The event channels of one domain. */
export interface EventChannels {
  readonly domain: Domain
  /** How many ports it may have. */
  readonly limit: number
  readonly counter: Counter
  readonly ends: Map<Port, End>
}

export const make = (domain: Domain, limit: number, counter: Counter): EventChannels => ({
  domain,
  limit,
  counter,
  ends: new Map()
})

/** The lowest port that is free. */
const freePort = ({ ends, limit }: EventChannels): Port | undefined => {
  for (let port = 1; port <= limit; port++) {
    if (!ends.has(port as Port)) return port as Port
  }
  return undefined
}

const open = (
  channels: EventChannels,
  peer: DomainId,
  listener: Listener | undefined,
  caller: StackFrame | undefined
): Result.Result<End, EventChannelError.Reason> => {
  const port = freePort(channels)
  if (port === undefined) return Result.fail(new EventChannelError.OutOfPorts({}))
  const end: End = {
    id: ++channels.counter.made,
    caller,
    channels,
    port,
    peer,
    other: undefined,
    pending: false,
    silent: false,
    listener,
    holders: 1
  }
  channels.ends.set(port, end)
  return Result.succeed(end)
}

/** Opens a port that `peer` may join. Xen does not look for the peer yet. */
export const listen = open

/** Joins the port of a peer, which is signalled here at once: what came before may be lost. */
export const join = (
  channels: EventChannels,
  peer: EventChannels | undefined,
  { peer: id, port }: { readonly peer: DomainId; readonly port: Port },
  listener: Listener | undefined,
  caller: StackFrame | undefined
): Result.Result<End, EventChannelError.Reason> => {
  if (peer === undefined) return Result.fail(new EventChannelError.NoSuchDomain({ peer: id }))
  const other = peer.ends.get(port)
  if (other === undefined || other.other !== undefined || other.peer !== channels.domain.id) {
    return Result.fail(new EventChannelError.PortRefused({ peer: id, port }))
  }
  return Result.map(open(channels, id, listener, caller), (end) => {
    end.other = other
    other.other = end
    signal(end)
    return end
  })
}

/** A signal arrives. */
const signal = (end: End): void => {
  if (end.silent) end.pending = true
  else {
    end.silent = true
    end.listener?.signal()
  }
}

/** Signals the other end; nobody hears it where there is none. */
export const notify = ({ other }: End): void => {
  if (other !== undefined) signal(other)
}

/** Lets signals come again. */
export const unmask = (end: End): void => {
  end.silent = false
  if (!end.pending) return
  end.pending = false
  signal(end)
}

/** One holder lets go; the last one closes the port, and the other end waits for the same domain again. */
export const drop = (end: End): void => {
  if (--end.holders > 0) return
  end.channels.ends.delete(end.port)
  if (end.other !== undefined) end.other.other = undefined
  end.other = undefined
}

/** Its opener closes a port. */
export const close = (end: End): void => {
  if (end.listener === undefined) return
  end.listener = undefined
  drop(end)
}

/** A port that is open in this domain, for a notification to hold on to. */
export const hold = (channels: EventChannels, port: number): End | undefined => {
  const end = channels.ends.get(port as Port)
  if (end?.listener === undefined) return undefined
  end.holders++
  return end
}

/** The domain is saved and restored: its ports are gone, and as on Linux nobody says so. */
export const forgetAll = (channels: EventChannels): void => {
  for (const end of channels.ends.values()) close(end)
}

/** The process in the domain ends, or its channels with the domain: all its ports close. */
export const closeAll = (channels: EventChannels, detail: string): void => {
  for (const end of channels.ends.values()) {
    const { listener, port } = end
    if (listener === undefined) continue
    close(end)
    listener.end(new EventChannelError.ChannelGone({ port, detail }))
  }
}
