/**
 * Makes core's driver of the two devices: effects and typed failures around their synchronous calls.
 *
 * @internal
 */
import type * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Reason from "@xen-shbuf/core/Reason"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Files from "./Files.ts"
import * as GntAlloc from "./GntAlloc.ts"
import * as GntMap from "./GntMap.ts"
import type { Options } from "./Options.ts"
import * as Requests from "./Requests.ts"

/** `loadSystem` throws where the C library can't be called; it is first called when a device is used. */
export const make = Effect.fnUntraced(function*(loadSystem: () => SystemCalls.SystemCalls, options: Options = {}) {
  const { gntalloc, gntallocLimit, gntdev, gntdevLimit } = Files.paths
  const system = () => Result.try({ try: () => SystemCalls.withPagesOfXen(loadSystem()), catch: noSystem })
  const size = options.grantTableSize ?? GntAlloc.defaultTableSize
  const alloc = GntAlloc.make(system, options.gntalloc ?? gntalloc, options.gntallocLimit ?? gntallocLimit, size)
  const requests = Requests.make(system, options.gntdev ?? gntdev, options.gntdevLimit ?? gntdevLimit)
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      GntAlloc.close(alloc)
      Requests.close(requests)
    })
  )
  const driver: GrantTable.Driver = {
    share: (request) => attempt("share", () => GntAlloc.sharing(alloc, request)),
    map: (request) => attempt("map", () => GntMap.map(requests, request)),
    read: (grant, into) => attempt("read", () => GntMap.read(requests, grant, into)),
    copy: (segments) => attempt("copy", () => options.grantCopy === true ? GntMap.copy(requests, segments) : copyIsOff()),
    limits: attempt("limits", () => limits(GntAlloc.limit(alloc), GntMap.limit(requests)))
  }
  return driver
})

/** What each device can hold; a frontend needs no gntdev, and a backend no gntalloc, so one that is missing is left out. */
const limits = (
  shared: Files.Outcome<GrantTable.Limit>,
  mappedPerRequest: Files.Outcome<GrantTable.Limit>
): Files.Outcome<GrantTable.Limits> => {
  if (Result.isFailure(shared) && Result.isFailure(mappedPerRequest)) return Result.fail(shared.failure)
  return Result.succeed({
    ...(Result.isSuccess(shared) ? { shared: shared.success } : {}),
    ...(Result.isSuccess(mappedPerRequest) ? { mappedPerRequest: mappedPerRequest.success } : {})
  })
}

type Operation = GrantTableError.GrantTableError["operation"]

const attempt = <A>(operation: Operation, run: () => Files.Outcome<A>) =>
  Effect.suspend(() => {
    const outcome = run()
    return Result.isSuccess(outcome)
      ? Effect.succeed(outcome.success)
      : Effect.fail(new GrantTableError.GrantTableError({ operation, reason: outcome.failure }))
  })

const noSystem = (cause: unknown) =>
  new Reason.Unsupported({
    feature: "Sharing memory with other domains",
    detail: cause instanceof Error ? cause.message : String(cause)
  })

const copyIsOff = () =>
  Result.fail(
    new Reason.Unsupported({
      feature: "Grant copy",
      detail: "it is off unless the option grantCopy is set, for its flaws (advisories 500 and 523); map instead"
    })
  )
