/**
 * Runs the laws of event channels and xenstore between two domains: here on the host, with the services that a process in
 * each of them lends.
 */
import type { DomainId } from "@xen-shbuf/core/DomainId"
import * as ChannelErrors from "@xen-shbuf/core/EventChannelError"
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as StoreErrors from "@xen-shbuf/core/XenStoreError"
import * as Domains from "@xen-shbuf/testkit/Domains"
import * as EventChannelLaws from "@xen-shbuf/testkit/EventChannelLaws"
import * as Law from "@xen-shbuf/testkit/Law"
import * as XenStoreLaws from "@xen-shbuf/testkit/XenStoreLaws"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { NodeRequest, Request } from "../../guest/services.ts"
import * as Image from "../Image.ts"
import type { Machine } from "../Machine.ts"
import type { Check, Lab, Part } from "../Plan.ts"
import type * as Sharing from "./Sharing.ts"

/** What a process says. */
interface Said {
  readonly event: "answer" | "signal" | "changed"
  readonly id: number
  readonly key: number
  readonly path: string
  readonly refused?: unknown
  readonly [field: string]: unknown
}

/** A process that lends its services. */
interface Lender {
  /** Asks, and waits for the answer; fails with the reason, as plain data. */
  readonly call: (request: Request) => Effect.Effect<Said, unknown>
  /** Asks for what is done at once. */
  readonly tell: (request: Request) => void
  /** Waits until what it was told is done. */
  readonly settled: Effect.Effect<void>
  readonly listeners: Map<number, EventChannels.Listener>
  readonly watchers: Map<number, (path: string) => void>
  readonly newKey: () => number
}

const lender = Effect.fnUntraced(function*(machine: Machine) {
  const process = yield* machine.start(["node", `${Image.place}/services.mjs`], { patience: "10 minutes" })
  yield* process.expect("ready")
  const outbox = yield* Queue.unbounded<string>()
  const answers = new Map<number, Deferred.Deferred<Said>>()
  const listeners = new Map<number, EventChannels.Listener>()
  const watchers = new Map<number, (path: string) => void>()
  let count = 0
  let isTold = false
  const hear = (said: Said) => {
    if (said.event === "signal") listeners.get(said.key)?.signal()
    else if (said.event === "changed") watchers.get(said.key)?.(said.path)
    else {
      const answer = answers.get(said.id)
      answers.delete(said.id)
      if (answer !== undefined) Deferred.doneUnsafe(answer, Exit.succeed(said))
    }
  }
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(outbox), process.send)))
  yield* Effect.forkScoped(Effect.forever(Effect.map(process.nextLine, (line) => hear(JSON.parse(line) as Said))))
  const send = (request: Request): number => {
    Queue.offerUnsafe(outbox, `${JSON.stringify({ id: ++count, ...request })}\n`)
    return count
  }
  const call = (request: Request) =>
    Effect.suspend(() => {
      const answer = Deferred.makeUnsafe<Said>()
      answers.set(send(request), answer)
      return Effect.flatMap(Deferred.await(answer), (said) =>
        said.refused === undefined ? Effect.succeed(said) : Effect.fail(said.refused))
    })
  const lent: Lender = {
    call,
    tell: (request) => {
      isTold = true
      send(request)
    },
    settled: Effect.suspend(() => {
      if (!isTold) return Effect.void
      isTold = false
      return Effect.orDie(Effect.asVoid(call({ do: "sync" })))
    }),
    listeners,
    watchers,
    newKey: () => ++count
  }
  return lent
})

const channelReason = Schema.decodeUnknownSync(Schema.toCodecJson(ChannelErrors.Reason))
const storeReason = Schema.decodeUnknownSync(Schema.toCodecJson(StoreErrors.Reason))

const succeeded: Result.Result<void, never> = Result.succeed(undefined)

/** Event channels of a domain, from afar. What the other domain was told is done first. */
const channelsOf = (own: Lender, other: () => Lender) => {
  const bind = (
    operation: "listen" | "join",
    listener: EventChannels.Listener,
    request: (key: number) => Request
  ) =>
    Effect.suspend(() => {
      const key = own.newKey()
      own.listeners.set(key, listener)
      const { tell } = own
      return Effect.andThen(other().settled, own.call(request(key))).pipe(
        Effect.mapError((reason) => new ChannelErrors.EventChannelError({ operation, reason: channelReason(reason) })),
        Effect.map(({ port }): EventChannels.Bound => {
          const order = (what: "notify" | "unmask") => () => {
            tell({ do: what, key })
            return succeeded
          }
          return {
            port: port as EventChannels.Bound["port"],
            notify: order("notify"),
            unmask: order("unmask"),
            release: () => {
              own.listeners.delete(key)
              tell({ do: "close", key })
            }
          }
        })
      )
    })
  return EventChannels.make({
    listen: ({ peer }, listener) => bind("listen", listener, (key) => ({ do: "listen", key, peer })),
    join: ({ peer, port }, listener) => bind("join", listener, (key) => ({ do: "join", key, peer, port }))
  })
}

