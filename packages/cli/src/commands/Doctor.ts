/**
 * `xen-shbuf doctor`: tells what this machine lacks.
 *
 * @since 0.1.0
 */

import * as Chain from "@xen-shbuf/core/Chain"
import * as Page from "@xen-shbuf/core/Page"
import type * as Preflight from "@xen-shbuf/xen-gntdev/Preflight"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Reported } from "../Failure.ts"
import * as Flags from "../Flags.ts"
import { count, Output } from "../Output.ts"

const describe = ({ detail, name, ok, remedy }: Preflight.Point): string =>
  `${ok ? "✓" : "✗"} ${name}: ${detail}` + (remedy === undefined ? "" : `\n    ${remedy}`)

const roles = ["share", "map", "connect"] as const

/** What they do, in words. */
const listed = (some: ReadonlyArray<Preflight.Role>): string => {
  const buffers = some.filter((role) => role !== "connect")
  return [...(buffers.length > 0 ? [`${buffers.join(" and ")} buffers`] : []), ...(some.includes("connect") ? ["connect devices"] : [])]
    .join(" and ")
}

/**
 * Prints points; fails if one of them is not ok.
 *
 * @category combinators
 * @since 0.1.0
 */
export const report = Effect.fnUntraced(function*(points: ReadonlyArray<Preflight.Point>, role?: Preflight.Role) {
  const { event } = yield* Output
  const asked = points.filter(({ only }) => role === undefined || only === undefined || only === role)
  for (const point of asked) yield* event({ event: "point", ...point }, describe(point))
  const wrong = asked.filter(({ ok }) => !ok)
  const failed = wrong.length
  const what = listed(role === undefined ? roles : [role])
  // What only some need leaves the others their way.
  const can = role === undefined && failed > 0 && wrong.every(({ only }) => only !== undefined)
    ? roles.filter((role) => wrong.every(({ only }) => only !== role))
    : []
  yield* event(
    { event: "doctor", ok: failed === 0, failed, ...(can.length === 0 ? {} : { can }) },
    failed === 0
      ? `\nThis machine can ${what}.`
      : `\nThis machine can't ${what} yet: ${count(failed, "point")} to mend, from the top.` +
        (can.length === 0 ? "" : ` It can ${listed(can)} (--for ${can.join(" or ")} asks for that alone).`)
  )
  if (failed > 0) return yield* new Reported()
})

/**
 * Checks the machine, for a buffer of a size if one is given.
 *
 * @category commands
 * @since 0.1.0
 */
export const doctor = Command.make("doctor", {
  ...Flags.sizeFlags,
  role: Flag.Literals("for", roles).pipe(
    Flag.optional,
    Flag.withDescription("Only what is needed to share a buffer, to map a peer's, or to connect a device; the default is all")
  )
}, Effect.fnUntraced(function*({ role, ...flags }) {
  const size = yield* Flags.optionalSize(flags)
  const buffer = size === undefined ? 0 : Page.countFor(size.byteLength)
  const pages = size === undefined ? undefined : buffer + Chain.pagesFor(buffer)
  const { check } = yield* Effect.promise(() => import("@xen-shbuf/xen-gntdev/Preflight"))
  yield* report(yield* Effect.orDie(check({ pages })), Option.getOrUndefined(role))
})).pipe(
  Command.withDescription(
    "Check that this machine can share and map buffers, of a size if one is given, and connect devices: Xen, its " +
      "devices, limits. Opens and shares nothing. Fails if a point does."
  ),
  Command.withShortDescription("Check what this machine lacks")
)
