/**
 * Holds the letters of the test card: 5 columns wide, 8 rows high, the lowest row for tails only.
 */

/** Columns of a letter. */
export const columns = 5

/** Rows of a letter. */
export const rows = 8

// Two hexadecimal digits a row, from the top; the highest of the five bits is the leftmost column.
const shapes: Readonly<Record<string, string>> = {
  "0": "0e11131519110e00",
  "1": "040c040404040e00",
  "2": "0e11010204081f00",
  "3": "1f02040201110e00",
  "4": "02060a121f020200",
  "5": "1f101e0101110e00",
  "6": "0608101e11110e00",
  "7": "1f01020408080800",
  "8": "0e11110e11110e00",
  "9": "0e11110f01020c00",
  "-": "0000001f00000000",
  ".": "000000000c0c0000",
  "×": "00110a040a110000",
  a: "00000e010f110f00",
  b: "1010161911111e00",
  c: "00000e1010110e00",
  d: "01010d1311110f00",
  e: "00000e111f100e00",
  f: "0609081c08080800",
  g: "00000f11110f010e",
  h: "1010161911111100",
  i: "04000c0404040e00",
  n: "0000161911111100",
  o: "00000e1111110e00",
  p: "00001e11111e1010",
  r: "0000161910101000",
  s: "00000e100e011e00",
  t: "08081c0808090600",
  u: "0000111111130d00",
  x: "0000110a040a1100",
  y: "000011110f01110e"
}

/** Tells whether a letter has ink at a place; an unknown letter is blank. */
export const ink = (letter: string, column: number, row: number): boolean => {
  const bits = Number.parseInt((shapes[letter] ?? "").slice(row * 2, row * 2 + 2), 16)
  return (bits >> (columns - 1 - column) & 1) === 1
}
