/**
 * A frontend that knows no rules against the display's backend, and a backend that knows none against the frontend, in
 * memory. An oracle of a few lines says what must be answered, in numbers of any size.
 */
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Backend from "@xen-shbuf/io/displif/Backend"
import type { DisplayError } from "@xen-shbuf/io/displif/DisplayError"
import * as Frontend from "@xen-shbuf/io/displif/Frontend"
import * as Protocol from "@xen-shbuf/io/displif/Protocol"
import { XenErrno } from "@xen-shbuf/io/XenErrno"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as XenbusBackend from "@xen-shbuf/xenbus/Backend"
import type { Device } from "@xen-shbuf/xenbus/Device"
import * as XenbusFrontend from "@xen-shbuf/xenbus/Frontend"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { random, type Random } from "../../../packages/xenbus/test/Model.ts"

/** What the test gives one guest. */
export const limits = { buffers: 4, framebuffers: 2, bytes: 40_000 } as const

export const resolutions: ReadonlyArray<Protocol.Resolution> = [{ width: 32, height: 32 }, { width: 16, height: 8 }]

const cookies = [0n, 1n, 2n, 3n, 4n, 0xffff_8880_0000_1000n, 2n ** 64n - 1n]
const sizes = [0, 1, 8, 16, 32, 33, 64, 1000, 65_536, 0x8000_0000, 0xffff_ffff]
const bytes = [0, 1, 4095, 4096, 4097, 8192, 12_288, 39_999, 40_001, 0x7fff_ffff, 0xffff_ffff]
const formats = ["XR24", "RG16", "RG24", "YUYV", "\0\0\0\0"].map((name) =>
  Array.from(name).reduce((code, letter, i) => code + letter.charCodeAt(0) * 2 ** (8 * i), 0)
)
const bytesOf = new Map([[formats[0]!, 4n], [formats[1]!, 2n], [formats[2]!, 3n]])

/** Directories that the guest really shares, by the bytes that they are for. */
export interface Directories {
  readonly sound: ReadonlyMap<number, number>
}

interface Dbuf {
  readonly request: Extract<Protocol.Request, { readonly _tag: "DbufCreate" }>
  readonly pitch: bigint
}

interface Fb {
  readonly dbuf: bigint
  readonly width: bigint
  readonly height: bigint
}

const E = XenErrno

/** A buffer that can't be mapped: by the directory's fault, or because Xen says so. */
const unmappable = NaN

const alternatives = (status: number) => Number.isNaN(status) ? [-E.EINVAL, -E.EFAULT] : [status]

/** What the backend must answer. */
export class Oracle {
  readonly dbufs = new Map<bigint, Dbuf>()
  readonly fbs = new Map<bigint, Fb>()
  readonly configurations: Array<{ x: bigint; y: bigint; width: bigint; height: bigint } | undefined> = [undefined, undefined]
  readonly directories: Directories

  constructor(directories: Directories) {
    this.directories = directories
  }

