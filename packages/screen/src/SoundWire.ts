/**
 * What server and page say to each other over the WebSocket of sound, which is another one than that of pictures, so that no
 * picture is in the way: JSON in text messages, samples in binary ones.
 *
 * Each message of the server has a number that nobody can guess, and the page says which one has come last: the server has only
 * so many on their way, and loses what it has no room for.
 *
 * Plain code without imports, because the page has it too. Numbers in binary messages are little-endian.
 *
 * A chunk, from the server, 40 bytes and samples: u8 kind (2), u8 encoding (its place in {@link encodings}), u16 channels, u32
 * frames a second, u32 sequence, u32 stream, u32 opening (which one of the stream's it is), u32 that is 0, f64 frames of
 * this opening before, f64 milliseconds on the server's clock when it was due; then the samples, the channels of a frame side
 * by side.
 *
 * Speech, from a page, 8 bytes and samples: u8 kind (3), three bytes that are 0, u32 stream; then samples, one at least, of 16 bits,
 * signed, of one channel, at the stream's rate.
 *
 * @since 0.2.0
 */

/**
 * How samples travel: 16 bits, signed, or floating-point numbers of 32 bits. What a guest plays in 16 bits or less comes as
 * the former, all else as the latter.
 *
 * @category constants
 * @since 0.2.0
 */
export const encodings = ["s16", "f32"] as const

/**
 * An encoding of samples.
 *
 * @category models
 * @since 0.2.0
 */
export type Encoding = typeof encodings[number]

/** Bytes of a sample. */
const sizes = { s16: 2, f32: 4 } as const

/**
 * What the server tells of a stream of a guest's sound card.
 *
 * @category models
 * @since 0.2.0
 */
export interface SoundInfo {
  /** Names the stream for as long as the server runs. */
  readonly id: number
  /** The domain whose stream it is. */
  readonly guest: number
  /** The card's name; empty where it has none. */
  readonly card: string
  /** Which of the card's streams it is: device and stream, such as "0/1". */
  readonly stream: string
  /** Whether the guest plays, or records. */
  readonly direction: "playback" | "capture"
  /** What the guest has opened it as; null while it has not. */
  readonly open: OpenInfo | null
}

/**
 * What the server tells of a stream that is open.
 *
 * @category models
 * @since 0.2.0
 */
export interface OpenInfo {
  /** Which of the stream's openings it is. */
  readonly opening: number
  /** Frames a second. */
  readonly rate: number
  /** Samples of a frame. */
  readonly channels: number
  /** The format's name in xenstore. */
  readonly format: string
  /** Whether it can be heard: samples of `iec958_subframe_*` can't, nor more of them than a sound card plays. */
  readonly isNumeric: boolean
  /** Whether it runs; it may be paused, or stopped. */
  readonly isRunning: boolean
  /** How loud the guest wants each channel to be: 1 is as it plays, 0 is silent. */
  readonly gains: ReadonlyArray<number>
}

/**
 * From the server, as JSON.
 *
 * @category models
 * @since 0.2.0
 */
export type ServerMessage =
  /** All streams of the guest that the page listens to: at first, and whenever something of them changes. */
  | {
    readonly type: "sounds"
    /** The number of the message. */
    readonly sequence: number
    /** The domain. */
    readonly guest: number
    /** All of them, those that record only where pages may speak. */
    readonly sounds: ReadonlyArray<SoundInfo>
  }
  /** The answer to the same of the page's, where there was room for it. */
  | {
    readonly type: "clock"
    /** The number of the message. */
    readonly sequence: number
    /** What the page said. */
    readonly asked: number
    /** Milliseconds on the server's clock. */
    readonly now: number
  }

/**
 * From a page, as JSON.
 *
 * @category models
 * @since 0.2.0
 */
export type PageMessage =
  /** Send what this guest plays, and nothing of any other one. */
  | {
    readonly type: "listen"
    /** The domain. */
    readonly guest: number
  }
  /** The message with this number has come, and all before it. */
  | {
    readonly type: "heard"
    /** The number of the message. */
    readonly sequence: number
  }
  /** Say what the server's clock shows. */
  | {
    readonly type: "clock"
    /** Milliseconds on the page's clock. */
    readonly asked: number
  }

/**
 * Samples of a guest.
 *
 * @category models
 * @since 0.2.0
 */
