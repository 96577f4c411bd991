import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { EndByConsent, Outcome } from "../Ending.ts"
import type { Lifetime } from "../Lifetime.ts"
import { text } from "./text.ts"

/** Ends a lifetime, when the peer consents or in any case. */
export const endOf = ({ end }: Lifetime): EndByConsent => ({ consent, otherwise, within }) => {
  if (otherwise !== "keep" && otherwise !== "abandon") {
    return Effect.die(new TypeError(`otherwise is ${text(otherwise)}, but must be "keep" or "abandon"`))
  }
  return Effect.uninterruptibleMask((restore) =>
    // A fiber of its own: a consent that can't be interrupted must not outlast the time that it has.
    Effect.flatMap(Effect.forkDetach(consent, { startImmediately: true }), (fiber) =>
      restore(Effect.timeoutOption(Fiber.join(fiber), within)).pipe(
        Effect.onExit((exit) => {
          if (Exit.isFailure(exit)) return Fiber.interrupt(fiber)
          if (Option.isNone(exit.value)) fiber.interruptUnsafe()
          return Effect.void
        }),
        Effect.flatMap((consented): Effect.Effect<Outcome> => {
          if (Option.isSome(consented)) return Effect.as(end, { _tag: "Released" })
          if (otherwise === "keep") return Effect.succeed({ _tag: "Kept" })
          return Effect.as(end, { _tag: "Abandoned" })
        })
      ))
  )
}
