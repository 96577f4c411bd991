/**
 * Arms what Linux does when pages end: SET_UNMAP_NOTIFY, the same on both devices.
 *
 * @internal
 */
import * as Reason from "@xen-shbuf/core/Reason"
import * as Result from "effect/Result"
import * as Abi from "./Abi.ts"
import * as Device from "./Device.ts"
import * as Libc from "./Libc.ts"

/** A notification in one of the places that can have one: a page of gntalloc, a MAP_GRANT_REF of gntdev. */
export interface Armed {
  readonly fd: number
  /** The offset for mmap where the place begins, in bytes: it names the place. */
  readonly index: number
  /** A byte of the place to clear. */
  readonly clearByte: number | undefined
  readonly signalPort: number | undefined
}

/** Makes what arms notifications, in place of those before; when the first can't be armed nothing has changed. */
export const make = (libc: Libc.Libc, device: string) => {
  let before: ReadonlyArray<Armed> = []
  const set = ({ clearByte, fd, index, signalPort }: Armed): Device.Outcome<void> => {
    const answer = libc.ioctl(fd, Abi.SET_UNMAP_NOTIFY, Abi.unmapNotify(index, clearByte, signalPort))
    if (answer >= 0) return Result.succeed(undefined)
    const errno = Libc.errnoName(answer)
    return errno === "EINVAL" && signalPort !== undefined
      ? Result.fail(
        new Reason.InvalidInput({
          argument: "signalPort",
          value: String(signalPort),
          expected: "a port that this domain has open, such as one bound through /dev/xen/evtchn"
        })
      )
      : Device.failed(device, "SET_UNMAP_NOTIFY", errno)
  }
  return (next: ReadonlyArray<Armed>): Device.Outcome<void> =>
    Result.gen(function*() {
      for (const one of next) yield* set(one)
      for (const { fd, index } of before) {
        const isReplaced = next.some((one) => one.fd === fd && one.index === index)
        if (!isReplaced) yield* set({ fd, index, clearByte: undefined, signalPort: undefined })
      }
      before = next
    })
}
