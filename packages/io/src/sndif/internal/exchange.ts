/**
 * A frontend's end of one stream's pages: sends requests, one at a time, and keeps the last position that it was told.
 *
 * @since 0.2.0
 */

import type { EventChannel } from "@xen-shbuf/core/EventChannels"
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import type * as Frontend from "@xen-shbuf/xenbus/Frontend"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as XenErrno from "../../XenErrno.ts"
import * as Protocol from "../Protocol.ts"
import { Refused, SoundError, WrongAnswer } from "../SoundError.ts"

/** What can go wrong with a stream's pages. */
export type ExchangeError = RingError | EventChannelError | SoundError

const names = Object.fromEntries(Object.entries(Protocol.operation).map(([name, code]) => [code, name]))

const nameOf = (request: Protocol.Request) => {
  const code = Protocol.operationOf(request)
  return names[code] ?? String(code)
}

/** Throws for what the protocol has no bytes for: it would be sent as something else. */
const mustBeRequest = (request: Protocol.Request) => {
  const checked = Schema.decodeUnknownResult(Protocol.Request)(request)
  if (Result.isFailure(checked)) throw new RangeError(`This can't be asked of a sound card: ${checked.failure.message.replaceAll(/\s+/g, " ")}`)
}

const cardLeft = Effect.die(new Error("This card is closed: its scope was left."))

/** A request whose number is given when it is sent. */
export type Asked = Protocol.Request extends infer Request
  ? Request extends Protocol.Request ? Omit<Request, "id"> : never
  : never

export class Exchange {
  readonly #ring: Frontend.SharedRing
  readonly #events: Frontend.SharedEvents
  readonly #slot = new Uint8Array(Protocol.messageSize)
  readonly #event = new Uint8Array(Protocol.messageSize)
  readonly #turn = Semaphore.makeUnsafe(1)
  readonly #waiting = new Set<() => void>()
  #id = 0
  #position = 0
  /** Whose session is open, as far as the backend has said. */
  holder: object | undefined
  /** Whether the scope of the card was left. */
  isOver = false

  constructor(ring: Frontend.SharedRing, events: Frontend.SharedEvents) {
    this.#ring = ring
    this.#events = events
  }

  get #channel(): EventChannel {
    return this.#ring.channel
  }

  /** Sends a request, and waits for its response. Whoever is interrupted leaves the response to be passed over. */
  ask(asked: Asked): Effect.Effect<Protocol.Response, ExchangeError> {
    return this.#turn.withPermit(Effect.suspend(() => {
      if (this.isOver) return cardLeft
      const id = this.#id
      const request: Protocol.Request = { ...asked, id }
      mustBeRequest(request)
      this.#id = (id + 1) & 0xffff
      return Effect.andThen(this.#look, Effect.andThen(this.#send(request), this.#receive(request)))
    }))
  }

  #send(request: Protocol.Request): Effect.Effect<void, ExchangeError> {
    // All of it, or nothing.
    return Effect.uninterruptible(Effect.suspend((): Effect.Effect<void, ExchangeError> => {
      const { pushAndNotify, ring } = this.#ring
      Protocol.encodeRequest(this.#slot, request)
      const put = ring.put(this.#slot)
      if (Result.isFailure(put)) return Effect.fail(put.failure)
      if (!put.success) return wrong(request, "it has left all requests before unanswered")
      return pushAndNotify
    }))
  }

  /** Takes responses until the one that is meant; others belong to requests that nobody waits for any more. */
  #receive(request: Protocol.Request): Effect.Effect<Protocol.Response, ExchangeError> {
    const { ring } = this.#ring
    return Effect.gen({ self: this }, function*() {
      while (true) {
        while (yield* Effect.fromResult(ring.take(this.#slot))) {
          const response = Protocol.decodeResponse(this.#slot)
          if (response.id === request.id) return yield* this.#check(request, response)
        }
        if (yield* Effect.fromResult(ring.finalCheck())) continue
        yield* this.#channel.wait
      }
    })
  }

  #check(request: Protocol.Request, response: Protocol.Response): Effect.Effect<Protocol.Response, ExchangeError> {
    const operation = response._tag === "Done" ? response.operation : Protocol.operation.HW_PARAM_QUERY
    if (operation !== Protocol.operationOf(request)) return wrong(request, `it is for operation ${operation}`)
    if (response.status > 0) return wrong(request, `its status is ${response.status}`)
    if (response.status < 0) {
      const errno = XenErrno.nameOf(response.status) ?? String(response.status)
      return Effect.fail(new SoundError({ reason: new Refused({ operation: nameOf(request), errno }) }))
    }
    // What was told before the response belongs before what its caller does next.
    return Effect.as(this.#look, response)
  }

  /** Takes the events that have come. */
  readonly #look: Effect.Effect<void, RingError> = Effect.suspend(() => {
    const { events } = this.#events
    for (let left = events.places; left > 0; left--) {
      const taken = events.take(this.#event)
      if (Result.isFailure(taken)) return Effect.fail(taken.failure)
      if (!taken.success) break
      const event = Protocol.decodeEvent(this.#event)
      if (event._tag === "CurrentPosition") this.#position = Number(event.position)
    }
    this.#wake()
    return Effect.void
  })

  #wake() {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const resume of waiting) resume()
  }

  /** Takes events for as long as it runs. */
  readonly listening: Effect.Effect<never, RingError | EventChannelError> = Effect.forever(
    Effect.andThen(Effect.suspend(() => this.#events.channel.wait), this.#look)
  )

  /** The last position that was told; 0 for a session that has just begun. */
  get position(): number {
    return this.#position
  }

  /** Nobody waits for ever, and nothing reaches for memory that is gone. */
  end(): void {
    this.isOver = true
    this.#wake()
  }

  /** A session has begun; it counts anew. */
  hold(holder: object): void {
    this.holder = holder
    this.#position = 0
  }

  release(holder: object): void {
    if (this.holder === holder) this.holder = undefined
  }

  /** Waits until the position is another one. */
  moved(since: number): Effect.Effect<number> {
    return Effect.suspend(() => {
      if (this.isOver) return cardLeft
      if (this.#position !== since) return Effect.succeed(this.#position)
      const change = Effect.callback<void>((resume) => {
        const wake = () => resume(Effect.void)
        this.#waiting.add(wake)
        return Effect.sync(() => this.#waiting.delete(wake))
      })
      return Effect.andThen(change, this.moved(since))
    })
  }
}

const wrong = (request: Protocol.Request, detail: string) =>
  Effect.fail(new SoundError({ reason: new WrongAnswer({ operation: nameOf(request), detail }) }))
