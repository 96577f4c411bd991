/**
 * System calls of which none works: the ground for fake devices.
 */
import type * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import { constants } from "node:os"

const { EINVAL } = constants.errno

export const none: SystemCalls.SystemCalls = {
  isMainThread: true,
  pageSize: 4096,
  lateAccess: 3,
  open: () => -EINVAL,
  close: () => -EINVAL,
  ioctl: () => -EINVAL,
  read: () => -EINVAL,
  write: () => -EINVAL,
  pipe: () => -EINVAL,
  duplicate: () => -EINVAL,
  canWait: () => -EINVAL,
  mmap: () => BigInt(-EINVAL),
  munmap: () => -EINVAL,
  madvise: () => -EINVAL,
  memfd: () => -EINVAL,
  ftruncate: () => -EINVAL,
  memcpy: () => {},
  view: () => new ArrayBuffer(0),
  addressOf: () => 0n
}
