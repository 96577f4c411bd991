import { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as Backend from "@xen-shbuf/io/sndif/Backend"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import * as Frontend from "@xen-shbuf/io/sndif/Frontend"
import type * as SampleFormat from "@xen-shbuf/io/sndif/SampleFormat"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export const guest = 7

/** Runs a program as a domain. */
export const inDomain = <A, E, R>(id: number, program: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const xen = yield* TestXen.TestXen
    const services = Context.empty().pipe(
      Context.add(GrantTable, yield* xen.domain(id)),
      Context.add(EventChannels, yield* xen.eventChannels(id)),
      Context.add(XenStore, yield* xen.store(id))
    )
    return yield* Effect.provide(program, services)
  })

/** Every format at every usual rate, one playback and one capture stream. */
export const description: Configuration.Description = {
  shortName: "Card",
  longName: "A card in memory",
  bufferSize: 2 ** 20,
  channelsMax: 8,
  rates: [8000, 16_000, 44_100, 48_000, 96_000],
  formats: [
    "s8", "u8", "s16_le", "s16_be", "u16_le", "s24_le", "s32_le", "s32_be", "float_le", "float64_le", "mu_law", "a_law"
  ],
  devices: [{ name: "Analog", streams: [{ type: "playback", uniqueId: "p0" }, { type: "capture", uniqueId: "c0" }] }]
}

/** Gives the guest a card, as a toolstack does. */
export const addCard = (
  options: { readonly frontend?: number; readonly id?: number; readonly description?: Configuration.Description } = {}
) =>
  Effect.gen(function*() {
    const frontend = options.frontend ?? guest
    const xen = yield* TestXen.TestXen
    yield* xen.store(frontend)
    yield* inDomain(0, Toolstack.addDevice({
      type: "vsnd",
      frontend,
      id: options.id,
      frontendNodes: Configuration.toNodes(options.description ?? description)
    }))
  })

/** Serves all cards in the background, as domain 0. */
export const serving = <E = never, R = never>(options: Backend.Options<E, R>) => Effect.forkScoped(inDomain(0, Backend.serve(options)))

/** Runs a program as the guest. */
export const inGuest = <A, E, R>(program: Effect.Effect<A, E, R>) => inDomain(guest, program)

/** Connects the guest's card. */
export const connected = (options?: Parameters<typeof Frontend.connect>[0]) => inGuest(Frontend.connect(options))

/** A test in a Xen of its own, in which nothing may be left. */
export const checked = <A, E>(test: Effect.Effect<A, E, TestXen.TestXen | Scope.Scope>) =>
  Ledger.checked(Effect.scoped(test)).pipe(Effect.provide(TestXen.layer({ sharedPages: 8192 })))

/** Some bytes that are never the same twice. */
export const noise = (seed: number, length: number): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(length)
  let state = seed * 2_654_435_761 + 1
  for (let i = 0; i < length; i++) {
    state = Math.imul(state ^ state >>> 15, 0x2c1b_3c6d) + 0x9e37_79b9
    bytes[i] = state >>> 24
  }
  return bytes
}

export const params = (over: Partial<Frontend.Params> & { readonly format?: SampleFormat.SampleFormat } = {}): Frontend.Params => ({
  rate: 48_000,
  format: "s16_le",
  channels: 2,
  bufferFrames: 4096,
  periodFrames: 1024,
  ...over
})

/** Whole numbers below a bound, the same ones for the same seed. */
export const dice = (seed: number) => {
  let state = seed >>> 0
  return (bound: number): number => {
    state = state + 0x9e37_79b9 >>> 0
    let word = Math.imul(state ^ state >>> 16, 0x21f0_aaad)
    word = Math.imul(word ^ word >>> 15, 0x735a_2d97)
    return ((word ^ word >>> 15) >>> 0) % bound
  }
}
