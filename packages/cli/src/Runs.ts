/**
 * Shortens lists of numbers for people: 57, 58, 59 becomes 57..59.
 *
 * @since 0.1.0
 */

/**
 * Numbers in a row that rise by one, fall by one, or stay the same.
 *
 * @category models
 * @since 0.1.0
 */
export interface Run {
  /** The first number. */
  readonly first: number
  /** The last number. */
  readonly last: number
  /** How many numbers, both of these included. */
  readonly count: number
}

/**
 * Splits a list into runs, the longest possible from the left.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromArray = (values: ArrayLike<number>): ReadonlyArray<Run> => {
  const runs: Array<Run> = []
  for (let at = 0; at < values.length;) {
    const first = values[at]!
    const step = values[at + 1]! - first
    let end = at + 1
    if (Math.abs(step) <= 1) while (values[end] === values[end - 1]! + step) end++
    runs.push({ first, last: values[end - 1]!, count: end - at })
    at = end
  }
  return runs
}

/**
 * A run as people read it: `57`, `57..312 (256)`, `312..57 (256)`, `57 (3 times)`.
 *
 * @category formatting
 * @since 0.1.0
 */
export const format = ({ count, first, last }: Run): string => {
  if (count === 1) return `${first}`
  return first === last ? `${first} (${count} times)` : `${first}..${last} (${count})`
}
