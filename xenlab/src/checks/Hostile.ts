/**
 * Lets dom0 map the buffers of a guest that breaks the rules.
 */
import * as Effect from "effect/Effect"
import type { Request } from "../../guest/peer.ts"
import * as Image from "../Image.ts"
import type { Event, Process } from "../Machine.ts"
import { type Check, CheckError, same } from "../Plan.ts"
import type { Context } from "./Death.ts"
import * as Peer from "./Peer.ts"

const start = (context: Context, args: ReadonlyArray<string | number>) =>
  context.guest.start(["node", `${Image.place}/hostile.mjs`, "0", ...args.map(String)])

/** Everything that the program offers is refused, for its own reason. */
const refuseAll = Effect.fnUntraced(function*(
  { inDom0 }: Context,
  hostile: Process,
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
  yield* same("the hostile program's exit code", (yield* hostile.completed).code, 0)
  return `${seen} directories, each refused for its reason`
})

const damaged = Effect.fnUntraced(function*(context: Context) {
  const hostile = yield* start(context, ["damaged"])
  return yield* refuseAll(context, hostile, 20, ({ byteLength, directory }) => ({
    ...{ do: "map", as: "hostile", peer: context.guest.domain },
    ...{ directory: Number(directory), byteLength: Number(byteLength) }
  }))
})

/** dom0 is the frontend here, and lets the guest allocate. */
const filled = Effect.fnUntraced(function*(context: Context) {
  const { inDom0 } = context
  const empty = { do: "alloc by backend", as: "to fill", peer: context.guest.domain, byteLength: 8 * 4096 } as const
  const { directory } = yield* Peer.ask(inDom0, empty)
  const hostile = yield* start(context, ["filling", Number(directory)])
  const said = yield* refuseAll(context, hostile, 5, () => ({ do: "map filled", as: "hostile", of: "to fill" }))
  yield* Peer.ask(inDom0, { do: "release", of: "to fill" })
  return said
})

/** What may become of a directory that changes all the time. */
const reasons = ["mapped", "TooShort", "TooLong", "Cyclic", "InvalidLink", "InvalidRef", "RepeatedRef", "GrantRefused"]

/** Every mapping of it is a right one, or refused for a reason that such a directory can have. */
const changing = (pages: number, times: number) =>
  Effect.fnUntraced(function*(context: Context) {
    const hostile = yield* start(context, ["changing", pages])
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
  { name: "damaged directories are refused, each for its reason", needs: "hostile", run: damaged },
  { name: "what a hostile backend fills in is refused, each for its reason", needs: "hostile", run: filled },
  {
    name: "a directory of 1 page that changes all the time, mapped 300 times",
    needs: "hostile",
    run: changing(8, 300)
  },
  {
    name: "a directory of 2 pages that changes all the time, mapped 30 times",
    needs: "hostile",
    run: changing(1100, 30)
  }
]
