/**
 * Provides the grant table of a Linux domain through `/dev/xen/gntalloc` and `/dev/xen/gntdev`.
 *
 * Each device is opened at its first use: a frontend that only shares needs no gntdev, a backend that only maps no
 * gntalloc. The calls are synchronous, and their number does not grow with the pages, but that a mapping is
 * split every 65 536 of them, and that a refused one is searched for the grant that was refused.
 *
 * **Gotchas**
 *
 * - Xen has no revocation: a peer that mapped our pages may go on using them after our scope is left. The kernel keeps
 *   them from other uses until the peer unmaps. Such pages take up references, and are not counted by us.
 * - Mapped memory must not be given to `fs`, `net`, `crypto` or workers: they may use it after the release. Copy.
 * - A child process that a worker starts may keep what the main thread releases just then, for the milliseconds until it
 *   runs its program. The other way around this can't happen.
 * - gntdev says EINVAL whatever the cause. When not even one more page can be mapped, because this domain's maptrack
 *   table is full, that looks like a refused grant.
 *
 * @since 0.1.0
 */
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Driver from "./internal/Driver.ts"
import * as Libc from "./internal/Libc.ts"

/**
 * Where the devices are, and what may be done with them.
 *
 * @category models
 * @since 0.1.0
 */
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

/**
 * Opens nothing yet; what it opens later is closed with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Options): Effect.Effect<GrantTable.GrantTable["Service"], never, Scope.Scope> =>
  Effect.map(Driver.make(Libc.libc, options), GrantTable.make)

/**
 * The grant table of the domain that this process runs in.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<GrantTable.GrantTable> =>
  Layer.effect(GrantTable.GrantTable, make(options))

/**
 * The same, with options from the configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<GrantTable.GrantTable, Config.ConfigError> =>
  Layer.effect(GrantTable.GrantTable, Effect.flatMap(Config.unwrap(options), make))
