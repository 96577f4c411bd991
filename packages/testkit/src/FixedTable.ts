/**
 * A grant table that does nothing: its pages are there already, and stay. What an operation on it takes is the
 * library's own, for tests and benchmarks that count it.
 *
 * @since 0.2.0
 */

import * as Chain from "@xen-shbuf/core/Chain"
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as Page from "@xen-shbuf/core/Page"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"

const peer = 1 as GrantTable.SharedPages["peer"]
const access = "read-write"
const arm = () => Result.succeed(undefined)
const knob = { _tag: "File", path: "" } as const

const range = (from: number, length: number) => Uint32Array.from({ length }, (_, i) => from + i)

/**
 * The table of domain 1, which shares a buffer of so many pages with itself: the directory begins at reference 8. With
 * it what its driver does, as plain functions.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (pages: number) => {
  const directoryPages = Chain.pagesFor(pages)
  // The directory has the first references; alloc lays the buffer out before it.
  const all = { peer, access, refs: range(8, directoryPages + pages) } as const
  const links = all.refs.subarray(0, directoryPages)
  const refs = all.refs.slice(directoryPages)
  const bytes = new Uint8Array(all.refs.length * Page.size)
  Chain.write(bytes, links, refs)
  const whole = { ...all, bytes }
  const buffer = { ...all, refs, bytes: bytes.subarray(directoryPages * Page.size) }
  const mapped = (bytes: Uint8Array<ArrayBuffer>) => ({ peer, access, bytes }) as const
  const mappedBuffer = mapped(buffer.bytes)
  const directory = Array.from(links, (_, i) => mapped(bytes.subarray(i * Page.size, (i + 1) * Page.size)))

  const share = (count: number) => count === pages ? buffer : whole
  const map = (refs: Uint32Array) => refs[0]! < 8 + directoryPages ? directory[refs[0]! - 8]! : mappedBuffer
  /** The last page that was let go, so that letting go is not nothing at all. */
  const released: { pages: unknown } = { pages: undefined }
  const release = (pages: unknown) => void (released.pages = pages)
  const acquired = <A>(pages: A) => ({ ...pages, arm, release: () => release(pages) })

  const table = GrantTable.make({
    share: (request) => Effect.sync(() => acquired(share(request.pages))),
    map: (request) => Effect.sync(() => acquired(map(request.refs))),
    read: ({ ref }, into) =>
      Effect.sync(() => into.set(bytes.subarray((ref - 8) * Page.size, (ref - 8) * Page.size + into.length))),
    copy: () => Effect.void,
    limits: Effect.succeed({ shared: { pages, knob }, mappedPerRequest: { pages, knob } })
  })
  return { table, refs, directoryPages, share, map, release }
}
