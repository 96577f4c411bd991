/** Sends keys, pointer and touch to the guest while a person wants that, which can be seen and ended at any time. */
import type * as Wire from "../src/Wire.ts"

type Send = (message: Wire.Input) => void

type Size = Pick<Wire.ScreenInfo, "height" | "width">

/** All three together let go; a guest seldom needs them, and every browser leaves them to the page. */
const release = ["Control", "Alt", "Shift"]

export class Grab {
  isGrabbed = false
  /** In pixels of the guest's screen, which is what the server measures by: what is drawn may be an older picture. */
  size: Size = { width: 1, height: 1 }
  #allowed = false
  readonly #canvas: HTMLCanvasElement
  readonly #send: Send
  readonly #changed: (isGrabbed: boolean) => void
  readonly #down = new Set<string>()
  readonly #buttons = new Set<number>()
  readonly #fingers = new Map<number, number>()
  #moved: { readonly x: number; readonly y: number } | undefined
  #wheel = 0

  constructor(canvas: HTMLCanvasElement, send: Send, changed: (isGrabbed: boolean) => void) {
    this.#canvas = canvas
    this.#send = send
    this.#changed = changed
    canvas.addEventListener("keydown", (event) => this.#key(event, true))
    canvas.addEventListener("keyup", (event) => this.#key(event, false))
    canvas.addEventListener("blur", () => this.release())
    canvas.addEventListener("pointerdown", (event) => this.#pressed(event, true))
    for (const end of ["pointerup", "pointercancel"] as const) {
      canvas.addEventListener(end, (event) => this.#pressed(event, false))
    }
    canvas.addEventListener("pointermove", (event) => this.#move(event))
    canvas.addEventListener("contextmenu", (event) => event.preventDefault())
    canvas.addEventListener("wheel", (event) => this.#turn(event), { passive: false })
  }

  get isAllowed(): boolean {
    return this.#allowed
  }

  set isAllowed(isAllowed: boolean) {
    this.#allowed = isAllowed
    if (!isAllowed) this.release()
  }

  toggle() {
    if (this.isGrabbed) this.release()
    else this.#take()
  }

  /** Nothing of the person's reaches the guest any more, and nothing stays pressed there. */
  release() {
    if (!this.isGrabbed) return
    this.isGrabbed = false
    for (const code of this.#down) this.#send({ type: "key", code, down: false })
    this.#down.clear()
    for (const button of this.#buttons) this.#send({ type: "button", button, down: false })
    this.#buttons.clear()
    for (const finger of this.#fingers.values()) this.#send({ type: "touch", finger, phase: "up", x: 0, y: 0 })
    this.#fingers.clear()
    this.#changed(false)
  }

  #take() {
    if (!this.#allowed) return
    this.isGrabbed = true
    this.#canvas.focus()
    this.#changed(true)
  }

  #key(event: KeyboardEvent, down: boolean) {
    if (!this.isGrabbed) {
      if (down && event.key === "Enter") {
        event.preventDefault()
        this.#take()
      }
      return
    }
    event.preventDefault()
    if (event.code === "" || event.repeat) return
    if (down && release.every((key) => event.getModifierState(key))) {
      this.release()
      return
    }
    if (down) this.#down.add(event.code)
    else if (!this.#down.delete(event.code)) return
    this.#send({ type: "key", code: event.code, down })
  }

  /** The pixel of the screen under the pointer. */
  #place({ clientX, clientY }: MouseEvent) {
    const { height, left, top, width } = this.#canvas.getBoundingClientRect()
    const within = (value: number, most: number) => Math.max(0, Math.min(most - 1, Math.floor(value * most)))
    return {
      x: within((clientX - left) / width, this.size.width),
      y: within((clientY - top) / height, this.size.height)
    }
  }

  #pressed(event: PointerEvent, down: boolean) {
    if (!this.isGrabbed) {
      if (down) this.#take()
      return
    }
    event.preventDefault()
    if (event.pointerType === "touch") {
      this.#touch(event, down ? "down" : "up")
      return
    }
    const { button } = event
    // The button that began the grab goes up as well.
    if (button < 0 || button > 2 || !down && !this.#buttons.delete(button)) return
    if (down) {
      this.#buttons.add(button)
      this.#canvas.setPointerCapture(event.pointerId)
    }
    this.#send({ type: "pointer", ...this.#place(event) })
    this.#send({ type: "button", button, down })
  }

  #touch(event: PointerEvent, phase: "down" | "move" | "up") {
    const { pointerId } = event
    if (phase === "down") {
      const free = Array.from({ length: 10 }, (_, i) => i).find((i) => ![...this.#fingers.values()].includes(i))
      if (free === undefined) return
      this.#fingers.set(pointerId, free)
      this.#canvas.setPointerCapture(pointerId)
    }
    const finger = this.#fingers.get(pointerId)
    if (finger === undefined) return
    if (phase === "up") this.#fingers.delete(pointerId)
    this.#send({ type: "touch", finger, phase, ...this.#place(event) })
  }

  /** Moves go out once for each picture that the browser draws: a mouse may report a thousand a second. */
  #move(event: PointerEvent) {
    if (!this.isGrabbed) return
    if (event.pointerType === "touch") {
      this.#touch(event, "move")
      return
    }
    if (this.#moved === undefined) {
      requestAnimationFrame(() => {
        const place = this.#moved
        this.#moved = undefined
        if (place !== undefined && this.isGrabbed) this.#send({ type: "pointer", ...place })
      })
    }
    this.#moved = this.#place(event)
  }

  #turn(event: WheelEvent) {
    if (!this.isGrabbed) return
    event.preventDefault()
    // A step of a wheel is 100 pixels or 3 lines, as browsers have it.
    this.#wheel += event.deltaY / (event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 100 : 3)
    const steps = Math.max(-100, Math.min(100, Math.trunc(this.#wheel)))
    this.#wheel -= steps
    if (steps !== 0) this.#send({ type: "wheel", steps })
  }
}
