/**
 * Hears when a device has something to tell, without a thread for it: Node's own event loop waits, as it does for
 * sockets.
 *
 * Node opens no device for that, but a pipe it does, and it looks at what a descriptor is only once. So a pipe's
 * descriptor, given to Node, is made to stand for the device. docs/waiting.md has the other ways, and what they cost.
 *
 * @since 0.2.0
 */
import * as Result from "effect/Result"
import { write } from "node:fs"
import { Socket } from "node:net"
import * as Device from "./Device.ts"
import * as SystemCalls from "./SystemCalls.ts"

/**
 * Who is told. Both are called by the event loop, never before `read` has returned.
 *
 * @category models
 * @since 0.2.0
 */
export interface Listener {
  /** What has been read. The bytes are there during the call only. */
  readonly data: (bytes: Uint8Array) => void
  /** Nothing more is read: an errno's name, or "EOF". The device itself stays open. */
  readonly end: (errno: string) => void
}

/**
 * A device that is read whenever it has something.
 *
 * @category models
 * @since 0.2.0
 */
export interface Reading {
  /** Whether it keeps the process alive. At first it does not. */
  readonly hold: (isHeld: boolean) => void
  /** Ends it. The listener is not called any more. Call it once, before the device is closed. */
  readonly close: () => void
}

/**
 * How devices are read and written without the wait stopping the process. Tests put a fake kernel here.
 *
 * @category models
 * @since 0.2.0
 */
export interface Arrivals {
  /**
   * Reads a device that was opened with `O_NONBLOCK`, `buffer.length` bytes at most at one time, until it is closed.
   * Fails with the errno's name.
   */
  readonly read: (fd: number, buffer: Uint8Array, listener: Listener) => Result.Result<Reading, string>
  /**
   * Writes on a thread of libuv's pool, for a device that may take its time, and says in the end how many bytes were
   * written, or the errno, negated. The device must stay open until then.
   */
  readonly write: (fd: number, bytes: Uint8Array, done: (answer: number) => void) => void
}

const read = (system: SystemCalls.SystemCalls): Arrivals["read"] => (fd, buffer, listener) => {
  // Node ends the whole process where it can't wait.
  const waitable = system.canWait(fd)
  if (waitable < 0) return Result.fail(SystemCalls.errnoName(waitable))
  const ends = new Int32Array(2)
  const made = system.pipe(ends, SystemCalls.O_CLOEXEC | SystemCalls.O_NONBLOCK)
  if (made < 0) return Result.fail(SystemCalls.errnoName(made))
  const [own, other] = ends as Int32Array & readonly [number, number]
  let isOpen = true
  const end = (errno: string) => {
    if (isOpen) listener.end(errno)
    isOpen = false
  }
  const onread = {
    buffer,
    callback: (byteLength: number) => {
      if (isOpen) listener.data(buffer.subarray(0, byteLength))
      return true
    }
  }
  const socket = new Socket({ fd: own, readable: true, writable: false, onread })
  // Node begins to wait when this turn of the event loop is over.
  const duplicated = system.duplicate(fd, own, SystemCalls.O_CLOEXEC)
  system.close(other)
  socket.unref()
  socket.on("error", (cause) => end(Device.errnoOf(cause)))
  socket.on("end", () => end("EOF"))
  if (duplicated < 0) {
    isOpen = false
    socket.destroy()
    return Result.fail(SystemCalls.errnoName(duplicated))
  }
  return Result.succeed({
    hold: (isHeld) => void (isHeld ? socket.ref() : socket.unref()),
    close: () => {
      isOpen = false
      socket.destroy()
    }
  })
}

/**
 * The event loop of this thread.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (system: SystemCalls.SystemCalls): Arrivals => ({
  read: read(system),
  write: (fd, bytes, done) =>
    write(fd, bytes, 0, bytes.length, null, (cause, written) =>
      done(cause === null ? written : cause.errno ?? -1))
})
