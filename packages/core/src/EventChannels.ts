/**
 * Signals other domains, and waits for theirs.
 *
 * An event channel has two ends, a port each, and carries one bit: that something has happened. Signals that come
 * before the last one was taken coalesce, and one may come without a cause: joining a channel gives one at once, so look
 * at what the memory says each time. Closing an end says nothing to the peer.
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as DomainId from "./DomainId.ts"
import { EventChannelError, type Reason } from "./EventChannelError.ts"
import { openScope } from "./internal/ended.ts"
import * as Input from "./internal/input.ts"
import { traced } from "./internal/tracing.ts"
import type * as Port from "./Port.ts"

/**
 * Our end of an event channel.
 *
 * @category models
 * @since 0.2.0
 */
export interface EventChannel {
  /** The domain at the other end. */
  readonly peer: DomainId.DomainId
  /** Our own port: what `unmapNotify` takes, and what the peer is told of a channel that listens. */
  readonly port: Port.Port
  /** Signals the peer. Nobody hears it where the peer has not joined yet, or has closed its end. */
  readonly notify: Effect.Effect<void, EventChannelError>
  /**
   * Takes the signal that has come, or waits for the next one. Only then can the peer signal again: a storm of signals
   * costs one wake-up for each time that we look. All who wait are woken by one signal.
   */
  readonly wait: Effect.Effect<void, EventChannelError>
  /** The same as a stream, without an end of its own: an element for each signal that is taken. */
  readonly signals: Stream.Stream<void, EventChannelError>
}

/**
 * A request for a new port that `peer` may join, checked.
 *
 * @category models
 * @since 0.2.0
 */
export interface ListenRequest {
  /** The only domain that may join. */
  readonly peer: DomainId.DomainId
}

/**
 * A request to join a port that a peer listens on, checked.
 *
 * @category models
 * @since 0.2.0
 */
export interface JoinRequest {
  /** Whose port it is. */
  readonly peer: DomainId.DomainId
  /** The peer's own number of it. */
  readonly port: Port.Port
}

/**
 * What an implementation calls when something happens to a port; both are cheap, synchronous and may come before the
 * port was handed over.
 *
 * @category models
 * @since 0.2.0
 */
export interface Listener {
  /** A signal has come. The port stays silent until it is unmasked. */
  readonly signal: () => void
  /** The port does not exist any more. */
  readonly end: (reason: Reason) => void
}

/**
 * A port that an implementation has opened, and what else there is to do with it. All synchronous.
 *
 * @category models
 * @since 0.2.0
 */
export interface Bound {
  /** Our own port. */
  readonly port: Port.Port
  /** Signals the peer. */
  readonly notify: () => Result.Result<void, Reason>
  /** Lets the next signal come. Called once for each signal that was taken. */
  readonly unmask: () => Result.Result<void, Reason>
  /** Told when the first one begins to wait, and when nobody waits any more: what listens need not keep a process alive. */
  readonly awaited?: (isAwaited: boolean) => void
  /** Set where an event loop calls `signal`, and not a peer in the middle of what it does: who waits goes on at once. */
  readonly isOfLoop?: boolean
  /** Closes the port. Called once, however the scope ends; must not throw. No call to the listener comes after it. */
  readonly release: () => void
}

/**
 * What an implementation provides; `make` turns it into the service. Requests arrive checked. Both run
 * uninterruptibly, all or nothing.
 *
 * @category models
 * @since 0.2.0
 */
export interface Driver {
  /** Opens a new port that the peer alone may join. */
  readonly listen: (request: ListenRequest, listener: Listener) => Effect.Effect<Bound, EventChannelError>
  /** Joins the port that the peer listens on. */
  readonly join: (request: JoinRequest, listener: Listener) => Effect.Effect<Bound, EventChannelError>
}

/**
 * The event channels of the domain that we run in.
 *
 * @category services
 * @since 0.2.0
 */
export class EventChannels extends Context.Service<EventChannels, {
  /** Opens a new port that `peer` alone may join: tell it the port, by xenstore as a rule. */
  readonly listen: (options: { readonly peer: number }) => Effect.Effect<EventChannel, EventChannelError, Scope.Scope>
  /** Joins the port that `peer` listens on. Our end is signalled by it, for signals that came before may be lost. */
  readonly join: (options: {
    readonly peer: number
    readonly port: number
  }) => Effect.Effect<EventChannel, EventChannelError, Scope.Scope>
}>()("@xen-shbuf/core/EventChannels") {}

const scopeLeft = Effect.die(new Error("This event channel is closed: its scope was left."))

type Operation = EventChannelError["operation"]

