/**
 * Makes a service misbehave: fails an operation, delays it, or interrupts its caller.
 *
 * It decorates grant tables, event channels and xenstore, in memory or of a device, and with `decorator` any other
 * service. Operations are counted
 * from 1, in the order in which they begin: run once without faults to learn how many there are, then once for every
 * operation and fault.
 *
 * @since 0.1.0
 */

import * as DomainId from "@xen-shbuf/core/DomainId"
import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import { type EventChannel, EventChannels } from "@xen-shbuf/core/EventChannels"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import { GrantTable, type UnmapNotify } from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Port from "@xen-shbuf/core/Port"
import * as Reason from "@xen-shbuf/core/Reason"
import { type Nodes, XenStore } from "@xen-shbuf/core/XenStore"
import * as XenStoreError from "@xen-shbuf/core/XenStoreError"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

/**
 * What a grant table does that can go wrong.
 *
 * @category models
 * @since 0.1.0
 */
export type Operation = "share" | "map" | "read" | "unmapNotify" | "copy" | "limits"

const invalid = new Reason.InvalidInput({ argument: "injected", value: "0", expected: "another" })

const unavailable = new Reason.DeviceUnavailable({ device: "injected", errno: "EACCES", remedy: "None." })

const failed = new Reason.DeviceFailed({ device: "injected", call: "ioctl", errno: "ENOMEM" })

const refused = new GrantTableError.GrantRefused({
  grant: { peer: DomainId.DomainId.make(0), ref: GrantRef.GrantRef.make(8) },
  index: 0,
  access: "read-write",
  status: "GNTST_general_error"
})

const mapping = [
  invalid,
  refused,
  new GrantTableError.OutOfMappings({ peer: DomainId.DomainId.make(0), requested: 1, detail: "injected" }),
  unavailable,
  failed
]

/**
 * The reasons that each operation on a grant table can have to fail, one of each kind.
 *
 * @category constants
 * @since 0.1.0
 */
export const reasons: { readonly [operation in Operation]: ReadonlyArray<GrantTableError.Reason> } = {
  share: [invalid, new GrantTableError.OutOfGrants({ requested: 1, limit: 0 }), unavailable, failed],
  map: mapping,
  read: mapping,
  unmapNotify: [invalid, unavailable, failed],
  copy: [
    invalid,
    refused,
    unavailable,
    failed,
    new Reason.Unsupported({ feature: "copy", detail: "injected" })
  ],
  limits: [unavailable, failed]
}

/**
 * What event channels, and a channel, do that can go wrong.
 *
 * @category models
 * @since 0.2.0
 */
export type ChannelOperation = EventChannelError.EventChannelError["operation"]

const port = Port.Port.make(1)
const gone = new EventChannelError.ChannelGone({ port, detail: "injected" })

/**
 * The reasons that each operation on event channels can have to fail, one of each kind.
 *
 * @category constants
 * @since 0.2.0
 */
export const channelReasons: { readonly [operation in ChannelOperation]: ReadonlyArray<EventChannelError.Reason> } = {
  listen: [invalid, new EventChannelError.OutOfPorts({}), unavailable, failed],
  join: [
    invalid,
    new EventChannelError.NoSuchDomain({ peer: DomainId.DomainId.make(0) }),
    new EventChannelError.PortRefused({ peer: DomainId.DomainId.make(0), port }),
    new EventChannelError.OutOfPorts({}),
    unavailable,
    failed
  ],
  notify: [gone, failed],
  wait: [gone, failed]
}

/**
 * What xenstore does that can go wrong.
 *
 * @category models
 * @since 0.2.0
 */
export type StoreOperation = XenStoreError.XenStoreError["operation"]

const path = "/injected"
const storeGone = new XenStoreError.StoreGone({ detail: "injected" })
const denied = new XenStoreError.AccessDenied({ path })
const reading = [new XenStoreError.NotFound({ path }), denied, storeGone, failed]
const tooLong = new XenStoreError.TooLong({ path, byteLength: 4097, limit: 4096 })
const writing = [denied, new XenStoreError.QuotaExceeded({ path, quota: "nodes" }), storeGone, failed]

/**
 * The reasons that each operation on xenstore can have to fail, one of each kind.
 *
 * @category constants
 * @since 0.2.0
 */
export const storeReasons: { readonly [operation in StoreOperation]: ReadonlyArray<XenStoreError.Reason> } = {
  read: [...reading, new XenStoreError.InvalidValue({ path, detail: "injected" })],
  write: [...writing, tooLong],
  directory: reading,
  makeDirectory: writing,
  remove: reading,
  permissions: reading,
  setPermissions: [...reading, tooLong],
  transaction: [
    new XenStoreError.QuotaExceeded({ path, quota: "transactions" }),
    new XenStoreError.Conflict({ attempts: 1 }),
    storeGone,
    failed
  ],
  watch: [new XenStoreError.QuotaExceeded({ path, quota: "watches" }), denied, storeGone, unavailable, failed],
  ownId: [storeGone, unavailable, failed]
}

