/**
 * Measures what the emulator adds to what an operation costs: the same program on the host and in dom0.
 */
import * as Effect from "effect/Effect"
import { join } from "node:path"
import * as Command from "../../../xenlab/src/Command.ts"
import * as Image from "../../../xenlab/src/Image.ts"
import { type Machine, output } from "../../../xenlab/src/Machine.ts"
import type { Figures } from "../../guest/emulator.ts"
import * as Report from "../Report.ts"

interface Row {
  readonly what: string
  /** µs. */
  readonly host: number
  readonly dom0: number
}

/** Measures it all. */
export const section = Effect.fnUntraced(function*(dom0: Machine, where: string) {
  const host = JSON.parse(yield* Command.run(process.execPath, [join(import.meta.dirname, "..", "..", "guest", "emulator.ts")])) as Figures
  const inside = JSON.parse(yield* output(dom0, ["taskset", "1", "node", `${Image.place}/emulator.mjs`])) as Figures
  const row = (what: string, of: (figures: Figures) => number): Row => ({ what, host: of(host), dom0: of(inside) })
  return Report.section<Row>({
    name: "xen-emulator",
    title: "What the emulator adds",
    about: "The same program on this machine and in dom0, and no device in either: two calls of getuid, " +
      "GrantTable.map with its release, and both together. What the third takes more than the other two is what " +
      "JavaScript loses when it goes on after a system call.",
    where,
    columns: [
      { title: "what", show: ({ what }) => what },
      { title: "this machine", show: ({ host }) => Report.time(host) },
      { title: "dom0", show: ({ dom0 }) => Report.time(dom0) }
    ],
    rows: [
      row("two system calls", ({ calls }) => calls),
      row("map and release, in JavaScript only", ({ map }) => map),
      row("map with a system call, release with another", ({ mapWithCalls }) => mapWithCalls),
      row("what that takes more than both", ({ calls, map, mapWithCalls }) => Math.max(0, mapWithCalls - calls - map))
    ],
    plots: []
  })
})
