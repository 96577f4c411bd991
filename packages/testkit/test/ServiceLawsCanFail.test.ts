import { assert, describe, it } from "@effect/vitest"
import { EventChannelError, PortRefused } from "@xen-shbuf/core/EventChannelError"
import { type EventChannel, EventChannels } from "@xen-shbuf/core/EventChannels"
import { InvalidInput } from "@xen-shbuf/core/Reason"
import { type Nodes, XenStore } from "@xen-shbuf/core/XenStore"
import { Conflict, NotFound, QuotaExceeded, XenStoreError } from "@xen-shbuf/core/XenStoreError"
import { Domains, party, type Party } from "@xen-shbuf/testkit/Domains"
import * as EventChannelLaws from "@xen-shbuf/testkit/EventChannelLaws"
import * as Law from "@xen-shbuf/testkit/Law"
import * as TestDomains from "@xen-shbuf/testkit/TestDomains"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as XenStoreLaws from "@xen-shbuf/testkit/XenStoreLaws"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

type Channels = EventChannels["Service"]
type Store = XenStore["Service"]

/** Runs in a scope that nobody closes. */
const forgotten = <A, E, R>(acquire: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Scope.make(), (scope) => Scope.provide(acquire, scope))

const everyChannel = (change: (channel: EventChannel) => Partial<EventChannel>) => (channels: Channels): Channels => {
  const changed = (channel: EventChannel) => ({ ...channel, ...change(channel) })
  return {
    listen: (options) => Effect.map(channels.listen(options), changed),
    join: (options) => Effect.map(channels.join(options), changed)
  }
}

/** What can be wrong with event channels. */
const ofChannels: { readonly [fault: string]: (channels: Channels) => Channels } = {
  "never signal": everyChannel(() => ({ notify: Effect.void })),
  "signal once": everyChannel(({ notify }) => {
    let left = 1
    return { notify: Effect.suspend(() => left-- > 0 ? notify : Effect.void) }
  }),
  "never wait": everyChannel(() => ({ wait: Effect.void })),
  "wait for ever after their end": everyChannel(({ wait }) => ({
    wait: Effect.catchDefect(wait, () => Effect.never)
  })),
  "take a signal twice": everyChannel(({ wait }) => ({ wait: Effect.andThen(wait, wait) })),
  "can't be interrupted, but by a timeout": everyChannel(({ wait }) => ({
    wait: Effect.uninterruptible(Effect.timeoutOrElse(wait, { duration: "50 millis", orElse: () => Effect.void }))
  })),
  "have a stream of nothing": everyChannel(() => ({ signals: Stream.never })),
  "have a stream that takes two for one": everyChannel(({ wait }) => ({
    signals: Stream.fromEffectRepeat(Effect.andThen(wait, wait))
  })),
  "name themselves as their peer": everyChannel(({ peer }) => ({ peer: ((peer + 1) & 0x7fff) as typeof peer })),
  "are never closed": ({ join, listen }) => ({
    listen: (options) => forgotten(listen(options)),
    join: (options) => forgotten(join(options))
  }),
  "call every refusal the same": ({ join, listen }) => ({
    listen,
    join: (options) =>
      Effect.mapError(join(options), ({ operation }) =>
        new EventChannelError({ operation, reason: new PortRefused({ peer: options.peer as never, port: options.port as never }) }))
  }),
  "call every refusal a mistake": ({ join, listen }) => ({
    listen,
    join: (options) =>
      Effect.mapError(join(options), ({ operation }) =>
        new EventChannelError({ operation, reason: new InvalidInput({ argument: "?", value: "?", expected: "?" }) }))
  }),
  "signal the other end when they close": ({ join, listen }) => ({
    listen,
    join: (options) => Effect.acquireRelease(join(options), ({ notify }) => Effect.ignore(notify))
  }),
  "share one port": everyChannel(() => ({ port: 1 as never })),
  "wake one of those who wait": everyChannel(({ wait }) => {
    let busy = false
    return {
      wait: Effect.suspend(() => {
        if (busy) return Effect.never
        busy = true
        return Effect.ensuring(wait, Effect.sync(() => {
          busy = false
        }))
      })
    }
  })
}

const everyNodes = (change: (nodes: Nodes) => Partial<Nodes>) => (store: Store): Store => ({
  ...store,
  ...change(store),
  transaction: (body, options) => store.transaction((nodes) => body({ ...nodes, ...change(nodes) }), options)
})

