/**
 * Lets dom0 map the buffers of a guest that breaks the rules.
 */
import * as Effect from "effect/Effect"
import type * as Hostile from "../../guest/hostile.ts"
import type { Request } from "../../guest/peer.ts"
import type { Event } from "../Machine.ts"
import { type Check, CheckError, same } from "../Plan.ts"
import type { Context } from "./Peer.ts"
import * as Peer from "./Peer.ts"

const order = ({ hostile }: Context, request: Hostile.Request) => hostile.send(`${JSON.stringify(request)}\n`)

/** Everything that the program offers is refused, for its own reason. */
const refuseAll = Effect.fnUntraced(function*(
  { hostile, inDom0 }: Context,
  least: number,
  request: (event: Event) => Request
) {
  let seen = 0
  for (;;) {
    const event = JSON.parse(yield* hostile.nextLine) as Event
    if (event.event === "end") break
    const answer = yield* Peer.refused(inDom0, request(event))
    yield* same(`the refusal of ${String(event["name"])}`, answer["reason"], event["reason"])
    yield* hostile.enter
    seen++
  }
  if (seen < least) return yield* new CheckError({ message: `only ${seen} directories were offered` })
  return `${seen} directories, each refused for its reason`
})

const damaged = Effect.fnUntraced(function*(context: Context) {
  yield* order(context, { do: "damaged" })
  return yield* refuseAll(context, 20, ({ byteLength, directory }) => ({
    ...{ do: "map", as: "hostile", peer: context.guest.domain },
    ...{ directory: Number(directory), byteLength: Number(byteLength) }
  }))
})

/** dom0 is the frontend here, and lets the guest allocate. */
const filled = Effect.fnUntraced(function*(context: Context) {
  const { inDom0 } = context
  const empty = { do: "alloc by backend", as: "to fill", peer: context.guest.domain, byteLength: 8 * 4096 } as const
  const { directory } = yield* Peer.ask(inDom0, empty)
  yield* order(context, { do: "filling", directory: Number(directory) })
  const said = yield* refuseAll(context, 5, () => ({ do: "map filled", as: "hostile", of: "to fill" }))
  yield* Peer.ask(inDom0, { do: "release", of: "to fill" })
  return said
})

/** What may become of a directory that changes all the time. */
const reasons = ["mapped", "TooShort", "TooLong", "Cyclic", "InvalidLink", "InvalidRef", "RepeatedRef", "GrantRefused"]

/** Every mapping of it is a right one, or refused for a reason that such a directory can have. */
const changing = (pages: number, times: number) =>
  Effect.fnUntraced(function*(context: Context) {
    const { hostile } = context
    yield* order(context, { do: "changing", pages })
    const { byteLength, directory } = yield* hostile.expect("directory")
    const location = { peer: context.guest.domain, directory: Number(directory), byteLength: Number(byteLength) }
    const answer = yield* Peer.ask(context.inDom0, { do: "storm", times, ...location })
    yield* hostile.enter
    const { rewrites } = yield* hostile.expect("end")
    const counts = answer["counts"] as Readonly<Record<string, number>>
    const said = `${times} times: ${JSON.stringify(counts)}, rewritten ${String(rewrites)} times meanwhile`
    const wrong = Object.keys(counts).filter((name) => !reasons.includes(name))
    if (wrong.length > 0) return yield* new CheckError({ message: said })
    if (Object.keys(counts).length < 2) {
      return yield* new CheckError({ message: `the directory was always read alike: nothing was tested\n${said}` })
    }
    return said
  })

/** Checks that need a guest and dom0. */
export const checks: ReadonlyArray<Check<Context>> = [
  { name: "damaged directories are refused, each for its reason", run: damaged },
  { name: "what a hostile backend fills in is refused, each for its reason", run: filled },
  {
    name: "a directory of 1 page that changes all the time, mapped 300 times",
    run: changing(8, 300)
  },
  {
    name: "a directory of 2 pages that changes all the time, mapped 30 times",
    run: changing(1100, 30)
  }
]