export interface Chunk {
  /** Whose samples they are. */
  readonly sound: number
  /** Which of the stream's openings they belong to. */
  readonly opening: number
  /** How they travel. */
  readonly encoding: Encoding
  /** Frames a second. */
  readonly rate: number
  /** Samples of a frame. */
  readonly channels: number
  /** Frames of this opening before. */
  readonly frame: number
  /** Milliseconds on the server's clock when they were due. */
  readonly time: number
  /** The samples, encoded. */
  readonly bytes: Uint8Array
}

/**
 * A chunk on its way.
 *
 * @category models
 * @since 0.2.0
 */
export interface Numbered extends Chunk {
  /** The number of the message. */
  readonly sequence: number
}

const headerSize = 40

/**
 * Puts a chunk's message together.
 *
 * @category conversions
 * @since 0.2.0
 */
export const encodeChunk = (self: Chunk, sequence: number): Uint8Array<ArrayBuffer> => {
  const message = new Uint8Array(headerSize + self.bytes.length)
  const view = new DataView(message.buffer)
  view.setUint8(0, 2)
  view.setUint8(1, encodings.indexOf(self.encoding))
  view.setUint16(2, self.channels, true)
  view.setUint32(4, self.rate, true)
  view.setUint32(8, sequence, true)
  view.setUint32(12, self.sound, true)
  view.setUint32(16, self.opening, true)
  view.setFloat64(24, self.frame, true)
  view.setFloat64(32, self.time, true)
  message.set(self.bytes, headerSize)
  return message
}

/**
 * Takes a chunk's message apart; undefined for one that is none.
 *
 * @category conversions
 * @since 0.2.0
 */
export const decodeChunk = (message: ArrayBuffer): Numbered | undefined => {
  const view = new DataView(message)
  if (view.byteLength < headerSize || view.getUint8(0) !== 2) return undefined
  const encoding = encodings[view.getUint8(1)]
  const channels = view.getUint16(2, true)
  if (encoding === undefined || channels === 0) return undefined
  if ((view.byteLength - headerSize) % (channels * sizes[encoding]) !== 0) return undefined
  return {
    encoding,
    channels,
    rate: view.getUint32(4, true),
    sequence: view.getUint32(8, true),
    sound: view.getUint32(12, true),
    opening: view.getUint32(16, true),
    frame: view.getFloat64(24, true),
    time: view.getFloat64(32, true),
    bytes: new Uint8Array(message, headerSize)
  }
}

/**
 * The samples of a chunk as numbers from -1 to 1.
 *
 * @category conversions
 * @since 0.2.0
 */
export const samplesOf = ({ bytes, encoding }: Chunk): Float32Array<ArrayBuffer> => {
  const size = sizes[encoding]
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const samples = new Float32Array(Math.floor(bytes.length / size))
  for (let i = 0; i < samples.length; i++) {
    samples[i] = encoding === "s16" ? view.getInt16(i * size, true) / 32_768 : view.getFloat32(i * size, true)
  }
  return samples
}

const speechHeaderSize = 8

/**
 * Samples that speech may have, at most, to fit into a message of 4096 bytes.
 *
 * @category constants
 * @since 0.2.0
 */
export const mostSpeech = (4096 - speechHeaderSize) / 2

/**
 * What a person says.
 *
 * @category models
 * @since 0.2.0
 */
export interface Speech {
  /** Who records it. */
  readonly sound: number
  /** Of one channel, at the stream's rate; one at least. */
  readonly samples: Int16Array<ArrayBuffer>
}

/**
 * Puts a message of speech together.
 *
 * @category conversions
 * @since 0.2.0
 */
export const encodeSpeech = ({ samples, sound }: Speech): Uint8Array<ArrayBuffer> => {
  const message = new Uint8Array(speechHeaderSize + 2 * samples.length)
  const view = new DataView(message.buffer)
  view.setUint8(0, 3)
  view.setUint32(4, sound, true)
  samples.forEach((sample, i) => view.setInt16(speechHeaderSize + 2 * i, sample, true))
  return message
}

/**
 * Takes a message of speech apart; undefined for one that is none.
 *
 * @category conversions
 * @since 0.2.0
 */
export const decodeSpeech = (message: Uint8Array): Speech | undefined => {
  const { byteLength } = message
  if (byteLength <= speechHeaderSize || byteLength % 2 !== 0 || message[0] !== 3) return undefined
  const view = new DataView(message.buffer, message.byteOffset, byteLength)
  const samples = Int16Array.from({ length: (byteLength - speechHeaderSize) / 2 }, (_, i) =>
    view.getInt16(speechHeaderSize + 2 * i, true))
  return { sound: view.getUint32(4, true), samples }
}