/** What can be wrong with a xenstore. */
const ofStore: { readonly [fault: string]: (store: Store) => Store } = {
  "cuts values": everyNodes(({ write }) => ({
    write: (path, value) => write(path, typeof value === "string" ? value : value.slice(0, 1000))
  })),
  "hands out one array for all": (store) => {
    const values = new Map<string, Uint8Array>()
    return {
      ...store,
      read: (path) => Effect.map(store.read(path), (value) => {
        const known = values.get(path)
        if (known !== undefined && known.length === value.length) return known
        values.set(path, value)
        return value
      })
    }
  },
  "reads any bytes as text": everyNodes(({ read }) => ({
    readText: (path) => Effect.map(read(path), (bytes) => String.fromCharCode(...bytes))
  })),
  "reads any text as a number": everyNodes(({ readText }) => ({
    readSchema: (path: string) => Effect.map(readText(path), Number) as never
  })),
  "finds everything": everyNodes(({ read }) => ({
    read: (path) => Effect.catchReason(read(path), "XenStoreError", "NotFound", () => Effect.succeed(new Uint8Array()))
  })),
  "finds nothing": (store) => ({
    ...store,
    directory: (path) => Effect.fail(new XenStoreError({ operation: "directory", reason: new NotFound({ path }) }))
  }),
  "refuses to remove what is not there": everyNodes(({ read, remove }) => ({
    remove: (path) => Effect.andThen(read(path), remove(path))
  })),
  "lists 20 names of a directory": everyNodes(({ directory }) => ({
    directory: (path) => Effect.map(directory(path), (names) => names.slice(0, 20))
  })),
  "lists a name twice": everyNodes(({ directory }) => ({
    directory: (path) => Effect.map(directory(path), (names) => [...names, ...names.slice(0, 1)])
  })),
  "takes any path": everyNodes(({ write }) => ({ write: (path, value) => Effect.ignore(write(path, value)) })),
  "does the half of a transaction": (store) => ({ ...store, transaction: (body) => body(store) }),
  "never runs a transaction again": (store) => ({
    ...store,
    transaction: (body) => store.transaction(body, { attempts: 1 })
  }),
  "runs transactions too often": (store) => ({
    ...store,
    transaction: (body, { attempts = 16 } = {}) => store.transaction(body, { attempts: attempts + 1 })
  }),
  "looks at more than it was asked to in a transaction": (store) => ({
    ...store,
    transaction: (body, options) =>
      store.transaction((nodes) => Effect.andThen(Effect.ignore(nodes.read("data/laws-with-2/b")), body(nodes)), options)
  }),
  "finds a conflict the first time": (store) => ({
    ...store,
    transaction: (body, { attempts = 16 } = {}) =>
      attempts === 1
        ? Effect.fail(new XenStoreError({ operation: "transaction", reason: new Conflict({ attempts }) }))
        : store.transaction(body, { attempts: attempts - 1 })
  }),
  "runs every transaction twice": (store) => ({
    ...store,
    transaction: (body, options) => Effect.andThen(store.transaction(body, options), store.transaction(body, options))
  }),
  "does not tell at once": (store) => ({ ...store, watch: (path, options) => Stream.drop(store.watch(path, options), 1) }),
  "tells of the watched path alone": (store) => ({
    ...store,
    watch: (path, options) => Stream.filter(store.watch(path, options), (told) => told === path || told.endsWith("last"))
  }),
  "tells of what is beside": (store) => ({
    ...store,
    watch: (path, options) => Stream.flatMap(store.watch(path, options), (told) => Stream.make(told, `${told}side`))
  }),
  "tells nothing of what goes": (store) => ({
    ...store,
    watch: (path, options) =>
      Stream.filterEffect(store.watch(path, options), (told) =>
        Effect.map(Effect.exit(store.read(told)), ({ _tag }) => _tag === "Success"))
  }),
  "keeps all paths": (store) => ({ ...store, watch: (path) => store.watch(path) }),
  "never ends a watch": (store) => ({
    ...store,
    watch: (path, options) =>
      Stream.unwrap(Effect.as(Effect.forkDetach(Stream.runDrain(store.watch(path))), store.watch(path, options)))
  }),
  "forgets who is named": everyNodes(({ setPermissions }) => ({
    setPermissions: (path, { others, owner }) => setPermissions(path, { owner, others })
  })),
  "lets everybody in": everyNodes(({ setPermissions }) => ({
    setPermissions: (path, permissions) =>
      Effect.andThen(setPermissions(path, permissions), setPermissions(path, { ...permissions, others: "both" }))
  })),
  "takes any permissions": everyNodes(({ setPermissions }) => ({
    setPermissions: (path, permissions) => Effect.ignore(setPermissions(path, permissions))
  })),
  "does not know itself": (store) => ({ ...store, ownId: Effect.map(store.ownId, (id) => ((id + 1) & 0x7fff) as typeof id) }),
  "can do nothing in a finalizer": (store) => ({
    ...store,
    transaction: (body, options) => Effect.interruptible(store.transaction(body, options))
  }),
  "refuses the eleventh transaction at one time": (store) => {
    let open = 0
    return {
      ...store,
      transaction: (body, options) =>
        Effect.suspend(() =>
          ++open > 10
            ? Effect.fail(new XenStoreError({ operation: "transaction", reason: new QuotaExceeded({ path: "/", quota: "transactions" }) }))
            : store.transaction(body, options)
        ).pipe(Effect.ensuring(Effect.sync(() => void open--)))
    }
  },
  "gives the answer of another": (store) => {
    let before = ""
    return {
      ...store,
      transaction: (body, options) =>
        Effect.map(store.transaction(body, options), (answer) => {
          if (typeof answer !== "string") return answer
          const last = before
          before = answer
          return last as typeof answer
        })
    }
  }
}

