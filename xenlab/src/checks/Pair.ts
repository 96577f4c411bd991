/**
 * Shares between two guests, of which neither is dom0: Xen's policy decides whether they may.
 */
import * as Effect from "effect/Effect"
import type { Active } from "../Grants.ts"
import { type Check, type Lab, same } from "../Plan.ts"
import type { Policy } from "../Target.ts"
import { frame } from "./Modules.ts"
import * as Sharing from "./Sharing.ts"
import * as Tool from "./Tool.ts"

/** Two prepared guests. */
export type Context = Sharing.Sides

/** A guest as one of the two. */
export const side = ({ guest, inGuest }: Sharing.Context): Sharing.Side => ({
  name: guest.name,
  tool: inGuest,
  domain: guest.domain
})

/** Whether a grant is between them. */
export const concerns = ({ back, front }: Context, grant: Active): boolean =>
  Sharing.isBetween(front.domain, back.domain, grant)

const page = 4096
const sizes: ReadonlyArray<readonly [name: string, bytes: number]> = [
  ["1 page", page],
  ["1024 pages", 1024 * page],
  ["a 1920×1080×4 frame", frame]
]

const ways: ReadonlyArray<readonly [name: string, turn: (sides: Context) => Context]> = [
  ["", (sides) => sides],
  [", the other way around", ({ back, front }) => ({ front: back, back: front })]
]

const allowed = (lab: Lab): ReadonlyArray<Check<Context>> =>
  ways.flatMap(([way, turn]) =>
    sizes.flatMap(([name, bytes]): ReadonlyArray<Check<Context>> => [
      {
        name: `one guest allocates ${name} for the other${way}`,
        run: (sides) => Sharing.frontendAllocates(lab, bytes, turn(sides))
      },
      {
        name: `one guest lets the other allocate ${name}${way}`,
        run: (sides) => Sharing.backendAllocates(lab, bytes, turn(sides))
      }
    ])
  )

const refused: Check<Context> = {
  name: "one guest may not map what the other shares: the message names Xen's policy",
  run: Effect.fnUntraced(function*({ back, front }) {
    const sharing = yield* Tool.start(front.tool, ["share", "--peer", back.domain, "--bytes", page])
    const { directory } = yield* sharing.expect("shared")
    const event = yield* Tool.refusal(back.tool, [
      ...["map", "--peer", front.domain, "--directory", String(directory), "--bytes", page]
    ])
    yield* same("the reason", event["reason"], "GrantRefused")
    yield* Tool.mentions(event, "SILO", "xsm=dummy")
    yield* sharing.enter
    yield* sharing.expect("contents")
    yield* Tool.release(sharing)
  })
}

/** What two guests can do under a policy. */
export const checks = (lab: Lab, policy: Policy): ReadonlyArray<Check<Context>> =>
  policy === "dummy" ? allowed(lab) : [refused]
