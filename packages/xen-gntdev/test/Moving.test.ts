/**
 * What this version of Node does with memory that another thread rewrites, each way in a process of its own: the lists
 * in docs/security.md are those of here.
 */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"

const program = join(import.meta.dirname, "fixtures", "moving.ts")

/** Does it in so many ways, for so many milliseconds each; tells what held, and how the process ended. */
const run = (milliseconds: number, ...ways: ReadonlyArray<string>) => {
  const { signal, status, stdout } = spawnSync(process.execPath, [program, String(milliseconds), ...ways], { encoding: "utf8" })
  const held = stdout.trim().split("\n").map((line) => line.slice(line.indexOf(" ") + 1))
  return { held, end: signal ?? status }
}

/** They measure the memory and then use it, or sort it in place: seen to end the process within a second or two. */
const unsafe = ["TextDecoder.decode", "TextDecoder.decode, fatal", "StringDecoder", "Float64Array.sort"]

/** What this library and its users may do: single elements, copies, and what works on a copy. */
const safe = [
  "element reads",
  "slice",
  "set from it",
  "set into it",
  "fill",
  "Buffer.from",
  "slice, then TextDecoder",
  "SharedMemory.copy",
  "SharedMemory.decode as text"
]

describe("memory that moves while it is read", () => {
  it.each(unsafe)("ends the process: %s", (way) => {
    const { end } = run(30_000, way)
    assert.notStrictEqual(end, 0, "it held for 30 seconds, and may be safe with this Node")
  }, 90_000)

  it(`does no harm: ${safe.join(", ")}`, () => {
    assert.deepStrictEqual(run(200, ...safe), { held: safe, end: 0 })
  }, 60_000)

  it("is what the guide to security says it is", () => {
    const guide = readFileSync(new URL("../../../docs/security.md", import.meta.url), "utf8")
    for (const way of unsafe) assert.include(guide, `\`${way.split(",")[0]}\``)
  })
})
