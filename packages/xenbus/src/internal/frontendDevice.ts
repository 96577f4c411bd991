import type { DomainId } from "@xen-shbuf/core/DomainId"
import { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import * as StorePath from "@xen-shbuf/core/StorePath"
import * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { ConnectionError, InvalidNode, NoDevice, PeerClosed, PeerGone, type Reason, Suspended } from "../ConnectionError.ts"
import type { Device, Nodes } from "../Device.ts"
import type * as XenbusState from "../XenbusState.ts"
import { checked } from "./address.ts"
import type { Connection, Options, Publication, RunOptions } from "./frontendModel.ts"
import * as Pace from "./pace.ts"
import * as Reader from "./reader.ts"
import * as States from "./states.ts"
import * as Values from "./values.ts"

type Store = XenStore.XenStore["Service"]

const defaultClose: Duration.Input = "5 seconds"

/** A device, and what we know of its backend. */
interface Self {
  readonly store: Store
  readonly device: Device
  /** Where our half is: relative to our domain, whose number is another after a restore. */
  readonly own: string
  readonly bell: States.Bell
  /** The state that we wrote last: another one was written by the toolstack. */
  state: XenbusState.XenbusState
  /** The state before it, for as long as it is not known whether ours was written: it failed, or was interrupted. */
  before: XenbusState.XenbusState | undefined
  /** Why no change is told any more. */
  broken: XenStoreError | undefined
}

const failed = (self: Self) => Reader.failWith(self.own)
const fail = (self: Self, reason: Reason) => Reader.fail(self.own, reason)

const ownPath = (type: string, id: number) => `device/${type}/${id}`

/** Which backend the toolstack has named. */
const locate = Effect.fnUntraced(function*(store: Store, type: string, id: number) {
  const base = ownPath(type, id)
  const own = Reader.make(store, base, base)
  const path = yield* Effect.mapError(States.ifThere(store.readText(`${base}/backend`)), Reader.failWith(base))
  if (Option.isNone(path)) return yield* Reader.fail(base, new NoDevice({ path: `${base}/backend` }))
  const backend = yield* own.read("backend-id", Values.DomainId)
  if (!Reader.isBelow(path.value, backend)) {
    const detail = `it is not among the nodes of domain ${backend}, which backend-id names`
    return yield* Reader.fail(base, new InvalidNode({ path: `${base}/backend`, detail }))
  }
  return { base, own, backend, backendPath: path.value }
})

const make = Effect.fnUntraced(function*(type: string, id: number) {
  yield* checked({ type, id })
  const store = yield* XenStore.XenStore
  const { backend, backendPath, base, own } = yield* locate(store, type, id)
  const frontend: DomainId = yield* Effect.mapError(store.ownId, Reader.failWith(base))
  const device: Device = {
    type,
    id,
    frontend,
    backend,
    frontendPath: `${StorePath.ofDomain(frontend)}/${base}`,
    backendPath,
    ...Reader.make(store, base, backendPath),
    own
  }
  const bell = yield* States.bell
  const self: Self = { store, device, own: base, bell, state: "Unknown", before: undefined, broken: undefined }
  const broken = (error: XenStoreError) => {
    self.broken = error
  }
  yield* States.ringFor(store, `${backendPath}/state`, bell, broken)
  yield* States.ringFor(store, `${base}/state`, bell, broken)
  return self
})

/** Writes our state, and nodes before it, all at once. */
const set = (self: Self, state: XenbusState.XenbusState, nodes: Nodes = {}): Effect.Effect<void, ConnectionError> =>
  Effect.suspend(() => {
    self.before = self.state
    self.state = state
    const { own, store } = self
    return States.change(store, own, (within) =>
      Effect.andThen(States.writeAll(within, own, nodes), States.write(within, own, state))).pipe(
        Effect.mapError(({ reason }) => failed(self)({
          // Nothing is missing to who writes: xenstore does not know the transaction any more, since we were restored in it.
          reason: reason._tag === "NotFound" ? new Suspended({ path: `${own}/state` }) : reason
        })),
        Effect.flatMap((isThere) => isThere ? Effect.void : fail(self, new NoDevice({ path: `${own}/state` }))),
        Effect.tap(() => Effect.sync(() => {
          self.before = undefined
        }))
      )
  })

/** Why the device is not the one any more that it was. */
const whyAnother = Effect.fnUntraced(function*(self: Self) {
  const { device, own, store } = self
  if (self.broken !== undefined) return self.broken.reason
  if (yield* Effect.mapError(States.isRestored(store, device.frontend), failed(self))) return new Suspended({ path: States.ownId })
  const ours = yield* Effect.mapError(States.look(store, own), failed(self))
  if (ours === "Missing") return new PeerGone({ path: `${own}/state` })
  const backend = yield* Effect.mapError(States.ifThere(store.readText(`${own}/backend`)), failed(self))
  if (Option.isNone(backend) || backend.value !== device.backendPath) return new Suspended({ path: `${own}/backend` })
  return ours === self.state || ours === self.before ? undefined : new Suspended({ path: `${own}/state` })
})

/** Waits for the backend until `met` says so of its state; a reason ends it. */
const until = Effect.fnUntraced(function*(self: Self, met: (theirs: States.Seen) => boolean | Reason) {
  while (true) {
    const another = yield* whyAnother(self)
    if (another !== undefined) return yield* fail(self, another)
    const theirs = yield* Effect.mapError(States.look(self.store, self.device.backendPath), failed(self))
    const result = met(theirs)
    if (result === true) return
    if (result !== false) return yield* fail(self, result)
    yield* Queue.take(self.bell)
  }
})

const whyClosed = (self: Self, theirs: States.Seen): Reason => {
  const path = `${self.device.backendPath}/state`
  switch (theirs) {
    case "Missing":
      return new PeerGone({ path })
    case "Invalid":
      return new InvalidNode({ path, detail: "no state stands in it" })
    default:
      return new PeerClosed({ state: theirs })
  }
}

const isIn = (...states: ReadonlyArray<States.Seen>) => (seen: States.Seen): boolean => states.includes(seen)
const hasLetGo = isIn("Missing", "Unknown", "Initialising", "InitWait", "Closed")
const isWaiting = isIn("InitWait", "Initialised")
const isConnected = isIn("Connected", "Reconfiguring", "Reconfigured")

/** Runs something that is short, or interrupted after a time, whatever becomes of the fiber that waits for it. */
const within = (self: Effect.Effect<unknown, ConnectionError>, time: Duration.Input): Effect.Effect<void> =>
  self.pipe(
    Effect.timeoutOption(time),
    Effect.ignore,
    Effect.forkDetach,
    Effect.flatMap(Fiber.await),
    Effect.asVoid,
    Effect.uninterruptible
  )

/** Takes down what an earlier process left, and says that we begin. */
const beginAnew = Effect.fnUntraced(function*(self: Self, time: Duration.Input) {
  const ours = yield* Effect.mapError(States.look(self.store, self.own), failed(self))
  if (ours === "Missing") return yield* fail(self, new NoDevice({ path: `${self.own}/state` }))
  if (!isIn("Unknown", "Initialising", "Closed")(ours)) {
    yield* set(self, "Closing")
    yield* until(self, hasLetGo).pipe(Effect.timeoutOption(time))
    yield* set(self, "Closed")
  }
  yield* set(self, "Initialising")
})

/** The end: the backend lets go, then we do. Where it heard of nothing, or the device is another one, only we do. */
const close = Effect.fnUntraced(function*(
  self: Self,
  held: Scope.Closeable,
  published: Nodes | undefined,
  time: Duration.Input,
  exit: Exit.Exit<unknown, unknown>
) {
  const isOurs = Effect.map(whyAnother(self), (another) => another === undefined)
  const ask = Effect.gen(function*() {
    if (published === undefined || !(yield* isOurs)) return
    yield* set(self, "Closing")
    yield* until(self, hasLetGo)
  })
  yield* within(ask, time)
  yield* Scope.close(held, exit)
  const leave = Effect.gen(function*() {
    if (!(yield* isOurs)) return
    self.state = "Closed"
    yield* States.change(self.store, self.own, (nodes) =>
      Effect.andThen(
        States.removeAll(nodes, self.own, Object.keys(published ?? {})),
        States.write(nodes, self.own, "Closed")
      )).pipe(Effect.mapError(failed(self)))
  })
  yield* within(leave, time)
})

const establish = <P extends Publication, E, R>(options: Options<P, E, R>) =>
  Effect.gen(function*() {
    const { closeWithin = defaultClose, id = 0, publish, type } = options
    const self = yield* make(type, id)
    const { device } = self
    yield* beginAnew(self, closeWithin)
    const held = yield* Scope.make()
    let published: Nodes | undefined
    yield* Effect.addFinalizer((exit) => close(self, held, published, closeWithin, exit))
    yield* until(self, (theirs) => theirs === "InitWait")
    const made = yield* Scope.provide(publish(device), held)
    // A copy: what is written is what is removed, whatever becomes of the program's own.
    published = { ...made.nodes }
    // What is refused is not there; what is interrupted may be.
    yield* Effect.tapError(set(self, "Initialised", published), () => Effect.sync(() => {
      published = undefined
    }))
    yield* until(self, (theirs) => isConnected(theirs) || (isWaiting(theirs) ? false : whyClosed(self, theirs)))
    yield* set(self, "Connected")
    const over = yield* Deferred.make<never, ConnectionError>()
    const stillThere = (theirs: States.Seen) => isConnected(theirs) || whyClosed(self, theirs)
    yield* until(self, (theirs) => stillThere(theirs) === true ? false : stillThere(theirs)).pipe(
      Effect.matchEffect({
        onFailure: (error) => Deferred.fail(over, error),
        onSuccess: () => Effect.void
      }),
      Effect.forkScoped
    )
    yield* Effect.addFinalizer(() => Deferred.completeWith(over, Reader.scopeLeft))
    const connection: Connection<P> = { ...device, published: made, ended: Deferred.await(over) }
    return { connection, check: until(self, stillThere) }
  })

interface Established<P extends Publication> {
  readonly connection: Connection<P>
  /** Looks once whether the connection is over, and fails with the reason if it is. */
  readonly check: Effect.Effect<void, ConnectionError>
}

const open = <P extends Publication, E, R>(
  options: Options<P, E, R>
): Effect.Effect<Established<P>, ConnectionError | E, Exclude<R, Scope.Scope> | XenStore.XenStore | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const scope = yield* Scope.fork(yield* Effect.scope)
      return yield* restore(establish(options)).pipe(
        Scope.provide(scope),
        Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
      )
    })
  )

