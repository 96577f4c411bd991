import { assert, describe, it } from "@effect/vitest"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Keyboard from "../src/devices/Keyboard.ts"

const played = (play: typeof Keyboard.takers, outcomes: ReadonlyArray<string>) =>
  Effect.suspend(() => {
    const seed = Math.floor(Math.random() * 2 ** 31)
    const tally = new Map<string, number>()
    return Ledger.checked(play(seed, 10_000, tally)).pipe(
      Effect.provide([TestXen.layer(), Logger.layer([])]),
      Effect.tapCause(() => Effect.logError(`seed ${seed}`)),
      Effect.map(() => assert.includeMembers([...tally.keys()], [...outcomes]))
    )
  })

describe("kbdif with a hostile peer", () => {
  it.live("ten thousand events for guests that know no rules: those are found out, and nothing waits for them", () =>
    played(Keyboard.takers, ["sent", "no room", "TooFar", "not connected: PeerClosed"]), 60_000)

  it.live("ten thousand events of backends that know no rules: the frontend takes them for what they are", () =>
    played(Keyboard.givers, ["Motion", "Key", "Position", "Touch", "Unknown", "RingError TooFar", "ConnectionError InvalidNode"]), 60_000)
})
