/**
 * Names the places and sizes of the lab, and its one kind of failure.
 */
import * as Config from "effect/Config"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { homedir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

/** Says which step of the lab could not be done, and why. A failing test is not a `LabError`. */
export class LabError extends Data.TaggedError("LabError")<{
  readonly step: string
  readonly detail: string
}> {
  override get message(): string {
    return `${this.step}: ${this.detail}`
  }
}

/** The xenlab package, and the workspace around it. */
export const home = dirname(dirname(fileURLToPath(import.meta.url)))
export const workspace = dirname(home)

/** Where the serial log, the consoles and the results of the last run stay. */
export const results = join(home, ".results")

/** Where everything fetched or derived from it is kept between runs. */
export const cache: Effect.Effect<string, Config.ConfigError> = Effect.gen(function*() {
  const user = yield* Config.String("XDG_CACHE_HOME").pipe(Config.withDefault(join(homedir(), ".cache")))
  const own = yield* Config.String("XEN_SHBUF_CACHE").pipe(Config.withDefault(join(user, "xen-shbuf")))
  return join(own, "xenlab")
})

/** Memory in MiB: the machine that QEMU emulates, dom0's part, and one guest's. Two guests run side by side. */
export const memory = { machine: 4096, dom0: 2048, guest: 704 }

/**
 * Processors of the machine that QEMU emulates. dom0 has the first, and each guest one of its own: nothing that Xen would
 * have to switch under emulation. With two for dom0 Xen interrupts the other one at every turn: all costs twice as much.
 */
export const processors = 3

/** Frames of 512 references in dom0's grant table. A guest has 64, Xen's default. */
export const grantFrames = 256
