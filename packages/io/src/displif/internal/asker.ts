import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import type { SharedEvents, SharedRing } from "@xen-shbuf/xenbus/Frontend"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { DisplayError, NoAnswer, type Reason, Refused, WrongAnswer } from "../DisplayError.ts"
import * as Protocol from "../Protocol.ts"

/** As long as Linux waits. */
const patience = "3 seconds"

type Unnumbered<A> = A extends Protocol.Request ? Omit<A, "id"> : never

/** A request without its number. */
export type Question = Unnumbered<Exclude<Protocol.Request, { readonly _tag: "Unknown" }>>

/** A page flip that was asked for. Its event comes whether somebody waits for it or not. */
interface Flip {
  readonly cookie: bigint
  readonly isComplete: Deferred.Deferred<void>
  isGivenUp: boolean
}

interface Pending {
  readonly operation: number
  readonly answer: Deferred.Deferred<Protocol.Response>
  readonly flip: Flip | undefined
}

const failed = (operation: string, reason: Reason) => new DisplayError({ operation, reason })

/** Asks through one connector's ring, one request at a time, and hears of its page flips. */
export class Asker {
  readonly #requests: SharedRing
  readonly #events: SharedEvents
  readonly #turn = Semaphore.makeUnsafe(1)
  readonly #slot = new Uint8Array(Protocol.messageSize)
  /** By their numbers: what is asked, and what was given up but may be answered yet. */
  readonly #pending = new Map<number, Pending>()
  /** The flips of each framebuffer whose events are to come, in their order. */
  readonly #flips = new Map<bigint, Array<Flip>>()
  /** Why nothing works any more; whoever is told of it can't go on. */
  readonly #over: Deferred.Deferred<never, Reason>
  #id = 0
  /** Events that came: the number of the next one. */
  #heard = 0

  constructor(requests: SharedRing, events: SharedEvents, over: Deferred.Deferred<never, Reason>) {
    this.#requests = requests
    this.#events = events
    this.#over = over
  }

  /** Runs something until the display is over. */
  #orOver<A, E>(operation: string, effect: Effect.Effect<A, E>): Effect.Effect<A, E | DisplayError> {
    const over = Effect.mapError(Deferred.await(this.#over), (reason) => failed(operation, reason))
    // Not even begun then: the ring's memory may have ended.
    return Effect.suspend(() => Deferred.isDoneUnsafe(this.#over) ? over : Effect.raceFirst(effect, over))
  }

  /** Sends a request and waits for its answer. */
  ask(question: Question, flip?: Flip): Effect.Effect<Protocol.Response, DisplayError> {
    const operation = question._tag
    const answered = Effect.flatMap(
      Effect.mapError(this.#send(question, flip), (reason) => failed(operation, reason)),
      (answer) =>
        Effect.timeoutOrElse(Deferred.await(answer), {
          duration: patience,
          orElse: () => Effect.fail(failed(operation, new NoAnswer({})))
        })
    )
    return this.#turn.withPermits(1)(this.#orOver(operation, answered)).pipe(
      Effect.filterOrFail(
        ({ status }) => status === 0,
        ({ status }) => failed(operation, new Refused({ errno: -status }))
      )
    )
  }

  /** All of it, or nothing: a request that is on its way is always one that we know of. */
  readonly #send = Effect.fnUntraced(function*(this: Asker, question: Question, flip: Flip | undefined) {
    const id = this.#id
    const { pushAndNotify, ring } = this.#requests
    const request = { ...question, id } as Protocol.Request
    if (this.#pending.has(id) || !(yield* Effect.fromResult(ring.put(Protocol.encodeRequest(request))))) {
      return yield* new NoAnswer({})
    }
    this.#id = (id + 1) & 0xffff
    const answer = Deferred.makeUnsafe<Protocol.Response>()
    this.#pending.set(id, { operation: Protocol.operation[question._tag], answer, flip })
    // The event may come before the answer.
    if (flip !== undefined) this.#flips.set(flip.cookie, [...this.#flips.get(flip.cookie) ?? [], flip])
    yield* pushAndNotify
    return answer
  }, Effect.uninterruptible).bind(this)

  /** Takes the answers, for ever; fails for one that can't be. */
  readonly answers: Effect.Effect<never, RingError | EventChannelError | WrongAnswer> = Effect.suspend(() => {
    const { channel, ring } = this.#requests
    const round = Effect.gen({ self: this }, function*() {
      while (yield* Effect.fromResult(ring.take(this.#slot))) {
        const response = Protocol.decodeResponse(this.#slot)
        const pending = this.#pending.get(response.id)
        this.#pending.delete(response.id)
        if (pending === undefined) return yield* new WrongAnswer({ detail: "nobody has asked for it" })
        if (pending.operation !== response.operation) return yield* new WrongAnswer({ detail: "another was asked for" })
        if (response.status > 0) return yield* new WrongAnswer({ detail: `its status is ${response.status}` })
        if (response.status < 0 && pending.flip !== undefined) this.#drop(pending.flip)
        yield* Deferred.succeed(pending.answer, response)
      }
      return yield* Effect.fromResult(ring.finalCheck())
    })
    return Effect.forever(Effect.flatMap(round, (isMore) => isMore ? Effect.yieldNow : channel.wait))
  })

  /** Takes the events, for ever. */
  readonly events: Effect.Effect<never, RingError | EventChannelError> = Effect.suspend(() => {
    const { channel, events } = this.#events
    const slot = new Uint8Array(Protocol.messageSize)
    const round = Effect.gen({ self: this }, function*() {
      for (let taken = 0; taken < events.places && (yield* Effect.fromResult(events.take(slot))); taken++) {
        const event = Protocol.decodeEvent(slot)
        const expected = this.#heard
        // As Linux does: an event out of order is not ours to believe.
        if (event.id !== expected) continue
        this.#heard = (expected + 1) & 0xffff
        if (event._tag === "PgFlip") this.#flipped(event.fbCookie)
      }
    })
    return Effect.forever(Effect.andThen(round, channel.wait))
  })

  /** No event comes for it any more. */
  #drop(flip: Flip) {
    const left = (this.#flips.get(flip.cookie) ?? []).filter((other) => other !== flip)
    if (left.length > 0) this.#flips.set(flip.cookie, left)
    else this.#flips.delete(flip.cookie)
  }

  #flipped(cookie: bigint) {
    const first = this.#flips.get(cookie)?.[0]
    if (first === undefined) return
    this.#drop(first)
    Deferred.doneUnsafe(first.isComplete, Effect.void)
  }

  /** A framebuffer has gone: the events of flips that nobody waits for may never come. */
  forget(cookie: bigint) {
    for (const flip of this.#flips.get(cookie) ?? []) if (flip.isGivenUp) this.#drop(flip)
  }

  /** Asks for a page flip, and waits until it is complete. */
  flip(cookie: bigint): Effect.Effect<void, DisplayError> {
    return Effect.suspend(() => {
      const flip: Flip = { cookie, isComplete: Deferred.makeUnsafe<void>(), isGivenUp: false }
      const completed = this.#orOver("PgFlip", Deferred.await(flip.isComplete))
      return Effect.andThen(this.ask({ _tag: "PgFlip", fbCookie: cookie }, flip), completed).pipe(
        Effect.onError(() => Effect.sync(() => void (flip.isGivenUp = true)))
      )
    })
  }
}
