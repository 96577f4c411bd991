import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Cause from "effect/Cause"
import type { Area, Dark, Frame, Picture } from "../Picture.ts"
import type { Pixels, PixelFormat } from "../PixelFormat.ts"

/** Pixels in memory that stays mapped for as long as somebody holds it. */
export interface Source {
  /** Begins to use the memory; to be followed by one `release`. */
  hold(): void
  release(): void
}

/** What a connector shows, and where. */
export interface Shown extends Pixels {
  readonly source: Source
  readonly left: number
  readonly top: number
}

const isInside = ({ height, width, x, y }: Area, frame: Pixels) =>
  [x, y, width, height].every((n) => Number.isInteger(n) && n >= 0) &&
  x + width <= frame.width && y + height <= frame.height

/** The bytes from the first pixel to the last one. */
export const extent = ({ format, height, pitch, width }: Omit<Pixels, "bytes">): number =>
  height === 0 ? 0 : (height - 1) * pitch + width * format.bytesPerPixel

class FrameImpl implements Frame {
  readonly _tag = "Frame"
  readonly sequence: number
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
  readonly pitch: number
  readonly format: PixelFormat
  readonly bytes: SharedMemory.Readable
  #isOver = false

  constructor(sequence: number, { bytes, format, height, left, pitch, top, width }: Shown) {
    this.sequence = sequence
    this.left = left
    this.top = top
    this.width = width
    this.height = height
    this.pitch = pitch
    this.format = format
    this.bytes = bytes
  }

  get ended(): boolean {
    return this.#isOver || SharedMemory.hasEnded(this.bytes)
  }

  end() {
    this.#isOver = true
  }

  copyInto(target: Uint8Array, area: Area = { x: 0, y: 0, width: this.width, height: this.height }): boolean {
    const { bytesPerPixel } = this.format
    const line = area.width * bytesPerPixel
    if (!isInside(area, this)) throw new RangeError("This area does not lie in the frame")
    if (target.length < line * area.height) throw new RangeError(`The area has ${line * area.height} bytes`)
    if (this.ended) return false
    const begin = area.y * this.pitch + area.x * bytesPerPixel
    if (line === this.pitch) {
      target.set(this.bytes.subarray(begin, begin + line * area.height))
      return true
    }
    for (let y = 0; y < area.height; y++) {
      const from = begin + y * this.pitch
      target.set(this.bytes.subarray(from, from + line), y * line)
    }
    return true
  }
}

/** Somebody who looks at a connector. */
interface Viewer {
  /** The number of the last picture that it took; -1 for none. */
  seen: number
  holding: { readonly frame: FrameImpl; readonly source: Source } | undefined
  /** Hands over the next picture, or undefined for the end. */
  waiting: ((picture: Picture | undefined) => void) | undefined
}

/** A page flip that the frontend waits for. */
export interface Flip {
  readonly cookie: bigint
  /** The picture that it asked for. */
  readonly sequence: number
}

/**
 * What one connector shows, who looks at it, and which flips are not acknowledged yet. Plain and synchronous, but for
 * those who wait.
 */
export class Pictures {
  /** The number of the picture that is shown. */
  #sequence = 0
  #shown: Shown | undefined
  #hasEnded = false
  readonly #viewers = new Set<Viewer>()
  readonly #flips: Array<Flip> = []
  /** Wakes whoever waits for a flip to be taken. */
  #wake: (() => void) | undefined
  /** Wakes whoever waits for the frontend to ask for a flip. */
  #nudge: (() => void) | undefined

  /** What is shown, if anything. */
  get shown(): Shown | undefined {
    return this.#shown
  }

  /** Flips that are not acknowledged. */
  get flips(): number {
    return this.#flips.length
  }

