/** What the page shows of a guest's streams: a row each. */
import type * as SoundWire from "../src/SoundWire.ts"
import { Meter } from "./Meter.ts"
import { Microphone } from "./Microphone.ts"
import type { Report } from "./Playout.ts"

const element = <K extends keyof HTMLElementTagNameMap>(
  name: K,
  properties: Partial<HTMLElementTagNameMap[K]>
): HTMLElementTagNameMap[K] => Object.assign(document.createElement(name), properties)

const layouts = ["", "mono", "stereo", "3 channels", "4 channels", "5 channels", "5.1"]

const labelOf = ({ card, stream }: SoundWire.SoundInfo) => `${card === "" ? "Sound card" : card}, stream ${stream}`

const inWords = ({ channels, rate }: SoundWire.OpenInfo) =>
  `${rate.toLocaleString("en")} Hz · ${layouts[channels] ?? `${channels} channels`}`

const gapsOf = ({ gaps, lost }: Report): string => {
  const times = gaps === 0 ? "no gaps" : gaps === 1 ? "1 gap" : `${gaps} gaps`
  return lost === 0 ? times : `${times}, ${Math.round(1000 * lost)} ms lost`
}

/** What a browser keeps of what a person has chosen. Not every one lets a page keep anything. */
const stored = (key: string): { readonly volume: number; readonly isMuted: boolean } => {
  try {
    const { isMuted, volume } = JSON.parse(localStorage.getItem(key) ?? "{}") as { readonly volume?: unknown; readonly isMuted?: unknown }
    return { volume: typeof volume === "number" && volume >= 0 && volume <= 100 ? volume : 100, isMuted: isMuted === true }
  } catch {
    return { volume: 100, isMuted: false }
  }
}

const store = (key: string, choice: { readonly volume: number; readonly isMuted: boolean }) => {
  try {
    localStorage.setItem(key, JSON.stringify(choice))
  } catch {
    // It lasts as long as the page, then.
  }
}

/** A stream that plays. */
export class PlaybackRow {
  readonly element = element("li", {})
  readonly #meter: Meter
  readonly #facts = element("span", { className: "facts" })
  readonly #slider: HTMLInputElement
  readonly #mute = element("button", { type: "button", textContent: "Mute" })
  #isMuted: boolean
  #info: SoundWire.SoundInfo
  #reports = 0

