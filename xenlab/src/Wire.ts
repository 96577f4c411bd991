/**
 * Names the messages between the host and an agent: one JSON object per line.
 *
 * What an agent says starts with `mark`, so that it can share a console with the kernel's own lines.
 * This module is also bundled into the agent: it imports nothing.
 */

/** Starts every line of an agent (ASCII "record separator": no kernel message has it). */
export const mark = "\u001e"

/** What the host asks of an agent. `id` is the host's number for one process. */
export type Request =
  | { readonly op: "hello" }
  | {
    readonly op: "start"
    readonly id: number
    readonly argv: ReadonlyArray<string>
    readonly env: Readonly<Record<string, string>>
  }
  | { readonly op: "input"; readonly id: number; readonly text: string }
  | { readonly op: "close"; readonly id: number }
  | { readonly op: "signal"; readonly id: number; readonly signal: Signal }

/** What an agent tells the host. Text is UTF-8, cut anywhere between characters. */
export type Report =
  | { readonly event: "ready"; readonly node: string }
  | { readonly event: "output"; readonly id: number; readonly stream: "stdout" | "stderr"; readonly text: string }
  | { readonly event: "exit"; readonly id: number; readonly code: number | null; readonly signal: string | null }

/** Signals that a test may send. */
export type Signal = "SIGINT" | "SIGTERM" | "SIGKILL"
