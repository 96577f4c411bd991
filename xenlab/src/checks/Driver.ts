/**
 * Runs the thermometer of docs/drivers.md: its backend in dom0, its frontend in a guest, and the command as the toolstack;
 * either half is killed and started anew.
 */
import * as Effect from "effect/Effect"
import { place } from "../Image.ts"
import { type Machine, output, type Process } from "../Machine.ts"
import { type Check, CheckError, type Lab, same } from "../Plan.ts"
import type * as Sharing from "./Sharing.ts"

const node = (...args: ReadonlyArray<string>) => ["node", ...args]

const startBackend = (dom0: Machine) => dom0.start(node(`${place}/thermometer-backend.mjs`), { patience: "5 minutes" })

const startFrontend = (guest: Machine) => guest.start(node(`${place}/thermometer-frontend.mjs`), { patience: "5 minutes" })

const device = (dom0: Machine, ...args: ReadonlyArray<string>) =>
  Effect.map(output(dom0, node(`${place}/cli.mjs`, "device", ...args), { patience: "3 minutes" }), (text) => text.trim())

/** Reads temperatures, with alarms among them, until there are so many. */
const temperatures = Effect.fnUntraced(function*(frontend: Process, count: number) {
  for (let left = count; left > 0;) {
    const line = yield* frontend.nextLine
    const found = /^(?:Too hot: )?(\d+\.\d{3}) °C$/.exec(line)
    if (found === null) return yield* new CheckError({ message: `the frontend said ${JSON.stringify(line)}` })
    const value = Number(found[1])
    if (value < 15 || value > 25) return yield* new CheckError({ message: `${value} °C is no temperature of this sensor` })
    if (!line.startsWith("Too")) left--
  }
})

/** The states of both halves, as the command tells. */
const states = (dom0: Machine) =>
  Effect.map(device(dom0, "list", "--type", "thermometer"), (text) => /frontend (\w+), backend \(domain 0\) (\w+)$/.exec(text)?.slice(1))

const lives: (lab: Lab) => Check<Sharing.Context> = ({ dom0 }) => ({
  name: "a thermometer of our own: read in a guest, either half killed and started anew, removed in order",
  limit: "20 minutes",
  run: Effect.fnUntraced(function*({ guest }) {
    const at = ["--type", "thermometer", "--frontend", String(guest.domain)]
    const first = yield* startBackend(dom0)
    yield* device(dom0, "add", ...at)
    const killed = yield* startFrontend(guest)
    yield* temperatures(killed, 3)
    yield* same("the states", yield* states(dom0), ["Connected", "Connected"])
    yield* killed.signal("SIGKILL")
    yield* killed.completed
    const frontend = yield* startFrontend(guest)
    yield* temperatures(frontend, 3)
    yield* first.signal("SIGKILL")
    yield* first.completed
    const backend = yield* startBackend(dom0)
    // What was read before the kill may still be on its way: the states tell when it is connected anew.
    yield* temperatures(frontend, 8)
    yield* same("the states after the backend's death", yield* states(dom0), ["Connected", "Connected"])
    yield* frontend.signal("SIGTERM")
    yield* frontend.completed
    yield* same("the frontend's state at its end", (yield* states(dom0))?.[0], "Closed")
    const removed = yield* device(dom0, "remove", ...at)
    yield* same("what the removal says", removed, `Removed device 0 of type thermometer of domain ${guest.domain}.`)
    yield* backend.signal("SIGTERM")
    yield* backend.completed
    yield* same("the devices that are left", yield* device(dom0, "list", "--type", "thermometer"), "There are no devices.")
  })
})

/** A guest with a device that Xen does not know. */
export const checks = (lab: Lab): ReadonlyArray<Check<Sharing.Context>> => [lives(lab)]
