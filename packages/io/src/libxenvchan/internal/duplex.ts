import type * as DomainId from "@xen-shbuf/core/DomainId"
import type { EventChannel } from "@xen-shbuf/core/EventChannels"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type { End } from "../Protocol.ts"
import type { Vchan } from "../Vchan.ts"
import { PeerClosed, PeerGone, type Reason, VchanError } from "../VchanError.ts"

type Operation = VchanError["operation"]

type Fails = (operation: Operation) => Effect.Effect<never, VchanError>

const failing = (reason: Reason): Fails => (operation) => Effect.fail(new VchanError({ operation, reason }))

const scopeLeft: Fails = () => Effect.die(new Error("This vchan is closed: its scope was left."))

/** Throws where a caller's bytes are not there any more: who looks whether they are through would look for ever. */
const mustBeThere = (bytes: Uint8Array, length = bytes.length) => {
  // What was moved away has no length: no need to look at others, which takes longer than all else here.
  const isMoved = bytes.length === 0 && bytes.buffer instanceof ArrayBuffer && bytes.buffer.detached
  if (isMoved || bytes.length !== length) throw new Error("These bytes were moved away, or their buffer was resized.")
}

/** An answer of an end: true where there is no need to wait. */
type Look = () => Result.Result<boolean, RingError>

/** What is known of the two domains besides what stands in memory. */
export interface Home {
  /** Succeeds when the peer's domain is gone. */
  readonly peerGone: Effect.Effect<void>
  /** Succeeds when our own domain was restored. */
  readonly restored: Effect.Effect<Reason>
  /** Whether it was, asked where memory or grants are not what they must be: then that is no fault of the peer's. */
  readonly whyOver: Effect.Effect<Reason | undefined>
}

class Duplex implements Vchan {
  readonly peer: DomainId.DomainId
  readonly #end: End
  readonly #notify: Effect.Effect<void, VchanError>
  readonly #whyOver: Home["whyOver"]
  readonly #waiting = new Set<(effect: Effect.Effect<void>) => void>()
  /** Open while somebody waits: nobody takes signals otherwise. */
  readonly #watched = Latch.makeUnsafe(false)
  readonly #writing = Semaphore.makeUnsafe(1)
  /** A write is under way that had to wait. */
  #isWriting = false
  /** Why nothing can be done any more. */
  #over: Fails | undefined
  /** The peer's domain is gone: only what it has written can be read. */
  #gone: Fails | undefined

  constructor(end: End, channel: EventChannel, { whyOver }: Home) {
    this.#end = end
    this.#whyOver = whyOver
    this.peer = channel.peer
    this.#notify = Effect.mapError(channel.notify, ({ reason }) => new VchanError({ operation: "write", reason }))
  }

  get side() {
    return this.#end.side
  }

  get readSize() {
    return this.#end.readSize
  }

  get writeSize() {
    return this.#end.writeSize
  }

  /** Nothing goes on after this, for whatever reason came first. */
  finish(over: Fails) {
    this.#over ??= over
    this.wake()
  }

