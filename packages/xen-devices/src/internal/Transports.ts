/**
 * What carries messages to xenstore: the kernel's device, or the socket of a xenstored that runs in this domain.
 *
 * @internal
 */
import { StoreGone } from "@xen-shbuf/core/XenStoreError"
import * as Reason from "@xen-shbuf/core/Reason"
import type * as Arrivals from "@xen-shbuf/linux/Arrivals"
import * as Device from "@xen-shbuf/linux/Device"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Result from "effect/Result"
import { createConnection } from "node:net"
import * as Wire from "../XenStoreWire.ts"
import type { Open } from "./Connection.ts"
import type { Kernel } from "./Kernel.ts"

/** The kernel keeps a request in 4096 bytes, with its header. */
const devicePayloadLimit = 4096 - Wire.headerSize

/** The kernel waits for xenstore itself there, inside of the write. */
const waiting: ReadonlySet<number> = new Set([Wire.types.WATCH, Wire.types.UNWATCH])

/** Closes a file, but not before what is being written to it on another thread is written. */
const sharedFile = (system: SystemCalls.SystemCalls, arrivals: Arrivals.Arrivals, fd: number) => {
  let writes = 0
  let isClosing = false
  const closeUnlessUsed = () => {
    if (isClosing && writes === 0) system.close(fd)
  }
  return {
    write: (bytes: Uint8Array, done: (answer: number) => void) => {
      writes++
      arrivals.write(fd, bytes, (answer) => {
        writes--
        closeUnlessUsed()
        done(answer)
      })
    },
    close: () => {
      isClosing = true
      closeUnlessUsed()
    }
  }
}

/** `/dev/xen/xenbus`: one request at a time, since the kernel still reads the last one from where it puts the next. */
export const device = (kernel: () => Result.Result<Kernel, Reason.Unsupported>, path: string): Open => (listener) =>
  Result.gen(function*() {
    const { arrivals, system } = yield* kernel()
    const fd = yield* Device.open(system, { path }, SystemCalls.O_NONBLOCK)
    const reading = yield* Device.orUndo(() => system.close(fd), () =>
      Result.mapError(
        arrivals.read(fd, new Uint8Array(Wire.headerSize + Wire.payloadLimit), {
          data: listener.data,
          end: (errno) => listener.end(new StoreGone({ detail: `reading ${path} failed with ${errno}` }))
        }),
        (errno) => new Reason.DeviceFailed({ device: path, call: "epoll", errno })
      ))
    const file = sharedFile(system, arrivals, fd)
    return {
      path,
      payloadLimit: devicePayloadLimit,
      width: 1,
      send: (type, message, refused) => {
        const written = (answer: number) => {
          if (answer < 0) refused(SystemCalls.errnoName(answer))
        }
        if (waiting.has(type)) file.write(message, written)
        else written(system.write(fd, message))
      },
      hold: reading.hold,
      close: () => {
        reading.close()
        file.close()
      }
    }
  })

/** Requests that xenstored has not answered yet: more than these wait here, not in its memory. */
const socketWidth = 64

/** xenstored's socket, `/run/xenstored/socket`: its owner is root, and who may use it is dom0. */
export const socket = (path: string): Open => (listener) => {
  let isConnected = false
  const buffer = new Uint8Array(64 * 1024)
  const connection = createConnection({
    path,
    onread: {
      buffer,
      callback: (byteLength) => {
        listener.data(buffer.subarray(0, byteLength))
        return true
      }
    }
  })
  const end = (detail: string, errno: string) =>
    listener.end(isConnected ? new StoreGone({ detail }) : unreachable(path, errno))
  connection.unref()
  connection.on("connect", () => {
    isConnected = true
  })
  connection.on("error", (cause) => {
    const errno = Device.errnoOf(cause)
    end(`the socket ${path} failed with ${errno}`, errno)
  })
  connection.on("end", () => end(`xenstored has closed ${path}`, "ECONNRESET"))
  return Result.succeed({
    path,
    payloadLimit: Wire.payloadLimit,
    width: socketWidth,
    send: (_, message) => void connection.write(message),
    hold: (isHeld) => void (isHeld ? connection.ref() : connection.unref()),
    close: () => {
      connection.removeAllListeners()
      connection.on("error", () => {})
      connection.destroy()
    }
  })
}

const unreachable = (path: string, errno: string) =>
  new Reason.DeviceUnavailable({
    device: path,
    errno,
    remedy: errno === "EACCES" || errno === "EPERM"
      ? "Run as root."
      : "Start xenstored (systemctl start xenstored), or use the kernel's device: transport \"device\"."
  })
