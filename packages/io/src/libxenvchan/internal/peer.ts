import type * as DomainId from "@xen-shbuf/core/DomainId"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as StorePath from "@xen-shbuf/core/StorePath"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import { Suspended } from "@xen-shbuf/xenbus/ConnectionError"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** Succeeds once a change at this very path shows that something is gone; where it can't be watched it waits for ever. */
const awaiting = (store: XenStore["Service"], path: string, isGone: Effect.Effect<boolean>): Effect.Effect<void> =>
  store.watch(path).pipe(
    // What changes below it says nothing, and dom0 sees all of that.
    Stream.filter((changed) => changed === path),
    Stream.mapEffect(() => isGone),
    Stream.filter((isGone) => isGone),
    Stream.runHead,
    Effect.catch((error) =>
      Effect.andThen(Effect.logDebug(`${path} can't be watched: ${error.message}`), Effect.never))
  )

const whereIdIs = "domid"

/** What shows that our own domain was saved and restored since it had this id, if it was. */
export const isRestored = (store: XenStore["Service"], before: DomainId.DomainId): Effect.Effect<Suspended | undefined> =>
  Effect.match(store.ownId, {
    onSuccess: (id) => id === before ? undefined : new Suspended({ path: whereIdIs }),
    onFailure: () => undefined
  })

/**
 * Succeeds when our own domain was saved and restored since it had this id: our pages, mappings and ports are gone then, and
 * Linux does not say so. But it watches anew what it watched, so each watch tells once more. A domain that has kept its id
 * finds nothing any more of what it had published.
 */
export const restored = (
  store: XenStore["Service"],
  before: DomainId.DomainId,
  published?: { readonly path: string; readonly ref: string }
): Effect.Effect<Suspended> => {
  let found: Suspended | undefined
  let isAgain = false
  // That it is missing shows nothing by itself: others may have removed it.
  const isMissing = published === undefined ? Effect.undefined : Effect.match(store.readText(`${published.path}/ring-ref`), {
    onSuccess: () => undefined,
    onFailure: ({ reason }) => reason._tag === "NotFound" ? new Suspended({ path: `${published.path}/ring-ref` }) : undefined
  })
  const look = Effect.gen(function*() {
    found = (yield* isRestored(store, before)) ?? (isAgain ? yield* isMissing : undefined)
    isAgain = true
    return found !== undefined
  })
  return Effect.map(awaiting(store, whereIdIs, look), () => found!)
}

/** Succeeds when a domain that was there is gone. Its nodes tell, as long as it is there; to dom0, but not to guests. */
export const domainGone = (store: XenStore["Service"], peer: DomainId.DomainId): Effect.Effect<void> => {
  const path = StorePath.ofDomain(peer)
  let wasThere = false
  return awaiting(
    store,
    path,
    Effect.matchEffect(store.read(path), {
      onSuccess: () => Effect.sync(() => {
        wasThere = true
        return false
      }),
      onFailure: ({ reason }) => Effect.succeed(wasThere && reason._tag === "NotFound")
    })
  )
}

/**
 * Succeeds when a server has gone whose page had this reference: what it published is gone, as with its whole domain, and
 * its page can't be mapped any more. Which is so after an orderly end, too: then its page has told that before.
 */
export const serverGone = (
  store: XenStore["Service"],
  table: GrantTable["Service"],
  { path, peer, ref }: { readonly path: string; readonly peer: DomainId.DomainId; readonly ref: number }
): Effect.Effect<void> =>
  awaiting(
    store,
    `${path}/ring-ref`,
    Effect.matchEffect(store.readText(`${path}/ring-ref`), {
      onSuccess: (text) => Effect.succeed(text !== String(ref)),
      onFailure: () => Effect.succeed(true)
    }).pipe(
      Effect.flatMap((isWithdrawn) => isWithdrawn ? table.read({ peer, ref }, new Uint8Array(1)) : Effect.void),
      Effect.match({ onSuccess: () => false, onFailure: ({ reason }) => reason._tag === "GrantRefused" })
    )
  )
