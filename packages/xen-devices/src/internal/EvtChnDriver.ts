/**
 * Makes core's driver of the device that event channels come through.
 *
 * @internal
 */
import { ChannelGone, EventChannelError, NoSuchDomain, OutOfPorts, PortRefused } from "@xen-shbuf/core/EventChannelError"
import type { Reason as Refusal } from "@xen-shbuf/core/EventChannelError"
import type * as EventChannels from "@xen-shbuf/core/EventChannels"
import type * as Port from "@xen-shbuf/core/Port"
import * as Reason from "@xen-shbuf/core/Reason"
import type * as Arrivals from "@xen-shbuf/linux/Arrivals"
import * as Device from "@xen-shbuf/linux/Device"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Abi from "./Abi.ts"
import type { Kernel } from "./Kernel.ts"

/** What a device does not let pass in one read. */
const batch = 4096

const done: Result.Result<void, never> = Result.succeed(undefined)

/** The device, open, with all ports of ours. */
class Ports {
  readonly #kernel: Kernel
  readonly #path: string
  readonly #fd: number
  readonly #listeners = new Map<number, EventChannels.Listener>()
  #reading: Arrivals.Reading | undefined
  #awaited = 0
  #isHeld = false
  #isTelling = false

  constructor(kernel: Kernel, path: string, fd: number) {
    this.#kernel = kernel
    this.#path = path
    this.#fd = fd
  }

