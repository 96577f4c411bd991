/**
 * Arms what Linux does when pages end: SET_UNMAP_NOTIFY, the same on both devices.
 *
 * @internal
 */
import { InvalidInput } from "@xen-shbuf/core/Reason"
import * as Device from "@xen-shbuf/linux/Device"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Result from "effect/Result"
import * as Abi from "./Abi.ts"
import type * as Files from "./Files.ts"

/** A notification in one of the places that can have one: a page of gntalloc, a MAP_GRANT_REF of gntdev. */
export interface Armed {
  readonly fd: number
  /** The offset for mmap where the place begins, in bytes: it names the place. */
  readonly index: number
  /** A byte of the place to clear. */
  readonly clearByte: number | undefined
  readonly signalPort: number | undefined
}

const inSamePlace = (one: Armed, other: Armed) => one.fd === other.fd && one.index === other.index

/** Makes what arms notifications, in place of those before; when one can't be armed, those before are again. */
export const make = (system: SystemCalls.SystemCalls, device: string) => {
  let before: ReadonlyArray<Armed> = []
  const set = ({ clearByte, fd, index, signalPort }: Armed): Files.Outcome<void> => {
    const answer = system.ioctl(fd, Abi.SET_UNMAP_NOTIFY, Abi.unmapNotify(index, clearByte, signalPort))
    if (answer >= 0) return Result.succeed(undefined)
    const errno = SystemCalls.errnoName(answer)
    return errno === "EINVAL" && signalPort !== undefined
      ? Result.fail(
        new InvalidInput({
          argument: "signalPort",
          value: String(signalPort),
          expected: "a port that this domain has open, such as one bound through /dev/xen/evtchn"
        })
      )
      : Device.failed(device, "SET_UNMAP_NOTIFY", errno)
  }
  const disarm = ({ fd, index }: Armed) => set({ fd, index, clearByte: undefined, signalPort: undefined })
  return (next: ReadonlyArray<Armed>): Files.Outcome<void> => {
    const replaced = before.filter((one) => !next.some((other) => inSamePlace(one, other)))
    const done: Array<Armed> = []
    const armed = Device.orUndo(
      () => {
        // Back to what was: a place that had nothing gets nothing again.
        for (const one of done.toReversed()) {
          const former = before.find((other) => inSamePlace(one, other))
          if (former === undefined) disarm(one)
          else set(former)
        }
      },
      () =>
        Result.gen(function*() {
          for (const one of next) {
            yield* set(one)
            done.push(one)
          }
          for (const one of replaced) {
            yield* disarm(one)
            done.push(one)
          }
        })
    )
    if (Result.isSuccess(armed)) before = next
    return armed
  }
}
