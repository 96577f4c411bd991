import type { DomainId } from "@xen-shbuf/core/DomainId"
import type * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { ConnectionError, InvalidNode, PeerClosed, PeerGone, type Reason, Suspended } from "../ConnectionError.ts"
import type { Device, Nodes } from "../Device.ts"
import type * as XenbusState from "../XenbusState.ts"
import type { Options } from "./backendModel.ts"
import type { Pace } from "./pace.ts"
import * as Reader from "./reader.ts"
import * as States from "./states.ts"
import * as Values from "./values.ts"

/** One device that the toolstack has given to us. */
export interface Self<E, R, AE, AR> {
  readonly store: XenStore.XenStore["Service"]
  readonly options: Options<E, R, AE, AR>
  readonly id: number
  readonly frontend: DomainId
  readonly backend: DomainId
  readonly backendPath: string
  /** Rings for each change below our half, and when all are to stop. */
  readonly bell: States.Bell
  readonly pace: Pace
  readonly isStopping: () => boolean
  /** Nodes of our half that are ours to remove. */
  readonly written: Set<string>
  /** See `Backend.Options`. */
  readonly publishes: string | undefined
}

/** What xenstore says of both halves. */
interface View {
  readonly ours: States.Seen
  readonly theirs: States.Seen
  /** Whether the toolstack wants the device to be there. */
  readonly isOnline: boolean
  /** What stands in the node that the frontend publishes with all else: its bytes in decimal; undefined for none. */
  readonly published: string | undefined
}

const isIn = (...states: ReadonlyArray<States.Seen>) => (seen: States.Seen): boolean => states.includes(seen)
/** States of a frontend that has published what it shares, and may use it. */
const hasPublished = isIn("Initialised", "Connected")
const isUsing = isIn("Initialised", "Connected", "Reconfiguring", "Reconfigured")
/** States of ours that only somebody who was connected leaves behind, or a toolstack that wants an end. */
const isLeftBehind = isIn("Initialised", "Connected", "Closing", "Reconfiguring", "Reconfigured", "Invalid")

const withinOf = <E, R, AE, AR>({ options }: Self<E, R, AE, AR>): Duration.Input => options.closeWithin ?? "2 seconds"

type Any<A> = Effect.Effect<A, XenStoreError>

/** What is known of a device whatever its handler does. */
type Known = Omit<Self<never, never, never, never>, "options">

const look = (self: Known, frontendPath: string): Any<View> =>
  Effect.all({
    ours: States.look(self.store, self.backendPath),
    theirs: States.look(self.store, frontendPath),
    isOnline: Effect.map(
      States.ifThere(self.store.read(`${self.backendPath}/online`)),
      (online) => Option.isNone(online) || !(online.value.length === 1 && online.value[0] === 48)
    ),
    published: self.publishes === undefined
      ? Effect.succeed(undefined)
      : Effect.map(States.ifThere(self.store.read(`${frontendPath}/${self.publishes}`)), (value) =>
        Option.isNone(value) ? undefined : String(value.value))
  })

/** Where the frontend is, as the toolstack says; missing where it has not said so yet. */
const locate = Effect.fnUntraced(function*<E, R, AE, AR>(self: Self<E, R, AE, AR>) {
  const own = Reader.make(self.store, self.backendPath, self.backendPath)
  const path = yield* Effect.mapError(
    States.ifThere(self.store.readText(`${self.backendPath}/frontend`)),
    Reader.failWith(self.backendPath)
  )
  if (Option.isNone(path)) return undefined
  const id = yield* own.readOptional("frontend-id", Values.DomainId)
  if (Option.isSome(id) && id.value !== self.frontend) {
    const detail = `it is ${id.value}, but the device is one of domain ${self.frontend}`
    return yield* Reader.fail(self.backendPath, new InvalidNode({ path: `${self.backendPath}/frontend-id`, detail }))
  }
  if (!Reader.isBelow(path.value, self.frontend)) {
    const detail = `it is not among the nodes of domain ${self.frontend}`
    return yield* Reader.fail(self.backendPath, new InvalidNode({ path: `${self.backendPath}/frontend`, detail }))
  }
  return path.value
})

