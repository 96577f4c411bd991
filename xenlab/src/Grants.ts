/**
 * Reads Xen's own list of active grants (those that somebody has mapped) from Xen's console: what its debug key `g`
 * prints, as `xl debug-keys g` would have it printed.
 *
 * The list owes nothing to this project's code, which makes it the oracle for leaks.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"

/** One active grant: `mapper` has mapped reference `ref` of `granter`; `pins` is Xen's count word. */
export interface Active {
  readonly granter: number
  readonly ref: number
  readonly mapper: number
  readonly pins: number
}

/** Xen's console: the file that it writes to, and its keyboard. */
export interface Console {
  readonly file: string
  readonly press: (keys: string) => Effect.Effect<void>
}

/** Says that the list of active grants is not what it should be. */
export class GrantsError extends Data.TaggedError("GrantsError")<{ readonly message: string }> {}

const end = "gnttab_usage_print_all ] done"

/** Reads what Xen prints for its debug key `g`. */
export const parse = (text: string): ReadonlyArray<Active> => {
  const found: Array<Active> = []
  let granter = -1
  for (const line of text.split("\n")) {
    const table = /\(XEN\) grant-table for remote d(\d+)/.exec(line)
    if (table !== null) granter = Number(table[1])
    const entry = /\(XEN\) \[(0x[0-9a-f]+)\]\s+(\d+) 0x[0-9a-f]+ (0x[0-9a-f]+)/.exec(line)
    if (entry !== null) found.push({ granter, ref: Number(entry[1]), mapper: Number(entry[2]), pins: Number(entry[3]) })
  }
  return found
}

/** A line per run of references, for messages and comparison. */
export const format = (active: ReadonlyArray<Active>): string => {
  const lines: Array<string> = []
  const sorted = [...active].sort((a, b) => a.granter - b.granter || a.mapper - b.mapper || a.ref - b.ref)
  for (const [at, grant] of sorted.entries()) {
    const before = sorted[at - 1]
    const next = sorted[at + 1]
    const joins = (a: Active | undefined, b: Active | undefined) =>
      a !== undefined && b !== undefined && a.granter === b.granter && a.mapper === b.mapper && a.pins === b.pins &&
      a.ref + 1 === b.ref
    if (!joins(before, grant)) {
      lines.push(`domain ${grant.granter} to domain ${grant.mapper}, pins 0x${grant.pins.toString(16)}: ${grant.ref}`)
    } else if (!joins(grant, next)) lines[lines.length - 1] += `..${grant.ref}`
  }
  return lines.join("\n")
}

/** Whether a grant is a user's: references below 8 are the toolstack's (console and xenstore). */
export const isUsers = (grant: Active): boolean => grant.ref >= 8

/** Why the list could not be read. */
export type ReadError = GrantsError | PlatformError

/** Asks Xen at its console, and reads the answer there. One at a time. */
export const read = Effect.fnUntraced(function*({ file, press }: Console) {
  const fs = yield* FileSystem.FileSystem
  const { size } = yield* fs.stat(file)
  yield* press("g")
  for (let n = 0; n < 2000; n++) {
    const answer = yield* Stream.mkString(Stream.decodeText(fs.stream(file, { offset: size })))
    if (answer.includes(end)) return parse(answer.slice(0, answer.indexOf(end)))
    yield* Effect.sleep("20 millis")
  }
  return yield* new GrantsError({ message: "Xen did not print its list of active grants" })
})

/** Waits until Xen's list is what it was: an unmap may be finished a little after the process that asked for it. */
export const settle = (
  read: Effect.Effect<ReadonlyArray<Active>, ReadError>,
  before: ReadonlyArray<Active>
) =>
  Effect.gen(function*() {
    let now: ReadonlyArray<Active> = []
    for (let n = 0; n < 50; n++) {
      now = yield* read
      if (format(now) === format(before)) return
      yield* Effect.sleep("200 millis")
    }
    return yield* new GrantsError({
      message: `Xen's active grants differ\n  before:\n${format(before)}\n  after:\n${format(now)}`
    })
  })
