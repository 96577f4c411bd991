import { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import type * as DomainId from "@xen-shbuf/core/DomainId"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { XenErrno } from "../../XenErrno.ts"
import * as PixelFormat from "../PixelFormat.ts"
import * as Protocol from "../Protocol.ts"
import { extent, type Source } from "./pictures.ts"

/** What one guest may have at one time, all its displays together. */
export interface Limits {
  readonly buffers: number
  readonly framebuffers: number
  readonly bytes: number
}

/** What one guest has. */
export class Usage {
  buffers = 0
  framebuffers = 0
  bytes = 0
}

type Create = Extract<Protocol.Request, { readonly _tag: "DbufCreate" }>
type Attach = Extract<Protocol.Request, { readonly _tag: "FbAttach" }>

/** How long the answer to `DbufDestroy` waits for those who look at the buffer. The frontend gives up after 3 seconds. */
const patience = "1 second"

/** A dumb buffer, mapped. */
class Dbuf implements Source {
  readonly request: Create
  readonly bytes: SharedMemory.Readable
  readonly scope: Scope.Closeable
  /** Whether anything of it was ever shown. */
  wasShown = false
  #holders = 0
  #whenFree: (() => void) | undefined

  constructor(request: Create, bytes: SharedMemory.Readable, scope: Scope.Closeable) {
    this.request = request
    this.bytes = bytes
    this.scope = scope
  }

  get isHeld(): boolean {
    return this.#holders > 0
  }

  hold() {
    this.#holders++
  }

  release() {
    if (--this.#holders === 0) this.#whenFree?.()
  }

  /** Waits until nobody looks at it any more. */
  readonly free: Effect.Effect<void> = Effect.callback((resume) => {
    if (!this.isHeld) return resume(Effect.void)
    this.#whenFree = () => resume(Effect.void)
  })
}

/** A framebuffer: how to look at a dumb buffer. */
export interface Framebuffer extends PixelFormat.Pixels {
  readonly dbuf: Dbuf
}

/** What a frontend is told of a buffer that can't be used. */
export const refusal = (error: GrantTableError | DirectoryError): number => {
  switch (error.reason._tag) {
    case "GrantRefused":
      return -XenErrno.EFAULT
    case "OutOfGrants":
    case "OutOfMappings":
      return -XenErrno.ENOMEM
    case "DeviceFailed":
    case "DeviceUnavailable":
    case "Unsupported":
      return -XenErrno.EIO
    default:
      return -XenErrno.EINVAL
  }
}

type Opened = Effect.Effect<
  { readonly bytes: SharedMemory.Readable },
  GrantTableError | DirectoryError,
  GrantTable | Scope.Scope
>

/** Bytes of a line. Whatever the frontend says, it is a number without an error that matters. */
const pitchOf = ({ bpp, width }: Create) => Math.ceil(width * bpp / 8)

/** Whether a request is sound by itself: 0, or what to answer. */
const check = (request: Create): number => {
  const { bpp, bufferSize, dataOffset, dbufCookie, directory, height, width } = request
  if (dbufCookie === 0n || bufferSize === 0 || directory === 0) return -XenErrno.EINVAL
  const isImported = width === 0 && height === 0 && bpp === 0
  if (!isImported && (width === 0 || height === 0 || bpp === 0 || bpp > 64)) return -XenErrno.EINVAL
  if (dataOffset >= bufferSize) return -XenErrno.EINVAL
  return dataOffset + pitchOf(request) * height > bufferSize ? -XenErrno.EINVAL : 0
}

/** The dumb buffers and framebuffers of one device. */
export class Buffers {
  readonly guest: DomainId.DomainId
  readonly #dbufs = new Map<bigint, Dbuf>()
  readonly #framebuffers = new Map<bigint, Framebuffer>()
  readonly #scope: Scope.Scope
  readonly #table: GrantTable["Service"]
  readonly #limits: Limits
  readonly #usage: Usage
  readonly #mayAllocate: boolean

  constructor(options: {
    readonly guest: DomainId.DomainId
    /** The device's. */
    readonly scope: Scope.Scope
    readonly table: GrantTable["Service"]
    readonly limits: Limits
    /** The guest's, which its devices share. */
    readonly usage: Usage
    readonly mayAllocate: boolean
  }) {
    this.guest = options.guest
    this.#scope = options.scope
    this.#table = options.table
    this.#limits = options.limits
    this.#usage = options.usage
    this.#mayAllocate = options.mayAllocate
  }

  framebuffer(cookie: bigint): Framebuffer | undefined {
    return this.#framebuffers.get(cookie)
  }

  /** Maps a buffer of the frontend's, or allocates one for it. Answers the request's status. */
  create(request: Create): number | Effect.Effect<number> {
    const wrong = check(request)
    if (wrong !== 0) return wrong
    if (this.#dbufs.has(request.dbufCookie)) return -XenErrno.EEXIST
    const isOurs = (request.flags & Protocol.requestAlloc) !== 0
    if (isOurs && !this.#mayAllocate) return -XenErrno.EOPNOTSUPP
    // An imported buffer has pages already, and one that we allocate begins with its pixels.
    if (isOurs && (request.width === 0 || request.dataOffset !== 0)) return -XenErrno.EINVAL
    const { buffers, bytes } = this.#usage
    if (buffers >= this.#limits.buffers || bytes + request.bufferSize > this.#limits.bytes) return -XenErrno.ENOMEM
    return this.#open(request, isOurs)
  }

  #open(request: Create, isOurs: boolean): Effect.Effect<number> {
    return Effect.flatMap(Scope.fork(this.#scope), (scope) => {
      const location = {
        peer: this.guest,
        directory: request.directory,
        byteLength: request.bufferSize,
        maxByteLength: Math.min(this.#limits.bytes, 2 ** 32)
      }
      const opened: Opened = isOurs
        ? PeerBuffer.allocForFrontend(location)
        : PeerBuffer.map({ ...location, access: "read-only" })
      return Effect.andThen(this.#count(request.bufferSize, scope), opened).pipe(
        Effect.map(({ bytes }) => {
          this.#dbufs.set(request.dbufCookie, new Dbuf(request, bytes, scope))
          return 0
        }),
        Effect.catch((error) =>
          Effect.logDebug("A buffer of the guest's can't be used", error).pipe(
            Effect.andThen(Scope.close(scope, Exit.void)),
            Effect.as(refusal(error))
          )
        ),
        Effect.provideService(GrantTable, this.#table),
        Effect.provideService(Scope.Scope, scope)
      )
    })
  }

  /** What is counted stays so until it is unmapped. */
  #count(bytes: number, scope: Scope.Scope): Effect.Effect<void> {
    this.#usage.buffers++
    this.#usage.bytes += bytes
    return Scope.addFinalizer(scope, Effect.sync(() => {
      this.#usage.buffers--
      this.#usage.bytes -= bytes
    }))
  }

  /**
   * Lets go of a buffer and of its framebuffers, which `forget` is told. The pages are unmapped before the answer, so that
   * they are the frontend's again, unless somebody looks at them for too long: then as soon as nobody does.
   */
  destroy(cookie: bigint, forget: (framebuffer: Framebuffer) => void): number | Effect.Effect<number> {
    const dbuf = this.#dbufs.get(cookie)
    if (dbuf === undefined) return -XenErrno.ENOENT
    this.#dbufs.delete(cookie)
    for (const [name, framebuffer] of this.#framebuffers) {
      if (framebuffer.dbuf === dbuf) this.#drop(name, framebuffer, forget)
    }
    const isUnused = !dbuf.wasShown && (dbuf.request.flags & Protocol.requestAlloc) !== 0
    const close = Scope.close(dbuf.scope, Exit.void)
    const closed = dbuf.isHeld
      ? Effect.flatMap(
        Effect.forkIn(Effect.andThen(dbuf.free, close), this.#scope),
        (closing) => Effect.timeoutOption(Fiber.await(closing), patience)
      )
      : close
    return Effect.as(isUnused ? Effect.andThen(warnUnused, closed) : closed, 0)
  }

  attach(request: Attach): number {
    const dbuf = this.#dbufs.get(request.dbufCookie)
    if (request.fbCookie === 0n) return -XenErrno.EINVAL
    if (dbuf === undefined) return -XenErrno.ENOENT
    if (this.#framebuffers.has(request.fbCookie)) return -XenErrno.EEXIST
    const framebuffer = frameIn(dbuf, request)
    if (framebuffer === undefined) return -XenErrno.EINVAL
    if (this.#usage.framebuffers >= this.#limits.framebuffers) return -XenErrno.ENOMEM
    this.#usage.framebuffers++
    this.#framebuffers.set(request.fbCookie, framebuffer)
    return 0
  }

  detach(cookie: bigint, forget: (framebuffer: Framebuffer) => void): number {
    const framebuffer = this.#framebuffers.get(cookie)
    if (framebuffer === undefined) return -XenErrno.ENOENT
    this.#drop(cookie, framebuffer, forget)
    return 0
  }

  #drop(cookie: bigint, framebuffer: Framebuffer, forget: (framebuffer: Framebuffer) => void) {
    this.#framebuffers.delete(cookie)
    this.#usage.framebuffers--
    forget(framebuffer)
  }

  /** The device has ended: nothing of it counts any more. Its scope unmaps. */
  end() {
    this.#usage.framebuffers -= this.#framebuffers.size
    this.#framebuffers.clear()
    this.#dbufs.clear()
  }
}

const warnUnused = Effect.logWarning(
  "A buffer that this backend allocated was destroyed before anything of it was shown. In a PV guest Linux can't give such " +
    "a buffer to a program: there, set be-alloc=0."
)

/** How a framebuffer lies in its buffer; undefined where it does not, or its format is unknown. */
const frameIn = (dbuf: Dbuf, { height, pixelFormat, width }: Attach): Framebuffer | undefined => {
  const format = PixelFormat.fromCode(pixelFormat)
  if (format === undefined || width === 0 || height === 0) return undefined
  const line = width * format.bytesPerPixel
  // Of an imported buffer nothing was said but its size.
  const pitch = dbuf.request.width === 0 ? line : pitchOf(dbuf.request)
  const end = dbuf.request.dataOffset + extent({ width, height, pitch, format })
  return line > pitch || end > dbuf.request.bufferSize
    ? undefined
    : { dbuf, width, height, pitch, format, bytes: dbuf.bytes.subarray(dbuf.request.dataOffset, end) }
}
