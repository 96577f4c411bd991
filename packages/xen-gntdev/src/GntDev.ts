/**
 * Provides the grant table of a Linux domain through `/dev/xen/gntalloc` and `/dev/xen/gntdev`.
 *
 * Each device is opened at its first use: a frontend that only shares needs no gntdev, a backend that only maps no
 * gntalloc. The calls are synchronous, and their number does not grow with the pages, except that a mapping is split
 * every 65 536 of them, and that a refused one is searched for the grant that was refused.
 *
 * **Gotchas**
 *
 * - Pages that a peer still has mapped at their release stay the peer's (core's `Ending`); the kernel keeps them from all
 *   other uses until it unmaps.
 * - Work on another thread (`zlib`, `crypto`, `fs`) that still uses memory at its release finds zeros there, and so does
 *   whoever has moved its buffer away. What they write is lost: it is not the peer's any more. Copy first.
 * - A worker that is ended by `terminate()` leaves its mappings and descriptors until the process ends: nothing of it runs
 *   any more that could release them. One that ends in any other way closes them. Better let it end by itself.
 * - What a peer may have kept of released pages counts towards the domain's grant table until their references are seen
 *   again; the count is that of all layers of a thread, and each worker has its own.
 * - A child process that a worker starts may keep what the main thread releases just then, for the milliseconds until it
 *   runs its program. The other way around this can't happen.
 * - gntdev says EINVAL whatever the cause. When not even one more page can be mapped, because this domain's maptrack
 *   table is full, that looks like a refused grant.
 *
 * @since 0.1.0
 */
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import type { InvalidInput } from "@xen-shbuf/core/Reason"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Devices from "./internal/Devices.ts"
import * as Checked from "./internal/Options.ts"

/**
 * Where the devices are, and what may be done with them.
 *
 * @category models
 * @since 0.1.0
 */
export type Options = Checked.Options

/**
 * Opens nothing yet; what it opens later is closed with the scope. `InvalidInput` for options that can't be.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<GrantTable.GrantTable["Service"], InvalidInput, Scope.Scope> =>
  Effect.flatMap(Effect.fromResult(Checked.check(options)), (options) =>
    Effect.map(Devices.make(SystemCalls.native, options), GrantTable.make))

/**
 * The grant table of the domain that this process runs in. Dies for options that can't be.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<GrantTable.GrantTable> =>
  Layer.effect(GrantTable.GrantTable, Effect.orDie(make(options)))

/**
 * The same, with options from the configuration, which fails for those that can't be.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<GrantTable.GrantTable, Config.ConfigError> =>
  Layer.effect(
    GrantTable.GrantTable,
    Effect.gen(function*() {
      const unwrapped = yield* Config.unwrap(options)
      const { grantTableSize } = unwrapped
      if (grantTableSize !== undefined) {
        yield* Effect.mapError(
          Schema.decodeEffect(Checked.TableSize)(grantTableSize),
          (error) => new Config.ConfigError(error)
        )
      }
      return yield* Effect.orDie(make(unwrapped))
    })
  )
