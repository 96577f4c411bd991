/**
 * Names the two parties that laws are about: a frontend and a backend, and what is known of the Xen below them.
 *
 * @since 0.1.0
 */
import * as DomainId from "@xen-shbuf/core/DomainId"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"

/**
 * What a program in a domain can use: services of Xen.
 *
 * @category models
 * @since 0.2.0
 */
export type Services = GrantTable

/**
 * A domain and its services; `table` is its grant table.
 *
 * @category models
 * @since 0.1.0
 */
export interface Party {
  readonly id: DomainId.DomainId
  readonly services: Context.Context<Services>
  readonly table: GrantTable["Service"]
}

/**
 * Names a domain with its services.
 *
 * @category constructors
 * @since 0.2.0
 */
export const party = (id: DomainId.DomainId, services: Context.Context<Services>): Party => ({
  id,
  services,
  table: Context.get(services, GrantTable)
})

/**
 * The same domain with another grant table, such as one with faults.
 *
 * @category combinators
 * @since 0.2.0
 */
export const withTable = ({ id, services }: Party, table: GrantTable["Service"]): Party =>
  party(id, Context.add(services, GrantTable, table))

/**
 * An event channel of a domain, open.
 *
 * @category models
 * @since 0.1.0
 */
export interface Channel {
  /** Its local port. */
  readonly port: number
  /** Whether it was signalled over this port since it was last asked. */
  readonly signalled: Effect.Effect<boolean>
}

/**
 * The domains that a law runs in. Both may be one domain that shares with itself.
 *
 * @category services
 * @since 0.1.0
 */
export class Domains extends Context.Service<Domains, {
  readonly frontend: Party
  readonly backend: Party
  /** Whether refusals must carry Xen's status; a device only says that it was refused. */
  readonly tellsStatus: boolean
  /** Opens an event channel in the domain of a party, where there is a way to do it. */
  readonly openChannel?: ((party: Party) => Effect.Effect<Channel, never, Scope.Scope>) | undefined
  /** What is granted or mapped now, a line each, all different; no lines where Xen can't be asked. */
  readonly holdings: Effect.Effect<ReadonlyArray<string>>
}>()("@xen-shbuf/testkit/Domains") {}

/**
 * One domain that shares with itself, such as dom0 on real devices: `id` is its own id, as its peers know it.
 * `holdings` asks Xen what is granted or mapped, by whoever, and `openChannel` opens an event channel, where there is a
 * way to do it.
 *
 * @category layers
 * @since 0.1.0
 */
export const loopback = (
  id: number,
  options: {
    readonly holdings?: Domains["Service"]["holdings"] | undefined
    readonly openChannel?: Domains["Service"]["openChannel"] | undefined
  } = {}
): Layer.Layer<Domains, never, GrantTable> =>
  Layer.effect(Domains, Effect.map(GrantTable, (table) => {
    const self = party(DomainId.DomainId.make(id), Context.make(GrantTable, table))
    return Domains.of({
      frontend: self,
      backend: self,
      tellsStatus: false,
      openChannel: options.openChannel,
      holdings: options.holdings ?? Effect.succeed([])
    })
  }))

/**
 * Runs a program in the domain of a party.
 *
 * @category combinators
 * @since 0.1.0
 */
export const runIn = (
  { services }: Party
): <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Services>> =>
  Effect.provide(services)

/**
 * A domain that is neither party, and need not exist.
 *
 * @category accessors
 * @since 0.1.0
 */
export const stranger = ({ backend, frontend }: Domains["Service"]): DomainId.DomainId =>
  DomainId.DomainId.make(
    [0, 1, 2].map((i) => DomainId.maximum - i).find((id) => id !== frontend.id && id !== backend.id)!
  )
