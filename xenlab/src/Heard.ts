/**
 * Compares what a guest's ALSA played with what was heard of it. Neither is quite a copy of the other, by ALSA's own doing:
 * it plays some silence after the end, and after an underrun `aplay` writes again what it was just writing.
 */

/** The samples of a WAV file. */
export const samples = (wav: Buffer): Buffer => {
  for (let at = 12; at + 8 <= wav.length;) {
    const length = wav.readUInt32LE(at + 4)
    if (wav.toString("latin1", at, at + 4) === "data") return wav.subarray(at + 8, at + 8 + length)
    at += 8 + length + length % 2
  }
  throw new Error("no samples are in the WAV file")
}

/** How far two go alike from two places on. */
const alike = (a: Buffer, atA: number, b: Buffer, atB: number) => {
  let length = 0
  while (atA + length < a.length && atB + length < b.length && a[atA + length] === b[atB + length]) length++
  return length
}

/** Samples this long are nowhere else in noise. */
const mark = 32

/**
 * How often the sound went back, at most by `back` bytes each time, until it was heard to its end; all that follows must be
 * silence. Undefined where samples are missing, or there are others.
 */
export const repeats = (sound: Buffer, heard: Buffer, back: number, isSilence: (byte: number) => boolean): number | undefined => {
  let times = 0
  let at = 0
  for (let place = 0; place < sound.length;) {
    const length = alike(sound, place, heard, at)
    place += length
    at += length
    if (place === sound.length) break
    const again = at + mark <= heard.length ? sound.lastIndexOf(heard.subarray(at, at + mark), place) : -1
    if (length < mark || again < Math.max(0, place - back)) return undefined
    place = again
    times++
  }
  return heard.subarray(at).every(isSilence) ? times : undefined
}