  /** What was written can be read, and then nothing comes. */
  readonly peerIsGone: Effect.Effect<void> = Effect.suspend(() =>
    Effect.map(this.#whyOver, (why) => {
      if (why !== undefined) return this.finish(failing(why))
      this.#gone ??= failing(new PeerGone({ peer: this.peer }))
      return this.wake()
    })
  )

  wake() {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    this.#watched.closeUnsafe()
    for (const resume of waiting) resume(Effect.void)
  }

  /** Wakes who waits for each signal that comes while somebody does. */
  pump(channel: EventChannel): Effect.Effect<void> {
    const round = Effect.andThen(Effect.andThen(this.#watched.await, channel.wait), Effect.sync(() => this.wake()))
    return Effect.interruptible(Effect.forever(round, { disableYield: true })).pipe(
      Effect.catch(({ reason }) => Effect.sync(() => this.finish(failing(reason)))),
      // Nobody waits for what nobody watches.
      Effect.onInterrupt(() => Effect.sync(() => this.finish(() => Effect.interrupt)))
    )
  }

  /**
   * Waits for a signal, unless `look` says that there is no need: that asks the peer to signal, and looks again when we
   * wait already, so a signal that comes in between is not lost. The end of anything is no need to wait, either.
   */
  #signal(look: Look): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const answer = look()
      if (Result.isFailure(answer) || answer.success || this.#isOver) return resume(Effect.void)
      this.#waiting.add(resume)
      this.#watched.openUnsafe()
      return Effect.sync(() => this.#waiting.delete(resume))
    })
  }

  get #isOver() {
    return this.#over !== undefined || this.#gone !== undefined || this.#end.peer === "closed"
  }

  /** The peer has broken the rules: that is the end of both directions. */
  #broken(operation: Operation, { reason }: RingError): Effect.Effect<never, VchanError> {
    return Effect.flatMap(this.#whyOver, (why) => {
      this.finish(failing(why ?? reason))
      return this.#over!(operation)
    })
  }

  /**
   * `done`, and before it a signal to the peer where it asked for that. It asks once, and waits: so nothing may come between
   * the move that it waits for and the signal, no interruption either.
   */
  #settled<A>(done: Effect.Effect<A>): Effect.Effect<A, VchanError> {
    return this.#end.owesSignal() ? Effect.andThen(this.#notify, done) : done
  }

  /** Takes what is there, and waits where nothing is; `atEnd` where nothing comes any more. */
  #reading<A, E>(
    take: () => Result.Result<A, RingError>,
    isSomething: (taken: A) => boolean,
    atEnd: Effect.Effect<A, E>
  ): Effect.Effect<A, VchanError | E> {
    const taking = Effect.uninterruptible(Effect.suspend((): Effect.Effect<A | undefined, VchanError | E> => {
      if (this.#over !== undefined) return this.#over("read")
      // Before we look for bytes: what the peer wrote and then closed is read.
      const peer = this.#end.peer
      const gone = this.#gone
      const taken = take()
      if (Result.isFailure(taken)) return this.#broken("read", taken.failure)
      if (isSomething(taken.success)) return this.#settled(Effect.succeed(taken.success))
      if (peer === "closed") return atEnd
      if (gone !== undefined) return gone("read")
      return Effect.undefined
    }))
    const reading: Effect.Effect<A, VchanError | E> = Effect.flatMap(taking, (taken) =>
      taken === undefined ? Effect.andThen(this.#signal(this.#askForData), reading) : Effect.succeed(taken))
    return reading
  }

  readonly #askForData: Look = () => Result.map(this.#end.askForData(), (count) => count > 0)

  readonly read = (into: Uint8Array): Effect.Effect<number, VchanError> =>
    Effect.suspend(() => {
      mustBeThere(into)
      const { length } = into
      if (length === 0) return Effect.succeed(0)
      const take = () => {
        mustBeThere(into, length)
        return this.#end.read(into)
      }
      return this.#reading(take, (count) => count > 0, Effect.succeed(0))
    })

  get stream(): Stream.Stream<Uint8Array<ArrayBuffer>, VchanError> {
    const pull = this.#reading(
      () => this.#end.take(this.readSize),
      (bytes) => bytes.length > 0,
      Cause.done<void>()
    )
    return Stream.fromPull(Effect.succeed(Effect.map(pull, (bytes): [Uint8Array<ArrayBuffer>] => [bytes])))
  }

  /** Why nothing can be written, if so. */
  get #cannotWrite(): Fails | undefined {
    if (this.#over !== undefined) return this.#over
    return this.#end.peer === "closed" ? failing(new PeerClosed({ peer: this.peer })) : this.#gone
  }

  readonly write = (bytes: Uint8Array): Effect.Effect<void, VchanError> =>
    Effect.uninterruptibleMask((restore) => {
      mustBeThere(bytes)
      const { length } = bytes
      const cannot = this.#cannotWrite
      if (cannot !== undefined) return cannot("write")
      if (!this.#isWriting) {
        const space = this.#end.space()
        if (Result.isFailure(space)) return this.#broken("write", space.failure)
        if (space.success >= bytes.length) return this.#put(bytes)
      }
      const begin = Effect.sync(() => void (this.#isWriting = true))
      const end = Effect.sync(() => void (this.#isWriting = false))
      const rest = Effect.acquireUseRelease(begin, () => this.#rest(bytes, length, 0), () => end)
      return restore(this.#writing.withPermit(rest))
    })

  /** Writes what there is room for. */
  #put(bytes: Uint8Array): Effect.Effect<void, VchanError> {
    const written = this.#end.write(bytes)
    return Result.isFailure(written) ? this.#broken("write", written.failure) : this.#settled(Effect.void)
  }

  /** Writes from `at` on, and waits for room. */
  #rest(bytes: Uint8Array, length: number, at: number): Effect.Effect<void, VchanError> {
    const writing = Effect.uninterruptible(Effect.suspend(() => {
      mustBeThere(bytes, length)
      const cannot = this.#cannotWrite
      if (cannot !== undefined) return cannot("write")
      const written = this.#end.write(bytes.subarray(at))
      if (Result.isFailure(written)) return this.#broken("write", written.failure)
      return this.#settled(Effect.succeed(at + written.success))
    }))
    const wait = this.#signal(() => Result.map(this.#end.askForSpace(), (space) => space > 0))
    return Effect.flatMap(writing, (next) =>
      next === length ? Effect.void : Effect.andThen(wait, this.#rest(bytes, length, next)))
  }

  get sink(): Sink.Sink<void, Uint8Array, never, VchanError> {
    return Sink.forEach(this.write)
  }

  readonly drained: Effect.Effect<void, VchanError> = Effect.suspend(() => {
    if (this.#over !== undefined) return this.#over("drained")
    // Before we look how far the peer is: what it read and then closed was read.
    const cannot = this.#cannotWrite
    const space = this.#end.space()
    if (Result.isFailure(space)) return this.#broken("drained", space.failure)
    if (space.success === this.writeSize) return Effect.void
    if (cannot !== undefined) return cannot("drained")
    return Effect.andThen(
      this.#signal(() => Result.map(this.#end.askForSpace(), (space) => space === this.writeSize)),
      this.drained
    )
  })

  readonly connected: Effect.Effect<void, VchanError> = Effect.suspend(() => {
    if (this.#over !== undefined) return this.#over("connected")
    if (this.#end.peer !== "absent") return Effect.void
    if (this.#gone !== undefined) return this.#gone("connected")
    return Effect.andThen(this.#signal(() => Result.succeed(this.#end.peer !== "absent")), this.connected)
  })

  readonly closed: Effect.Effect<void, VchanError> = Effect.suspend(() => {
    if (this.#over !== undefined) return this.#over("closed")
    if (this.#end.peer === "closed") return Effect.void
    if (this.#gone !== undefined) return this.#gone("closed")
    return Effect.andThen(this.#signal(() => Result.succeed(false)), this.closed)
  })
}

/** Waits at an end for signals, for the caller's scope. */
export const make = (
  end: End,
  channel: EventChannel,
  home: Home
): Effect.Effect<Vchan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const duplex = new Duplex(end, channel, home)
    yield* Effect.forkScoped(duplex.pump(channel), { uninterruptible: true })
    yield* Effect.forkScoped(Effect.andThen(home.peerGone, duplex.peerIsGone))
    yield* Effect.forkScoped(Effect.map(home.restored, (reason) => duplex.finish(failing(reason))))
    // The first to run when the scope ends: nothing reaches for memory that is going.
    yield* Effect.addFinalizer(() => Effect.sync(() => duplex.finish(scopeLeft)))
    return duplex
  })
