/** What runs beside the page, in the browser's own time of sound: plays what came, and hands on what the microphone hears. */
import { placesOf, Playout, type Report } from "./Playout.ts"
import { reach, Reel } from "./Reel.ts"

declare const sampleRate: number
declare class AudioWorkletProcessor {
  readonly port: MessagePort
}
declare function registerProcessor(name: string, processor: new(options: { readonly processorOptions: never }) => AudioWorkletProcessor): void

/** To a player. */
export type Order =
  /** Where samples come from. */
  | { readonly samples: MessagePort }
  | { readonly gains: ReadonlyArray<number>; readonly isRunning: boolean }
  | "end"

/** To a player, from where samples come. */
export interface Samples {
  /** Interleaved. */
  readonly samples: Float32Array<ArrayBuffer>
  /** Frames of the guest's before. */
  readonly frame: number
  /** Milliseconds from when the last of them was due to when it came. */
  readonly late: number
}

/** From a player. */
export interface Heard extends Report {
  /** Milliseconds from when the last samples were due to when they came. */
  readonly late: number
}

/** What a player or a microphone is made for. */
export interface Shape {
  /** Frames a second of the guest's stream. */
  readonly rate: number
  readonly channels: number
}

/** Reports a second. */
const reports = 10

class Player extends AudioWorkletProcessor {
  readonly #playout: Playout
  readonly #places: ReadonlyArray<number>
  #left = 0
  #late = 0
  #isReported = true
  #hasEnded = false

  constructor({ processorOptions: { channels, rate } }: { readonly processorOptions: Shape }) {
    super()
    this.#playout = new Playout(channels, rate, sampleRate)
    this.#places = placesOf(channels)
    this.port.addEventListener("message", ({ data }: MessageEvent<Order>) => this.#take(data))
    this.port.start()
  }

  #take(order: Order) {
    if (order === "end") this.#hasEnded = true
    else if ("samples" in order) {
      order.samples.addEventListener("message", ({ data }: MessageEvent<Samples>) => this.#add(data))
      order.samples.start()
    } else {
      this.#playout.gains = order.gains
      this.#playout.isRunning = order.isRunning
    }
  }

  #add({ frame, late, samples }: Samples) {
    this.#playout.add(samples, frame)
    this.#late = late
    this.#isReported = false
  }

  process(_inputs: unknown, [output = []]: ReadonlyArray<ReadonlyArray<Float32Array>>): boolean {
    this.#playout.render(output, this.#places)
    this.#left -= output[0]?.length ?? 0
    if (this.#left <= 0) this.#report()
    return !this.#hasEnded
  }

  /** Not when there is nothing to tell. */
  #report() {
    this.#left += sampleRate / reports
    if (this.#isReported) return
    const report = this.#playout.report()
    this.#isReported = report.isLast
    const heard: Heard = { ...report, late: this.#late }
    this.port.postMessage(heard, [])
  }
}

/** Seconds of speech that go together. */
const together = 0.02

class Microphone extends AudioWorkletProcessor {
  readonly #reel = new Reel(1, sampleRate)
  readonly #frame = new Float32Array(1)
  readonly #step: number
  readonly #length: number
  #part: Array<number> = []
  #hasEnded = false

  constructor({ processorOptions: { rate } }: { readonly processorOptions: Shape }) {
    super()
    this.#step = sampleRate / rate
    this.#length = Math.max(1, Math.floor(together * rate))
    this.port.addEventListener("message", () => {
      this.#hasEnded = true
    })
    this.port.start()
  }

  process([input]: ReadonlyArray<ReadonlyArray<Float32Array>>): boolean {
    const samples = input?.[0]
    if (samples !== undefined) this.#reel.push(samples)
    // As far as what comes next is known, which it takes to be between two samples.
    while (this.#reel.length > reach) {
      this.#reel.read(this.#step, this.#frame)
      this.#part.push(Math.max(-32_768, Math.min(32_767, Math.round(32_768 * this.#frame[0]!))))
      if (this.#part.length === this.#length) {
        this.port.postMessage(Int16Array.from(this.#part), [])
        this.#part = []
      }
    }
    return !this.#hasEnded
  }
}

registerProcessor("player", Player)
registerProcessor("microphone", Microphone)
