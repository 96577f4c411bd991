/**
 * What a program may choose about the devices, and what of it can be wrong.
 *
 * @internal
 */
import { type InvalidInput, invalidInput } from "@xen-shbuf/core/Reason"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

/** Where the devices are, and what may be done with them. */
export interface Options {
  /** The device that shares pages, `/dev/xen/gntalloc`. */
  readonly gntalloc?: string | undefined
  /** The device that maps pages, `/dev/xen/gntdev`. */
  readonly gntdev?: string | undefined
  /** The limit of all pages shared through gntalloc, `/sys/module/xen_gntalloc/parameters/limit`. */
  readonly gntallocLimit?: string | undefined
  /** The limit of pages in one request to gntdev, `/sys/module/xen_gntdev/parameters/limit`. */
  readonly gntdevLimit?: string | undefined
  /**
   * References in the domain's grant table, 32 768 unless set: 512 for each of `max_grant_frames` in its configuration.
   * Shares beyond seven eighths are refused; the rest is for the domain's own devices, and for other programs. For when
   * the table is full, some kernels count wrongly, and gntalloc may then share nothing more until it is loaded anew.
   */
  readonly grantTableSize?: number | undefined
  /**
   * Allows `copy`. Off unless set: Xen's grant copy had flaws that let a guest read and write memory of others
   * (advisories 500 and 523), so turn it on only where the hypervisor is known to be patched.
   */
  readonly grantCopy?: boolean | undefined
}

const maximum = 2 ** 24

const expected = `a number of references: a whole number from 16 to ${maximum}, 512 for each of max_grant_frames`

/** References in a grant table. */
export const TableSize = Schema.Int.check(Schema.isBetween({ minimum: 16, maximum }, { expected }))

const isTableSize = Schema.is(TableSize)

/** Checks what no type can: the numbers. */
export const check = (options: Options): Result.Result<Options, InvalidInput> => {
  const { grantTableSize: value } = options
  return value === undefined || isTableSize(value)
    ? Result.succeed(options)
    : Result.fail(invalidInput("grantTableSize", value, expected))
}
