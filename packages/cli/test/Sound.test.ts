import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Melody from "@xen-shbuf/cli/Melody"
import * as Wav from "@xen-shbuf/cli/Wav"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import * as Frontend from "@xen-shbuf/io/sndif/Frontend"
import * as Pcm from "@xen-shbuf/io/sndif/Pcm"
import * as SampleFormat from "@xen-shbuf/io/sndif/SampleFormat"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { FreshFiles } from "../src/internal/FreshFiles.ts"
import { json, type Line, run, start } from "./fixtures/run.ts"

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "xen-shbuf-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
)

const inXen = (name: string, test: () => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Ledger.checked(test()).pipe(Effect.provide(TestXen.layer())))

const guest = 3

const addCard = Effect.fnUntraced(function*(more: Partial<Configuration.Description> = {}) {
  const xen = yield* TestXen.TestXen
  yield* xen.store(guest)
  yield* Effect.provide(
    Toolstack.addDevice({
      type: "vsnd",
      frontend: guest,
      frontendNodes: Configuration.toNodes({
        shortName: "Card",
        devices: [{ streams: [{ type: "playback", uniqueId: "p" }, { type: "capture", uniqueId: "c" }] }],
        ...more
      })
    }),
    TestXen.layerDomain(0)
  )
})

const params = { rate: 48_000, format: "s16_le", channels: 2, bufferFrames: 4096, periodFrames: 1024 } as const

const noise = Uint8Array.from({ length: 80_000 }, (_, i) => Math.imul(i, 0x9e37_79b1) >>> 13)

describe("sound", () => {
  inXen("--demo plays a melody into a WAV file, sample by sample", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      const lines = yield* json(0, "sound", "--demo", "--unpaced", "--levels", "--wav", folder)
      const melody = Melody.render(48_000)
      const [closed] = lines.filter(({ event }) => event === "closed")
      assert.strictEqual(closed!.sha256, sha256(melody))
      assert.strictEqual(closed!.seconds, Melody.seconds)
      assert.lengthOf(lines.filter(({ event }) => event === "level"), 4)
      const wav = readFileSync(join(folder, readdirSync(folder)[0]!))
      assert.strictEqual(wav.length, 44 + melody.length)
      assert.strictEqual(Buffer.compare(wav.subarray(44), melody), 0)
    }))

  inXen("writes each opening to a file of its own, records from a file, and tells of both", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      yield* addCard()
      const input = join(folder, "input.wav")
      yield* Effect.scoped(Effect.flatMap(Wav.writer(input, params), (write) => write(noise.slice())))
      const command = yield* start(0, "sound", "--unpaced", "--wav", join(folder, "new", "out"), "--input", input, "--json")
      const recorded = yield* Effect.gen(function*() {
        const { lines } = yield* Frontend.connect()
        for (const part of [noise.subarray(0, 40_000), noise.subarray(40_000)]) {
          yield* Effect.scoped(Effect.flatMap(lines[0]!.open(params), (open) => Pcm.play(open, Stream.make(part))))
        }
        return yield* Effect.scoped(Effect.flatMap(lines[1]!.open(params), (open) =>
          Stream.runCollect(Stream.take(Pcm.record(open), 10))))
      }).pipe(Effect.scoped, Effect.provide(TestXen.layerDomain(guest)))
      const bytes = Buffer.concat(recorded)
      assert.strictEqual(Buffer.compare(bytes, noise.subarray(0, bytes.length)), 0)
      const lines: Array<Line> = []
      while (lines.at(-1)?.event !== "gone") lines.push(yield* command.next)
      yield* command.interrupt
      assert.deepStrictEqual(lines.map(({ event }) => event).filter((event) => event !== "state"), [
        ...["serving", "card", "opened", "closed", "opened", "closed", "opened", "closed", "gone"]
      ])
      const closed = lines.filter(({ event }) => event === "closed")
      assert.deepStrictEqual(closed.map(({ stream }) => stream), ["0/0", "0/0", "0/1"])
      assert.strictEqual(closed[1]!.sha256, sha256(noise.subarray(40_000)))
      assert.strictEqual(closed[2]!.sha256, sha256(bytes))
      const files = readdirSync(join(folder, "new", "out"))
      assert.deepStrictEqual(files, ["3-0-0-0-1.wav", "3-0-0-0-2.wav"])
      assert.strictEqual(Buffer.compare(readFileSync(join(folder, "new", "out", files[1]!)).subarray(44), noise.subarray(40_000)), 0)
    }))

  inXen("writes over nothing, not even what another run has recorded", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      const names = ["1-0-0-0-1.wav", "1-0-0-0-12.wav", "1-0-0-0-9007199254740993.wav", "1-0-0-0-x.wav", "2-0-0-0-40.wav"]
      for (const name of names) writeFileSync(join(folder, name), name)
      for (const next of ["1-0-0-0-13.wav", "1-0-0-0-14.wav"]) {
        const lines = yield* json(0, "sound", "--demo", "--unpaced", "--wav", folder)
        assert.strictEqual(lines.find(({ event }) => event === "opened")!.file, join(folder, next))
      }
      for (const name of names) assert.strictEqual(readFileSync(join(folder, name), "utf8"), name)
      assert.lengthOf(readdirSync(folder), names.length + 2)
    }))

  it.live("gives no file to two that record at the same time", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      const next = (files: FreshFiles) => Effect.map(files.next("a", ".wav", 2), (file) => basename(file))
      const [first, second] = [new FreshFiles(folder), new FreshFiles(folder)]
      const all = [yield* next(first), yield* next(second), yield* next(first), ...yield* Effect.all([next(first), next(first)])]
      assert.deepStrictEqual(all, ["a-01.wav", "a-02.wav", "a-03.wav", "a-04.wav", "a-05.wav"])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

  inXen("leaves no file of a sound that none can hold", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      const format = "iec958_subframe_le"
      yield* addCard({ formats: [format] })
      const command = yield* start(0, "sound", "--wav", folder, "--json")
      const refused = yield* Effect.gen(function*() {
        const { lines } = yield* Frontend.connect()
        return yield* Effect.flip(Effect.scoped(lines[0]!.open({ ...params, format })))
      }).pipe(Effect.scoped, Effect.provide(TestXen.layerDomain(guest)))
      assert.strictEqual(refused.message, "The backend refuses OPEN with EIO.")
      yield* command.interrupt
      assert.deepStrictEqual(readdirSync(folder), [])
    }))

  inXen("refuses a stream for which the input is not what the guest records", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      yield* addCard()
      const input = join(folder, "input.wav")
      yield* Effect.scoped(Effect.flatMap(Wav.writer(input, { ...params, rate: 8000 }), (write) => write(noise.slice(0, 400))))
      writeFileSync(join(folder, "no.wav"), "no sound")
      for (const file of [input, join(folder, "no.wav"), join(folder, "missing.wav")]) {
        const command = yield* start(0, "sound", "--input", file, "--json")
        const refused = yield* Effect.gen(function*() {
          const { lines } = yield* Frontend.connect()
          return yield* Effect.flip(Effect.scoped(lines[1]!.open(params)))
        }).pipe(Effect.scoped, Effect.provide(TestXen.layerDomain(guest)))
        assert.strictEqual(refused.message, "The backend refuses OPEN with EIO.")
        yield* command.interrupt
      }
    }))

  inXen("says what is wrong with its flags", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      writeFileSync(join(folder, "file"), "")
      const [wrong] = yield* json(0, "sound", "--wav", join(folder, "file", "below"))
      assert.deepInclude(wrong, { event: "error", tag: "WavError", reason: "NotWritten" })
      assert.include((yield* run(0, "sound", "--wav", "")).stderr.join(), "--wav takes the name of a folder")
    }))
})

