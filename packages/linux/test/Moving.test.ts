/**
 * What this version of Node does with memory that another thread rewrites, in processes of their own: the lists in
 * docs/security.md are those of the program. Where a way no longer ends the process, run all of it again for long, and
 * change the table: that one copies first stays the rule.
 */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"

const program = join(import.meta.dirname, "fixtures", "moving.ts")

const run = (name: string, milliseconds: number) => {
  // A process that is meant to die leaves no core behind.
  const node = ["-c", "ulimit -c 0 && exec \"$0\" \"$@\"", process.execPath]
  return spawnSync("sh", [...node, program, name, String(milliseconds)], { encoding: "utf8" })
}

/** How a process ends that the runtime has broken; an exit code is an error of our own. */
const deaths: ReadonlyArray<string | null> = ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGTRAP"]

/** Those of the program's list that were seen to end the process within a second or two, always. */
const unsafe = ["TextDecoder", "toString(\"utf8\")", "sort, Float64Array"]

/** Of the program's safe ways, those that copy the memory as it is, before any of them writes to it. */
const copies = ["slice", "set into memory of our own"]

interface Outcome {
  readonly tries: number
  readonly torn: number
}

describe("memory that moves while it is read", () => {
  it.each(unsafe)("ends the process: %s", (name) => {
    const { signal, stderr, stdout } = run(name, 30_000)
    assert.include(deaths, signal, `it did not die of it: ${stdout}${stderr}`)
  }, 90_000)

  it("does no harm to who reads elements, or copies, and works on the copy", () => {
    const { signal, status, stderr, stdout } = run("safe", 200)
    assert.deepStrictEqual([status, signal], [0, null], stderr)
    const outcomes: Record<string, Outcome> = JSON.parse(stdout)
    for (const [name, { tries }] of Object.entries(outcomes)) assert.isAbove(tries, 0, name)
    // Had none been caught in the middle of a change, nothing would be shown.
    assert.isAbove(copies.reduce((sum, name) => sum + outcomes[name]!.torn, 0), 0)
  }, 60_000)

  it("is what the guide to security says it is", () => {
    const guide = readFileSync(new URL("../../../docs/security.md", import.meta.url), "utf8")
    for (const name of unsafe) assert.include(guide, `\`${name.split(",")[0]}`)
  })
})
