/**
 * Ends processes and whole domains in the middle of their work, and looks at what is left: for the survivor, and for Xen.
 */
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import * as Grants from "../Grants.ts"
import type { Machine, Process } from "../Machine.ts"
import { sh } from "../Machine.ts"
import { type Check, CheckError, type Lab, same } from "../Plan.ts"
import type { Context } from "./Peer.ts"
import * as Peer from "./Peer.ts"

const page = 4096
const pages = 8
const byteLength = pages * page
/** Big enough that most of the time is spent mapping it. */
const bigLength = 256 * page

/** How many grants of one domain another has mapped, as Xen counts. */
const active = (lab: Lab, granter: number, mapper: number) =>
  Effect.map(
    lab.grants,
    (all) => all.filter((grant) => Grants.isUsers(grant) && grant.granter === granter && grant.mapper === mapper).length
  )

/** Waits for Xen to count so many: a kernel may unmap a little after the process that asked for it. */
const counts = Effect.fnUntraced(function*(lab: Lab, granter: number, mapper: number, expected: number) {
  let found = -1
  for (let n = 0; n < 50; n++) {
    found = yield* active(lab, granter, mapper)
    if (found === expected) return
    yield* Effect.sleep("200 millis")
  }
  return yield* new CheckError({
    message: `domain ${mapper} has ${found} grants of domain ${granter} mapped, expected ${expected}`
  })
})

/** What the process that is to die does at that moment, besides holding what it shares and maps. */
type Moment = "while it holds buffers" | "while it writes all the time" | "while it maps a second buffer"

/** When one is killed, in ms: any time, but the same for the same seed. */
const delay = (seed: number, ...check: ReadonlyArray<string>): number =>
  createHash("sha256").update(JSON.stringify([seed, ...check])).digest().readUInt16BE() % 500

/**
 * The one that dies shares `x`, which the survivor maps, and `unmapped`, which nobody does; it maps the survivor's `y`,
 * and perhaps, again and again, the survivor's `big`. It is both sides at once, so both deaths are seen.
 */
const killed = (lab: Lab, where: "guest" | "dom0", moment: Moment, seed: number) =>
  Effect.fnUntraced(function*({ guest, inDom0, inGuest }: Context) {
    const [home, survivor, victims, survivors]: readonly [Machine, Process, number, number] = where === "guest"
      ? [guest, inDom0, guest.domain, 0]
      : [lab.dom0, inGuest, 0, guest.domain]
    const victim = yield* Peer.start(home)
    const channel = Effect.gen(function*() {
      const port = Peer.number(yield* Peer.ask(survivor, { do: "listen", peer: victims }), "port")
      const theirs = Peer.number(yield* Peer.ask(victim, { do: "join", peer: survivors, port }), "port")
      return { port, theirs }
    })
    const share = (from: Process, peer: number, as: string, byteLength: number) =>
      Effect.map(Peer.ask(from, { do: "share", as, peer, byteLength }), (event) => Peer.number(event, "directory"))

    const x = yield* share(victim, survivors, "x", byteLength)
    const unmapped = yield* share(victim, survivors, "unmapped", byteLength)
    yield* Peer.ask(victim, { do: "fill", of: "x", value: 9 })
    yield* Peer.ask(survivor, { do: "map", as: "x", peer: victims, directory: x, byteLength })
    const ofX = yield* channel
    yield* Peer.ask(victim, { do: "arm", of: "x", signalPort: ofX.theirs })

    const y = yield* share(survivor, victims, "y", byteLength)
    yield* Peer.ask(survivor, { do: "fill", of: "y", value: 7 })
    yield* Peer.ask(victim, { do: "map", as: "y", peer: survivors, directory: y, byteLength })
    const ofY = yield* channel
    yield* Peer.ask(victim, { do: "arm", of: "y", signalPort: ofY.theirs })
    const big = yield* share(survivor, victims, "big", bigLength)

    if (moment === "while it writes all the time") yield* Peer.ask(victim, { do: "hammer", of: ["x", "y"] })
    if (moment === "while it maps a second buffer") {
      const location = { peer: survivors, directory: big, byteLength: bigLength }
      yield* Peer.ask(victim, { do: "map again and again", ...location })
    }
    yield* same("the survivor's signals before", (yield* Peer.ask(survivor, { do: "signalled" }))["ports"], [])
    const before = yield* Peer.ask(survivor, { do: "look", of: "x" })
    if (before["flag"] === 0) return yield* survivor.fail("the flag is 0 before the end")
    yield* Effect.sleep(delay(seed, guest.name, where, moment))
    yield* victim.signal("SIGKILL")
    yield* same("the signal that ended it", (yield* victim.completed).signal, "SIGKILL")

    // The survivor is told of both ends: by the flags, and by the signals.
    yield* Peer.ask(survivor, { do: "wait", of: "x" })
    yield* same("the end of y", (yield* Peer.ask(survivor, { do: "end", of: "y" }))["_tag"], "Released")
    const signalled = (yield* Peer.ask(survivor, { do: "signalled" }))["ports"] as ReadonlyArray<number>
    yield* same("the survivor's signals", [...signalled].sort((a, b) => a - b), [ofX.port, ofY.port].sort((a, b) => a - b))
    // Xen agrees: the dead one maps nothing, and of its own only what the survivor still has mapped is in use.
    yield* counts(lab, survivors, victims, 0)
    yield* counts(lab, victims, survivors, pages)
    const after = yield* Peer.ask(survivor, { do: "look", of: "x" })
    if (moment !== "while it writes all the time") yield* same("the first byte of x", after["first"], 9)
    const location = { peer: victims, directory: unmapped, byteLength }
    const refusal = yield* Peer.refused(survivor, { do: "map", as: "unmapped", ...location })
    yield* same("the refusal of what ended unmapped", refusal["reason"], "GrantRefused")

    yield* Peer.ask(survivor, { do: "release", of: "big" })
    yield* Peer.ask(survivor, { do: "release", of: "x" })
    yield* counts(lab, victims, survivors, 0)
  })

