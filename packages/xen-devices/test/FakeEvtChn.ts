/**
 * A fake evtchn device and the Xen behind it, written against Linux's documented contract. It plays the peers, and notes
 * what the real kernel would have punished.
 */
import type * as Arrivals from "@xen-shbuf/linux/Arrivals"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Result from "effect/Result"
import { constants } from "node:os"
import * as Abi from "../src/internal/Abi.ts"
import type { Kernel } from "../src/internal/Kernel.ts"
import * as FakeSystem from "./FakeSystem.ts"

const { EACCES, EBADF, EFBIG, EINVAL, ENOENT, ENOSPC, ENOTCONN, ENOTTY, EPERM, ESRCH } = constants.errno

export const path = "/dev/xen/evtchn"

interface Bound {
  readonly peer: number
  /** Whom it reaches, once joined. */
  remote: number | undefined
  /** Told, and not written back yet. */
  masked: boolean
  pending: boolean
}

export interface Rules {
  /** The errno for opening the device. */
  readonly openFails?: "ENOENT" | "EACCES"
  /** Ports that there can be. */
  readonly ports?: number
  /** Whether Xen's policy lets us join that domain's ports. */
  readonly allows?: (domain: number) => boolean
  /** The errno for a call, by its number among those that can fail, from 0. */
  readonly fail?: (call: number, name: string) => number | undefined
  /** Ports that the device keeps before they are read. */
  readonly ring?: number
}

