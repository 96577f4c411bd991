/**
 * A fake /dev/xen/xenbus before a fake xenstored: one request at a time, one message a write, watches that the kernel
 * answers itself. It notes what the real one would have lost or damaged.
 */
import type * as Arrivals from "@xen-shbuf/linux/Arrivals"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Result from "effect/Result"
import { constants } from "node:os"
import type { Kernel } from "../src/internal/Kernel.ts"
import * as Wire from "../src/XenStoreWire.ts"
import type { FakeXenStored, Session } from "./FakeXenStored.ts"
import * as FakeSystem from "./FakeSystem.ts"

const { EBADF, EINVAL, ENOENT } = constants.errno

export interface Rules {
  readonly openFails?: boolean
  /** Bytes that one read gives at most. */
  readonly piece?: number
  /** What goes to the domain in the place of a message. */
  readonly twist?: (message: Wire.Message) => ReadonlyArray<Uint8Array>
  /** Whether requests are answered at once; else when `answer` is called. */
  readonly isSlow?: boolean
}

export const make = (store: FakeXenStored, rules: Rules = {}) => {
  const { piece = 4096, twist = (message) => [Wire.encode(message)] } = rules
  const errors: Array<string> = []
  let fd: number | undefined
  let session: Session | undefined
  let reader: { readonly buffer: Uint8Array; readonly listener: Arrivals.Listener } | undefined
  let unread = Buffer.alloc(0)
  let scheduled = false
  let underWay: Wire.Message | undefined
  let isWriting = false
  let held = false
  const waiting: Array<() => void> = []

  const run = () => {
    scheduled = false
    if (reader === undefined || unread.length === 0) return
    const { buffer, listener } = reader
    const now = unread.subarray(0, Math.min(piece, buffer.length))
    unread = unread.subarray(now.length)
    buffer.set(now)
    listener.data(buffer.subarray(0, now.length))
    schedule()
  }
  const schedule = () => {
    if (scheduled || unread.length === 0) return
    scheduled = true
    setImmediate(run)
  }

  const send = (message: Wire.Message) => {
    unread = Buffer.concat([unread, ...twist(message)])
    schedule()
  }

  /** From xenstored; the kernel makes up its own of what is about watches. */
  const fromStore = (message: Wire.Message) => {
    const { type } = message
    // What was never set means nothing.
    if (type === Wire.types.WATCH_EVENT) return send({ ...message, request: 0xdeadbeef, transaction: 77 })
    underWay = undefined
    return send(type === Wire.types.WATCH || type === Wire.types.UNWATCH ? { ...message, request: 0 } : message)
  }

  const take = (bytes: Uint8Array): Wire.Message | undefined => {
    const messages: Array<Wire.Message> = []
    Wire.decoder().feed(bytes, (message) => messages.push(message))
    if (messages.length !== 1) errors.push(`${messages.length} messages in one write`)
    if (underWay !== undefined) errors.push("a request before the last one was answered")
    return messages[0]
  }

  const later = (work: () => void) => {
    if (rules.isSlow === true) waiting.push(work)
    else work()
  }

  const system: SystemCalls.SystemCalls = {
    ...FakeSystem.none,
    open: (_, flags) => {
      if (rules.openFails === true) return -ENOENT
      if ((flags & SystemCalls.O_NONBLOCK) === 0) errors.push("open without O_NONBLOCK")
      fd = 5
      session = store.open(fromStore)
      return fd
    },
    close: (closing) => {
      if (closing !== fd) errors.push("close of no file")
      if (isWriting) errors.push("close in the middle of a write")
      if (reader !== undefined) errors.push("close of a file that is waited for")
      fd = undefined
      session?.close()
      return 0
    },
    write: (of, bytes) => {
      if (of !== fd) return -EBADF
      if (bytes.length > 4096) return -EINVAL
      const message = take(bytes)
      if (message === undefined) return -EINVAL
      if (message.type === Wire.types.WATCH || message.type === Wire.types.UNWATCH) errors.push("a write that waits")
      underWay = message
      later(() => session?.receive(message))
      return bytes.length
    }
  }

  const arrivals: Arrivals.Arrivals = {
    read: (_, buffer, listener) => {
      const own = { buffer, listener }
      reader = own
      return Result.succeed({
        hold: (isHeld) => {
          held = isHeld
        },
        close: () => {
          if (reader === own) reader = undefined
        }
      })
    },
    write: (of, bytes, done) => {
      if (of !== fd) return done(-EBADF)
      const message = take(bytes)!
      isWriting = true
      later(() =>
        setImmediate(() => {
          isWriting = false
          let errno: string | undefined
          // What xenstored refuses becomes the errno of the write.
          const before = unread.length
          underWay = message
          session?.receive(message)
          const added = unread.subarray(before)
          if (added.length >= 16 && added.readUInt32LE(0) === Wire.types.ERROR) {
            errno = Wire.error(added.subarray(16))
            unread = unread.subarray(0, before)
          }
          underWay = undefined
          done(errno === undefined ? bytes.length : -(constants.errno as Record<string, number>)[errno]!)
        }))
    }
  }

  const kernel: Kernel = { system, arrivals }
  return {
    kernel,
    errors,
    isHeld: () => held,
    isOpen: () => fd !== undefined,
    /** Lets xenstored answer the next request. */
    answer: () => waiting.shift()?.(),
    waiting: () => waiting.length,
    /** Reading fails. */
    break: (errno: string) => {
      const { listener } = reader ?? {}
      reader = undefined
      listener?.end(errno)
    },
    /** Sends the domain what nobody asked for. */
    inject: (bytes: Uint8Array) => {
      unread = Buffer.concat([unread, bytes])
      schedule()
    }
  }
}
