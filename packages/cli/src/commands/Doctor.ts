/**
 * `xen-shbuf doctor`: tells what this machine lacks.
 *
 * @since 0.1.0
 */
import * as Chain from "@xen-shbuf/core/Chain"
import * as Page from "@xen-shbuf/core/Page"
import type * as Preflight from "@xen-shbuf/xen-gntdev/Preflight"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { Reported } from "../Failure.ts"
import * as Flags from "../Flags.ts"
import { count, Output } from "../Output.ts"

const describe = ({ detail, name, ok, remedy }: Preflight.Point): string =>
  `${ok ? "✓" : "✗"} ${name}: ${detail}` + (remedy === undefined ? "" : `\n    ${remedy}`)

/**
 * Prints points; fails if one of them is not ok.
 *
 * @category combinators
 * @since 0.1.0
 */
export const report = Effect.fnUntraced(function*(points: ReadonlyArray<Preflight.Point>) {
  const { event } = yield* Output
  for (const point of points) yield* event({ event: "point", ...point }, describe(point))
  const failed = points.filter(({ ok }) => !ok).length
  yield* event(
    { event: "doctor", ok: failed === 0, failed },
    failed === 0
      ? "\nThis machine can share and map buffers."
      : `\nThis machine can't share and map buffers yet: ${count(failed, "point")} to mend, from the top.`
  )
  if (failed > 0) return yield* new Reported()
})

/**
 * Checks the machine, for a buffer of a size if one is given.
 *
 * @category commands
 * @since 0.1.0
 */
export const doctor = Command.make("doctor", Flags.sizeFlags, Effect.fnUntraced(function*(flags) {
  const size = yield* Flags.optionalSize(flags)
  const buffer = size === undefined ? 0 : Page.countFor(size.byteLength)
  const pages = size === undefined ? undefined : buffer + Chain.pagesFor(buffer)
  const { check } = yield* Effect.promise(() => import("@xen-shbuf/xen-gntdev/Preflight"))
  yield* report(yield* check({ pages }))
})).pipe(
  Command.withDescription(
    "Check that this machine can share and map buffers, of a size if one is given: Xen, devices, limits. Opens and " +
      "shares nothing. Fails if a point does."
  ),
  Command.withShortDescription("Check what this machine lacks")
)
