/**
 * What server and page say to each other over their WebSocket: JSON in text messages, tiles in binary ones.
 *
 * Each message of the server has a number that nobody can guess, and the page says which one it has shown last: the server has
 * only a few on their way, whatever the page does.
 *
 * Plain code without imports, because the page has it too. Numbers in binary messages are little-endian.
 *
 * A binary message, from the server: u8 kind (1, tiles), u8 encoding (its place in {@link encodings}), u16 width of the
 * picture, u16 height, u16 number of tiles, u32 sequence, u32 frames that the guest has shown so far, u32 bytes of the
 * pixels, u32 screen, u16 for each tile its number (row by row from the upper left corner); then, encoded, the pixels of one tile
 * after the other, row by row, 4 bytes each: blue, green, red, and one that counts for nothing.
 *
 * @since 0.2.0
 */

/**
 * How pixels travel, the cheapest to decode first. A page tells which ones it knows.
 *
 * @category constants
 * @since 0.2.0
 */
export const encodings = ["raw", "deflate-raw", "zstd"] as const

/**
 * An encoding of pixels.
 *
 * @category models
 * @since 0.2.0
 */
export type Encoding = typeof encodings[number]

/**
 * What the server tells of a screen.
 *
 * @category models
 * @since 0.2.0
 */
export interface ScreenInfo {
  /** Names the screen for as long as the server runs. */
  readonly id: number
  /** The domain whose screen it is. */
  readonly guest: number
  /** The domain's name. */
  readonly name: string
  /** Which of the domain's displays it is on, from 0. */
  readonly display: number
  /** Which of the display's connectors it is, from 0. */
  readonly connector: number
  /** In pixels; 0 while it shows nothing. */
  readonly width: number
  /** In pixels; 0 while it shows nothing. */
  readonly height: number
  /** What the guest's driver does, in a word. */
  readonly state: string
  /** Whether keys, pointer and touch of this page's person reach the guest. */
  readonly input: boolean
}

/**
 * What places are measured by on a screen that shows nothing: it has no pixels, but may be woken.
 *
 * @category constants
 * @since 0.2.0
 */
export const darkSize = { width: 0x8000, height: 0x8000 } as const

/**
 * What places on a screen are measured by, from 0 to one less in both directions.
 *
 * @category combinators
 * @since 0.2.0
 */
export const sizeOf = ({ height, width }: Pick<ScreenInfo, "height" | "width">): Pick<ScreenInfo, "height" | "width"> =>
  width === 0 ? darkSize : { width, height }

/**
 * Which of its guest's screens one is, for addresses and files: `1` is a connector of the first display, `2-1` one of the
 * display 2.
 *
 * @category combinators
 * @since 0.2.0
 */
export const placeOf = ({ connector, display }: Pick<ScreenInfo, "connector" | "display">): string =>
  display === 0 ? `${connector}` : `${display}-${connector}`

/**
 * From the server, as JSON.
 *
 * @category models
 * @since 0.2.0
 */
export interface ServerMessage {
  /** All screens there are, and whose guests have sound: first, and whenever one comes, goes or changes. */
  readonly type: "screens"
  /** The number of the message. */
  readonly sequence: number
  /** All of them. */
  readonly screens: ReadonlyArray<ScreenInfo>
  /** The domains that have a sound card here: what to say and to hear of it, `SoundWire` tells. */
  readonly audible: ReadonlyArray<number>
}

/**
 * From a page, as JSON.
 *
 * @category models
 * @since 0.2.0
 */
export type ViewerMessage =
  /** Show this screen, in one of these encodings. */
  | {
    readonly type: "watch"
    /** Which. */
    readonly screen: number
    /** All that the page knows. */
    readonly encodings: ReadonlyArray<Encoding>
  }
  /** The message with this number, and all before it, are on the page. */
  | {
    readonly type: "shown"
    /** The number of the message. */
    readonly sequence: number
  }
  | Input

