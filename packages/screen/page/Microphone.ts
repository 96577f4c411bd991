/** The person's microphone, for as long as they want it to be heard: the browser asks them first. */
import type { Shape } from "./worklet.ts"

/** What runs beside the page, for this and for those that play. */
export const worklet = "worklet.js"

export class Microphone {
  readonly #stream: MediaStream
  readonly #said: (samples: Int16Array<ArrayBuffer>) => void
  readonly #context: AudioContext
  #node: AudioWorkletNode | undefined
  #source: MediaStreamAudioSourceNode | undefined

  private constructor(stream: MediaStream, context: AudioContext, said: (samples: Int16Array<ArrayBuffer>) => void) {
    this.#stream = stream
    this.#context = context
    this.#said = said
  }

  /** Fails where the person, or the browser, does not allow it. */
  static async open(said: (samples: Int16Array<ArrayBuffer>) => void): Promise<Microphone> {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } })
    // Of the microphone's own rate: not every browser takes another one.
    const context = new AudioContext()
    try {
      await context.audioWorklet.addModule(worklet)
      await context.resume()
      return new Microphone(stream, context, said)
    } catch (error) {
      for (const track of stream.getTracks()) track.stop()
      await context.close()
      throw error
    }
  }

  /** Calls when the browser takes the microphone away. */
  onLost(lost: () => void) {
    for (const track of this.#stream.getTracks()) track.addEventListener("ended", lost)
  }

  /** Speaks at so many samples a second, or, without, not at all. */
  speak(rate: number | undefined) {
    this.#node?.port.postMessage("end", [])
    this.#node?.disconnect()
    this.#source?.disconnect()
    this.#node = undefined
    if (rate === undefined) return
    const processorOptions: Shape = { rate, channels: 1 }
    const node = new AudioWorkletNode(this.#context, "microphone", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions
    })
    node.port.addEventListener("message", ({ data }: MessageEvent<Int16Array<ArrayBuffer>>) => {
      // Of one that has ended a last part may come.
      if (node === this.#node) this.#said(data)
    })
    node.port.start()
    this.#source = this.#context.createMediaStreamSource(this.#stream)
    this.#source.connect(node)
    this.#node = node
  }

  close() {
    this.speak(undefined)
    for (const track of this.#stream.getTracks()) track.stop()
    void this.#context.close()
  }
}
