/** The sound of the guest that is looked at: nothing until the person wants it, then all that its streams play. */
import * as SoundWire from "../src/SoundWire.ts"
import type { News, Wish } from "./listener.ts"
import { worklet } from "./Microphone.ts"
import { CaptureRow, PlaybackRow } from "./Rows.ts"
import { Speaker } from "./Speaker.ts"
import type { Heard } from "./worklet.ts"

/** Frames a second of the page's own sound: most guests', so that nothing need be worked out for them. */
const rate = 48_000

interface Guest {
  readonly id: number
  readonly name: string
}

/** What plays of one stream. */
interface Playing {
  readonly row: PlaybackRow
  info: SoundWire.SoundInfo
  speaker: Speaker | undefined
}

export class Sound {
  readonly #button: HTMLButtonElement
  readonly #panel: HTMLElement
  readonly #rows: HTMLElement
  readonly #note: HTMLElement
  #guest: Guest | undefined
  #context: AudioContext | undefined
  #listener: Worker | undefined
  readonly #playing = new Map<number, Playing>()
  readonly #capturing = new Map<number, CaptureRow>()

  constructor(button: HTMLButtonElement, panel: HTMLElement) {
    this.#button = button
    this.#panel = panel
    this.#rows = panel.querySelector("ul")!
    this.#note = panel.querySelector("p")!
    button.addEventListener("click", () => {
      if (this.#context === undefined) void this.#begin()
      else this.#end()
    })
  }

  /** The guest that is looked at, or none whose sound can be heard. */
  watch(guest: Guest | undefined) {
    this.#button.hidden = guest === undefined
    const isOther = guest?.id !== this.#guest?.id
    this.#guest = guest
    if (isOther) {
      this.#clear()
      this.#listen()
    }
    this.#describe()
  }

  #describe(trouble = "") {
    const isOn = this.#context !== undefined
    this.#button.setAttribute("aria-pressed", String(isOn))
    this.#panel.hidden = this.#guest === undefined || !isOn && trouble === ""
    this.#note.textContent = trouble
    this.#note.hidden = trouble === ""
  }

  async #begin() {
    // A page of another machine without encryption is given none.
    if (!isSecureContext || typeof AudioWorkletNode === "undefined") {
      return this.#describe("The browser gives sound only to pages of this machine itself, or over HTTPS.")
    }
    const context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" })
    this.#context = context
    this.#describe()
    try {
      await context.audioWorklet.addModule(worklet)
      await context.resume()
    } catch (error) {
      if (context === this.#context) this.#end(`The browser gives no sound: ${String(error)}`)
      return
    }
    // The person may have changed their mind meanwhile.
    if (context !== this.#context) return
    // With the token, which is the same for its connection.
    const listener = new Worker(`listener.js${location.search}`, { type: "module" })
    listener.addEventListener("message", ({ data }: MessageEvent<News>) => {
      // One that has ended may still have something to say.
      if (listener === this.#listener) this.#take(data)
    })
    this.#listener = listener
    this.#listen()
  }

  #end(trouble = "") {
    this.#listener?.terminate()
    this.#listener = undefined
    this.#clear()
    void this.#context?.close()
    this.#context = undefined
    this.#describe(trouble)
  }

  #clear() {
    for (const { speaker } of this.#playing.values()) speaker?.end()
    for (const row of this.#capturing.values()) row.end()
    this.#playing.clear()
    this.#capturing.clear()
    this.#rows.replaceChildren()
  }

  #wish(wish: Wish, transfer: Array<Transferable> = []) {
    this.#listener?.postMessage(wish, transfer)
  }

  #listen() {
    this.#wish({ type: "listen", guest: this.#guest?.id })
  }

  #take(news: News) {
    if (news.type === "lost") this.#clear()
    else if (news.type === "begins") this.#play(news.chunk)
    // Not of the one before, on its way when another was chosen.
    else if (news.guest === this.#guest?.id) this.#list(news.sounds)
  }

  #list(sounds: ReadonlyArray<SoundWire.SoundInfo>) {
    const ids = new Set(sounds.map(({ id }) => id))
    for (const [id, { row, speaker }] of this.#playing) {
      if (ids.has(id)) continue
      speaker?.end()
      row.element.remove()
      this.#playing.delete(id)
    }
    for (const [id, row] of this.#capturing) {
      if (ids.has(id)) continue
      row.end()
      row.element.remove()
      this.#capturing.delete(id)
    }
    for (const info of sounds) {
      if (info.direction === "playback") this.#listPlayback(info)
      else this.#listCapture(info)
    }
  }

  #listPlayback(info: SoundWire.SoundInfo) {
    const playing = this.#playing.get(info.id)
    if (playing === undefined) {
      const row = new PlaybackRow(info, this.#guest!.name, () => {
        const { speaker } = this.#playing.get(info.id)!
        if (speaker !== undefined) speaker.volume = row.volume
      })
      this.#playing.set(info.id, { row, info, speaker: undefined })
      this.#rows.append(row.element)
      return
    }
    const { info: { open: before }, speaker } = playing
    playing.info = info
    playing.row.show(info)
    if (speaker === undefined) return
    if (info.open?.opening === speaker.opening) speaker.follow(info.open)
    // What is in store is played to its end.
    else if (before?.opening === speaker.opening) speaker.follow({ ...before, isRunning: false })
  }

  #listCapture(info: SoundWire.SoundInfo) {
    const row = this.#capturing.get(info.id)
    if (row !== undefined) return row.show(info)
    const added = new CaptureRow(info, (samples) => this.#say(info.id, samples))
    this.#capturing.set(info.id, added)
    this.#rows.append(added.element)
    added.show(info)
  }

  #say(sound: number, said: Int16Array<ArrayBuffer>) {
    for (let at = 0; at < said.length; at += SoundWire.mostSpeech) {
      this.#wish({ type: "say", speech: { sound, samples: said.slice(at, at + SoundWire.mostSpeech) } })
    }
  }

  /** An opening of a stream is played by a speaker of its own, for it may be of another rate than the one before. */
  #play(chunk: Omit<SoundWire.Chunk, "bytes">) {
    const playing = this.#playing.get(chunk.sound)
    if (playing === undefined) return
    const { info: { open }, row } = playing
    playing.speaker?.end()
    const speaker: Speaker = new Speaker(this.#context!, chunk, row.volume, (heard) => {
      if (playing.speaker !== speaker) return
      row.report(heard, this.#delayOf(heard))
      if (playing.info.open !== null || !heard.isLast) return
      speaker.end()
      playing.speaker = undefined
    })
    playing.speaker = speaker
    if (open?.opening === chunk.opening) speaker.follow(open)
    const { opening, sound } = chunk
    this.#wish({ type: "play", sound, opening, port: speaker.port }, [speaker.port])
  }

  /** Milliseconds: on the way, in store, and from there to the ear, as far as the browser knows. */
  #delayOf({ late, stored }: Heard): number {
    const { baseLatency, outputLatency } = this.#context ?? { baseLatency: 0, outputLatency: 0 }
    return late + 1000 * (stored + (outputLatency || baseLatency || 0))
  }
}
