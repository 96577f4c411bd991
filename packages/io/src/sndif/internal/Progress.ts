/**
 * Where a stream is: what the guest has written or read, what was played or captured, and when the next step is due. Only
 * numbers: no memory, no clock of its own.
 *
 * Positions are bytes from the opening on, and a position modulo the buffer's size is the place in the buffer, always:
 * after a stop a guest begins at the buffer's beginning again, so then the position moves up to the next multiple. They
 * never go back.
 *
 * @since 0.2.0
 */
import type { Direction } from "../Configuration.ts"

/**
 * What a stream was opened with, in bytes.
 *
 * @category models
 * @since 0.2.0
 */
export interface Shape {
  readonly direction: Direction
  /** Frames a second. */
  readonly rate: number
  readonly frameSize: number
  /** A multiple of a frame, as all sizes here are. */
  readonly bufferSize: number
  /** Bytes between two events, at least a frame. */
  readonly periodSize: number
  /** Whether periods that were written, or read, already need not wait for the clock. */
  readonly isUnpaced: boolean
  /** The most bytes between two steps; steps end with periods alone where it is a period. */
  readonly stepSize: number
}

const second = 1_000_000_000

/**
 * How long Linux lets an application wait for its card, before it takes it for broken: a tenth of a second, or somewhat
 * more than a buffer lasts.
 */
const least = second / 10

/** The part of it that a guest without work is given, before the clock moves on all the same. */
const share = 0.75

/**
 * How long a guest may take, at least and at most, until it counts what it has just written or read. Linux does so after the
 * response; if it hears first that all of it was played, it takes that for an underrun, and what was written is written
 * again. What it asks for next says as well that it has counted.
 */
const grace = { least: second / 20, most: second / 4 }

/**
 * The state of a stream that is open.
 *
 * An event is due one frame after a period has ended, not with it: Linux's driver wakes its application when more than a
 * period has passed, not when one has, so that the last period of a sound would never be told.
 *
 * @category models
 * @since 0.2.0
 */
export class Progress {
  readonly #shape: Shape
  /** What was played or captured so far. */
  position: number
  /** Playback: the end of what was written. Capture: the end of what was read. */
  edge: number
  /**
   * The end of what a player has got: behind the position where the guest is late, for it gets what comes late, too. In
   * real time the sound is longer then than it was, but no sample is missing.
   */
  heard: number
  isRunning = false
  /** Times that samples were not there, or not fetched, when they were due, and the guest went on. */
  slips = 0
  /** Whether the stream has run out of samples, or of room for them. */
  #isDry = false
  /** Where the edge was when the guest last asked for something: so far it has counted for sure. */
  #settled: number
  /** When the edge was moved. */
  #moved = 0
  #base: number
  #anchor = { time: 0, position: 0 }

  constructor(shape: Shape, start: number) {
    this.#shape = shape
    this.position = this.edge = this.heard = this.#settled = this.#base = this.#align(start)
  }