  /** Shows something, or nothing; whoever waits for a picture gets it at once. */
  show(shown: Shown | undefined) {
    if (shown === undefined && this.#shown === undefined) return
    this.#shown = shown
    this.#sequence++
    for (const viewer of this.#viewers) {
      const { waiting } = viewer
      if (waiting === undefined) continue
      viewer.waiting = undefined
      waiting(this.#hand(viewer))
    }
  }

  /** Remembers to acknowledge what is shown now. */
  flip(cookie: bigint) {
    this.#flips.push({ cookie, sequence: this.#sequence })
    this.#settle()
  }

  #hand(viewer: Viewer): Picture {
    const sequence = viewer.seen = this.#sequence
    const shown = this.#shown
    if (shown === undefined) return { _tag: "Dark", sequence } satisfies Dark
    const frame = new FrameImpl(sequence, shown)
    shown.source.hold()
    viewer.holding = { frame, source: shown.source }
    return frame
  }

  #letGo(viewer: Viewer) {
    const { holding } = viewer
    if (holding === undefined) return
    viewer.holding = undefined
    holding.frame.end()
    holding.source.release()
  }

  /** All that were shown before a picture are not looked at any more, and neither is it. */
  #isTaken({ sequence }: Flip): boolean {
    for (const { holding, seen } of this.#viewers) {
      if (seen < sequence || seen === sequence && holding !== undefined) return false
    }
    return true
  }

  #settle() {
    const flip = this.#flips[0]
    if (this.#wake !== undefined && flip !== undefined && this.#isTaken(flip)) {
      const wake = this.#wake
      this.#wake = undefined
      wake()
    }
  }

  /** Waits until the pixels of the oldest flip are taken; it stays until it is acknowledged. For one fiber. */
  readonly taken: Effect.Effect<Flip> = Effect.callback((resume) => {
    this.#wake = () => resume(Effect.sync(() => this.#flips[0]!))
    this.#settle()
    return Effect.sync(() => {
      this.#wake = undefined
    })
  })

  /** The frontend asks for a flip, whatever becomes of it. */
  ask() {
    this.#nudge?.()
  }

  /** Waits until the frontend asks for a flip. For one fiber. */
  readonly asked: Effect.Effect<void> = Effect.callback((resume) => {
    this.#nudge = () => resume(Effect.void)
    return Effect.sync(() => {
      this.#nudge = undefined
    })
  })

  /** The oldest flip is acknowledged. */
  acknowledged() {
    this.#flips.shift()
  }

  /** Lets go of everything: all who look come to the end. */
  end() {
    this.#hasEnded = true
    for (const viewer of this.#viewers) {
      this.#letGo(viewer)
      viewer.waiting?.(undefined)
      viewer.waiting = undefined
    }
    this.#viewers.clear()
    this.#shown = undefined
  }

  /** The pictures from the one that is shown on, for one who looks. */
  readonly stream: Stream.Stream<Picture> = Stream.scoped(Stream.unwrap(Effect.gen({ self: this }, function*() {
    const viewer: Viewer = { seen: -1, holding: undefined, waiting: undefined }
    yield* Effect.acquireRelease(
      Effect.sync(() => this.#hasEnded || this.#viewers.add(viewer)),
      () => Effect.sync(() => this.#leave(viewer))
    )
    return Stream.fromPull(Effect.succeed(Effect.flatMap(
      this.#next(viewer),
      (picture) => picture === undefined ? Cause.done() : Effect.succeed([picture] as const)
    )))
  })))

  #leave(viewer: Viewer) {
    this.#letGo(viewer)
    this.#viewers.delete(viewer)
    this.#settle()
  }

  #next(viewer: Viewer): Effect.Effect<Picture | undefined> {
    return Effect.suspend(() => {
      this.#letGo(viewer)
      this.#settle()
      if (this.#hasEnded) return Effect.succeed(undefined)
      if (viewer.seen < this.#sequence) return Effect.succeed(this.#hand(viewer))
      return Effect.callback<Picture | undefined>((resume) => {
        viewer.waiting = (picture) => resume(Effect.succeed(picture))
        return Effect.sync(() => {
          viewer.waiting = undefined
        })
      })
    })
  }
}
