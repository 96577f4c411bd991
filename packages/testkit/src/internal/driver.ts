/**
 * What one domain sees of the hypervisor: drivers of core's three services, made of plain synchronous code.
 */
import type { DomainId } from "@xen-shbuf/core/DomainId"
import type * as EventChannels from "@xen-shbuf/core/EventChannels"
import { EventChannelError } from "@xen-shbuf/core/EventChannelError"
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import type { Port } from "@xen-shbuf/core/Port"
import * as Reason from "@xen-shbuf/core/Reason"
import type * as XenStore from "@xen-shbuf/core/XenStore"
import { type Reason as StoreReason, XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Effect from "effect/Effect"
import type * as References from "effect/References"
import * as Result from "effect/Result"
import * as Channels from "./eventChannels.ts"
import * as Hypervisor from "./hypervisor.ts"
import * as Linux from "./linux.ts"
import * as Store from "./store.ts"

const gone = (id: number) =>
  new Reason.DeviceUnavailable({
    device: `Domain ${id}`,
    errno: "ENODEV",
    remedy: "The domain was destroyed; TestXen makes a new one with its id when it is asked for it."
  })

/** The grant table that a domain sees. */
export const grantTable = (xen: Hypervisor.Hypervisor, linux: Linux.Linux): GrantTable.Driver => {
  const { domain } = linux
  const run = <A>(
    operation: GrantTableError.GrantTableError["operation"],
    f: (caller: References.StackFrame | undefined) => Result.Result<A, GrantTableError.Reason>
  ) =>
    Effect.withFiber((fiber) => {
      const result = domain.alive ? f(fiber.cache.stackFrame) : Result.fail(gone(domain.id))
      return Result.isSuccess(result)
        ? Effect.succeed(result.success)
        : Effect.fail(new GrantTableError.GrantTableError({ operation, reason: result.failure }))
    })
  const arm =
    (holding: Linux.Share | Linux.Mapping): GrantTable.Acquired["arm"] => (notification) =>
      domain.alive ? Linux.arm(linux, holding, notification) : Result.fail(gone(domain.id))
  return {
    share: (request) =>
      run("share", (caller) =>
        Result.map(Hypervisor.share(xen, linux, request, caller), (share) => ({
          refs: share.refs.slice(),
          bytes: new Uint8Array(share.view.buffer),
          arm: arm(share),
          release: () => {
            share.isScopeOpen = false
            return Linux.endShare(share)
          }
        }))),
    map: (request) =>
      run("map", (caller) =>
        Result.map(Hypervisor.map(xen, linux, request, caller), (mapping) => ({
          bytes: new Uint8Array(mapping.region.buffer),
          arm: arm(mapping),
          release: () => Linux.unmap(mapping)
        }))),
    read: (grant, into) => run("read", () => Hypervisor.read(xen, linux, grant, into)),
    copy: (segments) => run("copy", () => Hypervisor.copy(xen, linux, segments)),
    limits: run("limits", () =>
      Result.succeed({
        shared: { pages: linux.sharedLimit, knob: Linux.shareKnob },
        mappedPerRequest: { pages: 65_536, knob: { _tag: "File", path: "/sys/module/xen_gntdev/parameters/limit" } }
      }))
  }
}

/** The event channels that a domain sees. */
export const eventChannels = (xen: Hypervisor.Hypervisor, { channels, domain }: Linux.Linux): EventChannels.Driver => {
  const bound = (end: Channels.End): EventChannels.Bound => ({
    port: end.port,
    notify: () => domain.alive ? Result.succeed(Channels.notify(end)) : Result.fail(gone(domain.id)),
    unmask: () => Result.succeed(Channels.unmask(end)),
    release: () => Channels.close(end)
  })
  const run = (
    operation: EventChannelError["operation"],
    open: (caller: References.StackFrame | undefined) => Result.Result<Channels.End, EventChannelError["reason"]>
  ) =>
    Effect.withFiber((fiber) => {
      const opened = domain.alive ? open(fiber.cache.stackFrame) : Result.fail(gone(domain.id))
      return Result.isSuccess(opened)
        ? Effect.succeed(bound(opened.success))
        : Effect.fail(new EventChannelError({ operation, reason: opened.failure }))
    })
  const channelsOf = (id: DomainId) => xen.domains.get(id)?.channels
  return {
    listen: ({ peer }, listener) => run("listen", (caller) => Channels.listen(channels, peer, listener, caller)),
    join: (request, listener) => run("join", (caller) =>
        Channels.join(channels, channelsOf(request.peer), request, listener, caller))
  }
}

const deaf: EventChannels.Listener = { signal: () => {}, end: () => {} }

/** Whether it is the program's to close: not one that is open for no other reason than to be signalled. */
export const isHeld = ({ listener }: Channels.End): boolean => listener !== undefined && listener !== deaf

/** A port that is open, and no more. */
export const bindPort = ({ channels, domain }: Linux.Linux): Port =>
  Result.getOrThrow(Channels.listen(channels, domain.id, deaf, undefined)).port

/** The answer comes in a turn of its own, as from a real one; who is interrupted before gets nothing. */
const answeredLater = <A>(
  restore: XenStore.Restore,
  acquire: Effect.Effect<A, XenStoreError>,
  undo: (acquired: A) => void
): Effect.Effect<A, XenStoreError> =>
  Effect.flatMap(acquire, (acquired) =>
    Effect.as(Effect.onInterrupt(restore(Effect.yieldNow), () => Effect.sync(() => undo(acquired))), acquired))

/** Xenstore as a domain sees it. */
export const store = (linux: Linux.Linux): XenStore.Driver => {
  const { domain } = linux
  const run = <A>(
    operation: XenStoreError["operation"],
    work: (client: Store.Client, caller: References.StackFrame | undefined) => Result.Result<A, StoreReason>
  ) =>
    Effect.withFiber((fiber) => {
      const result = domain.alive ? work(linux.client, fiber.cache.stackFrame) : Result.fail(gone(domain.id))
      return Result.isSuccess(result)
        ? Effect.succeed(result.success)
        : Effect.fail(new XenStoreError({ operation, reason: result.failure }))
    })
  const abort = (id: number) => Store.abort(linux.client, id)
  return {
    read: (path, id) => run("read", (client) => Result.map(Store.get(client, path, id), ({ value }) => value.slice())),
    write: (path, value, id) => run("write", (client) => Store.write(client, path, value, id)),
    directory: (path, id) =>
      run("directory", (client) => Result.map(Store.get(client, path, id), ({ children }) => [...children.keys()])),
    makeDirectory: (path, id) => run("makeDirectory", (client) => Store.makeDirectory(client, path, id)),
    remove: (path, id) => run("remove", (client) => Store.remove(client, path, id)),
    permissions: (path, id) =>
      run("permissions", (client) => Result.map(Store.get(client, path, id), ({ permissions }) => permissions)),
    setPermissions: (path, permissions, id) =>
      run("setPermissions", (client) => Store.setPermissions(client, path, permissions, id)),
    begin: (restore) => answeredLater(restore, run("transaction", Store.begin), abort),
    commit: (id, restore) =>
      Effect.andThen(
        Effect.onInterrupt(restore(Effect.yieldNow), () => Effect.sync(() => abort(id))),
        run("transaction", (client) => Store.commit(client, id))
      ),
    abort: (id) => Effect.sync(() => abort(id)),
    watch: (path, changed, ended, restore) =>
      answeredLater(
        restore,
        run("watch", (client, caller) =>
          Result.map(Store.watch(client, path, changed, ended, caller), (release) => ({ release }))),
        ({ release }) => release()
      ),
    ownId: Effect.sync(() => domain.id)
  }
}
