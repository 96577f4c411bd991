/**
 * Makes a short piece of music out of sines: something to hear, and to check sample by sample.
 *
 * @since 0.2.0
 */

/** Notes of the piece, in half-tones above A of 440 Hz, with their lengths in quarters: Beethoven's, of joy. */
const notes: ReadonlyArray<readonly [halfTones: number, quarters: number]> = [
  [-3, 1],
  [-3, 1],
  [-2, 1],
  [0, 1],
  [0, 1],
  [-2, 1],
  [-3, 1],
  [-5, 1],
  [-7, 1],
  [-7, 1],
  [-5, 1],
  [-3, 1],
  [-3, 1.5],
  [-5, 0.5],
  [-5, 2]
]

const quarter = 0.3

/**
 * The length of the piece in seconds.
 *
 * @category constants
 * @since 0.2.0
 */
export const seconds = quarter * notes.reduce((sum, [, quarters]) => sum + quarters, 0)

/**
 * The piece as samples of 16 bits, two channels, the second an octave lower: as many frames a second as told.
 *
 * @category constructors
 * @since 0.2.0
 */
export const render = (rate: number): Uint8Array<ArrayBuffer> => {
  const samples = new Int16Array(Math.round(seconds * rate) * 2)
  let begin = 0
  for (const [halfTones, quarters] of notes) {
    const length = Math.round(quarters * quarter * rate)
    const step = 2 * Math.PI * 440 * 2 ** (halfTones / 12) / rate
    for (let i = 0; i < length && (begin + i) * 2 < samples.length; i++) {
      // Swells and fades, so that no note begins or ends with a click.
      const volume = 12_000 * Math.min(1, i / (0.02 * rate), (length - i) / (0.08 * rate))
      samples[(begin + i) * 2] = Math.round(volume * Math.sin(step * i))
      samples[(begin + i) * 2 + 1] = Math.round(volume * Math.sin(step / 2 * i))
    }
    begin += length
  }
  return new Uint8Array(samples.buffer)
}
