/**
 * Lets laws run on the in-memory Xen.
 *
 * @since 0.1.0
 */

import * as DomainId from "@xen-shbuf/core/DomainId"
import { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Domains, party } from "./Domains.ts"
import * as Ledger from "./Ledger.ts"
import { TestXen } from "./TestXen.ts"

/**
 * Two domains of a `TestXen`, by their ids; one that shares with itself if they are equal.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  ids: { readonly frontend: number; readonly backend: number }
): Layer.Layer<Domains, never, TestXen> =>
  Layer.effect(Domains, Effect.gen(function*() {
    const xen = yield* TestXen
    const inDomain = Effect.fnUntraced(function*(id: number) {
      const services = Context.make(GrantTable, yield* xen.domain(id)).pipe(
        Context.add(EventChannels, yield* xen.eventChannels(id)),
        Context.add(XenStore, yield* xen.store(id))
      )
      return party(DomainId.DomainId.make(id), services)
    })
    return Domains.of({
      frontend: yield* inDomain(ids.frontend),
      backend: yield* inDomain(ids.backend),
      tellsStatus: true,
      holdings: Effect.map(xen.holdings, (all) => all.map((holding) => `${holding.id}: ${Ledger.describe(holding)}`))
    })
  }))