  /** The statuses that are right: more than one where it depends on what else the backend has to do. */
  status(request: Protocol.Request, connector: number): ReadonlyArray<number> {
    if (connector !== 0 && /^(Dbuf|Fb)/.test(request._tag)) return [-E.EINVAL]
    switch (request._tag) {
      case "DbufCreate":
        return alternatives(this.#create(request))
      case "DbufDestroy": {
        if (!this.dbufs.delete(request.dbufCookie)) return [-E.ENOENT]
        for (const [cookie, { dbuf }] of this.fbs) if (dbuf === request.dbufCookie) this.fbs.delete(cookie)
        return [0]
      }
      case "FbAttach":
        return [this.#attach(request)]
      case "FbDetach":
        return [this.fbs.delete(request.fbCookie) ? 0 : -E.ENOENT]
      case "SetConfig":
        return [this.#configure(request, connector)]
      case "PgFlip": {
        const fb = this.fbs.get(request.fbCookie)
        if (fb === undefined) return [-E.ENOENT]
        const configuration = this.configurations[connector]
        if (configuration === undefined || isVisible(fb, configuration, connector)) return [0, -E.EBUSY]
        return [-E.EINVAL, -E.EBUSY]
      }
      case "GetEdid": {
        const isSound = this.directories.sound.get(request.bufferSize) === request.directory
        if (request.bufferSize < 32_768 || request.bufferSize > 131_072) return [-E.EINVAL]
        return [isSound ? 0 : -E.EINVAL, -E.EFAULT]
      }
      case "Unknown":
        return [-E.EOPNOTSUPP]
    }
  }

  #create(request: Dbuf["request"]): number {
    const [width, height, bpp, size, offset] = [request.width, request.height, request.bpp, request.bufferSize,
      request.dataOffset].map(BigInt) as [bigint, bigint, bigint, bigint, bigint]
    const isImported = width === 0n && height === 0n && bpp === 0n
    const pitch = (width * bpp + 7n) / 8n
    if (request.dbufCookie === 0n || request.directory === 0 || size === 0n || offset >= size) return -E.EINVAL
    if (!isImported && (width === 0n || height === 0n || bpp === 0n || bpp > 64n)) return -E.EINVAL
    if (offset + pitch * height > size) return -E.EINVAL
    if (this.dbufs.has(request.dbufCookie)) return -E.EEXIST
    if (request.flags % 2 === 1) return -E.EOPNOTSUPP
    let used = size
    for (const { request } of this.dbufs.values()) used += BigInt(request.bufferSize)
    if (this.dbufs.size >= limits.buffers || used > BigInt(limits.bytes)) return -E.ENOMEM
    if (!isShared(this.directories, request)) return unmappable
    this.dbufs.set(request.dbufCookie, { request, pitch })
    return 0
  }

  #attach(request: Extract<Protocol.Request, { readonly _tag: "FbAttach" }>): number {
    const dbuf = this.dbufs.get(request.dbufCookie)
    if (request.fbCookie === 0n) return -E.EINVAL
    if (dbuf === undefined) return -E.ENOENT
    if (this.fbs.has(request.fbCookie)) return -E.EEXIST
    const bytes = bytesOf.get(request.pixelFormat)
    const [width, height] = [BigInt(request.width), BigInt(request.height)]
    if (bytes === undefined || width === 0n || height === 0n) return -E.EINVAL
    const pitch = dbuf.pitch === 0n ? width * bytes : dbuf.pitch
    const end = BigInt(dbuf.request.dataOffset) + (height - 1n) * pitch + width * bytes
    if (width * bytes > pitch || end > BigInt(dbuf.request.bufferSize)) return -E.EINVAL
    if (this.fbs.size >= limits.framebuffers) return -E.ENOMEM
    this.fbs.set(request.fbCookie, { dbuf: request.dbufCookie, width, height })
    return 0
  }

  #configure(request: Extract<Protocol.Request, { readonly _tag: "SetConfig" }>, connector: number): number {
    const { bpp, fbCookie, height, width, x, y } = request
    if (fbCookie === 0n && [x, y, width, height, bpp].every((n) => n === 0)) {
      this.configurations[connector] = undefined
      return 0
    }
    const fb = this.fbs.get(fbCookie)
    if (fb === undefined) return -E.ENOENT
    const configuration = { x: BigInt(x), y: BigInt(y), width: BigInt(width), height: BigInt(height) }
    if (!isVisible(fb, configuration, connector)) return -E.EINVAL
    this.configurations[connector] = configuration
    return 0
  }
}

/** Only whole sound directories can be mapped, for the very number of pages. */
const isShared = ({ sound }: Directories, { bufferSize, directory }: Dbuf["request"]) =>
  [...sound].some(([size, ref]) => ref === directory && Math.ceil(size / 4096) >= Math.ceil(bufferSize / 4096))

