/**
 * Drives a display that another domain shows: the frontend's half of displif. Buffers, framebuffers, configurations and
 * page flips as the protocol has them, each for as long as its scope.
 *
 * The backend is not trusted: what it answers is checked, and one that answers what can't be is not used any more. It sees
 * every buffer while it is drawn.
 *
 * @since 0.2.0
 */
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as Lifetime from "@xen-shbuf/core/Lifetime"
import { invalidInput } from "@xen-shbuf/core/Reason"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import { ConnectionError, InvalidNode } from "@xen-shbuf/xenbus/ConnectionError"
import type { Device } from "@xen-shbuf/xenbus/Device"
import * as XenbusFrontend from "@xen-shbuf/xenbus/Frontend"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { DisplayClosed, DisplayError, type Reason, WrongAnswer } from "./DisplayError.ts"
import { Asker, type Question } from "./internal/asker.ts"
import * as PixelFormat from "./PixelFormat.ts"
import * as Protocol from "./Protocol.ts"

/**
 * A dumb buffer: pixels to draw, which the backend sees.
 *
 * @category models
 * @since 0.2.0
 */
export interface Buffer {
  /** Pixels of a line. */
  readonly width: number
  /** Lines. */
  readonly height: number
  /** Bytes from the beginning of a line to that of the next. */
  readonly pitch: number
  /** All lines, zero at first. The backend may change them at any time. */
  readonly bytes: SharedMemory.Writable
  /** Makes a framebuffer of it, until its scope ends: of its whole size and of its format, unless said otherwise. */
  readonly attach: (options?: {
    readonly width?: number | undefined
    readonly height?: number | undefined
    readonly format?: PixelFormat.PixelFormat | undefined
  }) => Effect.Effect<Framebuffer, DisplayError, Scope.Scope>
}

/**
 * A framebuffer: a buffer as it can be shown.
 *
 * @category models
 * @since 0.2.0
 */
export interface Framebuffer {
  /** Pixels of a line. */
  readonly width: number
  /** Lines. */
  readonly height: number
  /** How the backend reads the buffer's pixels. */
  readonly format: PixelFormat.PixelFormat
  /** @internal */
  readonly cookie: bigint
}

/**
 * One connector of the display.
 *
 * @category models
 * @since 0.2.0
 */
export interface Connector {
  /** Its number on the display, from 0. */
  readonly index: number
  /** What the toolstack says that it shows. */
  readonly resolution: Protocol.Resolution
  /** Shows a framebuffer, its upper left corner at `x` and `y` of the connector, 0 unless given. */
  readonly configure: (
    framebuffer: Framebuffer,
    options?: { readonly x?: number | undefined; readonly y?: number | undefined }
  ) => Effect.Effect<void, DisplayError>
  /** Turns the connector off. */
  readonly disable: Effect.Effect<void, DisplayError>
  /** Shows another framebuffer, or the same one anew, and waits until the one before is ours to draw in. */
  readonly flip: (framebuffer: Framebuffer) => Effect.Effect<void, DisplayError>
  /** The connector's EDID. `Refused` by a backend that has none, or has version 1 of the protocol only. */
  readonly edid: Effect.Effect<Uint8Array, DisplayError>
}

/**
 * A display, connected.
 *
 * @category models
 * @since 0.2.0
 */
export interface Display {
  /** All that the toolstack has given it, by their numbers; one at least. */
  readonly connectors: ReadonlyArray<Connector>
  /** The version of the protocol that both have. */
  readonly version: Protocol.Version
  /** Whether the toolstack lets the backend allocate buffers. */
  readonly mayAllocate: boolean
  /**
   * Makes a buffer, until its scope ends: in 32 bits a pixel unless `format` says otherwise. With `byBackend` its pages are
   * the backend's, who keeps the power over them.
   */
  readonly createBuffer: (options: {
    readonly width: number
    readonly height: number
    readonly format?: PixelFormat.PixelFormat | undefined
    readonly byBackend?: boolean | undefined
  }) => Effect.Effect<Buffer, DisplayError, GrantTable | Scope.Scope>
  /** Fails when the display can't be used any more. */
  readonly ended: Effect.Effect<never, DisplayError>
}

const shareConnector = Effect.fnUntraced(function*(device: Device, index: number) {
  const at = (name: string) => `${index}/${name}`
  const resolution = yield* device.own.read(at(Protocol.node.resolution), Protocol.ResolutionFromText)
  const requests = yield* XenbusFrontend.shareRing(device, {
    ref: at(Protocol.node.requestRing),
    port: at(Protocol.node.requestPort),
    slotSize: Protocol.messageSize
  })
  const events = yield* XenbusFrontend.shareEvents(device, {
    ref: at(Protocol.node.eventPage),
    port: at(Protocol.node.eventPort),
    eventSize: Protocol.messageSize
  })
  return { index, resolution, requests, events }
})

