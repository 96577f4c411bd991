/**
 * What a directory costs against a raw copy of the same bytes: `npm run bench`.
 *
 * The two run in turn, in batches of about a millisecond, and the ratio of each pair of batches is taken: the speed of
 * a machine drifts, a ratio of neighbours does not. Prints the median and the quartiles.
 */
import * as PageDirectory from "@xen-shbuf/core/PageDirectory"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

const pairs = Number(process.env["BENCH_PAIRS"] ?? 200)
const decode = Schema.decodeSync(PageDirectory.FromBytes)
const encode = Schema.encodeSync(PageDirectory.FromBytes)

let sink: unknown
const batch = (f: () => unknown, times: number) => {
  const begin = performance.now()
  for (let i = 0; i < times; i++) sink = f()
  return (performance.now() - begin) / times
}

/** Iterations that take about a millisecond, found after a warm-up. */
const batchSize = (f: () => unknown) => {
  batch(f, 2000 / Math.max(1, Math.ceil(batch(f, 3) * 100)))
  return Math.max(1, Math.ceil(1 / batch(f, 20)))
}

const compare = (f: () => unknown, raw: () => unknown) => {
  const [ofF, ofRaw] = [batchSize(f), batchSize(raw)]
  const samples = Array.from({ length: pairs }, () => {
    const base = batch(raw, ofRaw)
    const own = batch(f, ofF)
    return { ratio: own / base, own }
  })
  const at = (key: "ratio" | "own", q: number) =>
    samples.map((sample) => sample[key]).toSorted((a, b) => a - b)[Math.floor(q * (pairs - 1))]!
  return { low: at("ratio", 0.25), median: at("ratio", 0.5), high: at("ratio", 0.75), micros: at("own", 0.5) * 1000 }
}

const row = (pages: number, what: string, target: string, f: () => unknown, raw: () => unknown) => {
  const { high, low, median, micros } = compare(f, raw)
  console.log(
    [
      String(pages).padStart(5),
      what.padEnd(30),
      `${median.toFixed(2)}×`.padStart(7),
      `${low.toFixed(2)} to ${high.toFixed(2)}`.padEnd(14),
      target.padEnd(7),
      `${micros.toFixed(1)} µs`.padStart(10)
    ].join("  ")
  )
}

console.log(`Node ${process.version}, ${process.arch}; ${pairs} pairs. Against a copy of the same bytes (slice).\n`)
console.log("pages  what                             median  quartiles       target          time")
for (const pages of [1, 2, 4, 16, 64, 256, 1024]) {
  const count = pages * PageDirectory.refsPerPage
  const links = Array.from({ length: pages }, (_, i) => 8 + i)
  // Not in order, as the free list of a running kernel gives them out.
  const refs = Uint32Array.from({ length: count }, (_, i) => 5000 + (i ^ 5))
  const directory = Result.getOrThrow(PageDirectory.fromRefs(links, refs))
  const bytes = encode(directory)
  const raw = () => bytes.slice()
  const target = pages >= 4 ? "≤ 1.25×" : pages === 1 ? "≤ 1.5×" : ""
  row(pages, "decode (bytes to directory)", target, () => decode(bytes), raw)
  row(pages, "encode (directory to bytes)", target, () => encode(directory), raw)
  row(pages, "references to bytes, checked", "", () => encode(Result.getOrThrow(PageDirectory.fromRefs(links, refs))), raw)
  row(
    pages,
    "bytes to references, checked",
    "",
    () => Result.getOrThrow(PageDirectory.toRefs(decode(bytes), links[0]!, count)),
    raw
  )
}
void sink
