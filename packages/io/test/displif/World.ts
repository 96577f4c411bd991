import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import * as Backend from "@xen-shbuf/io/displif/Backend"
import type { Display } from "@xen-shbuf/io/displif/Display"
import type { Picture } from "@xen-shbuf/io/displif/Picture"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"

export type Services = GrantTable | EventChannels | XenStore

/** Runs something in a domain of the Xen of the test. */
export const inDomain = (id: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, TestXen.layerDomain(id))

export const dom0 = inDomain(0)

/** A picture as a test keeps it. */
export interface Seen {
  readonly picture: Picture
  /** A copy of the pixels. */
  readonly pixels: Uint8Array
}

export const copyOf = (picture: Picture): Seen => {
  if (picture._tag === "Dark") return { picture, pixels: new Uint8Array(0) }
  const pixels = new Uint8Array(picture.width * picture.height * picture.format.bytesPerPixel)
  picture.copyInto(pixels)
  return { picture, pixels }
}

/** The toolstack gives a guest a display. */
export const addDisplay = (
  guest: number,
  resolutions: ReadonlyArray<string>,
  options: { readonly beAlloc?: string; readonly id?: number } = {}
) =>
  Effect.andThen(inDomain(guest)(Effect.void), dom0(Toolstack.addDevice({
    type: "vdispl",
    frontend: guest,
    id: options.id ?? 0,
    frontendNodes: {
      "be-alloc": options.beAlloc ?? "0",
      ...Object.fromEntries(resolutions.flatMap((resolution, i) => [
        [`${i}/resolution`, resolution],
        [`${i}/unique-id`, `id${i}`]
      ]))
    },
    backendNodes: {}
  })))

/** The toolstack takes it away. */
export const removeDisplay = (guest: number) =>
  dom0(Toolstack.removeDevice({ type: "vdispl", frontend: guest, id: 0, within: "5 seconds" }))

/** A backend in dom0 whose displays the test gets. */
export const startBackend = (options: Partial<Backend.Options<never, never>> = {}) =>
  Effect.gen(function*() {
    const displays = yield* Queue.unbounded<Display>()
    yield* Backend.serve({
      frameRate: Infinity,
      show: (display) => Queue.offer(displays, display),
      ...options
    }).pipe(dom0, Effect.forkScoped)
    return displays
  })

/** Looks at a connector and keeps copies of what it shows. */
export const watch = (display: Display, index = 0) =>
  Effect.gen(function*() {
    const seen = yield* Queue.unbounded<Seen>()
    yield* Effect.forkScoped(Stream.runForEach(
      display.connectors[index]!.pictures,
      (picture) => Queue.offer(seen, copyOf(picture))
    ))
    return seen
  })

/** Nothing is left when the test has ended. */
export const checked = <A, E>(test: Effect.Effect<A, E, TestXen.TestXen | Scope.Scope>) =>
  Ledger.checked(test).pipe(Effect.provide(TestXen.layer({ sharedPages: 20_000 })))
