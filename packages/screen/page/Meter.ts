/** A picture of how loud a sound is: its last seconds, and each channel now. In words for those who don't see it. */

/** In dB of full scale: what is less is drawn as nothing. */
const floor = -60

/** Pictures of the past, ten a second. */
const memory = 80

export const decibelsOf = (level: number): number => 20 * Math.log10(level)

/** A level as a part of the picture's height. */
const heightOf = (level: number): number => Math.max(0, Math.min(1, 1 - decibelsOf(level) / floor))

const inWords = (peaks: ReadonlyArray<number>): string => {
  const all = peaks.map((level) => decibelsOf(level) <= floor ? "silent" : `${Math.round(decibelsOf(level))} dB`)
  return all.every((text) => text === all[0]) ? all[0] ?? "silent" : all.join(", ")
}

export class Meter {
  readonly element: HTMLCanvasElement
  readonly #past: Array<number> = []

  constructor(label: string) {
    const canvas = document.createElement("canvas")
    canvas.className = "meter"
    canvas.width = 2 * memory + 40
    canvas.height = 36
    canvas.setAttribute("role", "meter")
    canvas.setAttribute("aria-label", label)
    canvas.setAttribute("aria-valuemin", String(floor))
    canvas.setAttribute("aria-valuemax", "0")
    this.element = canvas
    this.show([])
  }

  /** The loudest sample of each channel lately, from 0 to 1. */
  show(peaks: ReadonlyArray<number>) {
    const loudest = Math.max(0, ...peaks)
    this.#past.push(loudest)
    if (this.#past.length > memory) this.#past.shift()
    const decibels = Math.max(floor, Math.min(0, decibelsOf(loudest)))
    this.element.setAttribute("aria-valuenow", decibels.toFixed(0))
    this.element.setAttribute("aria-valuetext", inWords(peaks))
    this.#draw(peaks)
  }

  #draw(peaks: ReadonlyArray<number>) {
    const { height, width } = this.element
    const context = this.element.getContext("2d", { alpha: false })!
    context.fillStyle = "#000"
    context.fillRect(0, 0, width, height)
    const bar = (left: number, wide: number, level: number, colour: string) => {
      const high = Math.round(heightOf(level) * height)
      context.fillStyle = colour
      context.fillRect(left, height - high, wide, high)
    }
    this.#past.forEach((level, i) => bar(2 * (memory - this.#past.length + i), 2, level, "#4a6a86"))
    const wide = Math.floor(36 / Math.max(1, peaks.length))
    peaks.forEach((level, i) => bar(width - 36 + i * wide, wide - 1, level, level > 0.7 ? "#ffd479" : "#7cc4ff"))
  }
}
