/**
 * One connection to xenstore: which request an answer belongs to, who watches, and what becomes of both when the one who
 * waits goes away or the connection ends.
 *
 * Plain callbacks; `StoreDriver` makes effects of them.
 *
 * @internal
 */
import type * as Reason from "@xen-shbuf/core/Reason"
import { type Reason as Refusal, StoreGone } from "@xen-shbuf/core/XenStoreError"
import * as Result from "effect/Result"
import * as Wire from "../XenStoreWire.ts"

/** What carries the messages. */
export interface Transport {
  /** What is open. */
  readonly path: string
  /** Bytes that the payload of a request can have. */
  readonly payloadLimit: number
  /** Requests that can be under way at one time. */
  readonly width: number
  /** Sends a whole message. `refused` is called at once or later, at most once, with an errno's name. */
  readonly send: (type: number, message: Uint8Array, refused: (errno: string) => void) => void
  /** Whether it keeps the process alive. At first it does not. */
  readonly hold: (isHeld: boolean) => void
  /** The listener is not called any more. Called once. */
  readonly close: () => void
}

/** Who is told, never before the transport is there. */
export interface Listener {
  readonly data: (bytes: Uint8Array) => void
  /** `DeviceUnavailable` where it never began: it may be tried again. */
  readonly end: (reason: StoreGone | Reason.DeviceUnavailable) => void
}

/** Opens what carries messages. */
export type Open = (listener: Listener) => Result.Result<Transport, Refusal>

/** The payload of an answer; or the errno's name that xenstore answered with, or why there is no answer. */
export type Outcome = Result.Result<Uint8Array, string | Refusal>

/** A request that was made. */
export interface Pending {
  readonly type: number
  readonly id: number
  readonly message: Uint8Array
  /** Who waits for the answer; undefined when nobody does any more. */
  resume: ((outcome: Outcome) => void) | undefined
  /** What takes back what an answer gave, where nobody waits for it any more. */
  readonly undo: ((payload: Uint8Array) => void) | undefined
  answer: Outcome | undefined
}

/** Somebody who watches. */
export interface Watcher {
  readonly path: string
  readonly changed: (path: string) => void
  readonly ended: (reason: Refusal) => void
}

/** A request to be made. */
export interface Question {
  readonly type: number
  readonly transaction: number
  readonly payload: Uint8Array
  readonly resume?: Pending["resume"]
  readonly undo?: Pending["undo"]
}

/** A connection that is opened when it is first used. */
export interface Connection {
  /** The transport, which is opened if it is not there yet. */
  readonly transport: () => Result.Result<Transport, Refusal>
  /** Asks; whoever waits is told once, now or later. */
  readonly ask: (question: Question) => Pending
  /** Nobody waits for the answer any more. */
  readonly abandon: (pending: Pending) => void
  /** Whether a request has not been sent, and is not going to be any more. */
  readonly withdraw: (pending: Pending) => boolean
  /** Notes a watcher, before its watch is asked for, and gives the token for it. */
  readonly watcher: (watcher: Watcher) => string
  readonly forget: (token: string) => void
  /** Ends it; whoever waits is told the reason. */
  readonly close: (reason: Refusal) => void
}

const unanswered: ReadonlySet<number> = new Set([Wire.types.WATCH, Wire.types.UNWATCH])

class Link implements Connection {
  #over: Refusal | undefined
  #transport: Transport | undefined
  #decoder = Wire.decoder()
  #isHeld = false
  #isPumping = false
  #awaited = 0
  #lastId = 0
  #lastToken = 0
  readonly #queue = new Set<Pending>()
  readonly #sent = new Map<number, Pending>()
  readonly #watchers = new Map<string, Watcher>()
  readonly #open: Open

  constructor(open: Open) {
    this.#open = open
  }

