/**
 * Finds what a test has left behind, and says who made it.
 *
 * @since 0.1.0
 */

import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Holding, TestXen } from "./TestXen.ts"

const count = (n: number, noun: string) => `${n} ${noun}${n === 1 ? "" : "s"}`

/**
 * Something is still held. `message` has a paragraph for each holding: what it is, and the calls that made it.
 *
 * @category errors
 * @since 0.1.0
 */
export class LeakError extends Data.TaggedError("LeakError")<{
  /** What is still held. */
  readonly leaks: ReadonlyArray<Holding>
}> {
  override get message() {
    return [`${count(this.leaks.length, "leak")}:`, ...this.leaks.map(describe)].join("\n")
  }
}

/** References that a sentence names before it says "and so on". */
const listed = 8

/**
 * Says in a sentence what a holding is, with the calls that made it below.
 *
 * @category formatting
 * @since 0.1.0
 */
export const describe = ({ _tag, access, domain, madeBy, peer, refs }: Holding): string => {
  const pages = count(refs.length, "page")
  const what = {
    Share: `domain ${domain} shares ${pages} with domain ${peer}, ${access}`,
    Deferred: `domain ${domain} has let go of ${pages} that domain ${peer} still maps`,
    Mapping: `domain ${domain} maps ${pages} of domain ${peer}, ${access}`
  }[_tag]
  const names = refs.slice(0, listed).join(", ") + (refs.length > listed ? ", …" : "")
  return [`${what} (references ${names})`, ...madeBy.map((call) => `    at ${call}`)].join("\n")
}

/**
 * Everything that is held: by living domains, and by dead ones whose peers still map their pages.
 *
 * @category inspection
 * @since 0.1.0
 */
export const live: Effect.Effect<ReadonlyArray<Holding>, never, TestXen> = Effect.flatMap(
  TestXen,
  (xen) => xen.holdings
)

const none = (leaks: ReadonlyArray<Holding>) => leaks.length === 0 ? Effect.void : Effect.fail(new LeakError({ leaks }))

/**
 * Fails if anything is held by any domain.
 *
 * @category assertions
 * @since 0.1.0
 */
export const assertEmpty: Effect.Effect<void, LeakError, TestXen> = Effect.flatMap(live, none)

/**
 * Fails if anything is held by this domain.
 *
 * @category assertions
 * @since 0.1.0
 */
export const assertEmptyIn = (domain: number): Effect.Effect<void, LeakError, TestXen> =>
  Effect.flatMap(live, (holdings) => none(holdings.filter((holding) => holding.domain === domain)))

/**
 * Runs a test in a scope of its own, closes the scope however the test ends, and fails if anything that was made
 * meanwhile is still held. A failure of the test itself is kept beside the leak's.
 *
 * @category assertions
 * @since 0.1.0
 */
export const checked = <A, E, R>(
  test: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LeakError, Exclude<R, Scope.Scope> | TestXen> =>
  Effect.flatMap(live, (before) => {
    const last = before.at(-1)?.id ?? 0
    return Effect.onExit(Effect.scoped(test), () =>
      Effect.flatMap(live, (holdings) => none(holdings.filter(({ id }) => id > last))))
  })