const isVisible = (
  fb: Fb,
  { height, width, x, y }: { x: bigint; y: bigint; width: bigint; height: bigint },
  connector: number
) => {
  const { height: lines, width: line } = resolutions[connector]!
  if (x + width <= BigInt(line) && y + height <= BigInt(lines)) return width > 0n && height > 0n
  return width <= fb.width && height <= fb.height && x < fb.width && y < fb.height
}

const everything = ["DbufCreate", "DbufCreate", "DbufCreate", "DbufDestroy", "FbAttach", "FbAttach", "FbAttach", "FbDetach",
  "SetConfig", "SetConfig", "PgFlip", "PgFlip", "GetEdid", "GetEdid", "Unknown"] as const
const flips = ["PgFlip"] as const

/** A request of some kind, as likely sound as not. */
const request = (
  { below, word, of }: Random,
  { dbufs, directories: { sound }, fbs }: Oracle,
  id: number,
  kinds: typeof everything | typeof flips
): Protocol.Request => {
  const tag = of<typeof everything[number]>(kinds)
  /** One that is there, as often as not. */
  const cookie = (live: ReadonlyMap<bigint, unknown>) => below(2) > 0 && live.size > 0 ? of([...live.keys()]) : of(cookies)
  const size = () => below(4) === 0 ? of(sizes) : of([8, 16, 32])
  switch (tag) {
    case "DbufCreate": {
      const real = of([...sound])
      const isReal = below(3) > 0
      const zero = below(isReal ? 6 : 2) === 0
      return {
        _tag: tag,
        id,
        dbufCookie: of(cookies),
        width: zero ? 0 : size(),
        height: zero ? 0 : size(),
        bpp: zero ? 0 : of([32, 16, 24, 32, 0, 8, 64, 65, 0xffff_ffff]),
        bufferSize: isReal || below(2) > 0 ? real[0] : of(bytes),
        flags: of([0, 0, 0, 0xffff_fffe, 1]),
        directory: isReal ? real[1] : of([0, 7, 8, 9, 30_000, 0xffff_ffff, real[1]]),
        dataOffset: of([0, 0, 0, 4, 2, 4096, 0xffff_ffff])
      }
    }
    case "DbufDestroy":
      return { _tag: tag, id, dbufCookie: cookie(dbufs) }
    case "FbAttach":
      return {
        _tag: tag,
        id,
        dbufCookie: cookie(dbufs),
        fbCookie: of(cookies),
        width: size(),
        height: size(),
        pixelFormat: of([formats[0]!, formats[1]!, ...formats])
      }
    case "FbDetach":
      return { _tag: tag, id, fbCookie: cookie(fbs) }
    case "SetConfig": {
      const fbCookie = cookie(fbs)
      const { height, width } = fbs.get(fbCookie) ?? { width: size(), height: size() }
      const isWhole = below(2) > 0
      return below(4) === 0
        ? { _tag: tag, id, fbCookie: 0n, x: 0, y: 0, width: 0, height: 0, bpp: 0 }
        : {
          _tag: tag,
          id,
          fbCookie,
          x: below(2) * of(sizes),
          y: below(2) * of(sizes),
          width: isWhole ? Number(width) : size(),
          height: isWhole ? Number(height) : size(),
          bpp: 32
        }
    }
    case "PgFlip":
      return { _tag: tag, id, fbCookie: cookie(fbs) }
    case "GetEdid":
      return { _tag: tag, id, bufferSize: of([...bytes, 32_767, 32_768, 32_768, 131_072, 131_073]), directory: of([0, ...sound.values(), word()]) }
    case "Unknown":
      return { _tag: tag, id, operation: of([0, 1, 15, 0x17, 0x80, 0xff]) }
  }
}

const node = Protocol.node