  #align(position: number): number {
    const { bufferSize } = this.#shape
    return Math.ceil(position / bufferSize) * bufferSize
  }

  #drop(time: number, position = this.position) {
    this.#anchor = { time: time + this.#patience, position }
  }

  /** What a clock that does not pace waits for the guest's work, besides a period. */
  get #patience(): number {
    const { bufferSize, frameSize, isUnpaced, periodSize, rate } = this.#shape
    const lasts = (bytes: number) => bytes / frameSize / rate * second
    return isUnpaced ? Math.max(0, share * Math.max(least, lasts(bufferSize)) - lasts(periodSize)) : 0
  }

  /** The end of the period `number`, and one frame. */
  #ofPeriod(number: number): number {
    return this.#base + number * this.#shape.periodSize + this.#shape.frameSize
  }

  /** How many periods have ended, and one frame, at a position. */
  periodsAt(position: number): number {
    const { frameSize, periodSize } = this.#shape
    return Math.max(0, Math.floor((position - this.#base - frameSize) / periodSize))
  }

  /** The position that the clock has reached, whether or not there was anything to play. */
  #clocked(now: number): number {
    const { frameSize, rate } = this.#shape
    return this.#anchor.position + Math.floor((now - this.#anchor.time) * rate / second) * frameSize
  }

  /** What the guest's work allows without the clock: less than it has written, or at most a period more than it has read. */
  #ahead(edge: number): number {
    const { direction, frameSize, isUnpaced, periodSize } = this.#shape
    if (!isUnpaced) return this.position
    const before = edge - this.#base
    const periods = direction === "playback"
      ? Math.ceil((before - frameSize) / periodSize) - 1
      : Math.floor(before / periodSize) + 1
    return periods < 1 ? this.position : Math.max(this.position, this.#ofPeriod(periods))
  }

  /** What a guest is given to count what it did. */
  get #grace(): number {
    return Math.min(Math.max(this.#patience, grace.least), grace.most)
  }

  /** As much of the edge as the guest has counted. */
  #counted(now: number): number {
    return now - this.#moved >= this.#grace ? this.edge : Math.min(this.#settled, this.edge)
  }

  /** The guest asks for something: it has counted what it did before. */
  settle(): void {
    this.#settled = this.edge
  }

  /** Begins at the buffer's beginning. */
  start(now: number): void {
    this.#toBeginning()
    this.isRunning = true
    this.#drop(now)
  }

  /** Goes on where it was. */
  resume(now: number): void {
    this.isRunning = true
    this.#drop(now)
  }

  pause(): void {
    this.isRunning = false
  }

  /** What is written and not played gets lost. */
  stop(): void {
    this.isRunning = false
    this.edge = this.position
    this.#toBeginning()
    this.heard = this.edge
  }

  #toBeginning() {
    this.#base = this.position = this.#align(this.position)
    this.edge = Math.max(this.edge, this.position)
    this.heard = this.position
  }

  /**
   * Samples were written into the buffer: where the guest left off, or else at the first place from the position on. True
   * where they are late: the guest may write over them as soon as it likes.
   */
  written(offset: number, length: number, now: number): boolean {
    const { bufferSize } = this.#shape
    const place = (position: number) => position % bufferSize
    const isOut = this.edge < this.position
    const goesOn = isOut && offset === place(this.edge)
    const start = goesOn ? this.edge : this.position + place(offset - place(this.position) + bufferSize)
    if (isOut) this.heard = start
    this.edge = start + length
    this.#refilled(now)
    return goesOn
  }

  /** Samples were put into the buffer for the guest to read. */
  read(length: number, now: number): void {
    this.edge += length
    this.#refilled(now)
  }

  #refilled(now: number) {
    this.#moved = now
    if (this.#isDry) this.slips++
    this.#isDry = false
  }

  /** Nanoseconds until the next step; 0 where it is due, nothing where there is none. */
  wait(now: number): number | undefined {
    if (!this.isRunning) return undefined
    if (this.#ahead(this.#counted(now)) > this.position) return 0
    const { frameSize, rate, stepSize } = this.#shape
    const next = Math.min(this.#ofPeriod(this.periodsAt(this.position) + 1), this.position + stepSize + frameSize)
    const frames = (next - this.#anchor.position) / frameSize
    const clocked = Math.max(0, Math.ceil(this.#anchor.time + frames * second / rate - now))
    const counts = this.#ahead(this.edge) > this.position ? this.#moved + this.#grace - now : clocked
    return Math.min(clocked, counts)
  }

  /** The position to go to now, the present one where nothing is due. */
  due(now: number): number {
    if (!this.isRunning) return this.position
    const { bufferSize, periodSize, stepSize } = this.#shape
    const clocked = Math.max(this.position, this.#clocked(now))
    const ahead = this.#ahead(this.#counted(now))
    const ended = this.#ofPeriod(this.periodsAt(clocked))
    const due = Math.max(this.position, ahead, stepSize < periodSize ? clocked : ended)
    if (ahead > clocked) this.#drop(now, ahead)
    // Never a whole buffer at once: the guest counts modulo the buffer, and would see no progress.
    const most = Math.max(this.position + bufferSize - periodSize, this.#ofPeriod(this.periodsAt(this.position) + 1))
    if (due <= most) return due
    if (this.#isOut(most)) this.#drop(now, most)
    return most
  }

  /** The position that is reached without waiting for the end of a period: for a pause or a stop. */
  reached(now: number): number {
    if (!this.isRunning) return this.position
    const { direction, isUnpaced } = this.#shape
    // Without a clock that paces, what was written is as good as played.
    const clocked = isUnpaced && direction === "playback" ? this.edge : Math.max(this.position, this.#clocked(now))
    return direction === "playback" ? Math.max(this.position, Math.min(clocked, this.edge)) : clocked
  }

  #isOut(position: number): boolean {
    const { bufferSize, direction } = this.#shape
    return direction === "playback" ? position > this.edge : position > this.edge + bufferSize
  }

  /** Time that a player took from a step's beginning to now does not count where it is more than a period: the guest waits. */
  hold(begun: number, now: number): void {
    const { frameSize, periodSize, rate } = this.#shape
    if (this.isRunning && (now - begun) * rate > periodSize / frameSize * second) this.#drop(now)
  }

  /** The position is reached: what there was is played. */
  advance(position: number): void {
    this.position = position
    if (this.isRunning && this.#isOut(position)) this.#isDry = true
  }
}
