import * as EventChannels from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as XenbusState from "@xen-shbuf/xenbus/XenbusState"

type Services = GrantTable | EventChannels.EventChannels | XenStore.XenStore

/** A process in a domain: what it asks of the domain's services is never answered once it is dead. */
export interface Process {
  readonly run: <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Services>>
  /** Runs a program beside the test; nothing waits for it. */
  readonly start: <A, E>(program: Effect.Effect<A, E, Services>) => Effect.Effect<Fiber.Fiber<A, E>>
  /** Kills it, as `kill -9` does. */
  readonly kill: Effect.Effect<void>
  readonly held: Held
}

/** Something that a process asks for; each counts from 1. */
export interface Operation {
  readonly service: "store" | "grants" | "channels"
  readonly at: number
}

/** What happens in the place of an operation, if anything but the operation itself does. */
export type Disturb = (operation: Operation) => Effect.Effect<never, unknown> | undefined

/** What a process holds besides pages. */
export interface Held {
  watches: number
  ports: number
}

const mortal = (
  services: Context.Context<Services>,
  isDead: () => boolean,
  held: Held,
  disturb: (service: Operation["service"]) => Effect.Effect<never, unknown> | undefined,
  wrote: (path: string, value: XenStore.Value) => Effect.Effect<void>
): Context.Context<Services> => {
  const guarded = (service: Operation["service"]) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() => {
      const disturbance = disturb(service) as Effect.Effect<never, E> | undefined
      if (disturbance !== undefined && !isDead()) return disturbance
      return isDead() ? Effect.never : Effect.matchCauseEffect(effect, {
        onSuccess: (a) => isDead() ? Effect.never : Effect.succeed(a),
        onFailure: (cause) => isDead() ? Effect.never : Effect.failCause(cause)
      })
    })
  const guard = guarded("store")
  const nodes = (inner: XenStore.Nodes): XenStore.Nodes => ({
    read: (path) => guard(inner.read(path)),
    readText: (path) => guard(inner.readText(path)),
    readSchema: (path, schema) => guard(inner.readSchema(path, schema)),
    write: (path, value) => guard(Effect.tap(inner.write(path, value), () => wrote(path, value))),
    directory: (path) => guard(inner.directory(path)),
    makeDirectory: (path) => guard(inner.makeDirectory(path)),
    remove: (path) => guard(inner.remove(path)),
    permissions: (path) => guard(inner.permissions(path)),
    setPermissions: (path, permissions) => guard(inner.setPermissions(path, permissions))
  })
  /** Until the scope ends: so many watches are set, and ports asked for. */
  const counted = (what: keyof Held) =>
    Effect.acquireRelease(Effect.sync(() => void held[what]++), () => Effect.sync(() => void held[what]--))
  const store = Context.get(services, XenStore.XenStore)
  const table = Context.get(services, GrantTable)
  const channels = Context.get(services, EventChannels.EventChannels)
  return Context.make(GrantTable, {
    ...table,
    share: (options) => guarded("grants")(table.share(options)),
    map: (options) => guarded("grants")(table.map(options))
  }).pipe(
    Context.add(EventChannels.EventChannels, {
      listen: (options) => Effect.andThen(counted("ports"), guarded("channels")(channels.listen(options))),
      join: (options) => Effect.andThen(counted("ports"), guarded("channels")(channels.join(options)))
    }),
    Context.add(XenStore.XenStore, {
      ...nodes(store),
      ownId: guard(store.ownId),
      // One that begins for a process that was killed meanwhile is not left open.
      transaction: (body, options) =>
        guard(store.transaction((inner) => isDead() ? Effect.interrupt : body(nodes(inner)), options)),
      watch: (path, options) =>
        Stream.unwrap(guard(Effect.as(
          counted("watches"),
          Stream.mapEffect(store.watch(path, options), (changed) => guard(Effect.succeed(changed)))
        )))
    })
  )
}

/** A TestXen with a toolstack in dom0, and processes in its other domains. */
export const make = Effect.gen(function*() {
  const xen = yield* TestXen.TestXen
  const store = yield* xen.store(0)
  /** Each state that a half wrote, with the pages that its domain held then, and what tests add. */
  const log: Array<string> = []
  let operations = 0
  /** Lets all fibers run until none of them asks for anything any more. */
  const settle = Effect.gen(function*() {
    for (let quiet = 0, before = operations; quiet < 20; quiet++) {
      yield* Effect.yieldNow
      if (operations !== before) quiet = 0
      before = operations
    }
  })
  const noteState = (id: number) => (path: string, value: XenStore.Value) =>
    path.endsWith("/state")
      ? Effect.map(xen.holdings, (all) => {
        const held = all.filter((held) => "refs" in held && held.domain === id).length
        log.push(`${id}: ${XenbusState.names[Number(value)]}${held > 0 ? `, holding ${held}` : ""}`)
      })
      : Effect.void
  const process = Effect.fnUntraced(function*(id: number, disturb: Disturb = () => undefined) {
    const services = Context.make(GrantTable, yield* xen.domain(id)).pipe(
      Context.add(EventChannels.EventChannels, yield* xen.eventChannels(id)),
      Context.add(XenStore.XenStore, yield* xen.store(id))
    )
    let dead = false
    const held = { watches: 0, ports: 0 }
    let asked = 0
    const disturbed = (service: Operation["service"]) => {
      operations++
      return disturb({ service, at: ++asked })
    }
    const own = mortal(services, () => dead, held, disturbed, noteState(id))
    const self: Process = {
      held,
      run: (program) => Effect.provide(program, own),
      start: (program) => Effect.forkDetach(Effect.provide(program, own)),
      kill: Effect.suspend(() => {
        dead = true
        return xen.killProcess(id)
      })
    }
    return self
  })
  /** The text of a node, if it is there. */
  const text = (path: string): Effect.Effect<string | undefined> =>
    store.readText(path).pipe(Effect.orElseSucceed(() => undefined))
  /** Waits until something in xenstore is so. */
  const when = (is: Effect.Effect<boolean>): Effect.Effect<void> =>
    store.watch("/local").pipe(
      Stream.mapEffect(() => is),
      Stream.filter((is) => is),
      Stream.take(1),
      Stream.runDrain,
      Effect.orDie
    )
  /** Waits until a node has a value. */
  const until = (path: string, value: string | undefined) => when(Effect.map(text(path), (is) => is === value))
  /** All paths below one, with their values. */
  const below = (path: string): Effect.Effect<ReadonlyArray<string>> =>
    Effect.gen(function*() {
      const names = yield* store.directory(path)
      const inner = yield* Effect.forEach(names, (name) => below(`${path}/${name}`))
      return [`${path}=${yield* text(path)}`, ...inner.flat()]
    }).pipe(Effect.orElseSucceed(() => []))
  const toolstack = <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.provideService(program, XenStore.XenStore, store)
  return { xen, store, log, settle, operations: () => operations, process, text, when, until, below, toolstack }
})