  transport = (): Result.Result<Transport, Refusal> => {
    if (this.#over !== undefined) return Result.fail(this.#over)
    if (this.#transport !== undefined) return Result.succeed(this.#transport)
    this.#decoder = Wire.decoder()
    this.#isHeld = false
    const opened = this.#open({ data: this.#data, end: this.#end })
    if (Result.isSuccess(opened)) this.#transport = opened.success
    return opened
  }

  ask = ({ payload, resume, transaction, type, undo }: Question): Pending => {
    const id = this.#nextId()
    const message = Wire.encode({ type, request: id, transaction, payload })
    const pending: Pending = { type, id, message, resume, undo, answer: undefined }
    const transport = this.transport()
    if (Result.isFailure(transport)) {
      pending.answer = Result.fail(transport.failure)
      resume?.(pending.answer)
      return pending
    }
    if (resume !== undefined) this.#awaited++
    this.#queue.add(pending)
    this.#hold()
    this.#pump()
    return pending
  }

  abandon = (pending: Pending) => {
    this.#forgetWaiting(pending)
    this.#queue.delete(pending)
    if (pending.answer !== undefined && Result.isSuccess(pending.answer)) pending.undo?.(pending.answer.success)
    this.#hold()
  }

  withdraw = (pending: Pending) => {
    this.#forgetWaiting(pending)
    this.#hold()
    return this.#queue.delete(pending)
  }

  watcher = (watcher: Watcher) => {
    const token = String(++this.#lastToken)
    this.#watchers.set(token, watcher)
    return token
  }

  forget = (token: string) => {
    this.#watchers.delete(token)
    this.#hold()
  }

  close = (reason: Refusal) => {
    this.#over ??= reason
    this.#finishAll(reason)
  }

  #nextId(): number {
    // An old request whose answer never came may still have its number.
    do this.#lastId = (this.#lastId + 1) >>> 0
    while (this.#sent.has(this.#lastId))
    return this.#lastId
  }

  #forgetWaiting(pending: Pending) {
    if (pending.resume === undefined || pending.answer !== undefined) return
    pending.resume = undefined
    this.#awaited--
  }

  /** The process lives on while somebody waits for an answer or a change. */
  #hold() {
    const isHeld = this.#awaited > 0 || this.#watchers.size > 0
    if (isHeld === this.#isHeld || this.#transport === undefined) return
    this.#isHeld = isHeld
    this.#transport.hold(isHeld)
  }

  /** Sends what there is room for. One that is refused at once makes room for the next: in this loop, not inside of it. */
  #pump() {
    if (this.#isPumping) return
    this.#isPumping = true
    for (const pending of this.#queue) {
      const transport = this.#transport
      if (transport === undefined || this.#sent.size >= transport.width) break
      this.#queue.delete(pending)
      this.#sent.set(pending.id, pending)
      transport.send(pending.type, pending.message, (errno) => this.#finish(pending, Result.fail(errno)))
    }
    this.#isPumping = false
  }

  #finish(pending: Pending, outcome: Outcome) {
    if (pending.answer !== undefined) return
    this.#sent.delete(pending.id)
    const { resume, undo } = pending
    if (resume !== undefined) this.#awaited--
    pending.answer = outcome
    this.#pump()
    this.#hold()
    if (resume !== undefined) resume(outcome)
    else if (Result.isSuccess(outcome)) undo?.(outcome.success)
  }

  #data = (bytes: Uint8Array) => {
    const fed = this.#decoder.feed(bytes, this.#message)
    if (Result.isFailure(fed)) this.#broken(fed.failure)
  }

  #message = (message: Wire.Message) => {
    // The rest of what was read before the end.
    if (this.#transport === undefined) return
    if (message.type === Wire.types.WATCH_EVENT) return this.#changed(message.payload)
    const pending = this.#askedBy(message)
    if (pending === undefined) return this.#broken("an answer to what nobody has asked")
    this.#finish(
      pending,
      message.type === Wire.types.ERROR ? Result.fail(Wire.error(message.payload)) : Result.succeed(message.payload)
    )
  }

  /** Which request a message answers. */
  #askedBy({ request, type }: Wire.Message): Pending | undefined {
    const pending = this.#sent.get(request) ?? this.#synthesized()
    return type === Wire.types.ERROR || type === pending?.type ? pending : undefined
  }

  /** Linux answers for xenstore where watches begin and end, and repeats no number then. */
  #synthesized(): Pending | undefined {
    if (this.#transport?.width !== 1) return undefined
    const [pending] = this.#sent.values()
    return pending !== undefined && unanswered.has(pending.type) ? pending : undefined
  }

  #changed(payload: Uint8Array) {
    const event = Wire.watchEvent(payload)
    if (Result.isFailure(event)) return this.#broken(event.failure)
    const { path, token } = event.success
    // One that has ended meanwhile is not there any more.
    const watcher = this.#watchers.get(token)
    watcher?.changed(isAtOrBelow(watcher.path, path) ? path : watcher.path)
  }

  #broken(detail: string) {
    this.#end(new StoreGone({ detail: `${this.#transport?.path ?? "xenstore"} sent ${detail}` }))
  }

  #end: Listener["end"] = (reason) => {
    if (reason._tag === "StoreGone") this.#over ??= reason
    this.#finishAll(reason)
  }

  #finishAll(reason: Refusal) {
    const transport = this.#transport
    if (transport === undefined) return
    this.#transport = undefined
    transport.close()
    const pending = [...this.#sent.values(), ...this.#queue]
    const watchers = [...this.#watchers.values()]
    this.#queue.clear()
    this.#watchers.clear()
    for (const one of pending) this.#finish(one, Result.fail(reason))
    for (const { ended } of watchers) ended(reason)
  }
}

/** Xenstore tells no other paths; a watcher is woken by those as well, but never sees them. */
const isAtOrBelow = (watched: string, path: string): boolean =>
  path === watched || path.startsWith(watched.endsWith("/") ? watched : `${watched}/`)

/** A connection over what `open` opens. */
export const make = (open: Open): Connection => new Link(open)