/** Xenstore as a domain sees it, from afar. */
const storeOf = (own: Lender, other: () => Lender) => {
  const asked = (operation: StoreErrors.XenStoreError["operation"], request: Request) =>
    Effect.mapError(
      Effect.andThen(other().settled, own.call(request)),
      (reason) => new StoreErrors.XenStoreError({ operation, reason: storeReason(reason) })
    )
  const node = <A>(key: number, node: NodeRequest) =>
    Effect.map(asked(node.do, { do: "node", key, node }), ({ value }) => value as A)
  return XenStore.make({
    read: (path, key) =>
      Effect.map(node<string>(key, { do: "read", path }), (text) => Uint8Array.from(Buffer.from(text, "base64"))),
    write: (path, value, key) => node(key, { do: "write", path, value: Buffer.from(value).toString("base64") }),
    directory: (path, key) => node(key, { do: "directory", path }),
    makeDirectory: (path, key) => node(key, { do: "makeDirectory", path }),
    remove: (path, key) => node(key, { do: "remove", path }),
    permissions: (path, key) => node(key, { do: "permissions", path }),
    setPermissions: (path, permissions, key) => node(key, { do: "setPermissions", path, permissions }),
    begin: () => {
      const key = own.newKey()
      return Effect.as(asked("transaction", { do: "begin", key }), key)
    },
    commit: (key) => Effect.map(asked("transaction", { do: "commit", key }), ({ done }) => done === true),
    abort: (key) => Effect.sync(() => own.tell({ do: "abort", key })),
    watch: (path, changed) =>
      Effect.suspend(() => {
        const key = own.newKey()
        own.watchers.set(key, changed)
        const release = () => {
          own.watchers.delete(key)
          own.tell({ do: "unwatch", key })
        }
        return Effect.as(asked("watch", { do: "watch", key, path }), { release })
      }),
    ownId: Effect.map(asked("ownId", { do: "ownId" }), ({ value }) => value as DomainId)
  })
}

/** A machine with its domain. */
interface Side {
  readonly machine: Machine
  readonly domain: number
}

/** Both domains as laws see them. No law of these shares memory. */
const domains = Effect.fnUntraced(function*(one: Side, other: Side) {
  const [front, back] = yield* Effect.all([lender(one.machine), lender(other.machine)], { concurrency: "unbounded" })
  const table = yield* GntDev.make()
  const services = (own: Lender, other: Lender) =>
    Context.make(GrantTable, table).pipe(
      Context.add(EventChannels.EventChannels, channelsOf(own, () => other)),
      Context.add(XenStore.XenStore, storeOf(own, () => other))
    )
  return Domains.Domains.of({
    frontend: Domains.party(one.domain as DomainId, services(front, back)),
    backend: Domains.party(other.domain as DomainId, services(back, front)),
    tellsStatus: false,
    holdings: Effect.succeed([])
  })
})

/** The same, the other way around. */
const turned = ({ backend, frontend, ...rest }: Domains.Domains["Service"]): Domains.Domains["Service"] =>
  Domains.Domains.of({ ...rest, frontend: backend, backend: frontend })

/** Runs laws: an outcome for each. */
const run = Effect.fnUntraced(function*(
  both: Domains.Domains["Service"],
  laws: ReadonlyArray<Law.Law>,
  suffix: string,
  part: Part
) {
  for (const { check, name, suite } of laws) {
    const start = performance.now()
    const exit = yield* check.pipe(
      Effect.provideService(Domains.Domains, both),
      Effect.provideService(Law.CurrentOptions, { runs: 3 }),
      Effect.timeout("5 minutes"),
      Effect.exit
    )
    const error = Option.map(Exit.getCause(exit), Cause.pretty)
    const detail = Option.getOrUndefined(error)
    yield* part(`${suite}: ${name} (${suffix})`, detail === undefined, performance.now() - start, detail)
  }
})

/** Laws of xenstore in which the peer does something, too. */
const ofPeers = XenStoreLaws.laws.filter(({ name }) => /a peer may|whoever makes it/.test(name))

/** All laws of both services, between a guest and dom0; those in which a peer does something with dom0 as the owner, too. */
export const check = (lab: Lab): Check<Sharing.Context> => ({
  name: "the laws of event channels and xenstore, between the guest and dom0",
  limit: "20 minutes",
  run: Effect.fnUntraced(function*({ guest }, part) {
    const both = yield* domains({ machine: guest, domain: guest.domain }, { machine: lab.dom0, domain: 0 })
    yield* run(both, [...EventChannelLaws.laws, ...XenStoreLaws.laws], "with dom0", part)
    yield* run(turned(both), ofPeers, "dom0's, with the guest", part)
  })
})

/** The laws in which a peer does something, between two guests: xenstore's permissions hold whatever Xen's policy is. */
export const inPair: Check<readonly [Sharing.Context, Sharing.Context]> = {
  name: "the laws of xenstore's permissions and watches, between two guests",
  run: Effect.fnUntraced(function*([{ guest: one }, { guest: other }], part) {
    const both = yield* domains({ machine: one, domain: one.domain }, { machine: other, domain: other.domain })
    yield* run(both, ofPeers, `${one.name}'s, with ${other.name}`, part)
    yield* run(turned(both), ofPeers, `${other.name}'s, with ${one.name}`, part)
  })
}
