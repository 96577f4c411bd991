import { assert, describe, it } from "@effect/vitest"
import type * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import * as Display from "../src/devices/Display.ts"
import * as World from "../../packages/io/test/displif/World.ts"
import * as Traces from "../../packages/xenbus/test/Traces.ts"

/** Runs cases from any seed, and names it where one fails. What the victim logs is not for us. */
const played = <E>(test: (seed: number) => Effect.Effect<void, E, TestXen.TestXen | Scope.Scope>) =>
  Effect.suspend(() => {
    const seed = Math.floor(Math.random() * 2 ** 31)
    return World.checked(test(seed)).pipe(
      Effect.provide(Logger.layer([])),
      Effect.tapCause(() => Effect.logError(`seed ${seed}`)),
      Traces.without
    )
  })

/** All that can come of a guest's request. */
const outcomes: ReadonlyArray<string> = [
  ...["0", "-12", "-14", "-17", "-22", "-95"].map((status) => `DbufCreate ${status}`),
  ...["0", "-2", "-22"].map((status) => `DbufDestroy ${status}`),
  ...["0", "-2", "-12", "-17", "-22"].map((status) => `FbAttach ${status}`),
  ...["0", "-2", "-22"].map((status) => `FbDetach ${status}`),
  ...["0", "-2", "-22"].map((status) => `SetConfig ${status}`),
  ...["0", "-2", "-16"].map((status) => `PgFlip ${status}`),
  ...["0", "-14", "-22"].map((status) => `GetEdid ${status}`),
  "Unknown -95"
]

describe("displif with a hostile peer", () => {
  it.live("ten thousand requests of a guest that knows no rules: each gets the right answer", () => {
    const tally: Display.Tally = new Map()
    // The cases are worth something only if they reach everything that can happen; to what is rare, more of them do.
    const more = () => outcomes.some((outcome) => !tally.has(outcome))
    return Effect.map(Effect.repeat(played((seed) => Display.requests(seed, 10_000, tally)), { while: more, times: 4 }), () =>
      assert.includeMembers([...tally.keys()], [...outcomes]))
  }, 60_000)

  it.live("a guest whose indexes run wild loses its display", () =>
    Effect.forEach(Array.from({ length: 50 }), () => played(Display.wildIndex), { discard: true }), 60_000)

  it.live("ten thousand requests to a backend that knows no rules: the frontend says what is wrong", () => {
    const tally: Display.Tally = new Map()
    return Effect.map(played((seed) => Display.answers(seed, 10_000, tally)), () => {
      assert.includeMembers([...tally.keys()], ["done", "Refused", "WrongAnswer", "RingError", "DirectoryError", "no event"])
    })
  }, 60_000)
})