/** Runs a device until the toolstack removes it, or all are to stop. Never fails: what goes wrong is logged, and tried again. */
export const run = <E, R, AE, AR>(self: Self<E, R, AE, AR>): Effect.Effect<void, never, R | AR> =>
  Effect.suspend(() => Effect.scoped(whileThere(self))).pipe(
    Effect.catchCause((cause) => broken(self, cause)),
    Effect.flatMap((again) => again ? run(self) : Effect.void)
  )

/** Says Closed, if it does not say so already: what we write is told to us, too. */
const close = (self: Known): Any<void> =>
  Effect.flatMap(States.look(self.store, self.backendPath), (ours) => ours === "Closed" ? Effect.void : setClosed(self))

/**
 * The same where nobody comes back to try again: for as long as xenstore refuses, unless there is none any more. A frontend
 * would believe in us for ever.
 */
const closeAtLast = <E, R, AE, AR>(self: Self<E, R, AE, AR>): Effect.Effect<void> =>
  close(self).pipe(
    Effect.retry({
      schedule: Schedule.spaced("50 millis"),
      while: ({ reason }) => reason._tag !== "StoreGone" && reason._tag !== "DeviceUnavailable"
    }),
    Effect.timeoutOption(withinOf(self)),
    Effect.ignore
  )

/** Why our half is not there any more. */
const whyGone = (self: Known): Any<Suspended | PeerGone> =>
  Effect.map(States.isRestored(self.store, self.backend), (is) =>
    is ? new Suspended({ path: States.ownId }) : new PeerGone({ path: self.backendPath }))

/** Says what is wrong with a device, and waits until it may be another thing. False where all are to stop. */
const broken = Effect.fnUntraced(function*<E, R, AE, AR>(self: Self<E, R, AE, AR>, cause: Cause.Cause<unknown>) {
  if (yield* Effect.orElseSucceed(States.isRestored(self.store, self.backend), () => false)) return false
  yield* Effect.logError("The device failed; it is begun anew.", cause)
  if (self.isStopping()) {
    yield* closeAtLast(self)
    return false
  }
  yield* Effect.ignore(close(self))
  yield* self.pace.began
  const error = Cause.findErrorOption(cause)
  const isNode = Option.isSome(error) && error.value instanceof ConnectionError && error.value.reason._tag === "InvalidNode"
  // A node that can't be is so until somebody writes another.
  if (isNode) yield* Queue.take(self.bell)
  while (!self.isStopping() && (yield* pause(self))) { /* rung before its time */ }
  return true
})

/** Waits until the pace allows the next beginning, or something has happened. */
const pause = <E, R, AE, AR>(self: Self<E, R, AE, AR>): Effect.Effect<boolean> =>
  Effect.flatMap(self.pace.remaining, (remaining) => {
    if (remaining <= 0) return Effect.succeed(false)
    const rung = Queue.take(self.bell)
    return Effect.as(remaining === Infinity ? rung : Effect.raceFirst(Effect.sleep(remaining), rung), true)
  })

/** True where the device is to be looked at from the beginning, false where it is gone or all are to stop. */
const whileThere = Effect.fnUntraced(function*<E, R, AE, AR>(self: Self<E, R, AE, AR>) {
  const frontendPath = yield* locate(self)
  if (frontendPath === undefined) {
    if (self.isStopping() || (yield* States.look(self.store, self.backendPath)) === "Missing") return false
    yield* Queue.take(self.bell)
    return true
  }
  let broken: XenStoreError | undefined
  yield* States.ringFor(self.store, `${frontendPath}/state`, self.bell, (error) => {
    broken = error
  })
  const device = deviceAt(self, frontendPath)
  while (true) {
    if (broken !== undefined) return yield* Effect.fail(broken)
    const view = yield* look(self, frontendPath)
    const next = yield* step(self, device, view)
    if (next === "gone") return false
    if (next === "moved") return true
    if (next === "wait") yield* Queue.take(self.bell)
  }
})