/** Shares a ring and an event page for each of the connectors that the toolstack has made. */
const publish = Effect.fnUntraced(function*(device: Device) {
  const names = new Set(yield* device.own.directory())
  let count = 0
  while (names.has(String(count))) count++
  if (count === 0) {
    return yield* new ConnectionError({
      device: device.frontendPath,
      reason: new InvalidNode({ path: `${device.frontendPath}/0`, detail: "there is no connector" })
    })
  }
  const versions = yield* device.readOptional(Protocol.node.versions, Schema.String)
  // A backend that says nothing is as old as the protocol.
  const version: Protocol.Version = Option.getOrElse(versions, () => "1").split(",").includes("2") ? 2 : 1
  const beAlloc = yield* device.own.readOptional(Protocol.node.beAlloc, Schema.String)
  const connectors = yield* Effect.forEach(
    Array.from({ length: count }, (_, index) => index),
    (index) => shareConnector(device, index)
  )
  const nodes = Object.assign(
    { [Protocol.node.version]: String(version) },
    ...connectors.flatMap(({ events, requests }) => [requests.nodes, events.nodes])
  )
  return { nodes, connectors, version, mayAllocate: Option.contains(beAlloc, "1"), peer: device.backend }
})

const edidOf = (asker: Asker, peer: number) =>
  Effect.scoped(Effect.gen(function*() {
    const byteLength = Protocol.edidMaxSize
    const buffer = yield* SharedBuffer.alloc({ peer, byteLength }).pipe(Effect.mapError(because("GetEdid")))
    const { edidSize } = yield* asker.ask({ _tag: "GetEdid", bufferSize: byteLength, directory: buffer.directory })
    if (edidSize > byteLength || edidSize % 128 !== 0) {
      return yield* new DisplayError({
        operation: "GetEdid",
        reason: new WrongAnswer({ detail: `an EDID does not have ${edidSize} bytes` })
      })
    }
    return buffer.bytes.slice(0, edidSize)
  }))

const because = (operation: string) => (reason: Reason) => new DisplayError({ operation, reason })

let lastCookie = 0n

/** A number for a buffer or a framebuffer, which no other display has, either: there it is unknown. 0 is none. */
const makeCookie = () => ++lastCookie

/** Refuses what is no number of the protocol's, and would be sent as another one. */
const checked = (operation: string, numbers: Readonly<Record<string, number>>): Effect.Effect<void, DisplayError> => {
  for (const [name, value] of Object.entries(numbers)) {
    if (!(Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff)) {
      const expected = "a number of pixels: a whole number from 0 to 4294967295"
      return Effect.fail(new DisplayError({ operation, reason: invalidInput(name, value, expected) }))
    }
  }
  return Effect.void
}

/** Makes something that the backend has to forget again; it forgets it before anything else of the scope goes. */
const remembered = <A>(
  create: Effect.Effect<A, DisplayError>,
  forget: Effect.Effect<unknown, DisplayError>
): Effect.Effect<A, DisplayError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      let isRefused = false
      // A request that was given up may have been done.
      yield* Scope.addFinalizer(scope, Effect.suspend(() => isRefused ? Effect.void : Effect.ignore(forget)))
      return yield* restore(create).pipe(Effect.tapError(({ reason }) =>
        Effect.sync(() => {
          isRefused = reason._tag === "Refused"
        })
      ))
    })
  )

/** What belongs to a buffer: how it is made depends on who allocates. */
interface Making {
  readonly asker: Asker
  readonly peer: number
  /** A framebuffer has gone from all connectors. */
  readonly forget: (cookie: bigint) => void
}

/** Pages of ours, which the backend hears of. */
const allocate = (
  { asker, peer }: Making,
  question: (directory: number, flags: number) => Question,
  byteLength: number,
  forget: Forget
) =>
  Effect.gen(function*() {
    const shared = yield* Effect.mapError(SharedBuffer.alloc({ peer, byteLength }), because("DbufCreate"))
    yield* remembered(asker.ask(question(shared.directory, 0)), forget)
    return shared.bytes
  })

/** Pages of the backend's, which it enters in a directory of ours; they are unmapped before it hears of the end. */
const allocateByBackend = (
  { asker, peer }: Making,
  question: (directory: number, flags: number) => Question,
  byteLength: number,
  forget: Forget
) =>
  Effect.gen(function*() {
    const buffer = yield* Effect.mapError(SharedBuffer.allocByBackend({ peer, byteLength }), because("DbufCreate"))
    yield* remembered(asker.ask(question(buffer.directory, Protocol.requestAlloc)), forget)
    const { bytes } = yield* Effect.mapError(buffer.map(), because("DbufCreate"))
    return bytes
  })