  /** Reads from now on. */
  listen(): Result.Result<void, Refusal> {
    const { arrivals } = this.#kernel
    const reading = arrivals.read(this.#fd, new Uint8Array(batch), { data: this.#signalled, end: this.#stopped })
    if (Result.isFailure(reading)) {
      return Result.fail(new Reason.DeviceFailed({ device: this.#path, call: "epoll", errno: reading.failure }))
    }
    this.#reading = reading.success
    if (this.#isHeld) this.#reading.hold(true)
    return done
  }

  /** Opens a port, by a request to the device; `refused` tells why not. */
  bind(
    request: number,
    words: ReadonlyArray<number>,
    listener: EventChannels.Listener,
    refused: (errno: string) => Refusal
  ): Result.Result<EventChannels.Bound, Refusal> {
    const { system } = this.#kernel
    // It could not be read any more: nobody would hear of the port.
    const reading = this.#reading === undefined ? this.listen() : done
    if (Result.isFailure(reading)) return Result.fail(reading.failure)
    const port = system.ioctl(this.#fd, request, Uint32Array.from(words))
    if (port < 0) return Result.fail(refused(SystemCalls.errnoName(port)))
    this.#listeners.set(port, listener)
    const word = Uint32Array.of(port)
    const bytes = new Uint8Array(word.buffer)
    const answer = (call: string, result: number) => result < 0 ? this.#failed(port, call, result) : done
    return Result.succeed({
      port: port as Port.Port,
      notify: () => answer("NOTIFY", system.ioctl(this.#fd, Abi.NOTIFY, word)),
      unmask: () => answer("write", system.write(this.#fd, bytes)),
      awaited: this.#await,
      isOfLoop: true,
      // After close the number may be another file's.
      release: () => {
        if (this.#listeners.delete(port)) system.ioctl(this.#fd, Abi.UNBIND, word)
      }
    })
  }

  /** Closes all ports, whoever still has one. */
  close() {
    this.#reading?.close()
    this.#reading = undefined
    this.#kernel.system.close(this.#fd)
    const listeners = [...this.#listeners.values()]
    this.#listeners.clear()
    for (const { end } of listeners) end(Device.closed(this.#path))
  }

  #failed(port: number, call: string, result: number): Result.Result<never, Refusal> {
    const errno = SystemCalls.errnoName(result)
    return errno === "ENOTCONN"
      ? Result.fail(new ChannelGone({ port: port as Port.Port, detail: `${this.#path} does not know the port` }))
      : Device.failed(this.#path, call, errno)
  }

  #await = (isAwaited: boolean) => {
    this.#awaited += isAwaited ? 1 : -1
    if (!this.#isTelling) this.#hold()
  }

  #hold() {
    const isHeld = this.#awaited > 0
    if (isHeld === this.#isHeld) return
    this.#isHeld = isHeld
    this.#reading?.hold(isHeld)
  }

  /** The device tells whole ports only, and not one of them again before it is unmasked. */
  #signalled = (bytes: Uint8Array) => {
    const ports = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
    // Who was waiting waits again as a rule.
    this.#isTelling = true
    if (ports.length === 1) this.#listeners.get(ports[0]!)?.signal()
    // Who is signalled may close other ports.
    else for (const port of ports.slice()) this.#listeners.get(port)?.signal()
    this.#isTelling = false
    this.#hold()
  }

  #stopped = (errno: string) => {
    this.#reading?.close()
    this.#reading = undefined
    // More signals than the device kept: it tells no others until it has forgotten all of them.
    if (errno === "EFBIG" && this.#kernel.system.ioctl(this.#fd, Abi.RESET, new Uint32Array(1)) >= 0) {
      const resumed = this.listen()
      if (Result.isFailure(resumed)) return this.#end(resumed.failure)
      // Any of them may have been lost, and is silent until it is unmasked: what there is to do is looked at anyway.
      for (const { signal } of [...this.#listeners.values()]) signal()
      return undefined
    }
    return this.#end(new Reason.DeviceFailed({ device: this.#path, call: "read", errno }))
  }

  #end(reason: Refusal) {
    for (const { end } of [...this.#listeners.values()]) end(reason)
  }
}

const policy = "Xen's policy keeps the two apart: with SILO a guest can reach dom0 alone (xsm=dummy on Xen's command line " +
  "lifts it)"

const failed = (device: string, call: string, errno: string) => new Reason.DeviceFailed({ device, call, errno })

const listenRefused = (path: string, { peer }: EventChannels.ListenRequest) => (errno: string): Refusal => {
  switch (errno) {
    case "ENOSPC":
      return new OutOfPorts()
    case "ESRCH":
      return new NoSuchDomain({ peer })
    case "EPERM":
      return new Reason.Unsupported({ feature: `An event channel with domain ${peer}`, detail: policy })
    default:
      return failed(path, "BIND_UNBOUND_PORT", errno)
  }
}

const joinRefused = (path: string, { peer, port }: EventChannels.JoinRequest) => (errno: string): Refusal => {
  switch (errno) {
    case "ENOSPC":
      return new OutOfPorts()
    case "ESRCH":
      return new NoSuchDomain({ peer })
    case "EINVAL":
    case "EPERM":
      return new PortRefused({ peer, port })
    default:
      return failed(path, "BIND_INTERDOMAIN", errno)
  }
}

/** Opens the device at its first use. */
export const make = Effect.fnUntraced(function*(
  kernel: () => Result.Result<Kernel, Reason.Unsupported>,
  path: string
) {
  let ports: Ports | undefined
  let isClosed = false
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
      ports?.close()
    })
  )

  const opened = (): Result.Result<Ports, Refusal> => {
    if (isClosed) return Result.fail(Device.closed(path))
    if (ports !== undefined) return Result.succeed(ports)
    return Result.gen(function*() {
      const linux = yield* kernel()
      const fd = yield* Device.open(linux.system, { path, module: "xen-evtchn" }, SystemCalls.O_NONBLOCK)
      const opening = new Ports(linux, path, fd)
      yield* Device.orUndo(() => linux.system.close(fd), () => opening.listen())
      ports = opening
      return opening
    })
  }

  const bind = (
    operation: "listen" | "join",
    open: (ports: Ports) => Result.Result<EventChannels.Bound, Refusal>
  ) =>
    Effect.suspend(() => {
      const bound = Result.flatMap(opened(), open)
      return Result.isSuccess(bound)
        ? Effect.succeed(bound.success)
        : Effect.fail(new EventChannelError({ operation, reason: bound.failure }))
    })

  const driver: EventChannels.Driver = {
    listen: (request, listener) =>
      bind("listen", (ports) => ports.bind(Abi.BIND_UNBOUND_PORT, [request.peer], listener, listenRefused(path, request))),
    join: (request, listener) =>
      bind("join", (ports) =>
        ports.bind(Abi.BIND_INTERDOMAIN, [request.peer, request.port], listener, joinRefused(path, request)))
  }
  return driver
})