const deviceAt = <E, R, AE, AR>(self: Self<E, R, AE, AR>, frontendPath: string): Device => {
  const { backend, backendPath, frontend, id, options: { type }, store } = self
  return {
    type,
    id,
    frontend,
    backend,
    frontendPath,
    backendPath,
    ...Reader.make(store, backendPath, frontendPath),
    own: Reader.make(store, backendPath, backendPath)
  }
}

/** Does what is to be done next, and says how to go on: look again, wait for a change, or end. */
const step = Effect.fnUntraced(function*<E, R, AE, AR>(self: Self<E, R, AE, AR>, device: Device, view: View) {
  const { ours, theirs } = view
  const close = Effect.as(setClosed(self), "again" as const)
  if (ours === "Missing") return "gone"
  if (self.isStopping()) {
    if (ours !== "Closed") yield* close
    yield* letGo(self, device)
    return "gone"
  }
  if (isLeftBehind(ours)) {
    if (ours !== "Closing") yield* States.set(self.store, self.backendPath, "Closing")
    return yield* close
  }
  if (!view.isOnline) return ours === "Closed" ? "wait" : yield* close
  if (ours === "InitWait") {
    if (!hasPublished(theirs) || (self.publishes !== undefined && view.published === undefined)) return "wait"
    yield* connection(self, device)
    return "again"
  }
  // A frontend that still uses what a connection had has not seen its end; one that is gone may never come back.
  if (ours === "Closed" && (isUsing(theirs) || theirs === "Missing")) return "wait"
  if (yield* pause(self)) return "again"
  if ((yield* locate(self)) !== device.frontendPath) return "moved"
  yield* begin(self, device)
  return "again"
})

/** Advertises, and says InitWait. */
const begin = Effect.fnUntraced(function*<E, R, AE, AR>(self: Self<E, R, AE, AR>, device: Device) {
  yield* self.pace.began
  const nodes: Nodes = self.options.advertise === undefined ? {} : yield* self.options.advertise(device)
  yield* write(self, nodes, "InitWait")
})

/** Writes nodes of our half, and its state, at once, if that is `allowed` at that moment; whether it is there. */
const write = (
  self: Known,
  nodes: Nodes,
  state?: XenbusState.XenbusState,
  allowed: Effect.Effect<void> = Effect.void
): Any<boolean> => {
  const { backendPath, store, written } = self
  return States.change(store, backendPath, (within) =>
    Effect.andThen(allowed, Effect.suspend(() => {
      for (const name of Object.keys(nodes)) written.add(name)
      return Effect.andThen(
        States.writeAll(within, backendPath, nodes),
        state === undefined ? Effect.void : States.write(within, backendPath, state)
      )
    })))
}

/** Removes what we wrote, and says Closed, at once. */
const setClosed = ({ backendPath, store, written }: Known): Any<void> =>
  Effect.map(
    States.change(store, backendPath, (nodes) =>
      Effect.andThen(States.removeAll(nodes, backendPath, written), States.write(nodes, backendPath, "Closed"))),
    () => written.clear()
  )

/** Waits until the frontend does not use anything any more, but not for ever. */
const letGo = <E, R, AE, AR>(self: Self<E, R, AE, AR>, device: Device): Effect.Effect<void> => {
  const gone: Effect.Effect<void, XenStoreError> = Effect.flatMap(look(self, device.frontendPath), ({ ours, theirs }) =>
    ours === "Missing" || !isUsing(theirs) ? Effect.void : Effect.andThen(Queue.take(self.bell), gone))
  return gone.pipe(Effect.timeoutOption(withinOf(self)), Effect.ignore)
}