/** Shares rings and event pages for two connectors, as any frontend would. */
const publish = Effect.fnUntraced(function*(device: Device) {
  const connectors = yield* Effect.forEach(resolutions, (_, index) =>
    Effect.all({
      requests: XenbusFrontend.shareRing(device, {
        ref: `${index}/${node.requestRing}`,
        port: `${index}/${node.requestPort}`,
        slotSize: 64
      }),
      events: XenbusFrontend.shareEvents(device, {
        ref: `${index}/${node.eventPage}`,
        port: `${index}/${node.eventPort}`,
        eventSize: 64
      })
    }))
  const nodes = Object.assign({}, ...connectors.flatMap(({ events, requests }) => [events.nodes, requests.nodes]))
  return { nodes: nodes as Record<string, string>, connectors }
})

type Connectors = Effect.Success<ReturnType<typeof publish>>["connectors"]

/** What became of the cases: how often each status was answered to each kind of request. */
export type Tally = Map<string, number>

const guest = 3

const inDomain = (id: number) => <A, F, R>(effect: Effect.Effect<A, F, R>) => Effect.provide(effect, TestXen.layerDomain(id))

/** Puts some requests and takes their answers, which must be right. */
const round = Effect.fnUntraced(function*(dice: Random, { events, requests }: Connectors[number], connector: number, oracle: Oracle, tally: Tally) {
  const asked: Array<Protocol.Request> = []
  const { channel, ring } = requests
  const slot = new Uint8Array(64)
  // Sometimes a guest does not wait for its flips.
  const kinds = dice.below(8) === 0 ? flips : everything
  for (let n = 1 + dice.below(32); n > 0; n--) {
    const question = request(dice, oracle, dice.below(0x10000), kinds)
    asked.push(question)
    yield* Effect.fromResult(ring.put(Protocol.encodeRequest(question)))
  }
  yield* Effect.fromResult(ring.push())
  yield* channel.notify
  for (const question of asked) {
    while (!(yield* Effect.fromResult(ring.take(slot)))) {
      if (!(yield* Effect.fromResult(ring.finalCheck()))) yield* channel.wait
    }
    const answer = Protocol.decodeResponse(slot)
    const right = oracle.status(question, connector)
    const code = Protocol.encodeRequest(question)[2]
    if (!right.includes(answer.status) || answer.id !== question.id || answer.operation !== code) {
      const told = JSON.stringify(question, (_, value: unknown) => typeof value === "bigint" ? String(value) : value)
      return yield* Effect.die(new Error(`connector ${connector}: ${told} was answered ${JSON.stringify(answer)}, not ${right}`))
    }
    const outcome = `${question._tag} ${answer.status}`
    tally.set(outcome, (tally.get(outcome) ?? 0) + 1)
  }
  // A guest that does not take its events at times.
  if (dice.below(3) > 0) while (yield* Effect.fromResult(events.events.take(slot)));
  return asked.length
})

/** Looks at all connectors, and reads every byte of every frame; at the first it looks so late that flips pile up. */
const show: Backend.Options<never, never>["show"] = (display) =>
  Effect.forEach(display.connectors, ({ pictures }, index) => {
    const late = index === 0 ? Effect.repeat(Effect.yieldNow, { times: 32 }) : Effect.void
    return Stream.runForEach(pictures, (picture) =>
      Effect.andThen(late, Effect.sync(() => {
        if (picture._tag === "Dark") return
        const target = new Uint8Array(picture.width * picture.height * picture.format.bytesPerPixel)
        if (!picture.copyInto(target)) throw new Error("a frame ended while it was ours")
      })))
  }, { concurrency: "unbounded", discard: true })

/** A display with two connectors, for a guest that breaks the rules; `use` is that guest. */
const withDisplay = <A, F>(
  options: Partial<Backend.Options<never, never>>,
  use: (connectors: Connectors) => Effect.Effect<A, F, GrantTable | TestXen.TestXen>
) =>
  Effect.scoped(Effect.gen(function*() {
    yield* inDomain(guest)(Effect.void)
    const nodes = resolutions.map(({ height, width }, i) => [`${i}/resolution`, `${width}x${height}`])
    yield* inDomain(0)(Toolstack.addDevice({ type: "vdispl", frontend: guest, id: 0, frontendNodes: Object.fromEntries(nodes), backendNodes: {} }))
    yield* Effect.forkScoped(inDomain(0)(Backend.serve({
      show,
      frameRate: Infinity,
      maxBuffers: limits.buffers,
      maxFramebuffers: limits.framebuffers,
      maxBytes: limits.bytes,
      ...options
    })))
    return yield* inDomain(guest)(Effect.scoped(Effect.flatMap(
      XenbusFrontend.connect({ type: "vdispl", publish }),
      ({ published }) => use(published.connectors)
    )))
  }))

