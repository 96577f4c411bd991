/**
 * Describes what the lab checks, and runs it: groups of checks, each group with what it needs.
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Grants from "./Grants.ts"
import type { Machine } from "./Machine.ts"
import type { Report } from "./Report.ts"

/** Says what a check found. */
export class CheckError extends Data.TaggedError("CheckError")<{ readonly message: string }> {}

/** Fails unless the two are equal, as JSON. */
export const same = (what: string, found: unknown, expected: unknown): Effect.Effect<void, CheckError> =>
  JSON.stringify(found) === JSON.stringify(expected)
    ? Effect.void
    : Effect.fail(new CheckError({ message: `${what} is ${JSON.stringify(found)}, not ${JSON.stringify(expected)}` }))

/** What every check can use. */
export interface Lab {
  readonly dom0: Machine
  /** Xen's list of active grants. */
  readonly grants: Effect.Effect<ReadonlyArray<Grants.Active>, Grants.ReadError>
}

/** One check. `part` records an outcome of its own for something that the check ran inside the domain. */
export interface Check<C> {
  readonly name: string
  /** How long it may take in all, default 10 minutes. */
  readonly limit?: Duration.Input | undefined
  /** May give a text: figures, for the report. */
  readonly run: (context: C, part: Part) => Effect.Effect<string | void, unknown, Scope.Scope>
}

/** The same check, for who has its context as a part of another. */
export const within = <C, D>(check: Check<C>, context: (whole: D) => C): Check<D> => ({
  ...check,
  run: (whole, part) => check.run(context(whole), part)
})

/** Records an outcome from inside a check. */
export type Part = (name: string, ok: boolean, millis: number, detail?: string) => Effect.Effect<void>

/** Checks that share what `acquire` gives. If it fails, none of them was run and all are counted as failed. */
export interface Group<C> {
  readonly where: string
  readonly acquire: Effect.Effect<C, unknown, Scope.Scope>
  /** Which grants can only be the doing of these checks: other groups may run at the same time. */
  readonly concerns: (context: C, grant: Grants.Active) => boolean
  readonly checks: ReadonlyArray<Check<C>>
}

const explain = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}

/**
 * Runs a group. A check also fails when Xen's active grants are not, after it, what they were before it:
 * so a leak has a name.
 */
export const run = <C>(lab: Lab, group: Group<C>, report: Report): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { where } = group
    const acquired = yield* Effect.exit(group.acquire)
    for (const check of group.checks) {
      const { name } = check
      if (Exit.isFailure(acquired)) {
        const detail = `not run: ${explain(acquired.cause)}`
        yield* report.record({ where, name, result: "failed", millis: 0, detail })
        continue
      }
      const start = performance.now()
      let parts = 0
      const part: Part = (name, ok, millis, detail) =>
        Effect.suspend(() => {
          parts++
          return report.record({ where, name, result: ok ? "passed" : "failed", millis, detail })
        })
      const limit = Duration.fromInputUnsafe(check.limit ?? "10 minutes")
      const exit = yield* Effect.gen(function*() {
        const ours = Effect.map(lab.grants, (all) => all.filter((grant) => group.concerns(acquired.value, grant)))
        const before = yield* ours
        const found = yield* Effect.scoped(check.run(acquired.value, part))
        yield* Grants.settle(ours, before)
        return found ?? undefined
      }).pipe(
        Effect.timeoutOrElse({
          duration: limit,
          orElse: () => Effect.fail(new CheckError({ message: `not done after ${Duration.toSeconds(limit)} s` }))
        }),
        Effect.exit
      )
      const millis = performance.now() - start
      if (Exit.isFailure(exit)) {
        yield* report.record({ where, name, result: "failed", millis, detail: explain(exit.cause) })
      } else if (parts === 0) yield* report.record({ where, name, result: "passed", millis, detail: exit.value })
    }
  }).pipe(Effect.scoped)

/** Records every check of a group as skipped: nobody asked for it. */
export const skip = <C>(group: Pick<Group<C>, "where" | "checks">, why: string, report: Report): Effect.Effect<void> =>
  Effect.forEach(group.checks, ({ name }) =>
    report.record({ where: group.where, name, result: "skipped", millis: 0, detail: `not run: ${why}` }), {
    discard: true
  })
