/**
 * `xen-shbuf demo`: the whole path on any Linux machine, between two domains of an in-memory Xen.
 *
 * @since 0.1.0
 */

import * as Chain from "@xen-shbuf/core/Chain"
import { GrantTable, grantsShared, pagesMapped } from "@xen-shbuf/core/GrantTable"
import * as Page from "@xen-shbuf/core/Page"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import type * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { styleText } from "node:util"
import { sha256 } from "../Digest.ts"
import { NoTestXen, Reported } from "../Failure.ts"
import * as Flags from "../Flags.ts"
import { count, grouped, Output } from "../Output.ts"
import * as Pattern from "../Pattern.ts"
import * as Png from "../Png.ts"
import { bytesPerPixel } from "../TestCard.ts"

const picture = { width: 1920, height: 1080 }
const card: Pattern.Pattern = { _tag: "Card", ...picture }
const byteLength = Page.ByteLength.make(picture.width * picture.height * bytesPerPixel)
const pages = Page.countFor(byteLength)
const directoryPages = Chain.pagesFor(pages)
const grants = pages + directoryPages

const frontend = 1
const backend = 0

type Xen = TestXen.TestXen["Service"]

/** Runs a half in its domain, where the limit of shared pages is raised: Linux's own is too low for such a picture. */
const inDomain = (xen: Xen, id: number) => <A, E, R>(half: Effect.Effect<A, E, R>) =>
  Effect.flatMap(xen.domain(id, { sharedPages: grants }), (table) => Effect.provideService(half, GrantTable, table))

/** The frame as the writer and as the reader have it, and where the directory was. */
interface Transfer {
  readonly directory: number
  readonly written: SharedMemory.Readable
  readonly read: SharedMemory.Readable
}

const frontendAllocates = Effect.fnUntraced(function*(xen: Xen) {
  const shared = yield* SharedBuffer.alloc({ peer: backend, byteLength }).pipe(inDomain(xen, frontend))
  const { directory } = shared
  Pattern.write(shared.bytes, card)
  const mapped = yield* PeerBuffer.map({ peer: frontend, directory, byteLength }).pipe(inDomain(xen, backend))
  return { directory, written: shared.bytes, read: mapped.bytes }
})

const backendAllocates = Effect.fnUntraced(function*(xen: Xen) {
  const { directory, map } = yield* SharedBuffer.allocByBackend({ peer: backend, byteLength }).pipe(
    inDomain(xen, frontend)
  )
  const at = { peer: frontend, directory, byteLength }
  const provided = yield* PeerBuffer.allocForFrontend(at).pipe(inDomain(xen, backend))
  Pattern.write(provided.bytes, card)
  const mapped = yield* map().pipe(inDomain(xen, frontend))
  return { directory, written: provided.bytes, read: mapped.bytes }
})

/** A heading, its lines below, and an empty line. */
const section = (heading: string, lines: ReadonlyArray<string>) =>
  [styleText("bold", heading), ...lines.map((line) => `   ${line}`), ""].join("\n")

const short = (hash: string) => `${hash.slice(0, 24)}…`

/** Tells a transfer's story, and compares both sides for its proof. */
const tell = Effect.fnUntraced(function*(
  xen: Xen,
  { directory, read, written }: Transfer,
  { heading, story, ...mode }: {
    readonly mode: string
    readonly from: number
    readonly to: number
    readonly heading: string
    readonly story: ReadonlyArray<string>
  }
) {
  const { event } = yield* Output
  const hashes = { written: sha256(written), read: sha256(read) }
  const equal = hashes.written === hashes.read
  const inUse = (yield* xen.activeGrants).length
  yield* event(
    { event: "transferred", ...mode, directory, directoryPages, pages, bytes: byteLength, inUse, equal, ...hashes },
    section(heading, [
      ...story,
      `Grants in use, as Xen counts them: ${grouped(inUse)}`,
      `sha256 drawn by domain ${mode.from}   ${short(hashes.written)}`,
      `       read by domain ${mode.to}    ${short(hashes.read)}  ${equal ? "✓ the same" : "✗ not the same"}`
    ])
  )
  if (!equal) return yield* new Reported()
})