/** Both survivors share and map once more, with each other. */
const goOn = Effect.fnUntraced(function*({ guest, inDom0, inGuest }: Context) {
  for (const [from, to, own, peer] of [[inGuest, inDom0, guest.domain, 0], [inDom0, inGuest, 0, guest.domain]] as const) {
    const { directory } = yield* Peer.ask(from, { do: "share", as: "last", peer, byteLength })
    yield* Peer.ask(from, { do: "fill", of: "last", value: 5 })
    const location = { peer: own, directory: Number(directory), byteLength }
    yield* Peer.ask(to, { do: "map", as: "mapped", ...location })
    yield* same("the first byte", (yield* Peer.ask(to, { do: "look", of: "mapped" }))["first"], 5)
    yield* Peer.ask(to, { do: "release", of: "mapped" })
    yield* Peer.ask(from, { do: "release", of: "last" })
  }
})

/** What xl says of the domain: nothing when it is gone. A dead one that is still held has the state `---p-d`. */
const listed = (lab: Lab, domain: number) =>
  Effect.map(sh(lab.dom0, "xl list"), (text) => text.split("\n").filter((line) => line.split(/\s+/)[1] === String(domain)))

/** The guest is destroyed while dom0's process has its pages mapped, and it has those of dom0's process. */
const destroyed = (lab: Lab) =>
  Effect.fnUntraced(function*({ guest, inDom0, inGuest }: Context) {
    const { directory: x } = yield* Peer.ask(inGuest, { do: "share", as: "x", peer: 0, byteLength })
    yield* Peer.ask(inGuest, { do: "fill", of: "x", value: 9 })
    const ofX = { peer: guest.domain, directory: Number(x), byteLength }
    yield* Peer.ask(inDom0, { do: "map", as: "x", ...ofX })
    const { directory: y } = yield* Peer.ask(inGuest, { do: "alloc by backend", as: "y", peer: 0, byteLength })
    yield* Peer.ask(inDom0, { do: "provide", as: "y", peer: guest.domain, directory: Number(y), byteLength })
    yield* Peer.ask(inGuest, { do: "map filled", as: "mapped y", of: "y" })
    yield* counts(lab, 0, guest.domain, pages)
    yield* counts(lab, guest.domain, 0, pages)

    yield* sh(lab.dom0, `xl destroy ${guest.domain}`)
    // Xen has dropped what the guest had mapped; what dom0 has mapped of it keeps the rest of the domain.
    yield* counts(lab, 0, guest.domain, 0)
    yield* counts(lab, guest.domain, 0, pages)
    if ((yield* listed(lab, guest.domain)).length === 0) {
      return yield* new CheckError({ message: "the domain is gone though its pages are mapped: nothing was tested" })
    }
    const seen = yield* Peer.ask(inDom0, { do: "look", of: "x" })
    yield* same("what dom0 sees of the dead guest", [seen["first"], seen["flag"]], [9, 9])
    yield* Peer.ask(inDom0, { do: "fill", of: "x", value: 1 })
    const refusal = yield* Peer.refused(inDom0, { do: "map", as: "x again", ...ofX })
    yield* same("the refusal of a dead guest's buffer", refusal["reason"], "GrantRefused")
    yield* Peer.ask(inDom0, { do: "release", of: "y" })
    yield* Peer.ask(inDom0, { do: "release", of: "x" })

    let left: ReadonlyArray<string> = []
    for (let n = 0; n < 20; n++) {
      left = yield* listed(lab, guest.domain)
      if (left.length === 0) break
      yield* Effect.sleep("1 second")
    }
    if (left.length > 0) return yield* new CheckError({ message: `a zombie is left:\n${left.join("\n")}` })
    // dom0's process goes on: it shares with itself.
    const { directory } = yield* Peer.ask(inDom0, { do: "share", as: "own", peer: 0, byteLength })
    yield* Peer.ask(inDom0, { do: "map", as: "mapped", peer: 0, directory: Number(directory), byteLength })
    yield* Peer.ask(inDom0, { do: "release", of: "mapped" })
    yield* Peer.ask(inDom0, { do: "release", of: "own" })
  })

const moments: ReadonlyArray<Moment> = [
  "while it holds buffers",
  "while it writes all the time",
  "while it maps a second buffer"
]

/** Deaths of processes, on either side, at moments that come from the seed. */
export const checks = (lab: Lab, seed: number): ReadonlyArray<Check<Context>> => [
  ...(["guest", "dom0"] as const).flatMap((where) =>
    moments.map((moment): Check<Context> => ({
      name: `kill -9 in ${where === "guest" ? "the guest" : where} ${moment}: the other side is told, and goes on`,
      run: killed(lab, where, moment, seed)
    }))
  ),
  { name: "after all these deaths the survivors share with each other", run: goOn }
]

/** The death of the guest: nothing can be checked in it afterwards. */
export const lastChecks = (lab: Lab): ReadonlyArray<Check<Context>> => [
  {
    name: "xl destroy while both have the other's pages mapped: dom0 goes on, and no zombie is left",
    run: destroyed(lab)
  }
]