/** So many requests of a guest that knows no rules. Dies where an answer is wrong. */
export const requests = (seed: number, count: number, tally: Tally) =>
  withDisplay({}, (connectors) =>
    Effect.scoped(Effect.gen(function*() {
      const dice = random(seed)
      const sound = new Map<number, number>()
      for (const byteLength of [4096, 8192, 12_288, 32_768]) {
        const buffer = yield* SharedBuffer.alloc({ peer: 0, byteLength })
        sound.set(byteLength, buffer.directory)
      }
      const oracle = new Oracle({ sound })
      for (let asked = 0; asked < count;) {
        const connector = dice.below(3) === 0 ? 1 : 0
        asked += yield* round(dice, connectors[connector]!, connector, oracle, tally)
      }
    })))

/** A word of shared memory, anything but what it is. */
const scribble = (dice: Random, bytes: { [index: number]: number }, at: number) => {
  const word = dice.of([dice.word(), 33 + dice.below(100), 0xffff_ffff, 0x8000_0000])
  for (let i = 0; i < 4; i++) bytes[at + i] = word >>> 8 * i & 0xff
}

/** A guest whose indexes run wild: its display is closed, which the guest sees. */
export const wildIndex = (seed: number) =>
  Effect.gen(function*() {
    const dice = random(seed)
    const isOver = yield* Deferred.make<void>()
    yield* withDisplay({ show: () => Effect.ensuring(Effect.never, Deferred.succeed(isOver, undefined)) }, (connectors) => {
      const { events, requests } = dice.of(connectors)
      return Effect.gen(function*() {
        scribble(dice, requests.bytes, 0)
        if (dice.below(2) === 0) scribble(dice, events.bytes, 0)
        yield* requests.channel.notify
        yield* Deferred.await(isOver)
      })
    })
  })

/** One answer of a backend that knows no rules, and what it does besides. */
const wrongAnswer = (dice: Random, slot: Uint8Array): Uint8Array => {
  const request = Protocol.decodeRequest(slot)
  const right = {
    id: request.id,
    operation: slot[2]!,
    status: 0,
    edidSize: request._tag === "GetEdid" ? dice.of([0, 128, 256, 32_768, 127, 32_896, 0xffff_ffff]) : 0
  }
  const answer = Protocol.encodeResponse(right)
  const kind = dice.below(400)
  if (kind < 20 || kind > 340) return Protocol.encodeResponse({ ...right, status: -dice.of([1, 2, 12, 22, 4096, 0x7fff_ffff]) })
  switch (kind) {
    case 20:
      return Protocol.encodeResponse({ ...right, status: dice.of([1, 22, 0x7fff_ffff]) })
    case 21:
      return Protocol.encodeResponse({ ...right, id: dice.below(0x10000) })
    case 22:
      return Protocol.encodeResponse({ ...right, operation: dice.below(256) })
    case 23:
      return answer.map((byte, i) => i < 3 ? byte : dice.below(256))
  }
  return answer
}

