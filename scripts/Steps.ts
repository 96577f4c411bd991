/** Steps of a command that tests something: each passes or fails, all are counted, and a failure doesn't hide the next. */
import { spawn } from "node:child_process"
import { join } from "node:path"
import { text } from "node:stream/consumers"

export const root = join(import.meta.dirname, "..")

export interface Result {
  readonly ok: boolean
  readonly text: string
}

/** What a program has said, and how it has ended. */
export interface Ended extends Result {
  readonly stdout: string
}

/** Runs a program to its end. */
export const run = async (
  [command = "", ...args]: ReadonlyArray<string>,
  options?: { readonly cwd?: string | undefined; readonly env?: NodeJS.ProcessEnv | undefined }
): Promise<Ended> => {
  const child = spawn(command, args, { cwd: root, ...options, stdio: ["ignore", "pipe", "pipe"] })
  const status = new Promise<number | null>((resolve, reject) => child.once("close", resolve).once("error", reject))
  const [code, stdout, stderr] = await Promise.all([status, text(child.stdout), text(child.stderr)])
  return { ok: code === 0, text: `${stdout}${stderr}`, stdout }
}

export const make = () => {
  const complaints: Array<string> = []
  const counts = { passed: 0, failed: 0, skipped: 0 }
  return {
    counts,
    /** One quiet step. What it says matters only if it fails, and then at the very end, where nothing buries it. */
    step: async (name: string, work: () => Promise<Result>): Promise<boolean> => {
      const begin = performance.now()
      const { ok, text } = await work().catch((cause) => ({ ok: false, text: String(cause) }))
      counts[ok ? "passed" : "failed"]++
      console.log(`${ok ? "passed" : "FAILED"}  ${name} (${((performance.now() - begin) / 1000).toFixed(1)} s)`)
      if (!ok) complaints.push(`FAILED  ${name}\n${text}`)
      return ok
    },
    /** A step that can't be done here, and why. */
    skip: (name: string, why: string): void => {
      counts.skipped++
      console.log(`not run ${name}: ${why}`)
    },
    /** Tells of the failures, then adds up everything in one line. */
    close: (note: string): void => {
      const { failed, passed, skipped } = counts
      for (const complaint of complaints) console.log(`\n${complaint}`)
      console.log(`\n${note}\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`)
      process.exitCode = failed > 0 || passed === 0 ? 1 : 0
    }
  }
}
