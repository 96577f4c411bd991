/**
 * Creates and removes devices, for protocols that `xl` does not know: what the toolstack does, in the domain that may
 * write the nodes of others (dom0).
 *
 * @since 0.2.0
 */

import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import type { DomainId } from "@xen-shbuf/core/DomainId"
import * as StorePath from "@xen-shbuf/core/StorePath"
import * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import { type ConnectionError, DeviceExists, NoDevice } from "./ConnectionError.ts"
import type { Nodes } from "./Device.ts"
import { checked } from "./internal/address.ts"
import * as Reader from "./internal/reader.ts"
import * as States from "./internal/states.ts"
import * as Values from "./internal/values.ts"
import type * as XenbusState from "./XenbusState.ts"

/**
 * Names a device.
 *
 * @category models
 * @since 0.2.0
 */
export interface Address {
  /** The kind of device, as in the names of xenstore. */
  readonly type: string
  /** The same as the backend's nodes have it, where that is another name: `vinput` for a `vkbd`. */
  readonly backendType?: string | undefined
  /** The frontend's domain. */
  readonly frontend: number
  /** The backend's domain: our own unless given. */
  readonly backend?: number | undefined
  /** Which device of this type and frontend: 0 unless given. */
  readonly id?: number | undefined
}

/**
 * A device as it stands in xenstore.
 *
 * @category models
 * @since 0.2.0
 */
export interface Listed {
  /** Its type, such as vdispl. */
  readonly type: string
  /** The domain of its frontend. */
  readonly frontend: number
  /** The domain of its backend. */
  readonly backend: number
  /** Its number among the frontend's devices of the type. */
  readonly id: number
  /** The frontend's nodes. */
  readonly frontendPath: string
  /** The backend's nodes. */
  readonly backendPath: string
  /** The frontend's state; left out where there is none to be read. */
  readonly frontendState?: XenbusState.XenbusState
  /** The backend's state; left out where there is none to be read. */
  readonly backendState?: XenbusState.XenbusState
}

const pathsOf = ({ backend, backendType, frontend, id = 0, type }: Address & { readonly backend: number }) => ({
  frontendPath: `${StorePath.ofDomain(frontend)}/device/${type}/${id}`,
  backendPath: `${StorePath.ofDomain(backend)}/backend/${backendType ?? type}/${frontend}/${id}`
})

const located = Effect.fnUntraced(function*(address: Address) {
  const store = yield* XenStore.XenStore
  yield* checked(address)
  const backend = address.backend ?? (yield* Effect.mapError(store.ownId, Reader.failWith(`device/${address.type}`)))
  return { store, backend, ...pathsOf({ ...address, backend }) }
})

/**
 * Makes a device: the nodes of both halves, all at once, with the owners and permissions that `xl` gives them: the
 * backend's are its own and the frontend may read them, and the other way round. The settings of a frontend are for it
 * to read only. `DeviceExists`, `NoSuchDomain`, `InvalidInput`.
 *
 * @category devices
 * @since 0.2.0
 */
export const addDevice: (
  device: Address & {
    /** Settings below the frontend's half, such as `{ "0/resolution": "1920x1080" }`. */
    readonly frontendNodes?: Nodes | undefined
    /** Settings below the backend's half. */
    readonly backendNodes?: Nodes | undefined
  }
) => Effect.Effect<void, ConnectionError, XenStore.XenStore> = Effect.fnUntraced(function*(device) {
  const { backend, backendPath, frontendPath, store } = yield* located(device)
  const { frontend } = device
  const frontends = { owner: frontend, others: "none", domains: [{ domain: backend, access: "read" }] } as const
  const backends = { owner: backend, others: "none", domains: [{ domain: frontend, access: "read" }] } as const
  const settings = Object.entries(device.frontendNodes ?? {})
  const problem = yield* store.transaction(Effect.fnUntraced(function*(nodes) {
    for (const id of [frontend, backend]) {
      if (Option.isNone(yield* XenStore.ifPresent(nodes.read(StorePath.ofDomain(id))))) {
        return new EventChannelError.NoSuchDomain({ peer: id as DomainId })
      }
    }
    for (const path of [frontendPath, backendPath]) {
      if (Option.isSome(yield* XenStore.ifPresent(nodes.read(path)))) return new DeviceExists({ path })
    }
    yield* nodes.makeDirectory(frontendPath)
    yield* nodes.setPermissions(frontendPath, frontends)
    yield* nodes.makeDirectory(backendPath)
    yield* nodes.setPermissions(backendPath, backends)
    yield* States.writeAll(nodes, backendPath, {
      frontend: frontendPath,
      "frontend-id": String(frontend),
      online: "1",
      state: "1",
      ...device.backendNodes
    })
    yield* States.writeAll(nodes, frontendPath, { backend: backendPath, "backend-id": String(backend), state: "1" })
    for (const [node, value] of settings) {
      yield* nodes.write(`${frontendPath}/${node}`, value)
      yield* nodes.setPermissions(`${frontendPath}/${node}`, backends)
    }
    return undefined
  })).pipe(Effect.mapError(Reader.failWith(backendPath)))
  if (problem !== undefined) return yield* Reader.fail(backendPath, problem)
})

/**
 * Removes a device: tells its backend to close it, waits until it has (for `within` at most, 10 seconds unless given), and
 * removes the nodes of both halves. False where the backend was not done in time. `NoDevice`, `InvalidInput`.
 *
 * @category devices
 * @since 0.2.0
 */
