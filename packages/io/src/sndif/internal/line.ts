/**
 * Serves one stream of a card: takes its requests in order, and answers each of them.
 *
 * @since 0.2.0
 */

import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import type { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import type { OpenRing } from "@xen-shbuf/xenbus/Backend"
import { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { XenErrno } from "../../XenErrno.ts"
import * as Protocol from "../Protocol.ts"
import type { State } from "../Sound.ts"
import { refine } from "./refine.ts"
import { type Application, make, type Place, type Session, shapeOf } from "./session.ts"

/** A stream's ring, and where its requests come from. */
export interface Line extends Place, Pick<OpenRing, "channel" | "pushAndNotify" | "ring"> {}

/** What ends the whole card. */
export type Failure<E> = E | RingError | EventChannelError

type Request<Tag extends Protocol.Request["_tag"]> = Extract<Protocol.Request, { readonly _tag: Tag }>
type Part = Extract<Protocol.Request, { readonly offset: number }>

const ok = Effect.succeed(0)
const refuse = (name: keyof typeof XenErrno) => Effect.succeed(-XenErrno[name])

/** The number for an opening that failed: the guest's fault, a lack of ours, or the application's. */
const errnoOf = (error: unknown): number => {
  if (!(error instanceof GrantTableError)) return -XenErrno.EIO
  switch (error.reason._tag) {
    case "GrantRefused":
      return -XenErrno.EACCES
    case "OutOfGrants":
    case "OutOfMappings":
      return -XenErrno.ENOMEM
    default:
      return -XenErrno.EIO
  }
}

const isDirectoryError = (error: unknown): error is DirectoryError =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "DirectoryError"

/** What there is of a stream between two requests. */
class Desk<E, R> {
  readonly line: Line
  readonly application: Application<E, R>
  readonly scope: Scope.Scope
  readonly failed: Deferred.Deferred<never, Failure<E>>
  hasWarned = false
  /** The session that is open, with the scope that it lives in. */
  current: { readonly session: Session<E, R>; readonly scope: Scope.Closeable } | undefined

  constructor(
    line: Line,
    application: Application<E, R>,
    scope: Scope.Scope,
    failed: Deferred.Deferred<never, Failure<E>>
  ) {
    this.line = line
    this.application = application
    this.scope = scope
    this.failed = failed
  }
}

/** Opens in a scope of its own, which is closed at once where something fails or comes between. */
const open = Effect.fnUntraced(function*<E, R>(desk: Desk<E, R>, request: Request<"Open">) {
  if (desk.current !== undefined) return -XenErrno.EBUSY
  const shape = shapeOf(request, desk.line.stream, desk.application)
  if (shape === undefined) return -XenErrno.EINVAL
  return yield* Effect.uninterruptibleMask(Effect.fnUntraced(function*(restore) {
    const scope = yield* Scope.fork(desk.scope)
    const made = yield* Effect.exit(restore(Scope.provide(make(desk.application, desk.line, request, shape), scope)))
    if (Exit.isFailure(made)) {
      yield* Scope.close(scope, made)
      return yield* Effect.catch(Effect.failCause(made.cause), (error) => {
        // A page whose index can't be is no use any more.
        if (error instanceof RingError) return Effect.fail(error)
        const errno = isDirectoryError(error) ? -XenErrno.EINVAL : errnoOf(error)
        // Once in a card's life: a guest can ask as often as it likes.
        const log = desk.hasWarned ? Effect.void : Effect.logWarning("A stream could not be opened", error)
        desk.hasWarned = true
        return Effect.as(log, errno)
      })
    }
    const session = made.value
    desk.current = { session, scope }
    const clock = yield* Effect.forkIn(restore(session.clock), scope)
    // Whatever ends it, but the end of its session: the guest would wait for ever.
    clock.addObserver((exit) => {
      if (desk.current?.session === session) Deferred.doneUnsafe(desk.failed, exit)
    })
    return 0
  }))
})

/** Linux closes what it has never opened, so that is no mistake. */
const close = <E, R>(desk: Desk<E, R>) =>
  Effect.suspend(() => {
    const { current } = desk
    if (current === undefined) return ok
    desk.current = undefined
    return Effect.as(Effect.uninterruptible(Scope.close(current.scope, Exit.void)), 0)
  })

const transfer = <E, R>(desk: Desk<E, R>, session: Session<E, R>, request: Part): Effect.Effect<number, E, R> => {
  const { length, offset } = request
  const isWrite = request._tag === "Write"
  if (isWrite !== (desk.line.stream.direction === "playback")) return refuse("EOPNOTSUPP")
  const part = session.part(offset, length)
  if (part === undefined || !session.isFrames(offset, length)) return refuse("EINVAL")
  return Effect.andThen(isWrite ? session.written(offset, length) : session.record(part), ok)
}

/** Volumes are in thousandths of a dB, signed, four bytes for each channel. */
const volumeSize = 4

const setVolume = <E, R>(session: Session<E, R>, { length, offset }: Part) => {
  const { channels } = session.opened
  const part = session.part(offset, length)
  if (part === undefined || length !== channels * volumeSize) return refuse("EINVAL")
  const view = new DataView(part.slice().buffer)
  const volume = Array.from({ length: channels }, (_, i) => view.getInt32(i * volumeSize, true) / 1000)
  return Effect.andThen(session.update((state) => ({ ...state, volume })), ok)
}

const getVolume = <E, R>(session: Session<E, R>, { length, offset }: Part) => {
  const { channels, state } = session.opened
  const part = session.part(offset, length)
  if (part === undefined || length !== channels * volumeSize) return refuse("EINVAL")
  return Effect.map(state, ({ volume }) => {
    const view = new DataView(new ArrayBuffer(length))
    for (const [i, decibels] of volume.entries()) view.setInt32(i * volumeSize, Math.round(decibels * 1000), true)
    part.set(new Uint8Array(view.buffer))
    return 0
  })
}

/** The header draws four bytes for each channel and calls them one: both are taken, the first byte counts. */
const mute = <E, R>(session: Session<E, R>, { length, offset }: Part, isMuted: boolean) => {
  const { channels } = session.opened
  const part = session.part(offset, length)
  const each = length / channels
  if (part === undefined || (each !== 1 && each !== 4)) return refuse("EINVAL")
  const flags = part.slice()
  const change = ({ muted, ...state }: State) => ({
    ...state,
    muted: muted.map((before, i) => flags[i * each] === 0 ? before : isMuted)
  })
  return Effect.andThen(session.update(change), ok)
}

/** What there is to do for a request of a stream that is open; gives the status of the response. */
const work = <E, R>(
  desk: Desk<E, R>,
  session: Session<E, R>,
  request: Part | Request<"Trigger">
): Effect.Effect<number, Failure<E>, R> => {
  session.asked()
  switch (request._tag) {
    case "Read":
    case "Write":
      return transfer(desk, session, request)
    case "SetVolume":
      return setVolume(session, request)
    case "GetVolume":
      return getVolume(session, request)
    case "Mute":
    case "Unmute":
      return mute(session, request, request._tag === "Mute")
    case "Trigger":
      return Effect.map(session.trigger(request.type), (isDone) => isDone ? 0 : -XenErrno.EINVAL)
  }
}

const handle = <E, R>(
  desk: Desk<E, R>,
  request: Exclude<Protocol.Request, Request<"HwParamQuery">>
): Effect.Effect<number, Failure<E>, R | GrantTable> => {
  switch (request._tag) {
    case "Open":
      return open(desk, request)
    case "Close":
      return close(desk)
    case "Unknown":
      return refuse("EOPNOTSUPP")
    default:
      return desk.current === undefined ? refuse("EBADF") : work(desk, desk.current.session, request)
  }
}

const respond = <E, R>(
  desk: Desk<E, R>,
  request: Protocol.Request
): Effect.Effect<Protocol.Response, Failure<E>, R | GrantTable> => {
  const { id } = request
  if (request._tag === "HwParamQuery") {
    const params = refine(desk.line.stream.settings, request.params)
    const status = params === undefined ? -XenErrno.EINVAL : 0
    return Effect.succeed({ _tag: "HwParams", id, status, params: params ?? request.params })
  }
  const operation = Protocol.operationOf(request)
  return Effect.map(handle(desk, request), (status) => ({ _tag: "Done", id, operation, status }))
}

/** Answers what has come, as much as a ring holds at most; true where there may be more. */
const round = Effect.fnUntraced(function*<E, R>(desk: Desk<E, R>, slot: Uint8Array) {
  const { pushAndNotify, ring } = desk.line
  for (let left = ring.slots; left > 0; left--) {
    if (!(yield* Effect.fromResult(ring.take(slot)))) return yield* Effect.fromResult(ring.finalCheck())
    const response = yield* respond(desk, Protocol.decodeRequest(slot))
    Protocol.encodeResponse(slot, response)
    yield* Effect.fromResult(ring.put(slot))
    yield* pushAndNotify
  }
  return true
})

/**
 * Serves a stream until it is interrupted: a session that is open then is closed. Fails where the guest breaks the rules of
 * its ring or its event page, and where the application fails.
 */
export const serve: <E, R>(
  line: Line,
  application: Application<E, R>
) => Effect.Effect<never, Failure<E>, R | GrantTable> = Effect.fnUntraced(
  function*<E, R>(line: Line, application: Application<E, R>) {
    const failed = yield* Deferred.make<never, Failure<E>>()
    const desk = new Desk<E, R>(line, application, yield* Effect.scope, failed)
    const slot = new Uint8Array(Protocol.messageSize)
    const answer = Effect.gen(function*() {
      // A guest that never pauses leaves the others their turn.
      while (yield* round(desk, slot)) yield* Effect.yieldNow
      yield* line.channel.wait
    })
    return yield* Effect.raceFirst(Effect.forever(answer), Deferred.await(failed))
  },
  Effect.scoped
)
