/**
 * Opens devices, or says what an administrator can do; reads and writes them without waiting. Failures have a reason.
 *
 * @since 0.2.0
 */
import * as Reason from "@xen-shbuf/core/Reason"
import * as Result from "effect/Result"
import * as SystemCalls from "./SystemCalls.ts"

/**
 * A device file, or a file that belongs to it, and the kernel module behind it, as modprobe knows it, unless it is built
 * into every kernel for Xen.
 *
 * @category models
 * @since 0.2.0
 */
export interface Device {
  /** Where the file is. */
  readonly path: string
  /** The module, as modprobe knows it. */
  readonly module?: string
}

/**
 * What an administrator can do about a device that can't be opened, or a file of it.
 *
 * @category errors
 * @since 0.2.0
 */
export const remedy = ({ module, path }: Device, errno: string): string => {
  switch (errno) {
    case "ENOENT":
      if (module === undefined) return "Run in a Xen domain, and once xenstore is up: in dom0, start xenstored first."
      return `Load its module: modprobe ${module} (in a Xen domain; elsewhere there is none).`
    case "EACCES":
    case "EPERM":
      return `Run as root, or let a group in by a udev rule: KERNEL=="${path.slice(5)}", GROUP="xen", MODE="0660".`
    case "EMFILE":
    case "ENFILE":
      return "Too many files are open: close some, or raise the limit (ulimit -n)."
    default:
      return "The kernel's log (dmesg) may say more."
  }
}

/**
 * The reason when a device, or a file of it, can't be opened.
 *
 * @category errors
 * @since 0.2.0
 */
export const unavailable = (device: Device, errno: string): Reason.DeviceUnavailable =>
  new Reason.DeviceUnavailable({ device: device.path, errno, remedy: remedy(device, errno) })

/**
 * The answer to who uses a device after the end of its layer's scope.
 *
 * @category errors
 * @since 0.2.0
 */
export const closed = (path: string): Reason.DeviceUnavailable =>
  new Reason.DeviceUnavailable({
    device: path,
    errno: "EBADF",
    remedy: "It was closed with its layer's scope: use what the layer provides inside of it only."
  })

/**
 * A call on a device failed in no way that has a meaning of its own.
 *
 * @category errors
 * @since 0.2.0
 */
export const failed = (path: string, call: string, errno: string): Result.Result<never, Reason.DeviceFailed> =>
  Result.fail(new Reason.DeviceFailed({ device: path, call, errno }))

/**
 * The errno's name in an error of `node:fs`.
 *
 * @category errors
 * @since 0.2.0
 */
export const errnoOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause ? String(cause.code) : String(cause)

/**
 * Opens a device for reading and writing; with `O_NONBLOCK` in `flags` its reads do not wait.
 *
 * @category resource management
 * @since 0.2.0
 */
export const open = (
  system: SystemCalls.SystemCalls,
  device: Device,
  flags = 0
): Result.Result<number, Reason.DeviceUnavailable> => {
  const fd = system.open(device.path, SystemCalls.O_RDWR | SystemCalls.O_CLOEXEC | flags)
  return fd < 0 ? Result.fail(unavailable(device, SystemCalls.errnoName(fd))) : Result.succeed(fd)
}

/**
 * Reads what there is, `into.length` bytes at most, and succeeds with the number of bytes: 0 where there is nothing yet.
 * For a device that was opened with `O_NONBLOCK`; another one stops the whole process until there is something.
 *
 * @category reading and writing
 * @since 0.2.0
 */
export const read = (
  system: SystemCalls.SystemCalls,
  path: string,
  fd: number,
  into: Uint8Array
): Result.Result<number, Reason.DeviceFailed> => transferred(path, "read", () => system.read(fd, into))

/**
 * Writes what the device takes now, and succeeds with the number of bytes, which may be less than there are.
 *
 * @category reading and writing
 * @since 0.2.0
 */
export const write = (
  system: SystemCalls.SystemCalls,
  path: string,
  fd: number,
  bytes: Uint8Array
): Result.Result<number, Reason.DeviceFailed> => transferred(path, "write", () => system.write(fd, bytes))

const transferred = (path: string, call: string, transfer: () => number) => {
  let answer = transfer()
  // A signal came before anything was done.
  while (answer < 0 && SystemCalls.errnoName(answer) === "EINTR") answer = transfer()
  if (answer >= 0) return Result.succeed(answer)
  const errno = SystemCalls.errnoName(answer)
  return errno === "EAGAIN" ? Result.succeed(0) : failed(path, call, errno)
}

/**
 * Does something with what was acquired; where it fails, or throws, the acquisition is undone.
 *
 * @category resource management
 * @since 0.2.0
 */
export const orUndo = <A, E>(undo: () => void, attempt: () => Result.Result<A, E>): Result.Result<A, E> => {
  let succeeded = false
  try {
    const outcome = attempt()
    succeeded = Result.isSuccess(outcome)
    return outcome
  } finally {
    if (!succeeded) undo()
  }
}
