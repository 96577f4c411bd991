/**
 * Prepares a domain as its administrator would, and checks what the tool says while it is not prepared.
 */
import * as Effect from "effect/Effect"
import type { Machine } from "../Machine.ts"
import { sh } from "../Machine.ts"
import type { Check } from "../Plan.ts"
import * as Tool from "./Tool.ts"

/** gntalloc's limit in a domain, of all programs together, in pages. */
export const limit = "/sys/module/xen_gntalloc/parameters/limit"

/** The size of a 1920×1080 frame with 4 bytes a pixel. */
export const frame = 1920 * 1080 * 4

/** A domain, and where the tool runs in it. */
export interface Context {
  readonly machine: Machine
  readonly tool: Machine
}

/** Loads both drivers. */
export const loaded: Check<Context> = {
  name: "modprobe xen-gntalloc xen-gntdev",
  run: ({ machine }) =>
    Effect.asVoid(sh(machine, "modprobe -a xen-gntalloc xen-gntdev; ls /dev/xen/gntalloc /dev/xen/gntdev"))
}

const raised: Check<Context> = {
  name: "gntalloc's limit is raised",
  run: ({ machine }) => Effect.asVoid(sh(machine, `echo 16384 > ${limit}`))
}

/** What an administrator does, and nothing else: for a run that is about something else. */
export const prepare: ReadonlyArray<Check<Context>> = [loaded, raised]

/**
 * Checks of a domain that nobody has prepared, and then its preparation. They must run first, in this order.
 * `missing`: what is not loaded yet (in dom0 xenstored needs gntdev itself).
 */
export const checks = (missing: ReadonlyArray<"gntalloc" | "gntdev">): ReadonlyArray<Check<Context>> => [
  {
    name: `${missing.join(" and ")} missing: doctor says which, and how to load it`,
    run: Effect.fnUntraced(function*({ tool }) {
      const { stdout } = yield* tool.start(Tool.command(["doctor"])).pipe(
        Effect.flatMap((process) => process.completed)
      )
      yield* Tool.mentions({ event: "doctor", message: stdout }, "modprobe", ...missing)
    })
  },
  {
    name: `${missing.join(" and ")} missing: share refuses`,
    run: Effect.fnUntraced(function*({ tool }) {
      yield* Tool.mentions(yield* Tool.refusal(tool, ["share", "--peer", 0, "--bytes", 4096]), "modprobe")
    })
  },
  loaded,
  {
    name: "a frame beyond gntalloc's limit: share names the limit and its file",
    run: Effect.fnUntraced(function*({ tool }) {
      const event = yield* Tool.refusal(tool, ["share", "--peer", 0, "--bytes", frame])
      yield* Tool.mentions(event, "1024", limit)
    })
  },
  raised,
  {
    name: "prepared: doctor finds nothing wrong",
    run: Effect.fnUntraced(function*({ tool }) {
      const process = yield* tool.start(Tool.command(["doctor", "--bytes", frame]))
      const { code } = yield* process.completed
      if (code !== 0) return yield* process.fail(`ended with exit code ${code}, expected 0`)
    })
  }
]
