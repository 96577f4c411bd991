/** A terminal that shows what is typed: keys as Linux numbers them go in, with the letters of a US keyboard. */
import type { Canvas } from "./Canvas.ts"
import { columns, rows } from "./Glyphs.ts"

/** Keys that stand beside each other, by the number of the first one: plain, and with Shift. */
const layout: ReadonlyArray<readonly [first: number, plain: string, shifted: string]> = [
  [2, "1234567890-=", "!@#$%^&*()_+"],
  [16, "qwertyuiop[]", "QWERTYUIOP{}"],
  [30, "asdfghjkl;'`", "ASDFGHJKL:\"~"],
  [43, "\\zxcvbnm,./", "|ZXCVBNM<>?"],
  [57, " ", " "]
]

const keys = new Map(layout.flatMap(([first, plain, shifted]) =>
  [...plain].map((letter, i) => [first + i, [letter, shifted[i]!]] as const)))

const key = { backspace: 14, enter: 28, leftShift: 42, rightShift: 54 } as const

const scale = 2
const advance = (columns + 1) * scale
const lineHeight = (rows + 2) * scale
const margin = 20

const ground = 0x10_16_1d
const quiet = 0x7f_8b_99
const bright = 0xe8_eb_f0
const green = 0x7f_d9_8f

const prompt = "guest:~$ "

/** What is on the terminal. */
export class Terminal {
  readonly #canvas: Canvas
  readonly #columns: number
  readonly #rows: number
  readonly #shifts = new Set<number>()
  #lines: Array<string>
  #typed = ""

  constructor(canvas: Canvas, greeting: ReadonlyArray<string>) {
    this.#canvas = canvas
    this.#columns = Math.floor((canvas.width - 2 * margin) / advance)
    this.#rows = Math.floor((canvas.height - 2 * margin) / lineHeight)
    this.#lines = [...greeting]
  }

  /** A key goes down or up. */
  press(code: number, isDown: boolean) {
    if (code === key.leftShift || code === key.rightShift) {
      if (isDown) this.#shifts.add(code)
      else this.#shifts.delete(code)
      return
    }
    if (!isDown) return
    if (code === key.enter) this.#enter()
    else if (code === key.backspace) this.#typed = this.#typed.slice(0, -1)
    else this.#typed += keys.get(code)?.[this.#shifts.size > 0 ? 1 : 0] ?? ""
  }

  #enter() {
    const answer = this.#typed === "" ? [] : [`you typed ${this.#typed.length}: ${this.#typed}`]
    this.#lines = [...this.#lines, prompt + this.#typed, ...answer].slice(-this.#rows)
    this.#typed = ""
  }

  /** The lines as they are shown, the one that is being typed last. */
  get lines(): ReadonlyArray<string> {
    const all = [...this.#lines, prompt + this.#typed].flatMap((line) => this.#wrapped(line))
    return all.slice(-this.#rows)
  }

  #wrapped(line: string): ReadonlyArray<string> {
    const count = Math.max(1, Math.ceil(line.length / this.#columns))
    return Array.from({ length: count }, (_, i) => line.slice(i * this.#columns, (i + 1) * this.#columns))
  }

  draw() {
    const canvas = this.#canvas
    canvas.pixels.fill(ground)
    const { lines } = this
    for (const [i, line] of lines.entries()) {
      const at = { x: margin, y: margin + i * lineHeight }
      const isTyped = line.startsWith(prompt)
      canvas.text(line, at, scale, isTyped ? bright : quiet)
      if (isTyped) canvas.text(prompt, at, scale, green)
    }
    const last = lines.at(-1) ?? ""
    canvas.rect(margin + last.length * advance, margin + (lines.length - 1) * lineHeight, advance - scale, rows * scale, green)
  }
}
