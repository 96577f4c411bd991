/**
 * Answers a query of hardware parameters: what of it a stream can be.
 *
 * @since 0.2.0
 */
import type { Settings } from "../Configuration.ts"
import type { HwParams, Interval } from "../Protocol.ts"
import * as SampleFormat from "../SampleFormat.ts"

const both = (a: Interval, b: Interval): Interval => ({ min: Math.max(a.min, b.min), max: Math.min(a.max, b.max) })

const isEmpty = ({ max, min }: Interval) => min > max

const ratesIn = ({ rates }: Settings, asked: Interval): Interval => {
  const within = both(rates, asked)
  if (rates.only === undefined) return within
  const left = rates.only.filter((rate) => rate >= within.min && rate <= within.max)
  return left.length === 0 ? { min: 1, max: 0 } : { min: left[0]!, max: left.at(-1)! }
}

/** The most frames that a buffer can have: those of the smallest frames that are left. */
const mostFrames = (settings: Settings, formats: ReadonlyArray<SampleFormat.SampleFormat>, channels: Interval) => {
  const sample = Math.min(...formats.map((format) => SampleFormat.bytesOf(format)!))
  return Math.floor(settings.bufferSize / (sample * channels.min))
}

/**
 * The formats of a stream that can be played here.
 *
 * @category conversions
 * @since 0.2.0
 */
export const formatsOf = ({ formats }: Settings): ReadonlyArray<SampleFormat.SampleFormat> =>
  formats.filter((format) => SampleFormat.bytesOf(format) !== undefined)

/**
 * What both the query and the stream allow; undefined where that is nothing.
 *
 * @category conversions
 * @since 0.2.0
 */
export const refine = (settings: Settings, asked: HwParams): HwParams | undefined => {
  const formats = formatsOf(settings).filter((format) => SampleFormat.fromMask(asked.formats).includes(format))
  const rates = ratesIn(settings, asked.rates)
  const channels = both(settings.channels, asked.channels)
  if (formats.length === 0 || isEmpty(rates) || isEmpty(channels)) return undefined
  const buffer = both({ min: 1, max: mostFrames(settings, formats, channels) }, asked.buffer)
  const period = both({ min: 1, max: buffer.max }, asked.period)
  if (isEmpty(buffer) || isEmpty(period)) return undefined
  return { formats: SampleFormat.toMask(formats), rates, channels, buffer, period }
}
