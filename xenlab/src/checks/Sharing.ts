/**
 * Shares buffers between a guest and dom0 with the command line tool on both sides, in both allocation modes.
 */
import * as Effect from "effect/Effect"
import * as Grants from "../Grants.ts"
import { type Event, type Machine, run } from "../Machine.ts"
import type { Lab } from "../Plan.ts"
import { type Check, CheckError, same } from "../Plan.ts"
import type { Guest } from "../Toolstack.ts"
import { frame } from "./Modules.ts"
import * as Tool from "./Tool.ts"

const page = 4096

/** One page; a directory of exactly one page; the first that needs two; a frame. */
const sizes: ReadonlyArray<readonly [name: string, bytes: number]> = [
  ["1 page", page],
  ["1023 pages", 1023 * page],
  ["1024 pages", 1024 * page],
  ["a 1920×1080×4 frame", frame]
]

/** Two patterns of the tool, so that what comes back is not what went out. */
const there = "noise:1"
const returned = "noise:2"

/** Whether a grant is between the two, whoever gave it. */
export const isBetween = (one: number, other: number, grant: Grants.Active): boolean =>
  Grants.isUsers(grant) &&
  (grant.granter === one && grant.mapper === other || grant.granter === other && grant.mapper === one)

/** Whether a grant is between the guest and dom0. */
export const concerns = ({ guest }: { readonly guest: Guest }, grant: Grants.Active): boolean =>
  isBetween(guest.domain, 0, grant)

/** One of two that share, and where the tool runs there. */
export interface Side {
  readonly name: string
  readonly tool: Machine
  readonly domain: number
}

/** Two that share. */
export interface Sides {
  readonly front: Side
  readonly back: Side
}

const sides = ({ guest, inDom0, inGuest }: Context): Sides => ({
  front: { name: "the guest", tool: inGuest, domain: guest.domain },
  back: { name: "dom0", tool: inDom0, domain: 0 }
})

/** A guest, and where the tool runs on either side: in processes of its own, or in one that stays. */
export interface Context {
  readonly guest: Guest
  readonly inGuest: Machine
  readonly inDom0: Machine
}

/** What is mapped just now, by whom: counted by Xen, directory pages aside. */
const mapped = Effect.fnUntraced(function*(lab: Lab, granter: number, mapper: number, bytes: number) {
  const pages = Math.ceil(bytes / page)
  const directory = Math.ceil(pages / 1023)
  const active = (yield* lab.grants).filter((g) => Grants.isUsers(g) && g.granter === granter && g.mapper === mapper)
  if (active.length < pages || active.length > pages + directory) {
    return yield* new CheckError({
      message: `Xen counts ${active.length} active grants of domain ${granter} for domain ${mapper}, expected ${pages}:\n${
        Grants.format(active)
      }`
    })
  }
})

/** The frontend allocates: it shares, the backend maps its directory, reads, and writes something else. */
export const frontendAllocates = Effect.fnUntraced(function*(lab: Lab, bytes: number, { back, front }: Sides) {
  const sharing = yield* Tool.start(front.tool, ["share", "--peer", back.domain, "--bytes", bytes, "--pattern", there])
  const shared = yield* sharing.expect("shared")
  yield* same("the number of pages", shared["pages"], Math.ceil(bytes / page))
  const mapping = yield* Tool.start(back.tool, [
    ...["map", "--peer", front.domain, "--directory", String(shared["directory"]), "--bytes", bytes],
    ...["--pattern", returned, "--hold"]
  ])
  yield* same(`the hash of what ${back.name} sees`, (yield* mapping.expect("mapped"))["sha256"], shared["sha256"])
  const written = yield* mapping.expect("written")
  yield* mapped(lab, front.domain, back.domain, bytes)
  yield* mapping.enter
  yield* Tool.release(mapping)
  yield* sharing.enter
  yield* same(`the hash of what ${front.name} sees`, (yield* sharing.expect("contents"))["sha256"], written["sha256"])
  if (written["sha256"] === shared["sha256"]) return yield* sharing.fail("both patterns have the same hash")
  yield* Tool.release(sharing)
})

/** The backend allocates: the frontend shares an empty directory, the backend fills it, the frontend maps. */
export const backendAllocates = Effect.fnUntraced(function*(lab: Lab, bytes: number, { back, front }: Sides) {
  const sharing = yield* Tool.start(front.tool, [
    ...["share", "--peer", back.domain, "--bytes", bytes, "--backend-alloc", "--pattern", there]
  ])
  const { directory } = yield* sharing.expect("directory")
  const providing = yield* Tool.start(back.tool, [
    ...["provide", "--peer", front.domain, "--directory", String(directory), "--bytes", bytes, "--pattern", returned]
  ])
  const provided = yield* providing.expect("provided")
  yield* same("the number of pages", provided["pages"], Math.ceil(bytes / page))
  yield* sharing.enter
  yield* same(`the hash of what ${front.name} sees`, (yield* sharing.expect("mapped"))["sha256"], provided["sha256"])
  const written = yield* sharing.expect("written")
  yield* mapped(lab, back.domain, front.domain, bytes)
  // The frontend lets go first: the backend could not end a grant that is still mapped.
  yield* sharing.enter
  yield* Tool.release(sharing)
  yield* providing.enter
  yield* same(`the hash of what ${back.name} sees`, (yield* providing.expect("contents"))["sha256"], written["sha256"])
  if (written["sha256"] === provided["sha256"]) return yield* sharing.fail("both patterns have the same hash")
  yield* Tool.release(providing)
})