export const removeDevice: (
  device: Address & { readonly within?: Duration.Input | undefined }
) => Effect.Effect<boolean, ConnectionError, XenStore.XenStore> = Effect.fnUntraced(function*(device) {
  const { backendPath, frontendPath, store } = yield* located(device)
  const failed = Reader.failWith(backendPath)
  const asked = store.transaction(Effect.fnUntraced(function*(nodes) {
    // A backend may be another domain's, and what it wrote no text.
    const state = yield* XenStore.ifPresent(nodes.read(`${backendPath}/state`))
    if (Option.isNone(state)) {
      const halves = yield* Effect.forEach([backendPath, frontendPath], (path) => XenStore.ifPresent(nodes.read(path)))
      return halves.some(Option.isSome)
    }
    yield* nodes.write(`${backendPath}/online`, "0")
    if (String.fromCharCode(...state.value.subarray(0, 2)) !== "6") yield* nodes.write(`${backendPath}/state`, "5")
    return true
  }))
  if (!(yield* Effect.mapError(asked, failed))) return yield* Reader.fail(backendPath, new NoDevice({ path: backendPath }))
  const closed = yield* Effect.mapError(untilClosed(store, backendPath), failed).pipe(
    Effect.scoped,
    Effect.timeoutOption(device.within ?? "10 seconds")
  )
  yield* store.transaction(Effect.fnUntraced(function*(nodes) {
    for (const path of [backendPath, frontendPath]) {
      yield* XenStore.ifPresent(nodes.remove(path))
      yield* removeEmpty(nodes, path.slice(0, path.lastIndexOf("/")))
    }
  })).pipe(Effect.mapError(failed))
  return Option.isSome(closed)
})

/** Removes the node above a device where no other device is below it: `backend/<type>/<frontend>`, `device/<type>`. */
const removeEmpty = Effect.fnUntraced(function*(nodes: XenStore.Nodes, path: string) {
  const names = yield* XenStore.ifPresent(nodes.directory(path))
  if (Option.isSome(names) && names.value.length === 0) yield* nodes.remove(path)
})

const untilClosed = Effect.fnUntraced(function*(store: XenStore.XenStore["Service"], backendPath: string) {
  const bell = yield* States.bell
  let broken: XenStoreError | undefined
  yield* States.ringFor(store, `${backendPath}/state`, bell, (error) => {
    broken = error
  })
  while (true) {
    if (broken !== undefined) return yield* Effect.fail(broken)
    const state = yield* States.look(store, backendPath)
    if (state === "Closed" || state === "Missing") return
    yield* Queue.take(bell)
  }
})

const domainOf = Schema.decodeOption(Values.DomainId)
const numberOf = Schema.decodeOption(XenStore.Decimal)

/**
 * The devices whose backend is a domain, our own unless given: all, or those of one type, ordered by type, frontend and
 * number. Whatever stands in their nodes: what is no path of the frontend's domain is left aside.
 *
 * @category devices
 * @since 0.2.0
 */
export const listDevices: (
  options?: { readonly backend?: number | undefined; readonly type?: string | undefined }
) => Effect.Effect<ReadonlyArray<Listed>, ConnectionError, XenStore.XenStore> = Effect.fnUntraced(
  function*({ backend, type } = {}) {
    const store = yield* XenStore.XenStore
    const failed = Reader.failWith("backend")
    yield* checked({ type: type ?? "any", backend })
    const owner = backend ?? (yield* Effect.mapError(store.ownId, failed))
    const base = `${StorePath.ofDomain(owner)}/backend`
    const names = (path: string) =>
      Effect.map(XenStore.ifPresent(store.directory(path)), Option.getOrElse((): ReadonlyArray<string> => []))
    const listed: Array<Listed> = []
    const all = Effect.gen(function*() {
      for (const kind of type === undefined ? yield* names(base) : [type]) {
        for (const domain of yield* names(`${base}/${kind}`)) {
          for (const device of yield* names(`${base}/${kind}/${domain}`)) {
            const frontend = Option.getOrUndefined(domainOf(domain))
            const id = Option.getOrUndefined(numberOf(device))
            if (frontend !== undefined && id !== undefined) listed.push(yield* describe(store, { type: kind, frontend, backend: owner, id }))
          }
        }
      }
    })
    yield* Effect.mapError(all, failed)
    return listed.toSorted((a, b) => a.type < b.type ? -1 : a.type > b.type ? 1 : a.frontend - b.frontend || a.id - b.id)
  }
)

/** Why a node of a backend's tells nothing. */
const untold: ReadonlySet<string> = new Set(["NotFound", "AccessDenied", "InvalidValue"])

const isPath = Schema.is(StorePath.StorePath)

const describe = Effect.fnUntraced(function*(
  store: XenStore.XenStore["Service"],
  device: Required<Pick<Address, "frontend" | "type">> & { readonly backend: number; readonly id: number }
) {
  const paths = pathsOf(device)
  const told = yield* Effect.asSome(store.readText(`${paths.backendPath}/frontend`)).pipe(
    Effect.catchIf(({ reason }) => untold.has(reason._tag), () => Effect.succeedNone)
  )
  const theirs = Option.filter(told, (path) => Reader.isBelow(path, device.frontend) && isPath(`${path}/state`))
  const frontendPath = Option.getOrElse(theirs, () => paths.frontendPath)
  const frontendState = yield* States.look(store, frontendPath)
  const backendState = yield* States.look(store, paths.backendPath)
  const known = (state: States.Seen): state is XenbusState.XenbusState => state !== "Missing" && state !== "Invalid"
  return {
    ...device,
    ...paths,
    frontendPath,
    ...(known(frontendState) ? { frontendState } : {}),
    ...(known(backendState) ? { backendState } : {})
  }
})