describe("Wav", () => {
  it.live("keeps the samples of every format that a guest can play", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      for (const format of SampleFormat.linear) {
        const size = SampleFormat.bytesOf(format)!
        const file = join(folder, `${format}.wav`)
        const bytes = noise.slice(0, size * 2 * 100)
        const written = yield* Effect.result(Effect.scoped(Effect.flatMap(Wav.writer(file, { ...params, format }), (write) =>
          write(bytes.slice()))))
        if (format.startsWith("iec958")) {
          assert.strictEqual(written._tag, "Failure")
          continue
        }
        const wav = readFileSync(file)
        const held = size === 4 && format.includes("24") ? 3 : size
        assert.strictEqual(wav.length - wav.indexOf("data") - 8, held * 200, format)
        if (!["s16_le", "u8", "s32_le", "float_le", "float64_le", "mu_law", "a_law"].includes(format)) continue
        const chunks = yield* Effect.flatMap(Wav.reader(file, { ...params, format }), Stream.runCollect)
        assert.strictEqual(Buffer.compare(Buffer.concat(chunks), bytes), 0, format)
      }
    })))

  it.live("is a whole file, too, where nothing was played", () =>
    Effect.scoped(Effect.gen(function*() {
      const file = join(yield* temporary, "empty.wav")
      yield* Effect.scoped(Wav.writer(file, params))
      const chunks = yield* Effect.flatMap(Wav.reader(file, params), Stream.runCollect)
      assert.lengthOf(Buffer.concat(chunks), 0)
    })))

  it.live("says so where a file can't be finished", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      yield* Effect.exit(Effect.scoped(Effect.flatMap(Wav.writer("/dev/full", params), (write) => write(noise.slice(0, 400))))).pipe(
        Effect.provide(Logger.layer([logger]))
      )
      assert.match(lines.join("\n"), /^\/dev\/full: the sound can't be written \(.*ENOSPC/)
    }))
})
