import type * as DomainId from "@xen-shbuf/core/DomainId"
import { invalidInput } from "@xen-shbuf/core/Reason"
import * as StorePath from "@xen-shbuf/core/StorePath"
import * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConnectionError } from "../ConnectionError.ts"
import { checked } from "./address.ts"
import * as BackendDevice from "./backendDevice.ts"
import type { Options } from "./backendModel.ts"
import * as Pace from "./pace.ts"
import { failWith } from "./reader.ts"
import * as States from "./states.ts"
import * as Values from "./values.ts"

interface Entry {
  readonly bell: States.Bell
  readonly fiber: Fiber.Fiber<void>
}

/** Each device takes a watch. Xen lets a guest have 128, for all of its programs and its Linux, and dom0 any number. */
const defaultMaxDevices = (ownId: DomainId.DomainId): number => ownId === 0 ? 256 : 100

/** Different paths below a type that are kept until they are looked at; more are a look at all. */
const paths = 1024

const domainOf = Schema.decodeOption(Values.DomainId)
const numberOf = Schema.decodeOption(XenStore.Decimal)

/** The devices of a type, by their paths below it: `<frontend's domain>/<number>`. */
class Server<E, R, AE, AR> {
  readonly options: Options<E, R, AE, AR>
  readonly store: XenStore.XenStore["Service"]
  readonly ownId: DomainId.DomainId
  readonly base: string
  readonly entries = new Map<string, Entry>()
  readonly most: number
  stopping = false
  /** Whether a device was left waiting: where one goes there is room. */
  isFull = false

  constructor(store: XenStore.XenStore["Service"], ownId: DomainId.DomainId, options: Options<E, R, AE, AR>) {
    this.store = store
    this.ownId = ownId
    this.options = options
    this.base = `${StorePath.ofDomain(ownId)}/backend/${options.type}`
    this.most = options.maxDevices ?? defaultMaxDevices(ownId)
  }

  /** Looks at what a change of a path may have to do with. */
  noticed(path: string): Effect.Effect<void, XenStoreError, R | AR> {
    const [domain, device] = path.slice(this.base.length + 1).split("/")
    if (domain === undefined || domain === "") return this.scan()
    return device === undefined ? this.scanDomain(domain) : this.device(domain, device)
  }

  private scan(): Effect.Effect<void, XenStoreError, R | AR> {
    for (const { bell } of this.entries.values()) States.ring(bell)
    return Effect.flatMap(this.names(this.base), (domains) =>
      Effect.forEach(domains, (domain) => this.scanDomain(domain), { discard: true }))
  }

  private scanDomain(domain: string): Effect.Effect<void, XenStoreError, R | AR> {
    for (const [key, { bell }] of this.entries) if (key.startsWith(`${domain}/`)) States.ring(bell)
    return Option.isNone(domainOf(domain)) ? Effect.void : Effect.flatMap(this.names(`${this.base}/${domain}`), (devices) =>
      Effect.forEach(devices, (device) => this.device(domain, device), { discard: true }))
  }

  private names(path: string): Effect.Effect<ReadonlyArray<string>, XenStoreError> {
    return Effect.map(XenStore.ifPresent(this.store.directory(path)), Option.getOrElse(() => []))
  }

  private device(domain: string, device: string): Effect.Effect<void, XenStoreError, R | AR> {
    const key = `${domain}/${device}`
    const entry = this.entries.get(key)
    if (entry !== undefined) return Effect.sync(() => States.ring(entry.bell))
    const frontend = domainOf(domain)
    const id = numberOf(device)
    if (Option.isNone(frontend) || Option.isNone(id)) return Effect.void
    const { serves } = this.options
    const adopting = this.consider(key, frontend.value, id.value)
    return serves === undefined
      ? adopting
      : Effect.flatMap(serves(frontend.value), (isServed) => isServed ? adopting : Effect.void)
  }

