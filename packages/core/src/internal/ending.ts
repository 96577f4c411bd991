import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { End, Ending } from "../Ending.ts"
import type { UnmapNotify } from "../GrantTable.ts"
import { byteOffset } from "./input.ts"

/** Ends what belongs to `scope`, a scope of its own inside the caller's. */
export const ending = (scope: Scope.Closeable): End => ({ consent, otherwise, within }) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(restore(Effect.timeoutOption(consent, within)), (consented): Effect.Effect<Ending> => {
      if (Option.isSome(consented)) return Effect.as(Scope.close(scope, Exit.void), { _tag: "Released" })
      if (otherwise === "keep") return Effect.succeed({ _tag: "Kept" })
      return Effect.as(Scope.close(scope, Exit.void), { _tag: "Abandoned" })
    })
  )

/** Notifications of a part of the pages: offsets count from its `start`, and lie in it. */
export const notifyIn = (whole: UnmapNotify, start: number, byteLength: number): UnmapNotify => (notification) => {
  const clearByte = notification?.clearByte
  if (clearByte === undefined) return whole(notification)
  return byteOffset(clearByte, byteLength) ?? whole({ ...notification, clearByte: start + clearByte })
}
