import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { placesOf, Playout } from "../page/Playout.ts"
import { reach, Reel } from "../page/Reel.ts"

/** Frames of an output that are asked for at a time. */
const quantum = 128

const rate = 48_000

/** Frames whose first channel is their number, from 1 on. */
const numbered = (from: number, to: number, channels = 1) =>
  Float32Array.from({ length: (to - from) * channels }, (_, i) => (from + Math.floor(i / channels) + 1) / 2 ** 20)

const render = (playout: Playout, frames: number, channels = 1) => {
  const heard: Array<number> = []
  for (let at = 0; at < frames; at += quantum) {
    const outputs = Array.from({ length: channels }, () => new Float32Array(quantum).fill(9))
    playout.render(outputs, placesOf(channels))
    heard.push(...outputs[0]!)
  }
  return heard
}

/** The numbers of frames, without silence. */
const numbersOf = (heard: ReadonlyArray<number>) => heard.map((sample) => Math.round(sample * 2 ** 20)).filter((number) => number > 0)

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

const sine = (frequency: number, frames: number, of: number) =>
  Float32Array.from({ length: frames }, (_, i) => Math.sin(2 * Math.PI * frequency * i / of))

describe("a playout", () => {
  it("plays each frame as it came, once and in order, however unevenly they come", () => {
    const playout = new Playout(1, rate, rate)
    playout.isRunning = true
    const heard: Array<number> = []
    // None for a while, then what has come meanwhile: never as late as what is in store.
    const bursts = [3, 0, 2, 1, 0, 1, 2, 0, 1, 1, 1, 0, 2, 1, 0]
    let at = 0
    for (let i = 0; i < 400; i++) {
      for (let left = bursts[i % bursts.length]!; left > 0; left--) {
        playout.add(numbered(at, at + 960), at)
        at += 960
      }
      heard.push(...render(playout, 7 * quantum))
      if (i % 2 === 1) heard.push(...render(playout, quantum))
    }
    playout.isRunning = false
    heard.push(...render(playout, rate))
    assert.deepStrictEqual(numbersOf(heard), range(1, at + 1))
    assert.deepInclude(playout.report(), { stored: 0, gaps: 0, lost: 0 })
    assert.isTrue(playout.report().isLast)
  })

  it("plays a sound that is shorter than its store, and calls the silence after it no gap", () => {
    const playout = new Playout(1, rate, rate)
    for (let sound = 0; sound < 3; sound++) {
      playout.isRunning = true
      playout.add(numbered(0, 500), 500 * sound)
      playout.isRunning = false
      assert.deepStrictEqual(numbersOf(render(playout, rate)), range(1, 501))
    }
    assert.strictEqual(playout.report().gaps, 0)
  })

  it("counts a gap where the guest went on, and keeps more in store then", () => {
    const playout = new Playout(1, rate, rate)
    playout.isRunning = true
    let at = 0
    const come = (frames: number) => {
      playout.add(numbered(at, at + frames), at)
      at += frames
    }
    const stored: Array<number> = []
    for (let gap = 0; gap < 10; gap++) {
      // As much as it takes to begin.
      while (numbersOf(render(playout, quantum)).length === 0) come(quantum)
      stored.push(playout.report().stored)
      render(playout, rate)
    }
    assert.strictEqual(playout.report().gaps, 9)
    assert.approximately(stored[0]!, 0.06, 0.01)
    assert.approximately(stored[1]!, 0.09, 0.01)
    assert.approximately(stored.at(-1)!, 0.3, 0.01)
  })

  it("counts what the server had no room for, and drops what is too late to be of use", () => {
    const playout = new Playout(1, rate, rate)
    playout.isRunning = true
    playout.add(numbered(0, 4800), 0)
    playout.add(numbered(9600, 14_400), 9600)
    assert.strictEqual(playout.report().lost, 0.1)
    const late = numbered(14_400, 14_400 + rate)
    playout.add(late, 14_400)
    const numbers = numbersOf(render(playout, 2 * rate))
    // The newest of it all, from the place of a fresh store on.
    assert.deepStrictEqual(numbers, range(14_400 + rate - 0.06 * rate + 1, 14_400 + rate + 1))
    assert.approximately(playout.report().lost, 0.1 + 0.3 + 1 - 0.06 - 0.1, 0.001)
  })

  it("keeps up with a guest whose clock is not the card's, without a gap", () => {
    for (const drift of [0.001, -0.001]) {
      const playout = new Playout(1, rate, rate)
      playout.isRunning = true
      let at = 0
      let rendered = 0
      let least = Infinity
      let most = 0
      // As far from each other as no two clocks are.
      while (rendered < 100 * rate) {
        while (at <= rendered * (1 + drift) + 960) {
          playout.add(new Float32Array(960).fill(0.5), at)
          at += 960
        }
        playout.render([new Float32Array(480)], [0])
        rendered += 480
        if (rendered % (10 * rate) !== 0 || rendered < 30 * rate) continue
        const { stored } = playout.report()
        least = Math.min(least, stored)
        most = Math.max(most, stored)
      }
      const { gaps, lost } = playout.report()
      assert.deepStrictEqual([gaps, lost], [0, 0])
      assert.isAbove(least, 0)
      assert.isBelow(most, 0.15)
    }
  })

  it("plays every frame again as it came when it has caught up", () => {
    const playout = new Playout(1, rate, rate)
    playout.isRunning = true
    playout.add(numbered(0, 9600), 0)
    let at = 9600
    let heard: Array<number> = []
    for (let i = 0; i < 20_000; i++) {
      playout.add(numbered(at % 2 ** 19, at % 2 ** 19 + quantum), at)
      at += quantum
      heard = render(playout, quantum)
      if (i === 100) assert.isFalse(heard.every((sample) => Number.isInteger(sample * 2 ** 20)))
    }
    assert.isTrue(heard.every((sample) => Number.isInteger(sample * 2 ** 20)))
    assert.isBelow(playout.report().stored, 0.1)
  })

  it("is as loud as the guest wants each channel, and measures that", () => {
    const playout = new Playout(2, rate, rate)
    playout.gains = [0.5, 0]
    playout.add(new Float32Array(9600).fill(-0.5), 0)
    const outputs = [new Float32Array(4800), new Float32Array(4800)]
    playout.render(outputs, placesOf(2))
    assert.deepStrictEqual(outputs.map((output) => Math.abs(output[4000]!)), [0.25, 0])
    assert.deepStrictEqual(playout.report().peaks, [0.25, 0])
    assert.deepStrictEqual(playout.report().peaks, [0, 0])
  })

  it("puts Linux's channels where the browser has them", () => {
    const hear = (channels: number) => {
      const playout = new Playout(channels, rate, rate)
      playout.add(Float32Array.from({ length: 4800 * channels }, (_, i) => (i % channels + 1) / 8), 0)
      const places = placesOf(channels)
      const outputs = places.map(() => new Float32Array(quantum))
      playout.render(outputs, places)
      return outputs.map((output) => output[0]! * 8)
    }
    assert.deepStrictEqual(
      [1, 2, 3, 4, 5, 6, 8].map(hear),
      [[1], [1, 2], [1, 2, 3, 0, 0, 0], [1, 2, 3, 4], [1, 2, 5, 0, 3, 4], [1, 2, 5, 6, 3, 4], [1, 2, 5, 6, 3, 4]]
    )
  })
})

