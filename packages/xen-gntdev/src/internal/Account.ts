/**
 * Counts the pages that this process shares through a device, whatever grant table they are shared by, and those that a
 * peer may have kept.
 *
 * @internal
 */
import type * as SystemCalls from "@xen-shbuf/linux/SystemCalls"

/** The pages of one device. */
export interface Account {
  /** Pages that are shared now. */
  live: number
  /**
   * References that were released and not seen again, whose pages a peer may still have mapped: nobody can tell. Linux
   * gives out a reference only when its page is free, so one that comes again was not kept.
   */
  readonly released: References
}

/** A set of references: a byte for each, since all of a buffer's go in and out at a time. */
export class References {
  size = 0
  #flags = new Uint8Array(1024)

  add(refs: Uint32Array): void {
    for (const ref of refs) {
      if (ref >= this.#flags.length) this.#grow(ref)
      if (this.#flags[ref] === 0) {
        this.#flags[ref] = 1
        this.size++
      }
    }
  }

  delete(refs: Uint32Array): void {
    for (const ref of refs) {
      if (this.#flags[ref] === 1) {
        this.#flags[ref] = 0
        this.size--
      }
    }
  }

  #grow(ref: number): void {
    const larger = new Uint8Array(2 ** Math.ceil(Math.log2(ref + 1)))
    larger.set(this.#flags)
    this.#flags = larger
  }
}

/** By the calls, which tests have of their own, and the device. */
const accounts = new WeakMap<SystemCalls.SystemCalls, Map<string, Account>>()

/** The account of a device: all who ask for it get the same. */
export const of = (system: SystemCalls.SystemCalls, device: string): Account => {
  const devices = accounts.get(system) ?? new Map<string, Account>()
  accounts.set(system, devices)
  const account = devices.get(device) ?? { live: 0, released: new References() }
  devices.set(device, account)
  return account
}
