import { XenErrno } from "../../XenErrno.ts"
import type * as Protocol from "../Protocol.ts"
import type { Framebuffer } from "./buffers.ts"
import { extent, Pictures, type Shown } from "./pictures.ts"

type Configuration = Omit<Extract<Protocol.Request, { readonly _tag: "SetConfig" }>, "_tag" | "id">

/** Flips of one connector that are not acknowledged yet. A sane frontend has one. */
const mostFlips = 8

/**
 * Where a framebuffer is on a connector, and which part of it is shown. By the header the configuration is a place on the
 * connector. Linux gives a place in the framebuffer, and the framebuffer's size, where that is bigger than the connector.
 */
const place = (
  framebuffer: Framebuffer,
  { height, width, x, y }: Configuration,
  resolution: Protocol.Resolution
): Shown | undefined => {
  const isOnConnector = x + width <= resolution.width && y + height <= resolution.height
  if (!isOnConnector && (width > framebuffer.width || height > framebuffer.height)) return undefined
  const skip = isOnConnector ? { x: 0, y: 0 } : { x, y }
  const shown = {
    width: Math.min(framebuffer.width - skip.x, isOnConnector ? width : resolution.width),
    height: Math.min(framebuffer.height - skip.y, isOnConnector ? height : resolution.height),
    pitch: framebuffer.pitch,
    format: framebuffer.format
  }
  if (shown.width <= 0 || shown.height <= 0) return undefined
  const begin = skip.y * shown.pitch + skip.x * shown.format.bytesPerPixel
  return {
    ...shown,
    source: framebuffer.dbuf,
    left: isOnConnector ? x : 0,
    top: isOnConnector ? y : 0,
    bytes: framebuffer.bytes.subarray(begin, begin + extent(shown))
  }
}

/** One connector: its configuration, and what it shows. */
export class ConnectorState {
  readonly pictures = new Pictures()
  readonly resolution: Protocol.Resolution
  #configuration: Configuration | undefined
  #framebuffer: Framebuffer | undefined

  constructor(resolution: Protocol.Resolution) {
    this.resolution = resolution
  }

  /** Shows a framebuffer at a place, or nothing. */
  configure(configuration: Configuration, framebuffer: Framebuffer | undefined): number {
    const { bpp, fbCookie, height, width, x, y } = configuration
    if (fbCookie === 0n && (x | y | width | height | bpp) === 0) {
      this.#configuration = undefined
      this.#show(undefined, undefined)
      return 0
    }
    if (framebuffer === undefined) return -XenErrno.ENOENT
    const shown = place(framebuffer, configuration, this.resolution)
    if (shown === undefined) return -XenErrno.EINVAL
    this.#configuration = configuration
    this.#show(framebuffer, shown)
    return 0
  }

  /** Shows another framebuffer at the same place. A connector that is off stays so; its flips are acknowledged. */
  flip(cookie: bigint, framebuffer: Framebuffer | undefined): number {
    this.pictures.ask()
    if (framebuffer === undefined) return -XenErrno.ENOENT
    if (this.pictures.flips >= mostFlips) return -XenErrno.EBUSY
    if (this.#configuration !== undefined) {
      const shown = place(framebuffer, this.#configuration, this.resolution)
      if (shown === undefined) return -XenErrno.EINVAL
      this.#show(framebuffer, shown)
    }
    this.pictures.flip(cookie)
    return 0
  }

  /** The framebuffer is there no more. */
  forget(framebuffer: Framebuffer) {
    if (this.#framebuffer === framebuffer) this.#show(undefined, undefined)
  }

  #show(framebuffer: Framebuffer | undefined, shown: Shown | undefined) {
    this.#framebuffer = framebuffer
    if (framebuffer !== undefined) framebuffer.dbuf.wasShown = true
    this.pictures.show(shown)
  }
}