  private consider(key: string, frontend: DomainId.DomainId, id: number): Effect.Effect<void, XenStoreError, R | AR> {
    return Effect.flatMap(States.look(this.store, `${this.base}/${key}`), (state) => {
      if (state === "Missing" || this.stopping || this.entries.has(key)) return Effect.void
      if (this.entries.size < this.most) return this.adopt(key, frontend, id)
      const isNew = !this.isFull
      this.isFull = true
      return isNew
        ? Effect.logWarning(`${this.most} devices of type ${this.options.type} are served already: ${this.base}/${key} waits`)
        : Effect.void
    })
  }

  /** Begins to serve a device, in a fiber that ends by itself: when the device is removed, or when all are to stop. */
  private adopt(key: string, frontend: DomainId.DomainId, id: number): Effect.Effect<void, never, R | AR> {
    return Effect.uninterruptible(Effect.gen({ self: this }, function*() {
      const bell = yield* States.bell
      const { options, ownId, store } = this
      const self = {
        store,
        options,
        id,
        frontend,
        backend: ownId,
        backendPath: `${this.base}/${key}`,
        bell,
        pace: yield* Pace.make(options.restarts ?? Pace.restarts),
        isStopping: () => this.stopping,
        written: new Set<string>(),
        publishes: options.publishes
      }
      const fiber = yield* Effect.andThen(BackendDevice.run(self), this.left(key)).pipe(
        Effect.annotateLogs({ device: self.backendPath }),
        Effect.forkDetach
      )
      this.entries.set(key, { bell, fiber })
    }))
  }

  /** What follows when a device was removed: it may have been made anew meanwhile, and there is room for another. */
  private left(key: string): Effect.Effect<void, never, R | AR> {
    return Effect.suspend(() => {
      this.entries.delete(key)
      if (this.stopping) return Effect.void
      if (!this.isFull) return Effect.ignore(this.noticed(`${this.base}/${key}`))
      this.isFull = false
      return Effect.ignore(this.scan())
    })
  }

  /** Closes all devices, at the same time. */
  readonly stop: Effect.Effect<void> = Effect.suspend(() => {
    this.stopping = true
    const entries = [...this.entries.values()]
    for (const { bell } of entries) States.ring(bell)
    return Fiber.awaitAll(entries.map(({ fiber }) => fiber))
  })
}

/**
 * Serves under the id that this domain has, until it has another: then nothing that was connected is there any more, and
 * the toolstack makes devices anew below another path.
 */
const underOneId = Effect.fnUntraced(function*<E, R, AE, AR>(store: XenStore.XenStore["Service"], options: Options<E, R, AE, AR>) {
  const ownId = yield* store.ownId
  const server = new Server(store, ownId, options)
  const looking = store.watch(server.base, { paths }).pipe(
    Stream.runForEach((path) => server.noticed(path)),
    Effect.andThen(Effect.never),
    // What was read below the old id is refused: that may be noticed first.
    Effect.catch((error) =>
      Effect.flatMap(States.isRestored(store, ownId), (is) => is ? Effect.void : Effect.fail(error)))
  )
  yield* Effect.ensuring(Effect.raceFirst(looking, States.restored(store, ownId)), server.stop)
  yield* Effect.logInfo(`This domain was saved and restored: devices of type ${options.type} are served under its new id.`)
})

/** See `Backend.serve`. */
export const serve = <E, R, AE, AR>(
  options: Options<E, R, AE, AR>
): Effect.Effect<never, ConnectionError, Exclude<R, Scope.Scope> | Exclude<AR, Scope.Scope> | XenStore.XenStore> =>
  Effect.gen(function*() {
    yield* checked({ type: options.type })
    const store = yield* XenStore.XenStore
    const { maxDevices = 0, type } = options
    const failed = failWith(`backend/${type}`)
    // Not even one that is no number at all, which nothing exceeds.
    if (!(maxDevices >= 0)) return yield* Effect.fail(failed({ reason: invalidInput("maxDevices", maxDevices, "a number of devices") }))
    return yield* Effect.mapError(Effect.forever(underOneId(store, options)), failed)
  }) as Effect.Effect<never, ConnectionError, Exclude<R, Scope.Scope> | Exclude<AR, Scope.Scope> | XenStore.XenStore>
