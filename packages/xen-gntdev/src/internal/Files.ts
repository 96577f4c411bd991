/**
 * The files of gntalloc and gntdev: where they are, and the limits that stand in them.
 *
 * @internal
 */
import type * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import type * as Reason from "@xen-shbuf/core/Reason"
import * as Device from "@xen-shbuf/linux/Device"
import * as Result from "effect/Result"
import { readFileSync } from "node:fs"

/** A result, or why the grant table refuses. */
export type Outcome<A> = Result.Result<A, GrantTableError.Reason>

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

/** Reads a limit, in pages, as it is now. */
export const readLimit = (path: string, module: Module): Result.Result<number, Reason.DeviceUnavailable> => {
  const file = { path, module }
  try {
    const pages = Number.parseInt(readFileSync(path, "utf8"), 10)
    return Number.isNaN(pages) ? Result.fail(Device.unavailable(file, "EINVAL")) : Result.succeed(pages)
  } catch (cause) {
    return Result.fail(Device.unavailable(file, Device.errnoOf(cause)))
  }
}