describe("a reel", () => {
  /** The loudest difference between a sine that went through a reel and the same one at the other rate. */
  const errorOf = (from: number, to: number, frequency: number) => {
    const reel = new Reel(1, 2 * from)
    reel.push(sine(frequency, from, from))
    const frame = new Float32Array(1)
    const expected = sine(frequency, to, to)
    let error = 0
    // Not where the sine begins or ends.
    for (let i = 0; i < to * 0.9; i++) {
      reel.read(from / to, frame)
      if (i > 200) error = Math.max(error, Math.abs(frame[0]! - expected[i]!))
    }
    return 20 * Math.log10(error)
  }

  it("reads at another rate what would have been played at it, 80 dB below what is heard", () => {
    for (const from of [5512, 8000, 11_025, 22_050, 32_000, 44_100, 64_000, 88_200, 96_000]) {
      for (const frequency of [100, 1000, 0.3 * Math.min(from, rate)]) {
        assert.isBelow(errorOf(from, rate, frequency), -80, `${from} Hz, a sine of ${frequency}`)
      }
    }
    assert.isBelow(errorOf(48_000, 44_100, 997), -80)
    assert.isBelow(errorOf(48_000, 8000, 997), -80)
  })

  it("lets nothing through that the other rate can't hold", () => {
    const reel = new Reel(1, 96_000)
    reel.push(sine(30_000, 96_000, 96_000))
    const frame = new Float32Array(1)
    let loudest = 0
    for (let i = 0; i < 40_000; i++) {
      reel.read(2, frame)
      if (i > 200) loudest = Math.max(loudest, Math.abs(frame[0]!))
    }
    assert.isBelow(20 * Math.log10(loudest), -60)
  })

  it.prop("gives frames back as they were, the newest ones that it has room for", {
    parts: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 }))),
    channels: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 6 }))
  }, ({ channels, parts }) => {
    const reel = new Reel(channels, 300)
    let at = 0
    for (const part of parts) {
      reel.push(numbered(at, at + part, channels))
      at += part
    }
    assert.strictEqual(reel.length, Math.min(at, 300 - reach))
    const frame = new Float32Array(channels)
    for (let expected = at - reel.length; reel.length > 0; expected++) {
      reel.read(1, frame)
      assert.isTrue(frame.every((sample) => sample === (expected + 1) / 2 ** 20))
    }
  })
})