const failed = (operation: Operation, reason: Reason) => Effect.fail(new EventChannelError({ operation, reason }))

const answer = (operation: Operation, result: Result.Result<void, Reason>): Effect.Effect<void, EventChannelError> =>
  Result.isSuccess(result) ? Effect.void : failed(operation, result.failure)

/** The answer to any operation on a port that is no more. */
type Over = (operation: Operation) => Effect.Effect<never, EventChannelError>

/** What is known of a port between the implementation, which signals, and those who wait. */
class Signals implements Listener {
  #pending = false
  #over: Over | undefined
  readonly #waiting = new Set<(effect: Effect.Effect<void, EventChannelError>) => void>()
  #unmask: Bound["unmask"] = () => Result.succeed(undefined)
  #awaited: Bound["awaited"]
  #isOfLoop = false

  signal = () => {
    this.#pending = true
    this.#wake()
  }

  end = (reason: Reason) => {
    this.#over ??= (operation) => failed(operation, reason)
    this.#wake()
  }

  /** Nobody waits for ever, and nobody uses the number of a port that is another's by now. */
  leave() {
    this.#over = () => scopeLeft
    this.#wake()
  }

  bind({ awaited, isOfLoop = false, unmask }: Bound) {
    this.#unmask = unmask
    this.#awaited = awaited
    this.#isOfLoop = isOfLoop
  }

  /** Does something with the port while there is one. */
  use(operation: Operation, work: () => Result.Result<void, Reason>): Effect.Effect<void, EventChannelError> {
    return this.#over === undefined ? answer(operation, work()) : this.#over(operation)
  }

  #wake() {
    if (this.#waiting.size === 0) return
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    this.#awaited?.(false)
    const taking = this.#isOfLoop ? this.#take : this.#later
    for (const resume of waiting) resume(taking)
  }

  /** Of all who were woken by one signal, the first one takes it; one who is interrupted before leaves it to the next. */
  readonly #take: Effect.Effect<void, EventChannelError> = Effect.suspend(() =>
    this.use("wait", () => {
      if (!this.#pending) return Result.void
      this.#pending = false
      return this.#unmask()
    })
  )

  /** In a turn of its own: not in the middle of what the peer is doing, where it runs in this process. */
  readonly #later: Effect.Effect<void, EventChannelError> = Effect.andThen(Effect.yieldNow, this.#take)

  readonly wait: Effect.Effect<void, EventChannelError> = Effect.suspend(() => {
    if (this.#pending || this.#over !== undefined) return this.#take
    return Effect.callback<void, EventChannelError>((resume) => {
      this.#waiting.add(resume)
      if (this.#waiting.size === 1) this.#awaited?.(true)
      return Effect.sync(() => {
        if (this.#waiting.delete(resume) && this.#waiting.size === 0) this.#awaited?.(false)
      })
    })
  })
}

/** Opens a port for the caller's scope. */
const open = (
  peer: DomainId.DomainId,
  bind: (listener: Listener) => Effect.Effect<Bound, EventChannelError>
): Effect.Effect<EventChannel, EventChannelError, Scope.Scope> =>
  Effect.uninterruptible(Effect.flatMap(openScope, (scope) =>
    Effect.suspend(() => {
      const signals = new Signals()
      return Effect.flatMap(bind(signals), (bound) => {
        signals.bind(bound)
        const release = Effect.sync(() => {
          signals.leave()
          bound.release()
        })
        const channel: EventChannel = {
          peer,
          port: bound.port,
          notify: Effect.suspend(() => signals.use("notify", () => bound.notify())),
          wait: signals.wait,
          signals: Stream.fromEffectRepeat(signals.wait)
        }
        return Effect.as(Scope.addFinalizer(scope, release), channel)
      })
    })))

/**
 * Makes the service from an implementation: checks every argument, opens a span where somebody traces.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (driver: Driver): EventChannels["Service"] =>
  EventChannels.of({
    listen: ({ peer }) =>
      traced("EventChannels.listen", { peer }, Effect.suspend(() => {
        const checked = Input.domainId("peer", peer)
        if (Result.isFailure(checked)) return failed("listen", checked.failure)
        return open(checked.success, (listener) => driver.listen({ peer: checked.success }, listener))
      })),
    join: ({ peer, port }) =>
      traced("EventChannels.join", { peer, port }, Effect.suspend(() => {
        const checked = Result.all({ peer: Input.domainId("peer", peer), port: Input.port("port", port) })
        if (Result.isFailure(checked)) return failed("join", checked.failure)
        return open(checked.success.peer, (listener) => driver.join(checked.success, listener))
      }))
  })
