/**
 * What runs beside the page to have the connection for sound: whatever the page draws, samples go from here to where they are
 * played.
 */
import * as SoundWire from "../src/SoundWire.ts"
import { Link } from "./Link.ts"
import type { Samples } from "./worklet.ts"

/** From the page. */
export type Wish =
  /** Listen to this guest, or to none. */
  | { readonly type: "listen"; readonly guest: number | undefined }
  /** Where the samples of a stream's opening go. */
  | { readonly type: "play"; readonly sound: number; readonly opening: number; readonly port: MessagePort }
  | { readonly type: "say"; readonly speech: SoundWire.Speech }

/** To the page. */
export type News =
  | { readonly type: "sounds"; readonly guest: number; readonly sounds: ReadonlyArray<SoundWire.SoundInfo> }
  /** Samples come of a stream's opening, and wait for where they are to go. */
  | { readonly type: "begins"; readonly chunk: Omit<SoundWire.Chunk, "bytes"> }
  | { readonly type: "lost" }

const tell = (news: News) => postMessage(news, { transfer: [] })

/** Messages that are told to have come together. */
const together = 8

/** Chunks from one look at the server's clock to the next: ten seconds of a stream. */
const clockEvery = 500

/** Chunks that wait for where they are to go: two seconds. */
const mostWaiting = 100

/** The server's clock beside ours, as near as the quickest answer tells. */
class ServerClock {
  #offset = 0
  #trip = Infinity

  /** The server's clock showed `now` at some time between `asked` and this moment. */
  learn(asked: number, now: number) {
    const received = performance.now()
    // Clocks drift: an answer of an hour ago, however quick, says less than one of now.
    this.#trip += 0.1
    if (received - asked > this.#trip) return
    this.#trip = received - asked
    this.#offset = now - (asked + received) / 2
  }

  /** Milliseconds since a time on the server's clock; 0 as long as nothing is known of it. */
  since(time: number): number {
    return this.#trip === Infinity ? 0 : Math.max(0, performance.now() + this.#offset - time)
  }
}

/** The way of a stream's samples. */
class Way {
  readonly opening: number
  #port: MessagePort | undefined
  #waiting: Array<Samples> = []

  constructor(opening: number) {
    this.opening = opening
  }

  lead(port: MessagePort) {
    this.#port = port
    for (const samples of this.#waiting) this.take(samples)
    this.#waiting = []
  }

  take(samples: Samples) {
    if (this.#port !== undefined) this.#port.postMessage(samples, [samples.samples.buffer])
    else if (this.#waiting.length < mostWaiting) this.#waiting.push(samples)
  }

  end() {
    this.#port?.close()
  }
}

let guest: number | undefined
let clock = new ServerClock()
let chunks = 0
const ways = new Map<number, Way>()

const send = (message: SoundWire.PageMessage) => link.send(JSON.stringify(message))

const askTime = () => send({ type: "clock", asked: performance.now() })

const forget = () => {
  for (const way of ways.values()) way.end()
  ways.clear()
}

const listen = () => {
  forget()
  if (guest === undefined) return
  send({ type: "listen", guest })
  askTime()
}

const read = (message: SoundWire.ServerMessage) => {
  send({ type: "heard", sequence: message.sequence })
  if (message.type === "clock") return clock.learn(message.asked, message.now)
  // Of the one before, on its way when another was chosen.
  if (message.guest === guest) tell(message)
}

const hear = (chunk: SoundWire.Numbered) => {
  if (++chunks % together === 0) send({ type: "heard", sequence: chunk.sequence })
  if (chunks % clockEvery === 0) askTime()
  let way = ways.get(chunk.sound)
  if (way?.opening !== chunk.opening) {
    way?.end()
    way = new Way(chunk.opening)
    ways.set(chunk.sound, way)
    const { bytes: _, ...described } = chunk
    tell({ type: "begins", chunk: described })
  }
  way.take({ samples: SoundWire.samplesOf(chunk), frame: chunk.frame, late: clock.since(chunk.time) })
}

const link = new Link("sound", {
  opened: () => {
    clock = new ServerClock()
    chunks = 0
    listen()
  },
  text: (text) => read(JSON.parse(text) as SoundWire.ServerMessage),
  binary: (message) => {
    const chunk = SoundWire.decodeChunk(message)
    if (chunk !== undefined) hear(chunk)
  },
  lost: () => {
    forget()
    tell({ type: "lost" })
  }
})

addEventListener("message", ({ data: wish }: MessageEvent<Wish>) => {
  switch (wish.type) {
    case "listen":
      guest = wish.guest
      return listen()
    case "play": {
      const way = ways.get(wish.sound)
      return way?.opening === wish.opening ? way.lead(wish.port) : wish.port.close()
    }
    case "say":
      return link.send(SoundWire.encodeSpeech(wish.speech))
  }
})
