/**
 * What the drivers need of Linux; loaded when a device is first used.
 *
 * @internal
 */
import * as Reason from "@xen-shbuf/core/Reason"
import * as Arrivals from "@xen-shbuf/linux/Arrivals"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Result from "effect/Result"

/** System calls, and how to hear from devices. Tests have one of their own. */
export interface Kernel {
  readonly system: SystemCalls.SystemCalls
  readonly arrivals: Arrivals.Arrivals
}

/** The kernel of this process. Throws where the C library can't be called. */
export const native = (): Kernel => {
  const system = SystemCalls.native()
  return { system, arrivals: Arrivals.make(system) }
}

/** The same, with a reason. */
export const loading = (feature: string, load: () => Kernel) => (): Result.Result<Kernel, Reason.Unsupported> =>
  Result.try({
    try: load,
    catch: (cause) => new Reason.Unsupported({ feature, detail: cause instanceof Error ? cause.message : String(cause) })
  })