/** See `Frontend.connect`. */
export const connect = <P extends Publication, E, R>(
  options: Options<P, E, R>
): Effect.Effect<Connection<P>, ConnectionError | E, Exclude<R, Scope.Scope> | XenStore.XenStore | Scope.Scope> =>
  Effect.map(open(options), ({ connection }) => connection)

/** Ends of a connection after which another one may come. */
const passing: ReadonlyArray<Reason["_tag"]> = ["PeerClosed", "PeerGone", "InvalidNode", "Suspended", "NoDevice", "ChannelGone"]

const isPassing = (error: unknown): error is ConnectionError | EventChannelError =>
  (error instanceof ConnectionError || error instanceof EventChannelError) && passing.includes(error.reason._tag)

/** Whether the toolstack has made no device at `base`, or not the way it must be. */
const isUnmade = (reason: Reason, base: string): boolean =>
  reason._tag === "NoDevice" || reason._tag === "InvalidNode" && reason.path.startsWith(`${base}/`)

/** One connection, from its beginning to its end: what `use` returned. */
const once = <P extends Publication, A, E, R, UE, UR>(options: RunOptions<P, A, E, R, UE, UR>) =>
  Effect.scoped(Effect.flatMap(open(options), ({ check, connection }) => {
    // What fails because the connection is over may be noticed before the end is.
    const use = Effect.catch(options.use(connection), (error) => Effect.andThen(check, Effect.fail(error)))
    return Effect.raceFirst(use, connection.ended)
  }))

