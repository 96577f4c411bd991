/**
 * Names the two parties that laws are about: a frontend and a backend, and what is known of the Xen below them.
 *
 * @since 0.1.0
 */
import * as DomainId from "@xen-shbuf/core/DomainId"
import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import { Unsupported } from "@xen-shbuf/core/Reason"
import * as XenStore from "@xen-shbuf/core/XenStore"
import { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"

/**
 * What a program in a domain can use: services of Xen.
 *
 * @category models
 * @since 0.2.0
 */
export type Services = GrantTable | EventChannels.EventChannels | XenStore.XenStore

/**
 * A domain and its services: its grant table, event channels and xenstore.
 *
 * @category models
 * @since 0.1.0
 */
export interface Party {
  /** The domain. */
  readonly id: DomainId.DomainId
  /** All its services. */
  readonly services: Context.Context<Services>
  /** Its grant table. */
  readonly table: GrantTable["Service"]
  /** Its event channels. */
  readonly channels: EventChannels.EventChannels["Service"]
  /** Its xenstore. */
  readonly store: XenStore.XenStore["Service"]
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
  table: Context.get(services, GrantTable),
  channels: Context.get(services, EventChannels.EventChannels),
  store: Context.get(services, XenStore.XenStore)
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
 * The domains that a law runs in. Both may be one domain that shares with itself.
 *
 * @category services
 * @since 0.1.0
 */
export class Domains extends Context.Service<Domains, {
  /** The one that shares. */
  readonly frontend: Party
  /** The one that maps. */
  readonly backend: Party
  /** Whether refusals must carry Xen's status; a device only says that it was refused. */
  readonly tellsStatus: boolean
  /** What is granted or mapped now, a line each, all different; no lines where Xen can't be asked. */
  readonly holdings: Effect.Effect<ReadonlyArray<string>>
}>()("@xen-shbuf/testkit/Domains") {}

const notHere = (feature: string) => new Unsupported({ feature, detail: "the domain has none in this program" })

/** Answers to all that there is none. */
const noChannels = (): EventChannels.EventChannels["Service"] => {
  const refuse = (operation: EventChannelError.EventChannelError["operation"]) => () =>
    Effect.fail(new EventChannelError.EventChannelError({ operation, reason: notHere("Event channels") }))
  return EventChannels.make({ listen: refuse("listen"), join: refuse("join") })
}

/** Answers to all that there is none. */
const noStore = (): XenStore.XenStore["Service"] => {
  const refusing = (operation: XenStoreError["operation"]) =>
    Effect.fail(new XenStoreError({ operation, reason: notHere("Xenstore") }))
  const refuse = (operation: XenStoreError["operation"]) => () => refusing(operation)
  return XenStore.make({
    read: refuse("read"),
    write: refuse("write"),
    directory: refuse("directory"),
    makeDirectory: refuse("makeDirectory"),
    remove: refuse("remove"),
    permissions: refuse("permissions"),
    setPermissions: refuse("setPermissions"),
    begin: refuse("transaction"),
    commit: refuse("transaction"),
    abort: () => Effect.void,
    watch: refuse("watch"),
    ownId: refusing("ownId")
  })
}

/**
 * One domain that shares with itself, such as dom0 on real devices: `id` is its own id, as its peers know it.
 * `holdings` asks Xen what is granted or mapped, by whoever. Event channels and xenstore answer `Unsupported` unless they are provided as well.
 *
 * @category layers
 * @since 0.1.0
 */
export const loopback = (
  id: number,
  options: {
    readonly holdings?: Domains["Service"]["holdings"] | undefined
  } = {}
): Layer.Layer<Domains, never, GrantTable> =>
  Layer.effect(Domains, Effect.gen(function*() {
    const channels = yield* Effect.serviceOption(EventChannels.EventChannels)
    const store = yield* Effect.serviceOption(XenStore.XenStore)
    const self = party(
      DomainId.DomainId.make(id),
      Context.make(GrantTable, yield* GrantTable).pipe(
        Context.add(EventChannels.EventChannels, Option.getOrElse(channels, noChannels)),
        Context.add(XenStore.XenStore, Option.getOrElse(store, noStore))
      )
    )
    return Domains.of({
      frontend: self,
      backend: self,
      tellsStatus: false,
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