/**
 * What a person does, for the guest whose screen is shown. Places are pixels of the picture.
 *
 * @category models
 * @since 0.2.0
 */
export type Input =
  /** A key, by the `code` of a KeyboardEvent. */
  | {
    readonly type: "key"
    /** The key's place on the keyboard, such as KeyA. */
    readonly code: string
    /** Whether it went down, or up. */
    readonly down: boolean
  }
  | {
    readonly type: "pointer"
    /** From the left. */
    readonly x: number
    /** From the top. */
    readonly y: number
  }
  /** A button: 0 the left one, 1 the middle, 2 the right. */
  | {
    readonly type: "button"
    /** Which. */
    readonly button: number
    /** Whether it went down, or up. */
    readonly down: boolean
  }
  /** Steps of the wheel, downwards above 0. */
  | {
    readonly type: "wheel"
    /** How many. */
    readonly steps: number
  }
  /** A finger, 0 to 9. */
  | {
    readonly type: "touch"
    /** Which. */
    readonly finger: number
    /** What it does. */
    readonly phase: "down" | "move" | "up"
    /** From the left. */
    readonly x: number
    /** From the top. */
    readonly y: number
  }

/**
 * The tiles of a binary message.
 *
 * @category models
 * @since 0.2.0
 */
export interface Tiles {
  /** Whose picture it is. */
  readonly screen: number
  /** How the pixels travel. */
  readonly encoding: Encoding
  /** Of the whole picture, in pixels. */
  readonly width: number
  /** Of the whole picture, in pixels. */
  readonly height: number
  /** The number of the message. */
  readonly sequence: number
  /** Frames that the guest has shown so far. */
  readonly frames: number
  /** Bytes of the pixels once they are decoded. */
  readonly byteLength: number
  /** Their numbers, row by row from the upper left corner. */
  readonly tiles: ReadonlyArray<number>
  /** Their pixels, encoded. */
  readonly pixels: Uint8Array<ArrayBuffer>
}

const headerSize = 24

/**
 * Puts a binary message together.
 *
 * @category conversions
 * @since 0.2.0
 */
export const encodeTiles = (self: Tiles): Uint8Array<ArrayBuffer> => {
  const { tiles, pixels } = self
  const start = headerSize + 2 * tiles.length
  const message = new Uint8Array(start + pixels.length)
  const view = new DataView(message.buffer)
  view.setUint8(0, 1)
  view.setUint8(1, encodings.indexOf(self.encoding))
  view.setUint16(2, self.width, true)
  view.setUint16(4, self.height, true)
  view.setUint16(6, tiles.length, true)
  view.setUint32(8, self.sequence, true)
  view.setUint32(12, self.frames, true)
  view.setUint32(16, self.byteLength, true)
  view.setUint32(20, self.screen, true)
  tiles.forEach((tile, i) => view.setUint16(headerSize + 2 * i, tile, true))
  message.set(pixels, start)
  return message
}

/**
 * Takes a binary message apart; undefined for one that is none.
 *
 * @category conversions
 * @since 0.2.0
 */
export const decodeTiles = (message: ArrayBuffer): Tiles | undefined => {
  const view = new DataView(message)
  if (view.byteLength < headerSize || view.getUint8(0) !== 1) return undefined
  const encoding = encodings[view.getUint8(1)]
  const count = view.getUint16(6, true)
  const start = headerSize + 2 * count
  if (encoding === undefined || view.byteLength < start) return undefined
  return {
    encoding,
    width: view.getUint16(2, true),
    height: view.getUint16(4, true),
    sequence: view.getUint32(8, true),
    frames: view.getUint32(12, true),
    byteLength: view.getUint32(16, true),
    screen: view.getUint32(20, true),
    tiles: Array.from({ length: count }, (_, i) => view.getUint16(headerSize + 2 * i, true)),
    pixels: new Uint8Array(message, start)
  }
}
