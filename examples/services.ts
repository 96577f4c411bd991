// A doorbell: one domain says in xenstore where it listens, another finds it there and signals.
import { EventChannels } from "@xen-shbuf/core/EventChannels"
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

/** In a guest: publishes a port that dom0 alone may join, and succeeds when it signals. */
export const listen = Effect.gen(function*() {
  const store = yield* XenStore.XenStore
  const channel = yield* (yield* EventChannels).listen({ peer: 0 })
  yield* Effect.acquireRelease(
    store.write("data/doorbell", String(channel.port)),
    () => Effect.ignore(store.remove("data/doorbell"))
  )
  yield* channel.wait
}).pipe(Effect.scoped)

/** In dom0: waits for the guest's doorbell, and rings it. */
export const ring = Effect.fnUntraced(function*(guest: number) {
  const store = yield* XenStore.XenStore
  const path = `/local/domain/${guest}/data/doorbell`
  // The watched path comes once at the beginning, then with each change: so whoever looks then misses nothing.
  const found = store.watch(path).pipe(
    Stream.mapEffect(() => XenStore.ifPresent(store.readSchema(path, XenStore.Decimal))),
    Stream.filter(Option.isSome),
    Stream.runHead
  )
  const port = Option.getOrThrow(Option.flatten(yield* found))
  const channel = yield* (yield* EventChannels).join({ peer: guest, port })
  yield* channel.notify
}, Effect.scoped)