/** Why a connection is over, but for the handler's own end. */
const whyOver = (self: Known, device: Device, view: View, was: View | undefined): Reason | "stopped" | undefined => {
  const { ours, theirs } = view
  if (self.isStopping() || !view.isOnline || !isIn("InitWait", "Connected")(ours)) return "stopped"
  if (theirs === "Missing") return new PeerGone({ path: `${device.frontendPath}/state` })
  if (theirs === "Invalid") {
    return new InvalidNode({ path: `${device.frontendPath}/state`, detail: "no state stands in it" })
  }
  // Back from Connected to Initialised: it has published anew, and was too fast to be seen in between.
  const isAnew = was !== undefined && (self.publishes === undefined
    ? was.theirs === "Connected" && theirs === "Initialised"
    : was.published !== view.published)
  return isUsing(theirs) && !isAnew ? undefined : new PeerClosed({ state: theirs })
}

/** Runs the handler for one connection, and ends it in order. */
const connection = Effect.fnUntraced(function*<E, R, AE, AR>(self: Self<E, R, AE, AR>, device: Device) {
  const { backendPath } = self
  const failed = Reader.failWith(backendPath)
  const scope = yield* Scope.make()
  // The last of its finalizers: the nodes are the next connection's then.
  let isOver = false
  yield* Scope.addFinalizer(scope, Effect.sync(() => {
    isOver = true
  }))
  const open = Effect.suspend(() => isOver ? Reader.scopeLeft : Effect.void)
  const gone = Effect.flatMap(Effect.mapError(whyGone(self), failed), (reason) => Reader.fail(backendPath, reason))
  const ifThere = (change: Effect.Effect<boolean, XenStoreError>) =>
    Effect.flatMap(Effect.mapError(change, failed), (isThere) => isThere ? Effect.void : gone)
  const handler = self.options.handler({
    ...device,
    ready: ifThere(write(self, {}, "Connected", open)),
    write: (nodes) => ifThere(write(self, nodes, undefined, open))
  })
  const fiber = yield* Effect.forkChild(Scope.provide(Effect.suspend(() => handler), scope))
  fiber.addObserver(() => States.ring(self.bell))
  const over = yield* Effect.onExit(untilOver(self, device, fiber), () => end(self, fiber, scope))
  yield* tell(over, yield* Fiber.await(fiber))
})

const untilOver = Effect.fnUntraced(function*<E, R, AE, AR>(
  self: Self<E, R, AE, AR>,
  device: Device,
  fiber: Fiber.Fiber<void, E>
) {
  let was: View | undefined
  while (true) {
    // First, so that a handler that failed because the frontend went is not said to have failed.
    const hasEnded = fiber.pollUnsafe() !== undefined
    const view = yield* look(self, device.frontendPath)
    const over = view.ours === "Missing" ? yield* whyGone(self) : whyOver(self, device, view, was)
    if (over !== undefined || hasEnded) return over
    was = view
    yield* Queue.take(self.bell)
  }
})

/** Stops to answer, lets go of all that the handler has acquired, removes what it wrote: in this order. */
const end = Effect.fnUntraced(function*<E, R, AE, AR>(
  self: Self<E, R, AE, AR>,
  fiber: Fiber.Fiber<void, E>,
  scope: Scope.Closeable
) {
  yield* Fiber.interrupt(fiber)
  yield* Effect.ignore(States.set(self.store, self.backendPath, "Closing"))
  yield* Scope.close(scope, yield* Fiber.await(fiber))
  yield* setClosed(self)
})

/** Logs why a connection has ended. */
const tell = <E>(over: Reason | "stopped" | undefined, exit: Exit.Exit<void, E>): Effect.Effect<void> => {
  const cause = Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause) ? exit.cause : undefined
  if (over === undefined) {
    return cause === undefined
      ? Effect.logInfo("The handler has ended: the device is closed.")
      : Effect.logError("The handler failed: the device is closed.", cause)
  }
  const log = Effect.logDebug(over === "stopped" ? "The device is closed." : over.message)
  return cause === undefined ? log : Effect.andThen(log, Effect.logDebug("The handler failed at its end.", cause))
}
