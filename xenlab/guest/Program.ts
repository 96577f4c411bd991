/**
 * What the programs inside a domain have in common: a JSON line for each event, and lines of input.
 */
import type * as DirectoryError from "@xen-shbuf/core/DirectoryError"
import type * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import type * as GrantTableError from "@xen-shbuf/core/GrantTableError"
import * as Effect from "effect/Effect"
import { readdirSync } from "node:fs"
import { createInterface } from "node:readline"

/** Prints an event. */
export const say = (event: string, fields: object = {}): Effect.Effect<void> =>
  Effect.sync(() => void process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`))

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** The next line of input; undefined after the last. */
export const nextLine: Effect.Effect<string | undefined> = Effect.promise(async () => {
  const { done, value } = await lines.next()
  return done === true ? undefined : value
})

/** A typed refusal as plain data: what it says, and the tag of its reason. */
export const refusal = (
  error: GrantTableError.GrantTableError | DirectoryError.DirectoryError | EventChannelError.EventChannelError
): { readonly reason: string; readonly message: string } => ({ reason: error.reason._tag, message: error.message })

/** What this process uses: resident memory, and what JavaScript holds of it, in bytes; open descriptors. */
export const usage = (): { readonly rss: number; readonly heap: number; readonly fds: number } => {
  // Garbage is not growth.
  globalThis.gc?.()
  const { external, heapUsed, rss } = process.memoryUsage()
  return { rss, heap: heapUsed + external, fds: readdirSync("/proc/self/fd").length }
}
