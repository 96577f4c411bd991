/** Sends keys, pointer and touch to the guest while a person wants that, which can be seen and ended at any time. */
import * as Wire from "../src/Wire.ts"

type Send = (message: Wire.Input) => void

type Size = Pick<Wire.ScreenInfo, "height" | "width">

/** All three together let go; a guest seldom needs them, and every browser leaves them to the page. */
const release = ["Control", "Alt", "Shift"]

/** Where no key is told to go up while Command is down, and CapsLock only goes down when it is switched on, up when it is off. */
const isMac = navigator.userAgent.includes("Mac OS X")

const isModifier = (code: string) => /^(Alt|Control|Meta|Shift)(Left|Right)$/.test(code)

type Phase = Extract<Wire.Input, { readonly type: "touch" }>["phase"]

/** How a pointer's `buttons` count the left one, the middle and the right one. */
const bits = [1, 4, 2]

export class Grab {
  isGrabbed = false
  /** Of the guest's screen, which is what the server measures by: what is drawn may be an older picture. */
  size: Size = Wire.darkSize
  #allowed = false
  readonly #canvas: HTMLCanvasElement
  readonly #send: Send
  readonly #changed: (isGrabbed: boolean) => void
  readonly #down = new Set<string>()
  /** What is down in the guest, in bits. */
  #buttons = 0
  /** What is down, but not in the guest: it began the grab, or was pressed elsewhere. */
  #others = 0
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
    canvas.addEventListener("pointerdown", (event) => this.#pointed(event, "down"))
    for (const [type, phase] of [["pointermove", "move"], ["pointerup", "up"], ["pointercancel", "up"]] as const) {
      // What is held is followed out of the picture: a captured pointer is lost in Chromium when one of two buttons goes up.
      addEventListener(type, (event) => {
        if (event.target === canvas || this.#buttons !== 0) this.#pointed(event, phase)
      })
    }
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
    this.#lift([...this.#down])
    this.#press(0)
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
    const { code } = event
    const isWhole = isMac && (code === "CapsLock" || down && event.metaKey && !isModifier(code))
    if (down || isWhole) {
      this.#down.add(code)
      this.#send({ type: "key", code, down: true })
    }
    // What was down before Command.
    if (isMac && !down && event.key === "Meta") this.#lift([...this.#down].filter((code) => !isModifier(code)))
    if (!down || isWhole) this.#lift([code])
  }

  /** Lets go of those of these keys that are down in the guest. */
  #lift(codes: ReadonlyArray<string>) {
    for (const code of codes) if (this.#down.delete(code)) this.#send({ type: "key", code, down: false })
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

  /** Puts the guest's pointer there at once: where a move before has put it does not count any more. */
  #point(event: MouseEvent) {
    this.#moved = undefined
    this.#send({ type: "pointer", ...this.#place(event) })
  }

  #pointed(event: PointerEvent, phase: Phase) {
    if (!this.isGrabbed) {
      if (phase !== "down") return
      this.#take()
      this.#others = event.buttons
      return
    }
    if (phase !== "move") event.preventDefault()
    if (event.pointerType === "touch") this.#touch(event, phase)
    else this.#mouse(event, phase)
  }

  /** Only the first button down and the last one up have events of their own: the others come and go in moves. */
  #mouse(event: PointerEvent, phase: Phase) {
    const { buttons } = event
    if (phase === "down") this.#others = 0
    else if ((this.#buttons | this.#others) === 0) this.#others = buttons
    this.#others &= buttons
    const ours = buttons & ~this.#others
    if (ours !== this.#buttons) {
      this.#point(event)
      this.#press(ours)
    } else if (phase === "move") {
      this.#move(event)
    }
  }

  /** Holds these buttons down in the guest, and no others. */
  #press(buttons: number) {
    bits.forEach((bit, button) => {
      if (((buttons ^ this.#buttons) & bit) !== 0) this.#send({ type: "button", button, down: (buttons & bit) !== 0 })
    })
    this.#buttons = buttons
  }

  #touch(event: PointerEvent, phase: Phase) {
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
    if (steps === 0) return
    // It is turned where the pointer is, which may not have moved since the grab began.
    this.#point(event)
    this.#send({ type: "wheel", steps })
  }
}