/** A signal ends a command that waits, and everything is released: the runner compares Xen's list afterwards. */
const signalled = (lab: Lab, signal: "SIGINT" | "SIGTERM") =>
  Effect.fnUntraced(function*({ guest, inDom0, inGuest }: Context) {
    const front = yield* Tool.start(inGuest, ["share", "--peer", 0, "--bytes", 64 * page])
    const { directory } = yield* front.expect("shared")
    const back_ = yield* Tool.start(inDom0, [
      ...["map", "--peer", guest.domain, "--directory", String(directory), "--bytes", 64 * page, "--hold"]
    ])
    yield* back_.expect("mapped")
    yield* mapped(lab, guest.domain, 0, 64 * page)
    const code = signal === "SIGINT" ? 130 : 143
    yield* back_.signal(signal)
    yield* same("dom0's exit code", (yield* back_.completed).code, code)
    const left = (yield* lab.grants).filter((grant) => concerns({ guest }, grant))
    yield* same("what Xen counts after the signal", Grants.format(left), "")
    yield* front.signal(signal)
    yield* same("the guest's exit code", (yield* front.completed).code, code)
  })

/** What is shared read-only can be read, but not be mapped for writing; `walk` reads its directory, and finds a lie. */
const readOnly = Effect.fnUntraced(function*({ guest, inDom0, inGuest }: Context) {
  const bytes = 1030 * page
  const front = yield* Tool.start(inGuest, [
    ...["share", "--peer", 0, "--bytes", bytes, "--pattern", there, "--read-only"]
  ])
  const shared = yield* front.expect("shared")
  const at = ["--peer", guest.domain, "--directory", String(shared["directory"])]
  const refusal = yield* Tool.refusal(inDom0, ["map", ...at, "--bytes", bytes])
  yield* same("the reason", refusal["reason"], "GrantRefused")
  const reader = yield* Tool.start(inDom0, ["map", ...at, "--bytes", bytes, "--read-only"])
  yield* same("the hash of what dom0 sees", (yield* reader.expect("mapped"))["sha256"], shared["sha256"])
  yield* Tool.release(reader)
  const sound = yield* run(inDom0, Tool.command(["walk", ...at, "--bytes", bytes]))
  yield* same("the exit code of walk", sound.code, 0)
  yield* same("what walk finds", (JSON.parse(sound.stdout) as Event)["problem"], null)
  const lie = yield* run(inDom0, Tool.command(["walk", ...at, "--bytes", 2 * bytes]))
  yield* same("the exit code of walk, for twice the size", lie.code, 1)
  const problem = (JSON.parse(lie.stdout) as { readonly problem: { readonly reason: string } }).problem
  yield* same("what walk finds, for twice the size", problem.reason, "TooShort")
  yield* front.enter
  yield* same("the hash of what is still there", (yield* front.expect("contents"))["sha256"], shared["sha256"])
  yield* Tool.release(front)
})

/** What says nothing about the processor that the domains run on. */
export const generalChecks = (lab: Lab): ReadonlyArray<Check<Context>> =>
  (["SIGINT", "SIGTERM"] as const).map((signal): Check<Context> => ({
    name: `${signal} releases what both sides hold`,
    // Signals are a matter of real processes.
    run: ({ guest }) => signalled(lab, signal)({ guest, inGuest: guest, inDom0: lab.dom0 })
  }))

/** Checks that need a prepared guest and a prepared dom0. */
export const checks = (lab: Lab): ReadonlyArray<Check<Context>> => [
  ...sizes.map(([name, bytes]): Check<Context> => ({
    name: `the guest allocates ${name}`,
    run: (context) => frontendAllocates(lab, bytes, sides(context))
  })),
  ...sizes.map(([name, bytes]): Check<Context> => ({
    name: `the backend allocates ${name}`,
    run: (context) => backendAllocates(lab, bytes, sides(context))
  })),
  {
    name: "shared read-only: dom0 can read, not map for writing; walk reads the directory and finds a lie",
    run: readOnly
  },
  {
    name: "a reference that the guest never gave: map refuses and says which",
    run: Effect.fnUntraced(function*({ guest, inDom0 }) {
      const event = yield* Tool.refusal(inDom0, [
        ...["map", "--peer", guest.domain, "--directory", 31_337, "--bytes", page]
      ])
      yield* Tool.mentions(event, "31337")
    })
  }
]