/**
 * One thing to go wrong, at one operation.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault<Reason = GrantTableError.Reason> =
  | {
    readonly _tag: "Fail"
    /** Which operation, from 1. */
    readonly at: number
    /** Why it fails. */
    readonly reason: Reason
  }
  | {
    readonly _tag: "Delay"
    /** Which operation, from 1. */
    readonly at: number
    /** How long it sleeps before it begins. */
    readonly duration: Duration.Input
  }
  | {
    readonly _tag: "Interrupt"
    /** Which operation, from 1. */
    readonly at: number
    /** As it begins, or when it has succeeded. */
    readonly when: "before" | "after"
  }

/**
 * All that is to go wrong. Faults of one operation take effect in the plan's order.
 *
 * @category models
 * @since 0.1.0
 */
export type Plan<Reason = GrantTableError.Reason> = ReadonlyArray<Fault<Reason>>

/** The number of an operation. It throws for a plan that can never come true: a test would pass that tests nothing. */
const numbered = (at: number): number => {
  if (Number.isInteger(at) && at >= 1) return at
  throw new RangeError(`Faults: the number of an operation is ${at}, but must be a whole number from 1.`)
}

/**
 * Fails the n-th operation with this reason; the service is not asked. Throws for a number below 1.
 *
 * @category faults
 * @since 0.1.0
 */
export const failAt = <Reason>(at: number, reason: Reason): Fault<Reason> => ({
  _tag: "Fail",
  at: numbered(at),
  reason
})

/**
 * Sleeps before the n-th operation, on the fiber's clock. Throws for a number below 1.
 *
 * @category faults
 * @since 0.1.0
 */
export const delayAt = (at: number, duration: Duration.Input): Fault<never> => ({
  _tag: "Delay",
  at: numbered(at),
  duration
})

/**
 * Interrupts the calling fiber before the n-th operation, or after it has succeeded, with what it acquired held. As
 * with any interruption, a caller that is uninterruptible at that moment goes on until it no longer is. It is the whole
 * fiber that ends: run the program in a fiber of its own (`Effect.forkChild`), or the test itself is interrupted.
 * Throws for a number below 1.
 *
 * @category faults
 * @since 0.1.0
 */
export const interruptAt = (at: number, when: "before" | "after"): Fault<never> => ({
  _tag: "Interrupt",
  at: numbered(at),
  when
})

/**
 * Faults of a plan did not take effect: the program did not come that far, or an earlier fault was in their way.
 *
 * @category errors
 * @since 0.2.0
 */
export class FaultsNotFired extends Data.TaggedError("FaultsNotFired")<{
  /** Those that did not take effect. */
  readonly faults: Plan<unknown>
  /** Operations that were begun. */
  readonly operations: number
}> {
  override get message() {
    const list = this.faults.map(({ _tag, at }) => `${_tag} at ${at}`).join(", ")
    return `Of the planned faults these did not take effect: ${list}. There were ${this.operations} operations.`
  }
}

/**
 * What happened to a decorated service.
 *
 * @category models
 * @since 0.2.0
 */
export interface Journal<Name extends string> {
  /** The operations begun so far, in order. */
  readonly operations: Effect.Effect<ReadonlyArray<Name>>
  /** Fails with the faults of the plan that did not take effect, if any: a test that ends before is no test. */
  readonly allFired: Effect.Effect<void, FaultsNotFired>
}

/**
 * The journal of a decorated grant table.
 *
 * @category services
 * @since 0.1.0
 */
export class Faults extends Context.Service<Faults, Journal<Operation>>()("@xen-shbuf/testkit/Faults") {}

const interruptSelf = Effect.withFiber((fiber) => {
  fiber.interruptUnsafe(fiber.id)
  return Effect.void
})

/** An operation with this fault, which tells when it takes effect. */
const apply = <A, E, R, Reason>(
  self: Effect.Effect<A, E, R>,
  fault: Fault<Reason>,
  error: (reason: Reason) => E,
  fired: Effect.Effect<void>
): Effect.Effect<A, E, R> => {
  switch (fault._tag) {
    case "Fail":
      return Effect.andThen(fired, Effect.fail(error(fault.reason)))
    case "Delay":
      return Effect.andThen(fired, Effect.delay(self, fault.duration))
    case "Interrupt": {
      const interrupt = Effect.andThen(fired, interruptSelf)
      return fault.when === "before" ? Effect.andThen(interrupt, self) : Effect.tap(self, interrupt)
    }
  }
}

/**
 * Decorates the operations of any service, one by one, under their names: they go wrong as planned, and are recorded.
 * `error` makes the failure of an operation from a planned reason.
 *
 * @category constructors
 * @since 0.2.0
 */
