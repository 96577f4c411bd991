/**
 * Makes core's driver of the two devices: effects and typed failures around their synchronous calls.
 *
 * @internal
 */
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Reason from "@xen-shbuf/core/Reason"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Options } from "../GntDev.ts"
import * as Device from "./Device.ts"
import * as GntAlloc from "./GntAlloc.ts"
import * as GntMap from "./GntMap.ts"
import type * as Libc from "./Libc.ts"

/** `loadLibc` throws where the C library can't be called; it is first called when a device is used. */
export const make = Effect.fnUntraced(function*(loadLibc: () => Libc.Libc, options: Options = {}) {
  const { gntalloc, gntallocLimit, gntdev, gntdevLimit } = Device.paths
  const libc = () => Result.try({ try: loadLibc, catch: noLibc })
  const size = options.grantTableSize ?? GntAlloc.defaultTableSize
  const alloc = GntAlloc.make(libc, options.gntalloc ?? gntalloc, options.gntallocLimit ?? gntallocLimit, size)
  const map = GntMap.make(libc, options.gntdev ?? gntdev, options.gntdevLimit ?? gntdevLimit)
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      alloc.close()
      map.close()
    })
  )
  const driver: GrantTable.Driver = {
    share: (request) => attempt("share", () => alloc.share(request)),
    map: (request) => attempt("map", () => map.map(request)),
    read: (grant, into) => attempt("read", () => map.read(grant, into)),
    copy: (segments) => attempt("copy", () => options.grantCopy === true ? map.copy(segments) : copyIsOff()),
    limits: attempt("limits", () => Result.all({ shared: alloc.limit(), mappedPerRequest: map.limit() }))
  }
  return driver
})

type Operation = GrantTableError.GrantTableError["operation"]

const attempt = <A>(operation: Operation, run: () => Device.Outcome<A>) =>
  Effect.suspend(() => {
    const outcome = run()
    return Result.isSuccess(outcome)
      ? Effect.succeed(outcome.success)
      : Effect.fail(new GrantTableError.GrantTableError({ operation, reason: outcome.failure }))
  })

const noLibc = (cause: unknown) =>
  new Reason.Unsupported({
    feature: "Calling the C library",
    detail: cause instanceof Error ? cause.message : String(cause)
  })

const copyIsOff = () =>
  Result.fail(
    new Reason.Unsupported({
      feature: "Grant copy",
      detail: "it is off unless the option grantCopy is set, for its flaws (advisories 500 and 523); map instead"
    })
  )
