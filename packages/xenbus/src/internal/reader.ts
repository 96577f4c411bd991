import * as StorePath from "@xen-shbuf/core/StorePath"
import * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ConnectionError, InvalidNode, type Reason } from "../ConnectionError.ts"
import type { Reader } from "../Device.ts"

type Store = XenStore.XenStore["Service"]

/** Names right below one node that are looked at; no protocol has nearly so many. */
const mostNames = 1024

export const fail = (device: string, reason: Reason): Effect.Effect<never, ConnectionError> =>
  Effect.fail(new ConnectionError({ device, reason }))

/** The answer to who keeps a connection longer than its scope. */
export const scopeLeft = Effect.die(new Error("This connection is over: its scope was left."))

/** What a service refused, as the end of a device. */
export const failWith = (device: string) => (error: { readonly reason: Reason }): ConnectionError =>
  new ConnectionError({ device, reason: error.reason })

/** The same for a node that somebody wrote: it is his fault where it can't be read. */
const unreadable = (device: string, path: string) => ({ reason }: XenStoreError): ConnectionError =>
  new ConnectionError({
    device,
    reason: reason._tag === "NotFound"
      ? new InvalidNode({ path, detail: "it is missing" })
      : reason._tag === "InvalidValue"
      ? new InvalidNode({ path, detail: reason.detail })
      : reason
  })

/** Reads the nodes below `base`, for the device whose own half is at `device`. */
export const make = (store: Store, device: string, base: string): Reader => {
  const at = (node: string) => `${base}/${node}`
  return {
    read: (node, schema) => Effect.mapError(store.readSchema(at(node), schema), unreadable(device, at(node))),
    readOptional: (node, schema) =>
      Effect.mapError(XenStore.ifPresent(store.readSchema(at(node), schema)), unreadable(device, at(node))),
    directory: (node) => {
      const path = node === undefined ? base : at(node)
      return Effect.matchEffect(XenStore.ifPresent(store.directory(path)), {
        onFailure: (error) => Effect.fail(unreadable(device, path)(error)),
        onSuccess: (names) => {
          const all = Option.getOrElse(names, () => [])
          return all.length <= mostNames
            ? Effect.succeed(all)
            : fail(device, new InvalidNode({ path, detail: `there are ${all.length} nodes below it` }))
        }
      })
    }
  }
}

/** The path of a domain's half that a node of the toolstack's tells: it must be in the nodes of that very domain. */
export const isBelow = (path: string, domain: number): boolean => path.startsWith(`${StorePath.ofDomain(domain)}/`)
