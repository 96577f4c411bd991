/** Plays one opening of a guest's stream. */
import type * as SoundWire from "../src/SoundWire.ts"
import { placesOf } from "./Playout.ts"
import type { Heard, Order, Shape } from "./worklet.ts"

export class Speaker {
  readonly opening: number
  /** Where samples go. */
  readonly port: MessagePort
  readonly #player: AudioWorkletNode
  readonly #gain: GainNode

  constructor(
    context: AudioContext,
    { channels, opening, rate }: Pick<SoundWire.Chunk, "channels" | "opening" | "rate">,
    volume: number,
    heard: (report: Heard) => void
  ) {
    this.opening = opening
    const processorOptions: Shape = { channels, rate }
    this.#player = new AudioWorkletNode(context, "player", {
      numberOfInputs: 0,
      outputChannelCount: [placesOf(channels).length],
      processorOptions
    })
    this.#gain = new GainNode(context, { gain: volume })
    this.#player.connect(this.#gain).connect(context.destination)
    this.#player.port.addEventListener("message", ({ data }: MessageEvent<Heard>) => heard(data))
    this.#player.port.start()
    const { port1, port2 } = new MessageChannel()
    this.port = port1
    this.#order({ samples: port2 }, [port2])
  }

  set volume(volume: number) {
    // Not at once, which would click.
    this.#gain.gain.setTargetAtTime(volume, this.#gain.context.currentTime, 0.01)
  }

  #order(order: Order, transfer: Array<Transferable> = []) {
    this.#player.port.postMessage(order, transfer)
  }

  follow({ gains, isRunning }: Pick<SoundWire.OpenInfo, "gains" | "isRunning">) {
    this.#order({ gains, isRunning })
  }

  end() {
    this.#order("end")
    this.#player.disconnect()
    this.#gain.disconnect()
  }
}
