/**
 * Provides all that a domain has, over the real devices of a Linux domain: grant table, event channels, xenstore.
 *
 * @since 0.2.0
 */
import type * as EventChannels from "@xen-shbuf/core/EventChannels"
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import type * as XenStore from "@xen-shbuf/core/XenStore"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Layer from "effect/Layer"
import * as EvtChn from "./EvtChn.ts"
import * as StoreClient from "./StoreClient.ts"

/**
 * Where the devices are, how xenstore is reached, and what may be done with grants.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options extends GntDev.Options, EvtChn.Options, StoreClient.Options {}

/**
 * What the domain that this process runs in has. Each device is opened at its first use.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (
  options?: Options
): Layer.Layer<GrantTable.GrantTable | EventChannels.EventChannels | XenStore.XenStore> =>
  Layer.mergeAll(GntDev.layer(options), EvtChn.layer(options), StoreClient.layer(options))
