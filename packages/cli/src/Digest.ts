/**
 * Computes the SHA-256 of shared bytes.
 *
 * @since 0.1.0
 */
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import { createHash } from "node:crypto"

const chunk = 2 ** 20

/**
 * The SHA-256 in hexadecimal of what the bytes are now. They may be shared memory: crypto gets private copies only.
 *
 * @category conversions
 * @since 0.1.0
 */
export const sha256 = (bytes: SharedMemory.Readable): string => {
  const hash = createHash("sha256")
  for (let at = 0; at < bytes.length; at += chunk) hash.update(bytes.slice(at, at + chunk))
  return hash.digest("hex")
}
