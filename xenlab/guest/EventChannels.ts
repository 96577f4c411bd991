/**
 * Opens event channels through /dev/xen/evtchn, as the owner of an unmap notification would.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs"
import { createRequire } from "node:module"

/** What is used of koffi. */
interface Koffi {
  readonly load: (path: null) => { readonly func: (prototype: string) => unknown }
  readonly errno: () => number
}

// linux/include/uapi/xen/evtchn.h
const BIND_INTERDOMAIN = 0x84501
const BIND_UNBOUND_PORT = 0x44502

/** The event channels of a process: ports are local unless said otherwise. */
export interface EventChannels {
  /** A new port that only `domain` may join. */
  readonly listen: (domain: number) => number
  /** A new port, joined with the port of `domain`. It counts as signalled at once. */
  readonly join: (domain: number, port: number) => number
  /** The ports that were signalled since this was last asked. */
  readonly signalled: () => ReadonlyArray<number>
}

/** Opens the device; closing it closes every port. */
export const open: Effect.Effect<EventChannels, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => openSync("/dev/xen/evtchn", constants.O_RDWR | constants.O_NONBLOCK)),
    (fd) => Effect.sync(() => closeSync(fd))
  ),
  (fd) => {
    const koffi = createRequire(import.meta.url)("koffi") as Koffi
    const ioctl = koffi.load(null).func("int ioctl(int, unsigned long, void*)") as (
      fd: number,
      request: number,
      argument: Uint32Array
    ) => number
    const bind = (request: number, ...words: ReadonlyArray<number>): number => {
      const port = ioctl(fd, request, Uint32Array.from(words))
      if (port < 0) throw new Error(`/dev/xen/evtchn: request 0x${request.toString(16)} failed, errno ${koffi.errno()}`)
      return port
    }
    const ports = new Uint32Array(64)
    return {
      listen: (domain) => bind(BIND_UNBOUND_PORT, domain),
      join: (domain, port) => bind(BIND_INTERDOMAIN, domain, port),
      signalled: () => {
        try {
          const count = readSync(fd, ports) / 4
          // A port is silent until it is written back.
          writeSync(fd, ports, 0, count * 4)
          return [...ports.subarray(0, count)]
        } catch (error) {
          if ((error as { readonly code?: unknown }).code === "EAGAIN") return []
          throw error
        }
      }
    }
  }
)
