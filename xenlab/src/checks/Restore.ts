/**
 * Saves a guest and restores it, while a program in it has a vchan with dom0: the program is told, and lets go. Where Linux
 * outlives that, it offers the next under the guest's new id.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Boot from "../Boot.ts"
import { place } from "../Image.ts"
import { output, run, sh } from "../Machine.ts"
import { type Check, CheckError, type Lab, same } from "../Plan.ts"
import type { Kind } from "../Target.ts"
import type { Guest } from "../Toolstack.ts"

/** A guest of its own: what is restored has another console, at which no agent is heard any more. */
export const acquire = Effect.fnUntraced(function*(lab: Boot.Booted, kind: Kind) {
  const name = `restored-${kind}`
  const started = yield* Boot.startGuest(lab, { name, kind, processor: 1, devices: ["memory=512"] })
  const guest = yield* started
  // Its id is another later.
  yield* Effect.addFinalizer(() => Effect.ignore(run(lab.dom0, ["xl", "destroy", name])))
  yield* sh(guest, "modprobe xen-gntalloc")
  return guest
})

/** Where dom0 keeps what was saved: in its memory. */
const file = "/tmp/saved"

const saved: (lab: Lab) => Check<Guest> = ({ dom0 }) => {
  const client = (domain: number, bytes: number) => {
    const numbers = [1024, 1024, bytes, bytes, 1000].map(String)
    const path = `/local/domain/${domain}/data/vchan`
    return dom0.start(["node", `${place}/vchan.mjs`, "client", String(domain), path, ...numbers], { patience: "4 minutes" })
  }
  /** What the program has written, when it has. */
  const told = Effect.fnUntraced(function*(domain: number, node: string) {
    for (let left = 60; left > 0; left--) {
      const { code, stdout } = yield* run(dom0, ["xenstore-read", `/local/domain/${domain}/data/${node}`])
      if (code === 0) return stdout.trim()
      yield* Effect.sleep(Duration.seconds(1))
    }
    return "nothing"
  })
  return {
    name: "xl save and xl restore in the middle of a vchan: either end is told, and the guest lets go",
    limit: "15 minutes",
    run: Effect.fnUntraced(function*(guest) {
      const program = yield* guest.start(["node", `${place}/restored.mjs`], { patience: "5 minutes" })
      yield* program.expect("serving")
      const before = yield* client(guest.domain, 2 ** 36)
      yield* before.expect("connected")
      yield* Effect.sleep(Duration.seconds(3))
      yield* output(dom0, ["xl", "save", guest.name, file], { patience: "5 minutes" })
      yield* same("what the client in dom0 is told", (yield* before.expect("closed"))["reason"], "PeerGone")
      yield* before.completed
      yield* output(dom0, ["xl", "restore", file], { patience: "5 minutes" })
      yield* sh(dom0, `rm ${file}`)
      const domain = Number((yield* output(dom0, ["xl", "domid", guest.name])).trim())
      if (domain === guest.domain) return yield* new CheckError({ message: `its id is ${domain} again` })
      yield* same("what the program is told", yield* told(domain, "told"), "0 Suspended")
      const released = yield* told(domain, "released")
      const log = `/var/log/xen/console/guest-${guest.name}.log`
      const bugs = (yield* sh(dom0, `grep -o "kernel BUG at drivers/xen/evtchn.c.*" ${log} || true`)).trim()
      // Linux has forgotten which interrupt the port had, and ends who closes it.
      if (released === "nothing" && bugs !== "") return `told, then ended by Linux: ${bugs.split("\n")[0]}`
      yield* same("what it let go of", released, "0 Suspended")
      const after = yield* client(domain, 100_000)
      const done = yield* after.expect("done")
      yield* same("what came back", [done["taken"], done["in"]], [100_000, done["out"]])
      yield* after.completed
      return `domain ${guest.domain} is ${domain}`
    })
  }
}

/** What is done with such a guest. */
export const checks = (lab: Lab): ReadonlyArray<Check<Guest>> => [saved(lab)]
