/**
 * Finds what a test has left behind, and says who made it.
 *
 * @since 0.1.0
 */

import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type HeldPages, type Holding, TestXen } from "./TestXen.ts"

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
export const describe = (holding: Holding): string =>
  [`domain ${holding.domain} ${what(holding)}`, ...holding.madeBy.map((call) => `    at ${call}`)].join("\n")

/** What its domain does with it. */
const what = (holding: Holding): string => {
  switch (holding._tag) {
    case "Share":
      return `shares ${pages(holding)} with domain ${holding.peer}, ${holding.access} ${references(holding)}`
    case "Deferred":
      return `has let go of ${pages(holding)} that domain ${holding.peer} still maps ${references(holding)}`
    case "Mapping":
      return `maps ${pages(holding)} of domain ${holding.peer}, ${holding.access} ${references(holding)}`
    case "Channel":
      return `has port ${holding.port} open, ${holding.isJoined ? "joined with" : "kept for"} domain ${holding.peer}`
    case "Watch":
      return `watches ${holding.path}`
    case "Transaction":
      return "has begun a transaction of xenstore"
  }
}

const pages = ({ refs }: HeldPages) => count(refs.length, "page")

const references = ({ refs }: HeldPages) =>
  `(references ${refs.slice(0, listed).join(", ") + (refs.length > listed ? ", …" : "")})`

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