/** A backend that knows no rules, until its frontend has had enough. */
const lie = (dice: Random, connection: XenbusBackend.Connection) =>
  Effect.gen(function*() {
    const { channel, ring, bytes } = yield* XenbusBackend.openRing(connection, {
      ref: `0/${node.requestRing}`,
      port: `0/${node.requestPort}`,
      slotSize: 64
    })
    const out = yield* XenbusBackend.openEvents(connection, {
      ref: `0/${node.eventPage}`,
      port: `0/${node.eventPort}`,
      eventSize: 64
    })
    yield* connection.ready
    const slot = new Uint8Array(64)
    while (true) {
      while (yield* Effect.fromResult(ring.take(slot))) {
        const request = Protocol.decodeRequest(slot)
        yield* Effect.fromResult(ring.put(wrongAnswer(dice, slot)))
        yield* Effect.fromResult(ring.push())
        if (dice.below(800) === 0) scribble(dice, bytes, 8)
        yield* channel.notify
        if (request._tag === "PgFlip" ? dice.below(200) === 0 : dice.below(10) > 0) continue
        const fbCookie = request._tag === "PgFlip" && dice.below(100) > 0 ? request.fbCookie : BigInt(dice.below(5))
        const id = dice.below(100) > 0 ? out.events.index & 0xffff : dice.word() & 0xffff
        yield* Effect.fromResult(out.events.put(Protocol.encodeEvent({ _tag: "PgFlip", id, fbCookie })))
        yield* Effect.fromResult(out.events.push())
        if (dice.below(400) === 0) scribble(dice, out.bytes, 4)
        yield* out.channel.notify
      }
      if (!(yield* Effect.fromResult(ring.finalCheck()))) yield* channel.wait
    }
  })

/** What a frontend does with a display; how it went. */
const session = (dice: Random, id: number, count: (outcome: string) => void) =>
  Effect.scoped(Effect.gen(function*() {
    const display = yield* Frontend.connect({ id })
    const connector = display.connectors[0]!
    const told = <A, R>(effect: Effect.Effect<A, DisplayError, R>) =>
      Effect.matchEffect(effect, {
        onFailure: (error) => Effect.sync(() => count(error.reason._tag)),
        onSuccess: (value) => Effect.as(Effect.sync(() => count("done")), value)
      })
    let isOver = false
    yield* Effect.forkScoped(Effect.ignore(Effect.tapError(display.ended, () => Effect.sync(() => {
      isOver = true
    }))))
    const draw = Effect.scoped(Effect.gen(function*() {
      yield* told(connector.edid)
      const buffer = yield* told(display.createBuffer({ width: 8, height: 8, byBackend: dice.below(10) === 0 }))
      if (buffer === undefined) return
      const framebuffer = yield* told(buffer.attach())
      if (framebuffer === undefined) return
      yield* told(connector.configure(framebuffer))
      for (let flips = dice.below(6); flips > 0; flips--) {
        // An event that never comes is a flip that is never complete.
        const flipped = yield* Effect.timeoutOption(told(connector.flip(framebuffer)), 5)
        if (flipped._tag === "None") return count("no event")
      }
      yield* told(connector.disable)
    }))
    for (let n = 0; n < 200 && !isOver; n++) yield* draw
  }))

/** So many requests to a backend that knows no rules: the frontend says what is wrong, or goes on. */
export const answers = (seed: number, atLeast: number, tally: Tally) =>
  Effect.scoped(Effect.gen(function*() {
    const dice = random(seed)
    yield* inDomain(guest)(Effect.void)
    yield* Effect.forkScoped(inDomain(0)(XenbusBackend.serve({
      type: "vdispl",
      advertise: () => Effect.succeed({ versions: dice.of(["1", "1,2", "2", "", "junk"]) }),
      handler: (connection) => lie(dice, connection),
      maxDevices: 100_000
    })))
    let done = 0
    const count = (outcome: string) => {
      done++
      tally.set(outcome, (tally.get(outcome) ?? 0) + 1)
    }
    for (let id = 0; done < atLeast; id++) {
      const frontendNodes = { "0/resolution": "8x8", "be-alloc": "1" }
      yield* inDomain(0)(Toolstack.addDevice({ type: "vdispl", frontend: guest, id, frontendNodes, backendNodes: {} }))
      yield* inDomain(guest)(session(dice, id, count))
      yield* inDomain(0)(Toolstack.removeDevice({ type: "vdispl", frontend: guest, id }))
    }
  }))
