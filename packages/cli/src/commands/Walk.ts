/**
 * `xen-shbuf walk`: looks at a directory and says what is wrong with it.
 *
 * @since 0.1.0
 */

import * as Chain from "@xen-shbuf/core/Chain"
import * as PageDirectory from "@xen-shbuf/core/PageDirectory"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { Reported } from "../Failure.ts"
import * as Flags from "../Flags.ts"
import { count, Output } from "../Output.ts"
import * as Runs from "../Runs.ts"

/** A directory page: what stands in it. */
interface Page {
  readonly page: number
  readonly ref: number
  /** The word that links to the next page; 0 ends the chain. */
  readonly next: number
  /** The words in the places of the buffer's references. */
  readonly references: ReadonlyArray<Runs.Run>
  /** Words behind the last reference that are not 0: nobody reads them. */
  readonly beyond: ReadonlyArray<Runs.Run>
}

const pagesOf = ({ directory, pages }: PeerBuffer.Walk): ReadonlyArray<Page> =>
  directory.map(({ page, ref }, index) => {
    const words = PageDirectory.slots(page, Chain.refsPerPage)
    const used = pages - index * Chain.refsPerPage
    return {
      page: index,
      ref,
      next: PageDirectory.next(page, 0),
      references: Runs.fromArray(words.subarray(0, used)),
      beyond: Runs.fromArray(words.subarray(used).filter((word) => word !== 0))
    }
  })

const total = (runs: ReadonlyArray<Runs.Run>) => runs.reduce((sum, { count }) => sum + count, 0)

const lineLength = 96

/** Runs on as many lines as they take, below a title. */
const listed = (title: string, runs: ReadonlyArray<Runs.Run>): ReadonlyArray<string> => {
  if (runs.length === 0) return []
  const lines = [`    ${title}:`]
  let line = "     "
  for (const run of runs.map(Runs.format)) {
    if (line.length + run.length > lineLength) {
      lines.push(line)
      line = "     "
    }
    line += ` ${run}`
  }
  return [...lines, line]
}

const describePage = ({ beyond, next, page, ref, references }: Page): string =>
  [
    `  page ${page}, grant ${ref}, ${next === 0 ? "the last" : `next ${next}`}`,
    ...listed(count(total(references), "reference"), references),
    ...listed(`${count(total(beyond), "word")} behind the last reference, which nobody reads`, beyond)
  ].join("\n")

const sound = {
  peer: "✓ Nothing is wrong with it, and every page of the buffer can be mapped.",
  us: "✓ Nothing is wrong with it. Its references are this domain's own: only the peer can map them."
}

const ours = "  If this domain has filled it in itself (provide), its references are ours, not the peer's: give --provided."

/**
 * Walks a peer's directory.
 *
 * @category commands
 * @since 0.1.0
 */
export const walk = Command.make("walk", {
  peer: Flags.peer,
  directory: Flags.directory,
  ...Flags.sizeFlags,
  provided: Flag.Boolean("provided").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("This domain filled it in itself, by provide: its references are ours, shown and not tried")
  )
}, Effect.fnUntraced(function*({ directory, peer, provided, ...flags }) {
  const { event } = yield* Output
  const { byteLength } = yield* Flags.size(flags)
  const filledBy = provided ? "us" : "peer"
  const walk = yield* PeerBuffer.walk({ peer, directory, byteLength, maxByteLength: byteLength, filledBy })
  const { pages, problem } = walk
  const read = pagesOf(walk)
  const expected = Chain.pagesFor(pages)
  yield* event(
    {
      event: "walk",
      peer,
      directory,
      bytes: byteLength,
      pages,
      directoryPages: expected,
      filledBy,
      read,
      problem: problem === undefined
        ? null
        : { tag: problem._tag, reason: problem.reason._tag, message: problem.message }
    },
    [
      `Directory ${directory} of domain ${peer}, for a buffer of ${count(byteLength, "byte")}: ` +
      `${count(pages, "page")}, so ${count(expected, "directory page")}.`,
      ...read.map(describePage),
      problem === undefined ? sound[filledBy] : `✗ ${problem.message}`,
      ...(["GrantRefused", "RepeatedRef"].includes(problem?.reason._tag ?? "") && !provided ? [ours] : [])
    ].join("\n")
  )
  if (problem !== undefined) return yield* new Reported()
})).pipe(
  Command.withDescription(
    "Print another domain's directory page by page, and what is wrong with it. Every page is mapped read-only, and " +
      "let go. Fails if anything is wrong."
  ),
  Command.withShortDescription("Print another domain's directory, and what is wrong with it")
)
