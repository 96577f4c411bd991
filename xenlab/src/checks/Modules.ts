/**
 * Prepares a domain as its administrator would, and checks what the tool says while it is not prepared.
 */
import * as Effect from "effect/Effect"
import type { Machine } from "../Machine.ts"
import { sh } from "../Machine.ts"
import type { Check } from "../Plan.ts"
import * as Tool from "./Tool.ts"

/** gntalloc's limit, system-wide, in pages. */
const limit = "/sys/module/xen_gntalloc/parameters/limit"

/** The size of a 1920×1080 frame with 4 bytes a pixel. */
export const frame = 1920 * 1080 * 4

/**
 * Checks of a domain that nobody has prepared, and then its preparation. They must run first, in this order.
 * `missing`: what is not loaded yet (in dom0 xenstored needs gntdev itself).
 */
export const checks = (missing: ReadonlyArray<"gntalloc" | "gntdev">): ReadonlyArray<Check<Machine>> => [
  {
    name: `${missing.join(" and ")} missing: doctor says which, and how to load it`,
    needs: "cli",
    run: Effect.fnUntraced(function*(machine) {
      const { stdout } = yield* machine.start(Tool.command(["doctor"])).pipe(
        Effect.flatMap((process) => process.completed)
      )
      yield* Tool.mentions({ event: "doctor", message: stdout }, "modprobe", ...missing)
    })
  },
  {
    name: `${missing.join(" and ")} missing: share refuses`,
    needs: "cli",
    run: Effect.fnUntraced(function*(machine) {
      yield* Tool.mentions(yield* Tool.refusal(machine, ["share", "--peer", 0, "--bytes", 4096]), "modprobe")
    })
  },
  {
    name: "modprobe xen-gntalloc xen-gntdev",
    run: Effect.fnUntraced(function*(machine) {
      yield* sh(machine, "modprobe xen-gntalloc; modprobe xen-gntdev; ls /dev/xen/gntalloc /dev/xen/gntdev")
    })
  },
  {
    name: "a frame beyond gntalloc's limit: share names the limit and its file",
    needs: "cli",
    run: Effect.fnUntraced(function*(machine) {
      const event = yield* Tool.refusal(machine, ["share", "--peer", 0, "--bytes", frame])
      yield* Tool.mentions(event, "1024", limit)
    })
  },
  {
    name: "gntalloc's limit is raised",
    run: Effect.fnUntraced(function*(machine) {
      yield* sh(machine, `echo 16384 > ${limit}`)
    })
  },
  {
    name: "prepared: doctor finds nothing wrong",
    needs: "cli",
    run: Effect.fnUntraced(function*(machine) {
      const process = yield* machine.start(Tool.command(["doctor", "--bytes", frame]))
      const { code } = yield* process.completed
      if (code !== 0) return yield* process.fail(`ended with exit code ${code}, expected 0`)
    })
  }
]

/** Only the preparation itself, for a run that is about something else. */
export const prepare: ReadonlyArray<Check<Machine>> = checks([]).filter(({ needs }) => needs === undefined)
