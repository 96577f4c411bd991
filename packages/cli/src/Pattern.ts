/**
 * Fills buffers with contents that both sides know: the same bytes everywhere for the same name and size.
 *
 * @since 0.1.0
 */

import * as Page from "@xen-shbuf/core/Page"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as TestCard from "./TestCard.ts"

/**
 * What a buffer is filled with.
 *
 * @category models
 * @since 0.1.0
 */
export type Pattern =
  | {
    readonly _tag: "Card"
    /** Pixels in a row. */
    readonly width: number
    /** Rows. */
    readonly height: number
  }
  | {
    readonly _tag: "Noise"
    /** Where the noise begins: a number of 32 bits. */
    readonly seed: number
  }
  | { readonly _tag: "Pages" }
  | { readonly _tag: "Zero" }

/**
 * The names of all patterns, as help and error messages say them.
 *
 * @category constants
 * @since 0.1.0
 */
export const expected = "card (a picture; takes --width and --height), " +
  "noise or noise:SEED (SEED from 0 to 4294967295), pages (each page filled with its number), or zero"

/** Stores `word(i)` in place of the i-th four bytes; the last word may be cut short. */
const fillWords = (bytes: SharedMemory.Writable, word: (index: number) => number) => {
  const words = SharedMemory.viewAs(bytes, Uint32Array)
  for (let i = 0; i < words.length; i++) words[i] = word(i)
  const rest = bytes.subarray(words.length * 4)
  if (rest.length > 0) rest.set(new Uint8Array(Uint32Array.of(word(words.length)).buffer, 0, rest.length))
}

/** Marsaglia's xorshift32: fast and the same everywhere, good enough to tell buffers apart. */
const xorshift = (seed: number) => {
  // The state must not be 0; an odd multiplier maps different seeds to different states.
  let state = Math.imul(seed, 0x9e37_79b1) ^ 0x5f35_6495 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state
  }
}

const wordsPerPage = Page.size / 4

/**
 * Writes a pattern to a buffer, which must begin at a multiple of 4 bytes, as every page does, and hold the whole card.
 *
 * @category combinators
 * @since 0.1.0
 */
export const write = (bytes: SharedMemory.Writable, pattern: Pattern): void => {
  switch (pattern._tag) {
    case "Card":
      return bytes.set(TestCard.draw(pattern.width, pattern.height))
    case "Noise":
      return fillWords(bytes, xorshift(pattern.seed))
    case "Pages":
      return fillWords(bytes, (word) => Math.floor(word / wordsPerPage))
    case "Zero":
      bytes.fill(0)
  }
}