export const make = (rules: Rules = {}) => {
  const { allows = () => true, fail = () => undefined, ports = 1024, ring = Infinity } = rules
  const calls: Array<string> = []
  const errors: Array<string> = []
  const bound = new Map<number, Bound>()
  /** Ports that a domain other than ours listens on, for us. */
  const offered = new Map<string, { joined: boolean }>()
  let nextPort = 1
  let fd: number | undefined
  let reader: { readonly buffer: Uint8Array; readonly listener: Arrivals.Listener } | undefined
  let overflow = false
  let unread: Array<number> = []
  let held = false
  let fallible = 0
  let scheduled = false

  const failing = (name: string, detail: string | number = "") => {
    calls.push(`${name} ${detail}`.trim())
    return fail(fallible++, name)
  }

  /** The event loop's turn. */
  const run = () => {
    scheduled = false
    const { buffer, listener } = reader ?? {}
    if (buffer === undefined || listener === undefined) return
    if (overflow) {
      reader = undefined
      return listener.end("EFBIG")
    }
    if (unread.length === 0) return
    const now = unread.splice(0, Math.min(1024, buffer.length / 4))
    const bytes = new Uint8Array(Uint32Array.from(now).buffer)
    buffer.set(bytes)
    calls.push(`read ${now.join(" ")}`)
    listener.data(buffer.subarray(0, bytes.length))
    if (unread.length > 0) schedule()
  }
  const schedule = () => {
    if (scheduled) return
    scheduled = true
    setImmediate(run)
  }

  /** Xen's upcall: the port becomes pending, and is told unless it is masked. */
  const raise = (port: number) => {
    const one = bound.get(port)
    if (one === undefined) return
    if (one.masked) {
      one.pending = true
      return
    }
    one.masked = true
    if (unread.length >= ring) overflow = true
    else unread.push(port)
    schedule()
  }

  const bind = (one: Bound): number => {
    if (bound.size >= ports) return -ENOSPC
    const port = nextPort++
    bound.set(port, one)
    return port
  }

  /** As Xen does it with SILO. */
  const listen = (peer: number): number => {
    if (peer > 100) return -ESRCH
    return allows(peer) ? bind({ peer, remote: undefined, masked: false, pending: false }) : -EPERM
  }

  const join = (peer: number, port: number): number => {
    if (peer > 100) return -ESRCH
    if (!allows(peer)) return -EPERM
    // Domain 0 is our own.
    const own = peer === 0 ? bound.get(port) : undefined
    const theirs = offered.get(`${peer} ${port}`)
    if (own === undefined ? theirs === undefined || theirs.joined : own.peer !== 0 || own.remote !== undefined) return -EINVAL
    const local = bind({ peer, remote: port, masked: false, pending: false })
    if (local < 0) return local
    if (own !== undefined) own.remote = local
    else theirs!.joined = true
    // Only who joins is signalled by that.
    raise(local)
    return local
  }

  const unbind = (port: number): number => {
    const one = bound.get(port)
    if (one === undefined) {
      errors.push(`UNBIND of ${port}`)
      return -ENOTCONN
    }
    bound.delete(port)
    const other = one.peer === 0 && one.remote !== undefined ? bound.get(one.remote) : undefined
    if (other !== undefined) other.remote = undefined
    return 0
  }

  const signalled: Array<number> = []

  const ioctl = (request: number, words: Uint32Array): number => {
    switch (request) {
      case Abi.BIND_UNBOUND_PORT:
        return failing("BIND_UNBOUND_PORT", words[0]) ?? listen(words[0]!)
      case Abi.BIND_INTERDOMAIN:
        return failing("BIND_INTERDOMAIN", `${words[0]} ${words[1]}`) ?? join(words[0]!, words[1]!)
      case Abi.UNBIND:
        calls.push(`UNBIND ${words[0]}`)
        return unbind(words[0]!)
      case Abi.NOTIFY: {
        const failed = failing("NOTIFY", words[0])
        if (failed !== undefined) return failed
        const one = bound.get(words[0]!)
        if (one === undefined) return -ENOTCONN
        if (one.remote !== undefined && one.peer === 0) raise(one.remote)
        else if (one.remote !== undefined) signalled.push(one.remote)
        return 0
      }
      case Abi.RESET:
        calls.push("RESET")
        overflow = false
        unread = []
        return 0
      default:
        errors.push(`ioctl ${request.toString(16)}`)
        return -ENOTTY
    }
  }

  /** After a close the number may be any file's. */
  const another = (call: string): number => {
    errors.push(`${call} of another file`)
    return -EBADF
  }

  const system: SystemCalls.SystemCalls = {
    ...FakeSystem.none,
    open: (wanted, flags) => {
      const failed = failing("open", wanted)
      if (failed !== undefined) return failed
      if (rules.openFails !== undefined) return rules.openFails === "ENOENT" ? -ENOENT : -EACCES
      if (flags !== (SystemCalls.O_RDWR | SystemCalls.O_CLOEXEC | SystemCalls.O_NONBLOCK)) errors.push("open without flags")
      fd = 7
      return fd
    },
    close: (closing) => {
      calls.push("close")
      if (closing !== fd) errors.push("close of no file")
      if (reader !== undefined) errors.push("close of a file that is waited for")
      fd = undefined
      for (const port of [...bound.keys()]) unbind(port)
      return 0
    },
    ioctl: (of, request, words) => of === fd ? ioctl(request, words) : another("ioctl"),
    write: (of, bytes) => {
      if (of !== fd) return another("write")
      const [port = 0] = new Uint32Array(bytes.slice().buffer)
      const failed = failing("write", port)
      if (failed !== undefined) return failed
      const one = bound.get(port)
      if (one?.masked === true) {
        one.masked = false
        const again = one.pending
        one.pending = false
        if (again) raise(port)
      }
      return bytes.length
    }
  }

  const arrivals: Arrivals.Arrivals = {
    read: (_, buffer, listener) => {
      const failed = failing("wait")
      if (failed !== undefined) return Result.fail(SystemCalls.errnoName(failed))
      const own = { buffer, listener }
      reader = own
      if (unread.length > 0) schedule()
      return Result.succeed({
        hold: (isHeld) => {
          held = isHeld
        },
        close: () => {
          if (reader === own) reader = undefined
        }
      })
    },
    write: (_, __, done) => done(-EINVAL)
  }

  const kernel: Kernel = { system, arrivals }
  return {
    kernel,
    calls,
    errors,
    /** Ports of other domains that we have signalled. */
    signalled,
    /** A peer begins to listen for us. */
    offer: (peer: number, port: number) => void offered.set(`${peer} ${port}`, { joined: false }),
    /** A peer joins a port of ours. */
    joinBy: (port: number, remote: number) => {
      bound.get(port)!.remote = remote
    },
    /** A peer signals a port of ours. */
    raise,
    /** The device can't be read any more. */
    stop: (errno: string) => {
      const { listener } = reader!
      reader = undefined
      listener.end(errno)
    },
    /** The port vanishes without a word. */
    lose: (port: number) => void bound.delete(port),
    /** All that is open or bound. */
    held: () => [...(fd === undefined ? [] : ["open"]), ...[...bound.keys()].map((port) => `port ${port}`)],
    isHeld: () => held,
    fallible: () => fallible
  }
}

export const errnos = { EFBIG, EINVAL } as const