/** See `Frontend.run`. */
export const run = <P extends Publication, A, E, R, UE, UR>(
  options: RunOptions<P, A, E, R, UE, UR>
): Effect.Effect<A, ConnectionError | E | UE, Exclude<R, Scope.Scope> | Exclude<UR, Scope.Scope> | XenStore.XenStore> =>
  Effect.scoped(Effect.gen(function*() {
    const store = yield* XenStore.XenStore
    const pace = yield* Pace.make(options.restarts ?? Pace.restarts)
    const bell = yield* States.bell
    const base = ownPath(options.type, options.id ?? 0)
    let broken: ConnectionError | undefined
    yield* States.ringFor(store, base, bell, (error) => {
      broken = Reader.failWith(base)(error)
    })
    while (true) {
      const remaining = yield* pace.remaining
      if (remaining > 0) yield* Effect.sleep(remaining)
      yield* pace.began
      const result = yield* Effect.result(once(options))
      if (Result.isSuccess(result)) return result.success
      if (broken !== undefined) return yield* Effect.fail(broken)
      if (!isPassing(result.failure)) return yield* Effect.fail(result.failure)
      yield* Effect.logDebug(result.failure.message)
      if ((yield* pace.remaining) === Infinity) return yield* Effect.fail(result.failure)
      // Nothing comes of it again before the toolstack writes something else.
      if (isUnmade(result.failure.reason, base)) yield* Queue.take(bell)
    }
  }))