  constructor(info: SoundWire.SoundInfo, guest: string, changed: () => void) {
    const label = labelOf(info)
    const key = `volume ${guest} ${info.card} ${info.stream}`
    const { isMuted, volume } = stored(key)
    this.#info = info
    this.#isMuted = isMuted
    this.#meter = new Meter(`Level of ${label}`)
    this.#slider = element("input", { type: "range", min: "0", max: "100", step: "5", value: String(volume) })
    this.#slider.setAttribute("aria-label", `Volume of ${label}`)
    this.#mute.setAttribute("aria-label", `Mute ${label}`)
    const change = () => {
      this.#mute.setAttribute("aria-pressed", String(this.#isMuted))
      store(key, { volume: Number(this.#slider.value), isMuted: this.#isMuted })
      changed()
    }
    this.#mute.setAttribute("aria-pressed", String(isMuted))
    this.#slider.addEventListener("input", change)
    this.#mute.addEventListener("click", () => {
      this.#isMuted = !this.#isMuted
      change()
    })
    const name = element("span", { className: "name", textContent: label })
    this.element.append(name, this.#slider, this.#mute, this.#meter.element, this.#facts)
    this.show(info)
  }

  /** What samples are to be multiplied with: a slider that is as loud as it looks. */
  get volume(): number {
    return this.#isMuted ? 0 : (Number(this.#slider.value) / 100) ** 2
  }

  show(info: SoundWire.SoundInfo) {
    const isNew = info.open?.opening !== this.#info.open?.opening
    this.#info = info
    const { open } = info
    if (open === null) this.#facts.textContent = "closed"
    else if (!open.isNumeric) this.#facts.textContent = `${inWords(open)}, ${open.format}: can't be heard here`
    else if (isNew || this.#reports === 0) this.#facts.textContent = inWords(open)
    if (isNew) {
      this.#reports = 0
      this.#meter.show([])
    }
  }

  /** What was played lately, and how many milliseconds after the guest has played it. */
  report(report: Report, delay: number) {
    this.#meter.show(report.peaks)
    const { open } = this.#info
    // Twice a second is as often as anybody reads numbers.
    if (open === null || this.#reports++ % 5 !== 0) return
    this.#facts.textContent = `${inWords(open)} · delay ${Math.round(delay)} ms · ${gapsOf(report)}`
  }
}

/** A stream that records, into which the person may speak. */
export class CaptureRow {
  readonly element = element("li", {})
  readonly #meter: Meter
  readonly #facts = element("span", { className: "facts" })
  readonly #button = element("button", { type: "button", textContent: "Microphone" })
  readonly #say: (samples: Int16Array<ArrayBuffer>) => void
  #info: SoundWire.SoundInfo
  #microphone: Microphone | undefined
  #isWanted = false
  #rate: number | undefined
  #trouble = ""
  #loudest = 0
  #parts = 0

  constructor(info: SoundWire.SoundInfo, say: (samples: Int16Array<ArrayBuffer>) => void) {
    const label = labelOf(info)
    this.#info = info
    this.#say = say
    this.#meter = new Meter(`Level of the microphone for ${label}`)
    this.#button.setAttribute("aria-label", `Microphone for ${label}`)
    this.#button.addEventListener("click", () => void this.#toggle())
    this.element.append(element("span", { className: "name", textContent: label }), this.#button, this.#meter.element, this.#facts)
    this.#describe()
  }

  show(info: SoundWire.SoundInfo) {
    this.#info = info
    this.#speak()
    this.#describe()
  }

  async #toggle() {
    this.#isWanted = !this.#isWanted
    this.#trouble = ""
    if (!this.#isWanted) this.#stop()
    this.#describe()
    if (!this.#isWanted) return
    try {
      const microphone = await Microphone.open((samples) => this.#said(samples))
      // It may take a while until the person has allowed it, and they may have changed their mind.
      if (!this.#isWanted || this.#microphone !== undefined) return microphone.close()
      this.#microphone = microphone
      microphone.onLost(() => this.#fail("the microphone is gone"))
      this.#speak()
    } catch (error) {
      const isRefused = error instanceof DOMException && error.name === "NotAllowedError"
      this.#fail(isRefused ? "the browser does not allow the microphone" : `no microphone: ${String(error)}`)
    }
    this.#describe()
  }

  #fail(trouble: string) {
    this.#isWanted = false
    this.#trouble = trouble
    this.#stop()
    this.#describe()
  }

  #stop() {
    this.#microphone?.close()
    this.#microphone = undefined
    this.#rate = undefined
    this.#meter.show([])
  }

  /** Speaks while the guest records, at its rate. */
  #speak() {
    const { open } = this.#info
    const rate = open === null || !open.isNumeric ? undefined : open.rate
    if (this.#microphone === undefined || rate === this.#rate) return
    this.#rate = rate
    this.#microphone.speak(rate)
  }

  #said(samples: Int16Array<ArrayBuffer>) {
    this.#say(samples)
    for (const sample of samples) this.#loudest = Math.max(this.#loudest, Math.abs(sample) / 32_768)
    if (this.#parts++ % 5 !== 0) return
    this.#meter.show([this.#loudest])
    this.#loudest = 0
  }

  #describe() {
    const { open } = this.#info
    this.#button.setAttribute("aria-pressed", String(this.#isWanted))
    const records = open === null ? "the guest does not record" : `the guest records ${inWords(open)}`
    const hears = this.#microphone === undefined ? "hears nothing" : "hears you"
    this.#facts.textContent = this.#trouble === "" ? `${records}${open === null ? "" : ` and ${hears}`}` : this.#trouble
  }

  end() {
    this.#isWanted = false
    this.#stop()
  }
}
