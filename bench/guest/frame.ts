/**
 * Maps a peer's buffer as soon as possible after the start of the process, and prints when each step was
 * done, in nanoseconds of CLOCK_MONOTONIC.
 *
 * Usage: node frame.mjs PEER PAGES DIRECTORY
 */
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Effect from "effect/Effect"
import { createRequire } from "node:module"

const clock = () => Number(process.hrtime.bigint())

const evaluated = clock()
// What the library does at its first use of a device, here by itself, to see what it costs.
createRequire(import.meta.url)("koffi")
const koffi = clock()
const [peer, pages, directory] = process.argv.slice(2).map(Number) as [number, number, number]
const mapped = Effect.runSync(
  Effect.scoped(
    Effect.map(PeerBuffer.map({ peer, directory, byteLength: pages * 4096 }), clock)
  ).pipe(Effect.provide(GntDev.layer()))
)

const { bootstrapComplete } = performance.nodeTiming
const booted = clock() - (performance.now() - bootstrapComplete) * 1e6
process.stdout.write(`${JSON.stringify({ booted, evaluated, koffi, mapped })}\n`)
