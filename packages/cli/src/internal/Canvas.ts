import { columns, ink, rows } from "./Glyphs.ts"

/** The colour `part` of the way from `from` to `to`. */
export const mix = (from: number, to: number, part: number): number => {
  const channel = (shift: number) => {
    const start = from >> shift & 0xff
    return Math.round(start + ((to >> shift & 0xff) - start) * part) << shift
  }
  return channel(16) | channel(8) | channel(0)
}

/** A column of the picture to a colour, or one colour for all. */
export type Ink = number | ((x: number) => number)

/** A picture of any size; whatever lies outside is left out. */
export class Canvas {
  readonly width: number
  readonly height: number
  readonly pixels: Uint32Array<ArrayBuffer>
  constructor(width: number, height: number) {
    this.width = width
    this.height = height
    this.pixels = new Uint32Array(width * height)
  }

  rect(left: number, top: number, width: number, height: number, colour: number) {
    const from = clamp(Math.round(left), this.width)
    const to = clamp(Math.round(left + width), this.width)
    const bottom = clamp(Math.round(top + height), this.height)
    for (let y = clamp(Math.round(top), this.height); y < bottom; y++) {
      this.pixels.fill(colour, y * this.width + from, y * this.width + to)
    }
  }

  /** The part of a disc between two heights, given as parts of its radius, -1 at the top to 1 at the bottom. */
  band(centre: Point, radius: number, top: number, bottom: number, colour: Ink) {
    const end = clamp(Math.round(centre.y + bottom * radius), this.height)
    for (let y = clamp(Math.round(centre.y + top * radius), this.height); y < end; y++) {
      const half = Math.sqrt(Math.max(0, radius ** 2 - (y + 0.5 - centre.y) ** 2))
      const from = clamp(Math.round(centre.x - half), this.width)
      const to = clamp(Math.round(centre.x + half), this.width)
      if (typeof colour === "number") {
        this.pixels.fill(colour, y * this.width + from, y * this.width + to)
      } else {
        for (let x = from; x < to; x++) this.pixels[y * this.width + x] = colour(x)
      }
    }
  }

  /** A circle line with smooth edges. */
  ring(centre: Point, radius: number, thickness: number, colour: number) {
    const outer = radius + thickness
    const bottom = clamp(Math.ceil(centre.y + outer), this.height)
    for (let y = clamp(Math.floor(centre.y - outer), this.height); y < bottom; y++) {
      const dy = y + 0.5 - centre.y
      const half = Math.sqrt(Math.max(0, outer ** 2 - dy ** 2))
      const hole = Math.sqrt(Math.max(0, (radius - thickness) ** 2 - dy ** 2))
      for (const [from, to] of [[centre.x - half, centre.x - hole], [centre.x + hole, centre.x + half]] as const) {
        const end = clamp(Math.ceil(to), this.width)
        for (let x = clamp(Math.floor(from), this.width); x < end; x++) {
          const distance = Math.abs(Math.sqrt((x + 0.5 - centre.x) ** 2 + dy ** 2) - radius)
          const cover = Math.min(1, Math.max(0, thickness / 2 + 0.5 - distance))
          const at = y * this.width + x
          this.pixels[at] = mix(this.pixels[at]!, colour, cover)
        }
      }
    }
  }

  /** Letters of `scale` pixels a dot; `anchor` 0 begins at `at`, 0.5 centres on it, 1 ends there. */
  text(text: string, at: Point, scale: number, colour: number, anchor = 0) {
    const advance = (columns + 1) * scale
    const left = Math.round(at.x - (text.length * advance - scale) * anchor)
    for (const [i, letter] of [...text].entries()) {
      for (let dot = 0; dot < columns * rows; dot++) {
        const column = dot % columns
        const row = Math.floor(dot / columns)
        if (ink(letter, column, row)) {
          this.rect(left + i * advance + column * scale, at.y + row * scale, scale, scale, colour)
        }
      }
    }
  }
}

/** In pixels. */
export interface Point {
  readonly x: number
  readonly y: number
}

/** Between 0 and an end. */
export const clamp = (value: number, end: number) => Math.min(end, Math.max(0, value))
