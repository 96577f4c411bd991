/**
 * A domain, as far as all that Xen and its Linux keep for it know it: the ground for grants, channels and processes.
 */
import type { DomainId } from "@xen-shbuf/core/DomainId"

/** Counts what domains make, so that it can be told in its order. */
export interface Counter {
  made: number
}

export interface Domain {
  /** Another one after a restore, as a rule. */
  id: DomainId
  /** No more once it is destroyed; what others have mapped of it stays. */
  alive: boolean
}
