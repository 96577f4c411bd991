/**
 * Hostile peers of displays and keyboards, either side of each, a batch of requests or events at a time in a Xen of its own,
 * whose books are checked.
 */
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Display from "./Display.ts"
import * as Keyboard from "./Keyboard.ts"

const kinds = {
  display: [Display.requests, Display.answers],
  keyboard: [Keyboard.takers, Keyboard.givers]
} as const

/** What can be played. */
export type Kind = keyof typeof kinds

export const isKind = (text: string): text is Kind => Object.hasOwn(kinds, text)

/** Plays so many cases, half of them against the backend; adds up what became of them. */
export const play = (kind: Kind, seed: number, cases: number, tally: Map<string, number>): Promise<void> =>
  Effect.runPromise(
    Effect.forEach(kinds[kind], (side) =>
      Ledger.checked(Effect.scoped(side(seed, Math.ceil(cases / 2), tally))).pipe(Effect.provide(TestXen.layer())), {
      discard: true
    }).pipe(Effect.provide(Logger.layer([])))
  )
