/**
 * Measures how fast bytes go into and out of a peer's mapped frame, against plain memory.
 */
import * as Effect from "effect/Effect"
import type { Kind } from "../../../xenlab/src/Toolstack.ts"
import * as Measure from "../Measure.ts"
import * as Report from "../Report.ts"
import * as Domain from "./Domain.ts"

/** A frame of 1920×1080 with 4 bytes a pixel. */
const pages = 2025

interface Row {
  readonly peer: Kind
  readonly copy: string
  readonly isOurs: boolean
  /** Throughput through the mapping / throughput of plain memory, in the same language. */
  readonly ratio: Measure.Ratio
}

const ways = [["fiber", "JavaScript, TypedArray.set"], ["c", "C, memcpy"]] as const
const directions = [["copyIn", "into the mapping"], ["copyOut", "out of the mapping"]] as const

/** Measures it all. */
export const section = Effect.fnUntraced(function*(
  dom0: Domain.Domain,
  guests: ReadonlyArray<Domain.Domain & { readonly kind: Kind }>,
  where: string,
  isQuick: boolean
) {
  const effort = { pairs: isQuick ? 5 : 41, warmUpRuns: isQuick ? 10 : 100 }
  const rows: Array<Row> = []
  for (const { id, kind, process } of guests) {
    const { directory } = yield* Domain.ask(process, { do: "alloc", peer: 0, pages, directory: 0 })
    const buffer = { peer: id, pages, directory: Number(directory) }
    for (const [way, language] of ways) {
      for (const [operation, direction] of directions) {
        const plain = { way, operation: "copyPlain" } as const
        const samples = yield* Domain.measure(dom0, buffer, plain, { way, operation }, effort)
        rows.push({
          peer: kind,
          copy: `${language}, ${direction}`,
          isOurs: way !== "c",
          ratio: Measure.ratio(samples)
        })
      }
    }
    yield* Domain.ask(process, { do: "release" })
  }
  return Report.section<Row>({
    name: "xen-copy",
    title: "Copying through a mapping of a peer's frame",
    about: `${pages} pages, a frame of 1920×1080 with 4 bytes a pixel, mapped in dom0: the throughput of copying ` +
      "into it and out of it against that of copying between two plain buffers of the same size in the same program.",
    where,
    columns: [
      { title: "peer", show: ({ peer }) => peer },
      { title: "copy", show: ({ copy }) => copy },
      ...Report.ratioColumns<Row>(({ ratio }) => ratio, "plain", "mapped"),
      { title: "target", show: ({ isOurs, ratio }) => isOurs ? Report.atLeast(0.95, ratio.median) : "" }
    ],
    rows,
    plots: []
  })
})