const broken = (change: (party: Party) => Party, ids: { readonly frontend: number; readonly backend: number }) =>
  Layer.effect(Domains, Effect.map(Domains, (domains) => ({
    ...domains,
    frontend: change(domains.frontend),
    backend: change(domains.backend)
  }))).pipe(Layer.provide(TestDomains.layer(ids)), Layer.provide(TestXen.layer()))

const withChannels = (change: (channels: Channels) => Channels) => ({ channels, id, services }: Party) =>
  party(id, Context.add(services, EventChannels, EventChannels.of(change(channels))))

const withStore = (change: (store: Store) => Store) => ({ id, services, store }: Party) =>
  party(id, Context.add(services, XenStore, XenStore.of(change(store))))

/** Whether a law is violated, or can't end. */
const isViolated = (law: Law.Law, change: (party: Party) => Party, ids = { frontend: 1, backend: 2 }) =>
  Law.run(law, broken(change, ids)).pipe(
    Effect.provideService(Law.CurrentOptions, { runs: 8, seed: 1 }),
    Effect.map(({ failure }) => failure !== undefined),
    Effect.timeoutOrElse({ duration: "500 millis", orElse: () => Effect.succeed(true) })
  )

/** Dom0 has no quotas, and sees all. */
const pairs = [{ frontend: 1, backend: 2 }, { frontend: 0, backend: 0 }]

const canFail = (
  name: string,
  laws: ReadonlyArray<Law.Law>,
  faults: { readonly [fault: string]: (party: Party) => Party }
) =>
  describe(name, () => {
    for (const [fault, change] of Object.entries(faults)) {
      it.live(`a law finds those that ${fault}`, () =>
        Effect.gen(function*() {
          const found = yield* Effect.findFirst(laws, (law) => isViolated(law, change, pairs[0]))
          const inDom0 = Option.isSome(found) ? found : yield* Effect.findFirst(laws, (law) => isViolated(law, change, pairs[1]))
          assert.isTrue(Option.isSome(inDom0))
        }), 60_000)
    }

    it.live("each law is violated by some fault", () =>
      Effect.gen(function*() {
        for (const law of laws) {
          const attempts = pairs.flatMap((ids) => Object.values(faults).map((change) => ({ change, ids })))
          const found = yield* Effect.findFirst(attempts, ({ change, ids }) => isViolated(law, change, ids))
          assert.isTrue(Option.isSome(found), law.name)
        }
      }), 60_000)
  })

const mapValues = <A, B>(self: { readonly [key: string]: A }, f: (value: A) => B): { readonly [key: string]: B } =>
  Object.fromEntries(Object.entries(self).map(([key, value]) => [key, f(value)]))

canFail("Laws of event channels", EventChannelLaws.laws, mapValues(ofChannels, withChannels))
canFail("Laws of xenstore", XenStoreLaws.laws, mapValues(ofStore, withStore))
