/**
 * Opens event channels through /dev/xen/evtchn, as the owner of an unmap notification would.
 */
import * as Device from "@xen-shbuf/linux/Device"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"

const evtchn: Device.Device = { path: "/dev/xen/evtchn", module: "xen-evtchn" }

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
export const open: Effect.Effect<EventChannels, never, Scope.Scope> = Effect.suspend(() => {
  const system = SystemCalls.native()
  const file = Effect.acquireRelease(
    Effect.orDie(Effect.fromResult(Device.open(system, evtchn, SystemCalls.O_NONBLOCK))),
    (fd) => Effect.sync(() => void system.close(fd))
  )
  return Effect.map(file, (fd) => {
    const bind = (request: number, ...words: ReadonlyArray<number>): number => {
      const port = system.ioctl(fd, request, Uint32Array.from(words))
      if (port >= 0) return port
      throw new Error(`${evtchn.path}: request 0x${request.toString(16)} failed, ${SystemCalls.errnoName(port)}`)
    }
    const ports = new Uint32Array(64)
    return {
      listen: (domain) => bind(BIND_UNBOUND_PORT, domain),
      join: (domain, port) => bind(BIND_INTERDOMAIN, domain, port),
      signalled: () => {
        const bytes = new Uint8Array(ports.buffer)
        const length = Result.getOrThrow(Device.read(system, evtchn.path, fd, bytes))
        // A port is silent until it is written back.
        if (length > 0) Result.getOrThrow(Device.write(system, evtchn.path, fd, bytes.subarray(0, length)))
        return [...ports.subarray(0, length / 4)]
      }
    }
  })
})
