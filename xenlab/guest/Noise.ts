/**
 * The noise that `draw.c` draws.
 */

/** The pixels of a seed, as words of XR24; the first of a line is its number. */
export const noise = (seed: number, width: number, height: number): Uint32Array<ArrayBuffer> => {
  const words = new Uint32Array(width * height)
  let state = seed
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[i] = i % width === 0 ? i / width : state
  }
  return words
}