const showFrontend = Effect.fnUntraced(function*(xen: Xen, file: string) {
  const transfer = yield* frontendAllocates(xen)
  yield* tell(xen, transfer, {
    mode: "frontend-allocates",
    from: frontend,
    to: backend,
    heading: "1. The frontend allocates",
    story: [
      `Domain ${frontend} shares ${count(grants, "page")} with domain ${backend}: ${grouped(pages)} for a picture of ` +
      `${picture.width}×${picture.height} pixels`,
      `(${count(byteLength, "byte")}), which it draws, and ${directoryPages} for the directory that lists them.`,
      `Domain ${backend} gets one number, grant ${transfer.directory}. From there it reads the directory, checks it,`,
      "and maps the picture as one region. No pixel is copied."
    ]
  })
  yield* Png.write(file, { ...picture, bytes: transfer.read })
})

const showBackend = Effect.fnUntraced(function*(xen: Xen) {
  const transfer = yield* backendAllocates(xen)
  yield* tell(xen, transfer, {
    mode: "backend-allocates",
    from: backend,
    to: frontend,
    heading: "2. The backend allocates",
    story: [
      `Domain ${frontend} shares an empty directory only: ${count(directoryPages, "page")}, ` +
      `the first is grant ${transfer.directory}.`,
      `Domain ${backend} shares ${count(pages, "page")} of its own, enters them in the directory, and draws.`,
      `Domain ${frontend} checks the directory, and maps the picture.`
    ]
  })
})

/** Pages shared and mapped by this process so far. */
const counted = Effect.map(
  Effect.all([Metric.value(grantsShared), Metric.value(pagesMapped)]),
  ([shared, mapped]) => ({ shared: shared.count, mapped: mapped.count })
)

/** Asks Xen, not ourselves, what is left. */
const showReleased = Effect.fnUntraced(function*(xen: Xen, before: Effect.Success<typeof counted>) {
  const { event } = yield* Output
  const now = yield* counted
  const shared = now.shared - before.shared
  const mapped = now.mapped - before.mapped
  const left = {
    grantsInUse: (yield* xen.activeGrants).length,
    holdings: (yield* xen.holdings).length,
    pages: yield* xen.framesInUse
  }
  const clean = left.grantsInUse + left.holdings + left.pages === 0
  yield* event(
    { event: "released", shared, mapped, left, clean },
    section("3. Everything is released", [
      `${count(shared, "page")} were shared and ${grouped(mapped)} mapped: two pictures and their directories.`,
      `Left, as Xen counts it: ${count(left.grantsInUse, "grant")} in use, ` +
      `${count(left.holdings, "share")} or mappings, ${count(left.pages, "page")} of memory  ${clean ? "✓" : "✗"}`
    ])
  )
  if (!clean) return yield* new Reported()
})

/**
 * Passes a picture from one domain to another, both ways, and writes it to a file.
 *
 * @category commands
 * @since 0.1.0
 */
export const demo = Command.make("demo", {
  png: Flags.png.pipe(Flag.withDefault("xen-shbuf-demo.png"))
}, Effect.fnUntraced(function*({ png }) {
  const { event, hint } = yield* Output
  yield* Png.check(png)
  const TestXen = yield* Effect.promise(() => import("@xen-shbuf/testkit/TestXen"))
  yield* hint("Two domains of an in-memory Xen pass a picture to each other, through shared memory.\n")
  const before = yield* counted
  const xen = yield* Effect.catchDefect(TestXen.make(), (defect) =>
    Effect.fail(
      new NoTestXen({
        reason: { _tag: "MachineLacks" },
        message: defect instanceof Error ? defect.message : String(defect)
      })
    ))
  yield* Effect.scoped(showFrontend(xen, png))
  yield* Effect.scoped(showBackend(xen))
  yield* showReleased(xen, before)
  yield* event({ event: "png", file: png }, `The picture, as domain ${backend} read it: ${png}`)
  yield* hint("Between real domains: xen-shbuf doctor, share and map (--help tells more).")
}, Effect.scoped)).pipe(
  Command.withDescription(
    "Pass a 1920×1080 picture between two domains of an in-memory Xen, allocated by the one and then by the other, " +
      "compare both sides, write it to a PNG, and show that nothing is left. Takes Linux, but no Xen."
  ),
  Command.withShortDescription("Pass a picture between two domains of an in-memory Xen")
)