type Forget = Effect.Effect<unknown, DisplayError>

/** See `Display.createBuffer`. */
const createBuffer = (
  making: Making
): Display["createBuffer"] =>
({ byBackend = false, format = PixelFormat.XR24, height, width }) =>
  Lifetime.allOrNothing(() => Effect.gen(function*() {
    const { asker } = making
    yield* checked("DbufCreate", { width, height })
    const dbufCookie = makeCookie()
    const pitch = width * format.bytesPerPixel
    const byteLength = pitch * height
    const bpp = 8 * format.bytesPerPixel
    const question = (directory: number, flags: number): Question => ({
      _tag: "DbufCreate",
      dbufCookie,
      width,
      height,
      bpp,
      bufferSize: byteLength,
      flags,
      directory,
      dataOffset: 0
    })
    const forget = asker.ask({ _tag: "DbufDestroy", dbufCookie })
    const bytes = yield* (byBackend ? allocateByBackend : allocate)(making, question, byteLength, forget)
    const attach: Buffer["attach"] = (options = {}) =>
      Lifetime.allOrNothing(() => {
        const fbCookie = makeCookie()
        const framebuffer: Framebuffer = {
          width: options.width ?? width,
          height: options.height ?? height,
          format: options.format ?? format,
          cookie: fbCookie
        }
        const request = asker.ask({
          _tag: "FbAttach",
          dbufCookie,
          fbCookie,
          width: framebuffer.width,
          height: framebuffer.height,
          pixelFormat: framebuffer.format.code
        })
        const detached = Effect.tap(asker.ask({ _tag: "FbDetach", fbCookie }), () => Effect.sync(() => making.forget(fbCookie)))
        return Effect.andThen(
          checked("FbAttach", { width: framebuffer.width, height: framebuffer.height }),
          Effect.as(remembered(request, detached), framebuffer)
        )
      })
    return { width, height, pitch, bytes, attach }
  }))

const none = { fbCookie: 0n, x: 0, y: 0, width: 0, height: 0, bpp: 0 } as const

const connectorOf = (
  { asker, index, resolution }: Pick<Connector, "index" | "resolution"> & { readonly asker: Asker },
  edid: Connector["edid"]
): Connector => ({
  index,
  resolution,
  configure: ({ cookie, format, height, width }, { x = 0, y = 0 } = {}) =>
    Effect.andThen(
      checked("SetConfig", { x, y }),
      Effect.asVoid(asker.ask({ _tag: "SetConfig", fbCookie: cookie, x, y, width, height, bpp: 8 * format.bytesPerPixel }))
    ),
  disable: Effect.asVoid(asker.ask({ _tag: "SetConfig", ...none })),
  flip: ({ cookie }) => asker.flip(cookie),
  edid
})

/**
 * Connects a display that the toolstack has made: `id` is its number, 0 unless given. Leaving the scope closes it.
 *
 * @category constructors
 * @since 0.2.0
 */
export const connect: (options?: { readonly id?: number | undefined }) => Effect.Effect<
  Display,
  ConnectionError,
  EventChannels | GrantTable | XenStore | Scope.Scope
> = Effect.fnUntraced(function*({ id } = {}) {
  const table = yield* GrantTable
  const { ended, published } = yield* XenbusFrontend.connect({ type: Protocol.type, id, publish })
  const over = Deferred.makeUnsafe<never, Reason>()
  const open = published.connectors.map((connector) => ({
    ...connector,
    asker: new Asker(connector.requests, connector.events, over)
  }))
  yield* Effect.addFinalizer(() => Deferred.fail(over, new DisplayClosed({})))
  const running: ReadonlyArray<Effect.Effect<never, Reason>> = [
    ended,
    ...open.flatMap(({ asker }): ReadonlyArray<Effect.Effect<never, Reason>> => [asker.answers, asker.events])
  ]
  for (const effect of running) {
    yield* Effect.forkScoped(Effect.catch(effect, (reason) => Deferred.fail(over, reason)))
  }
  const forget = (cookie: bigint) => {
    for (const { asker } of open) asker.forget(cookie)
  }
  const making: Making = { asker: open[0]!.asker, peer: published.peer, forget }
  return {
    version: published.version,
    mayAllocate: published.mayAllocate,
    connectors: open.map((connector) =>
      connectorOf(connector, Effect.provideService(edidOf(connector.asker, published.peer), GrantTable, table))
    ),
    createBuffer: createBuffer(making),
    ended: Effect.mapError(Deferred.await(over), because("display"))
  }
})