export const decorator = <Name extends string, Reason, E>(
  plan: Plan<Reason>,
  error: (operation: Name, reason: Reason) => E
): {
  /** Puts the faults around an operation. */
  readonly decorate: <A, R>(operation: Name, self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** What was asked, and which faults took effect. */
  readonly journal: Journal<Name>
} => {
  const operations: Array<Name> = []
  const fired = new Set<Fault<Reason>>()
  const firing = (fault: Fault<Reason>) => Effect.sync(() => void fired.add(fault))
  return {
    decorate: (operation, self) =>
      Effect.suspend(() => {
        const at = operations.push(operation)
        const failing = (reason: Reason) => error(operation, reason)
        // From the right, so that the plan's first fault is the outermost.
        return plan.filter((fault) => fault.at === at)
          .reduceRight((self, fault) => apply(self, fault, failing, firing(fault)), self)
      }),
    journal: {
      operations: Effect.sync(() => [...operations]),
      allFired: Effect.suspend(() => {
        const left = plan.filter((fault) => !fired.has(fault))
        return left.length === 0
          ? Effect.void
          : Effect.fail(new FaultsNotFired({ faults: left, operations: operations.length }))
      })
    }
  }
}

/**
 * Decorates a grant table: its operations go wrong as planned, and are recorded.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  table: GrantTable["Service"],
  plan: Plan
): {
  /** The table with the faults. */
  readonly table: GrantTable["Service"]
  /** What was asked of it, and which faults took effect. */
  readonly faults: Faults["Service"]
} => {
  const { decorate, journal } = decorator(plan, (operation: Operation, reason) =>
    new GrantTableError.GrantTableError({ operation, reason }))
  const pages = <A extends { readonly unmapNotify: UnmapNotify }>(pages: A): A => ({
    ...pages,
    unmapNotify: (notification) => decorate("unmapNotify", pages.unmapNotify(notification))
  })
  return {
    table: GrantTable.of({
      share: (options) => Effect.map(decorate("share", table.share(options)), pages),
      map: (options) => Effect.map(decorate("map", table.map(options)), pages),
      read: (grant, into) => decorate("read", table.read(grant, into)),
      copy: (segments) => decorate("copy", table.copy(segments)),
      limits: decorate("limits", table.limits)
    }),
    faults: journal
  }
}

/**
 * Decorates the grant table that it is provided with.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (plan: Plan): Layer.Layer<GrantTable | Faults, never, GrantTable> =>
  Layer.effectContext(Effect.map(GrantTable, (decorated) => {
    const { faults, table } = make(decorated, plan)
    return Context.make(GrantTable, table).pipe(Context.add(Faults, faults))
  }))

/**
 * Decorates event channels: they, and each channel that they open, go wrong as planned, and what they do is recorded.
 * Every element of a channel's stream is a `wait`.
 *
 * @category constructors
 * @since 0.2.0
 */
export const eventChannels = (
  channels: EventChannels["Service"],
  plan: Plan<EventChannelError.Reason>
): { readonly channels: EventChannels["Service"]; readonly faults: Journal<ChannelOperation> } => {
  const { decorate, journal } = decorator(plan, (operation: ChannelOperation, reason: EventChannelError.Reason) =>
    new EventChannelError.EventChannelError({ operation, reason }))
  const opened = (channel: EventChannel): EventChannel => {
    const wait = decorate("wait", channel.wait)
    return {
      ...channel,
      notify: decorate("notify", channel.notify),
      wait,
      signals: Stream.fromEffectRepeat(wait)
    }
  }
  return {
    channels: EventChannels.of({
      listen: (options) => Effect.map(decorate("listen", channels.listen(options)), opened),
      join: (options) => Effect.map(decorate("join", channels.join(options)), opened)
    }),
    faults: journal
  }
}

/**
 * Decorates xenstore: it goes wrong as planned, in transactions and out of them, and what it does is recorded. A
 * transaction is an operation itself, before those of its body, which count each time that it runs; a watch is one when
 * its stream begins.
 *
 * @category constructors
 * @since 0.2.0
 */
export const xenStore = (
  store: XenStore["Service"],
  plan: Plan<XenStoreError.Reason>
): { readonly store: XenStore["Service"]; readonly faults: Journal<StoreOperation> } => {
  const { decorate, journal } = decorator(plan, (operation: StoreOperation, reason: XenStoreError.Reason) =>
    new XenStoreError.XenStoreError({ operation, reason }))
  const decorated = (nodes: Nodes): Nodes => ({
    read: (path) => decorate("read", nodes.read(path)),
    readText: (path) => decorate("read", nodes.readText(path)),
    readSchema: (path, schema) => decorate("read", nodes.readSchema(path, schema)),
    write: (path, value) => decorate("write", nodes.write(path, value)),
    directory: (path) => decorate("directory", nodes.directory(path)),
    makeDirectory: (path) => decorate("makeDirectory", nodes.makeDirectory(path)),
    remove: (path) => decorate("remove", nodes.remove(path)),
    permissions: (path) => decorate("permissions", nodes.permissions(path)),
    setPermissions: (path, permissions) => decorate("setPermissions", nodes.setPermissions(path, permissions))
  })
  const begins = (operation: StoreOperation) => decorate(operation, Effect.void)
  return {
    store: XenStore.of({
      ...decorated(store),
      transaction: (body, options) =>
        Effect.andThen(begins("transaction"), store.transaction((nodes) => body(decorated(nodes)), options)),
      watch: (path, options) => Stream.unwrap(Effect.as(begins("watch"), store.watch(path, options))),
      ownId: decorate("ownId", store.ownId)
    }),
    faults: journal
  }
}
