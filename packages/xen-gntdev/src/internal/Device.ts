/**
 * What gntalloc and gntdev have in common: opening, limits, errors.
 *
 * @internal
 */
import type * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Reason from "@xen-shbuf/core/Reason"
import * as Result from "effect/Result"
import { readFileSync } from "node:fs"
import * as Libc from "./Libc.ts"

/** A result, or why the grant table refuses. */
export type Outcome<A> = Result.Result<A, GrantTableError.Reason>

/** Does something that may fail, or throw, with what was acquired: then undoes the acquisition. */
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

/** Everything that is opened or read; a test puts files of its own in their place. */
export interface Paths {
  readonly gntalloc: string
  readonly gntdev: string
  readonly gntallocLimit: string
  readonly gntdevLimit: string
}

/** Where Linux has them. */
export const paths: Paths = {
  gntalloc: "/dev/xen/gntalloc",
  gntdev: "/dev/xen/gntdev",
  gntallocLimit: "/sys/module/xen_gntalloc/parameters/limit",
  gntdevLimit: "/sys/module/xen_gntdev/parameters/limit"
}

/** The kernel modules behind the devices. */
export type Module = "xen-gntalloc" | "xen-gntdev"

/** What an administrator can do about a device, or its limit, that can't be opened. */
export const remedy = (path: string, module: Module, errno: string): string => {
  switch (errno) {
    case "ENOENT":
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

/** Opens a device for reading and writing. */
export const open = (libc: Libc.Libc, device: string, module: Module): Outcome<number> => {
  const fd = libc.open(device, Libc.O_RDWR | Libc.O_CLOEXEC)
  return fd < 0 ? Result.fail(unavailable(device, module, Libc.errnoName(fd))) : Result.succeed(fd)
}

/** The answer to use after the layer's scope is closed. */
export const closed = (device: string): Outcome<never> =>
  Result.fail(
    new Reason.DeviceUnavailable({
      device,
      errno: "EBADF",
      remedy: "It was closed with its layer's scope: use the grant table inside of it only."
    })
  )

/** Reads a limit, in pages, as it is now. */
export const readLimit = (path: string, module: Module): Result.Result<number, Reason.DeviceUnavailable> => {
  try {
    const pages = Number.parseInt(readFileSync(path, "utf8"), 10)
    return Number.isNaN(pages) ? Result.fail(unavailable(path, module, "EINVAL")) : Result.succeed(pages)
  } catch (cause) {
    return Result.fail(unavailable(path, module, errnoOf(cause)))
  }
}

/** The errno's name in an error of `node:fs`. */
export const errnoOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause ? String(cause.code) : String(cause)

/** A call on a device failed in no way that has a meaning of its own. */
export const failed = (device: string, call: string, errno: string): Outcome<never> =>
  Result.fail(new Reason.DeviceFailed({ device, call, errno }))

const unavailable = (device: string, module: Module, errno: string) =>
  new Reason.DeviceUnavailable({ device, errno, remedy: remedy(device, module, errno) })
