import type { DomainId } from "@xen-shbuf/core/DomainId"
import * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Nodes } from "../Device.ts"
import * as XenbusState from "../XenbusState.ts"

type Store = XenStore.XenStore["Service"]

/** The state of a half as it was found: "Missing" without its node, "Invalid" where no state is to be read in it. */
export type Seen = XenbusState.XenbusState | "Missing" | "Invalid"

/**
 * Nothing where a node is not there, or is not to be read: what is gone together with all above it that we could read is
 * refused, not missing, and so is what its owner keeps from us.
 */
export const ifThere = <A>(self: Effect.Effect<A, XenStoreError>): Effect.Effect<Option.Option<A>, XenStoreError> =>
  Effect.catch(XenStore.ifPresent(self), (error) =>
    error.reason._tag === "AccessDenied" ? Effect.succeed(Option.none()) : Effect.fail(error))

/** Looks at the state of the half at `base`. */
export const look = (store: Store, base: string): Effect.Effect<Seen, XenStoreError> =>
  Effect.catch(
    store.readSchema(`${base}/state`, XenbusState.FromValue) as Effect.Effect<Seen, XenStoreError>,
    (error) => {
      switch (error.reason._tag) {
        case "NotFound":
        case "AccessDenied":
          return Effect.succeed("Missing")
        case "InvalidValue":
          return Effect.succeed("Invalid")
        default:
          return Effect.fail(error)
      }
    }
  )

/**
 * Whether our domain has another id than it had: it was saved and restored. Paths that begin with the old one are not ours
 * any more, and are refused to us.
 */
export const isRestored = (store: Store, before: DomainId): Effect.Effect<boolean, XenStoreError> =>
  Effect.map(store.ownId, (id) => id !== before)

/** The same, once it is so: Linux watches anew after a restore, so each watch tells once more then. */
export const restored = (store: Store, before: DomainId): Effect.Effect<void, XenStoreError> =>
  store.watch(ownId, { paths: 1 }).pipe(
    Stream.mapEffect(() => isRestored(store, before)),
    Stream.filter((is) => is),
    Stream.take(1),
    Stream.runDrain
  )

/** Where our own id stands, relative to our domain, whatever its id is. */
export const ownId = "domid"

/** Something may have happened: rung any number of times before somebody hears it, it is heard once. */
export type Bell = Queue.Queue<void>

export const bell: Effect.Effect<Bell> = Queue.dropping<void>(1)

export const ring = (bell: Bell): void => {
  Queue.offerUnsafe(bell, undefined)
}

/** Rings for each change at a path or below it, and at once, for as long as the scope is open; `failed` says why no more. */
export const ringFor = (
  store: Store,
  path: string,
  bell: Bell,
  failed: (error: XenStoreError) => void
): Effect.Effect<void, never, Scope.Scope> =>
  store.watch(path, { paths: 1 }).pipe(
    Stream.runForEach(() => Effect.sync(() => ring(bell))),
    Effect.catch((error) =>
      Effect.sync(() => {
        failed(error)
        ring(bell)
      })
    ),
    Effect.forkScoped,
    Effect.asVoid
  )

/** Runs `change` on the nodes of a half, unless the toolstack has removed it: what is written then would make it anew. */
export const change = (
  store: Store,
  base: string,
  change: (nodes: XenStore.Nodes) => Effect.Effect<void, XenStoreError>
): Effect.Effect<boolean, XenStoreError> =>
  store.transaction((nodes) =>
    Effect.flatMap(ifThere(nodes.read(`${base}/state`)), (state) =>
      Option.isNone(state) ? Effect.succeed(false) : Effect.as(change(nodes), true))
  )

export const write = (nodes: XenStore.Nodes, base: string, state: XenbusState.XenbusState): Effect.Effect<void, XenStoreError> =>
  nodes.write(`${base}/state`, String(XenbusState.toNumber(state)))

/** Writes the state of the half at `base`, if it is there: whether it is. */
export const set = (
  store: Store,
  base: string,
  state: XenbusState.XenbusState
): Effect.Effect<boolean, XenStoreError> =>
  change(store, base, (nodes) => write(nodes, base, state))

export const writeAll = (nodes: XenStore.Nodes, base: string, values: Nodes): Effect.Effect<void, XenStoreError> =>
  Effect.forEach(Object.entries(values), ([node, value]) => nodes.write(`${base}/${node}`, value), { discard: true })

export const removeAll = (
  nodes: XenStore.Nodes,
  base: string,
  names: Iterable<string>
): Effect.Effect<void, XenStoreError> =>
  Effect.forEach(names, (node) => XenStore.ifPresent(nodes.remove(`${base}/${node}`)), { discard: true })
