import { assert, describe, it } from "@effect/vitest"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { decode } from "fast-png"
import { createHash } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Pattern from "@xen-shbuf/cli/Pattern"
import * as TestCard from "@xen-shbuf/cli/TestCard"
import { json, run, start } from "./fixtures/run.ts"

const frontend = 1
const backend = 0

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

const filled = (byteLength: number, pattern: Pattern.Pattern) => {
  const bytes = new Uint8Array(byteLength)
  Pattern.write(bytes, pattern)
  return sha256(bytes)
}

const noise = (seed: number) => filled(5000, { _tag: "Noise", seed })
const zero = filled(5000, { _tag: "Zero" })

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "xen-shbuf-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
)

/** A test in a Xen of its own, in which nothing may be left. */
const inXen = (name: string, test: () => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Ledger.checked(test()).pipe(Effect.provide(TestXen.layer({ sharedPages: 4096 }))))

describe("share and map", () => {
  inXen("pass contents both ways", () =>
    Effect.gen(function*() {
      const share = yield* start(frontend, "share", "--peer", "0", "--bytes", "5000", "--pattern", "noise:7", "--json")
      assert.deepStrictEqual(yield* share.next, {
        event: "shared",
        directory: 10,
        pages: 2,
        bytes: 5000,
        sha256: noise(7)
      })
      const map = ["map", "--peer", "1", "--directory", "0xa", "--bytes", "5000", "--pattern", "noise:8"]
      assert.deepStrictEqual(yield* json(backend, ...map), [
        { event: "mapped", pages: 2, bytes: 5000, sha256: noise(7) },
        { event: "written", sha256: noise(8) },
        { event: "released" }
      ])
      yield* share.enter
      assert.deepStrictEqual(yield* share.next, { event: "contents", sha256: noise(8) })
      assert.deepStrictEqual(yield* share.next, { event: "released" })
      assert.isTrue(Exit.isSuccess((yield* share.end).exit))
    }))

  inXen("say 'released' when it is", () =>
    Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const share = yield* start(frontend, "share", "--peer", "0", "--bytes", "1", "--json")
      yield* share.next
      const map = yield* start(backend, "map", "--peer", "1", "--directory", "9", "--bytes", "1", "--hold", "--json")
      yield* map.next
      assert.lengthOf(yield* xen.holdings, 2)
      yield* map.enter
      assert.deepStrictEqual(yield* map.next, { event: "released" })
      assert.lengthOf(yield* xen.holdings, 1)
      yield* share.interrupt
      yield* share.next.pipe(Effect.map((line) => assert.deepStrictEqual(line, { event: "released" })))
      assert.lengthOf(yield* xen.holdings, 0)
    }))

  inXen("write the picture to a PNG", () =>
    Effect.gen(function*() {
      const file = join(yield* temporary, "frame.png")
      const size = ["--width", "300", "--height", "200"]
      const share = yield* start(frontend, "share", "--peer", "0", ...size, "--pattern", "card", "--json")
      const shared = yield* share.next
      const map = ["map", "--peer", "1", "--directory", String(shared.directory), ...size, "--read-only", "--png", file]
      const lines = yield* json(backend, ...map)
      assert.deepStrictEqual(lines.map(({ event }) => event), ["mapped", "png", "released"])
      assert.strictEqual(lines[0]!.sha256, shared.sha256)
      const frame = TestCard.draw(300, 200)
      const { channels, data, height, width } = decode(readFileSync(file))
      assert.deepStrictEqual([width, height, channels], [300, 200, 3])
      const pixels = Array.from({ length: 300 * 200 }, (_, i) => [frame[4 * i + 2], frame[4 * i + 1], frame[4 * i]])
      // Not deepStrictEqual: its list of differences would take minutes.
      assert.isTrue(Buffer.from(data.buffer).equals(Buffer.from(pixels.flat() as Array<number>)))
    }))

  inXen("notice before the work that a picture can't be written, and leave what is there", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      const size = ["--width", "30", "--height", "20"]
      const share = yield* start(frontend, "share", "--peer", "0", ...size, "--json")
      const { directory } = yield* share.next
      const map = ["map", "--peer", "1", "--directory", String(directory), ...size]
      for (const file of [folder, join(folder, "no", "where.png"), "/proc/version/frame.png"]) {
        const lines = yield* json(backend, ...map, "--png", file)
        assert.deepStrictEqual(lines.map(({ event, tag }) => [event, tag]), [["error", "PngNotWritten"]], file)
        assert.include(lines[0]!.message, `can't be written to ${file}`)
      }
      const [empty] = yield* json(backend, ...map, "--png", "")
      assert.include(empty!.message, "Expected: the name of a file")
      const there = join(folder, "there.png")
      writeFileSync(there, "before")
      yield* json(backend, "map", "--peer", "1", "--directory", "7000", ...size, "--png", there)
      yield* json(backend, "map", "--peer", "1", "--directory", "7000", ...size, "--png", join(folder, "new.png"))
      assert.strictEqual(readFileSync(there, "utf8"), "before")
      assert.deepStrictEqual(readdirSync(folder), ["there.png"])
      // A link stays one, whatever it leads to.
      const link = join(folder, "link.png")
      symlinkSync("nothing.png", link)
      yield* json(backend, "map", "--peer", "1", "--directory", "7000", ...size, "--png", link)
      assert.strictEqual(readlinkSync(link), "nothing.png")
    }))

  inXen("leave the input to a shell's loop where they wait for nobody", () =>
    Effect.gen(function*() {
      const size = ["--width", "30", "--height", "20"]
      const share = yield* start(frontend, "share", "--peer", "0", ...size, "--json")
      const { directory } = yield* share.next
      // A picture takes turns of the event loop, in which input would be read.
      const png = ["--png", join(yield* temporary, "frame.png")]
      const map = yield* start(backend, "map", "--peer", "1", "--directory", String(directory), ...size, ...png, "--json=true")
      yield* map.enter
      yield* map.closeInput
      const { stderr, stdout } = yield* map.end
      assert.deepStrictEqual(stdout.map((line) => JSON.parse(line).event), ["mapped", "png", "released"])
      assert.deepStrictEqual([stderr, yield* map.unread], [[], 1])
    }))

  inXen("refuse to write what was shared for reading", () =>
    Effect.gen(function*() {
      const share = yield* start(frontend, "share", "--peer", "0", "--bytes", "1", "--read-only", "--json")
      yield* share.next
      const lines = yield* json(backend, "map", "--peer", "1", "--directory", "9", "--bytes", "1")
      assert.deepStrictEqual(lines.map(({ event, reason }) => [event, reason]), [["error", "GrantRefused"]])
    }))
})

describe("share --backend-alloc and provide", () => {
  inXen("pass contents both ways", () =>
    Effect.gen(function*() {
      const offer = ["share", "--peer", "0", "--bytes", "5000", "--backend-alloc", "--pattern", "noise:8", "--json"]
      const share = yield* start(frontend, ...offer)
      assert.deepStrictEqual(yield* share.next, { event: "directory", directory: 8, pages: 2, bytes: 5000 })
      const answer = ["provide", "--peer", "1", "--directory", "8", "--bytes", "5000", "--pattern", "noise:7", "--json"]
      const provide = yield* start(backend, ...answer)
      assert.deepStrictEqual(yield* provide.next, { event: "provided", pages: 2, bytes: 5000, sha256: noise(7) })
      yield* share.enter
      assert.deepStrictEqual(yield* share.next, { event: "mapped", sha256: noise(7) })
      assert.deepStrictEqual(yield* share.next, { event: "written", sha256: noise(8) })
      yield* share.enter
      assert.deepStrictEqual(yield* share.next, { event: "released" })
      yield* provide.enter
      assert.deepStrictEqual(yield* provide.next, { event: "contents", sha256: noise(8) })
      assert.deepStrictEqual(yield* provide.next, { event: "released" })
    }))

  inXen("fail, and release, when nothing was provided", () =>
    Effect.gen(function*() {
      const share = yield* start(frontend, "share", "--peer", "0", "--bytes", "5000", "--backend-alloc", "--json")
      yield* share.next
      yield* share.enter
      assert.deepStrictEqual(yield* share.next, { event: "released" })
      const { event, reason, tag } = yield* share.next
      assert.deepStrictEqual([event, tag, reason], ["error", "DirectoryError", "InvalidRef"])
      assert.isTrue(Exit.isFailure((yield* share.end).exit))
    }))

  inXen("start from zero without a pattern", () =>
    Effect.gen(function*() {
      yield* start(frontend, "share", "--peer", "0", "--bytes", "5000", "--backend-alloc", "--json").pipe(
        Effect.flatMap(({ next }) => next)
      )
      const provide = yield* start(backend, "provide", "--peer", "1", "--directory", "8", "--bytes", "5000", "--json")
      assert.strictEqual((yield* provide.next).sha256, zero)
    }))
})

describe("walk", () => {
  /** A directory of two pages, changed by `spoil`, then walked. */
  const walk = (spoil: (words: SharedMemory.Writable<Uint32Array>) => void, ...args: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const table = yield* xen.domain(frontend)
      const { refs, bytes } = yield* table.share({ peer: backend, pages: 2 })
      const buffer = yield* table.share({ peer: backend, pages: 1024 })
      const words = SharedMemory.viewAs(bytes, Uint32Array)
      words[0] = refs[1]!
      words.set(buffer.refs.subarray(0, 1023), 1)
      words[1025] = buffer.refs[1023]!
      spoil(words)
      return yield* run(backend, "walk", "--peer", "1", "--directory", String(refs[0]), "--bytes", "4194304", ...args)
    })

  inXen("prints a sound directory", () =>
    Effect.gen(function*() {
      const { exit, stdout } = yield* walk(() => {})
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(stdout.join("\n").split("\n"), [
        "Directory 8 of domain 1, for a buffer of 4,194,304 bytes: 1,024 pages, so 2 directory pages.",
        "  page 0, grant 8, next 9",
        "    1,023 references:",
        "      10..1032 (1023)",
        "  page 1, grant 9, the last",
        "    1 reference:",
        "      1033",
        "✓ Nothing is wrong with it, and every page of the buffer can be mapped."
      ])
    }))

  inXen("shows a directory that this domain filled in itself: its references are ours", () =>
    Effect.gen(function*() {
      const share = yield* start(frontend, "share", "--peer", "0", "--bytes", "5000", "--backend-alloc", "--json")
      const { directory } = yield* share.next
      const at = ["--peer", "1", "--directory", String(directory), "--bytes", "5000"]
      const provide = yield* start(backend, "provide", ...at, "--json")
      yield* provide.next
      const asTheirs = yield* run(backend, "walk", ...at)
      assert.isTrue(Exit.isFailure(asTheirs.exit))
      assert.include(asTheirs.stdout.join("\n"), "If this domain has filled it in itself (provide), its references are ours")
      const { exit, stdout } = yield* run(backend, "walk", ...at, "--provided")
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(stdout.join("\n").split("\n"), [
        `Directory ${directory} of domain 1, for a buffer of 5,000 bytes: 2 pages, so 1 directory page.`,
        `  page 0, grant ${directory}, the last`,
        "    2 references:",
        "      8..9 (2)",
        "✓ Nothing is wrong with it. Its references are this domain's own: only the peer can map them."
      ])
      const [line] = yield* json(backend, "walk", ...at, "--provided")
      assert.deepInclude(line, { filledBy: "us", problem: null })
    }))

  inXen("says what is wrong, and fails", () =>
    Effect.gen(function*() {
      const { exit, stderr, stdout } = yield* walk((words) => {
        words[5] = 0
        words[2000] = 99
        words.set(Array.from(words.slice(1, 1024)).reverse(), 1)
      })
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(stderr, [])
      assert.deepStrictEqual(stdout.join("\n").split("\n").slice(2), [
        "    1,023 references:",
        "      1032..15 (1018) 0 13..10 (4)",
        "  page 1, grant 9, the last",
        "    1 reference:",
        "      1033",
        "    1 word behind the last reference, which nobody reads:",
        "      99",
        "✗ The reference of buffer page 1018 (directory page 0) is 0: it was never filled in."
      ])
    }))

  inXen("prints one object with --json", () =>
    Effect.gen(function*() {
      const { exit, stdout } = yield* walk((words) => {
        words[1024] = 8
      }, "--json")
      assert.isTrue(Exit.isFailure(exit))
      assert.lengthOf(stdout, 1)
      const { event, problem, read } = JSON.parse(stdout[0]!)
      assert.strictEqual(event, "walk")
      assert.deepStrictEqual([problem.tag, problem.reason], ["DirectoryError", "Cyclic"])
      assert.deepStrictEqual(read[0], {
        page: 0,
        ref: 8,
        next: 9,
        references: [{ first: 10, last: 1032, count: 1023 }],
        beyond: []
      })
    }))
})

describe("help", () => {
  inXen("says of a flag that is required that it is, and of map when it writes", () =>
    Effect.gen(function*() {
      for (const command of ["map", "provide", "walk"]) {
        const text = (yield* run(backend, command, "--help")).stdout.join("\n")
        assert.match(text, /--peer .*required/)
        assert.match(text, /--directory .*required/)
        assert.match(text, /--bytes .*this, or --width and --height/)
        if (command === "map") assert.match(text, /nothing is written into it without --pattern/)
      }
    }))
})

describe("demo", () => {
  inXen("passes the picture both ways, and leaves nothing", () =>
    Effect.gen(function*() {
      const file = join(yield* temporary, "demo.png")
      const lines = yield* json(5, "demo", "--png", file)
      const card = sha256(TestCard.draw(1920, 1080))
      assert.deepStrictEqual(
        lines.map(({ clean, equal, event, mode, mapped, read, shared }) => ({
          event,
          ...(mode === undefined ? {} : { mode, read, equal }),
          ...(clean === undefined ? {} : { clean, shared, mapped })
        })),
        [
          { event: "transferred", mode: "frontend-allocates", read: card, equal: true },
          { event: "transferred", mode: "backend-allocates", read: card, equal: true },
          { event: "released", clean: true, shared: 4054, mapped: 4052 },
          { event: "png" }
        ]
      )
      const { height, width } = decode(readFileSync(file))
      assert.deepStrictEqual([width, height], [1920, 1080])
    }))

  inXen("says so in a few lines", () =>
    Effect.gen(function*() {
      const { stdout } = yield* run(5, "demo", "--png", join(yield* temporary, "demo.png"))
      const lines = stdout.join("\n").split("\n")
      assert.isAtMost(lines.filter((line) => line !== "").length, 25)
      assert.isAtMost(Math.max(...lines.map((line) => line.length)), 90)
      assert.lengthOf(lines.filter((line) => line.includes("✓")), 3)
    }))

  inXen("tells that the picture can't be written", () =>
    Effect.gen(function*() {
      const lines = yield* json(5, "demo", "--png", join(yield* temporary, "nowhere", "demo.png"))
      assert.deepInclude(lines.at(-1), { event: "error", tag: "PngNotWritten", reason: "NotFound" })
    }))
})

describe("bad input", () => {
  const peer = ["--peer", "0"]
  const bytes = ["--bytes", "4096"]
  const directory = ["--directory", "8"]
  const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, reason: string, message: RegExp]> = [
    ...["0", "-1", "1.5", "4294967297", "1e3", "", "many"].map((size) =>
      [["share", ...peer, `--bytes=${size}`], "InvalidValue", /--bytes.*from 1 to 4294967296/] as const
    ),
    ...["0x7ff0", "32752", "-1", "self"].map((id) =>
      [["share", `--peer=${id}`, ...bytes], "InvalidValue", /--peer.*from 0 to 32751/] as const
    ),
    ...["0", "7", "0xFFFFFFFF", "4294967295", "0x"].map((ref) =>
      [["map", ...peer, ...bytes, `--directory=${ref}`], "InvalidValue", /--directory.*from 8 to 4294967294/] as const
    ),
    [["share", ...peer], "ValidationError", /size is missing/],
    [["share", ...peer, ...bytes, "--width", "5"], "ValidationError", /either --bytes/],
    [["share", ...peer, "--width", "5"], "ValidationError", /either --bytes/],
    [["share", ...peer, "--width", "65536", "--height", "65536"], "ValidationError", /too many.*4294967296/],
    [["share", ...peer, "--width", "0", "--height", "1"], "InvalidValue", /--width/],
    [["share", ...peer, ...bytes, "--pattern", "plaid"], "InvalidValue", /plaid.*card.*noise.*pages.*zero/],
    [["share", ...peer, ...bytes, "--pattern", "noise:4294967296"], "InvalidValue", /SEED/],
    [["share", ...peer, ...bytes, "--pattern", "card"], "ValidationError", /--width and --height/],
    [["share", ...peer, ...bytes, "--backend-alloc", "--read-only"], "ValidationError", /no meaning/],
    [["share", ...bytes], "MissingOption", /--peer/],
    [["map", ...peer, ...directory, ...bytes, "--read-only", "--pattern", "zero"], "ValidationError", /--read-only/],
    [["map", ...peer, ...directory, ...bytes, "--png", "a.png"], "ValidationError", /--width and --height/],
    [["shear"], "UnknownSubcommand", /shear/],
    [["share", ...peer, ...bytes, "--frob"], "UnrecognizedOption", /frob/]
  ]
  for (const [args, reason, message] of cases) {
    inXen(`is refused: ${args.join(" ")}`, () =>
      Effect.gen(function*() {
        const machine = yield* run(frontend, ...args, "--json")
        assert.isTrue(Exit.isFailure(machine.exit))
        assert.deepStrictEqual(machine.stderr, [])
        const [first] = machine.stdout.map((text) => JSON.parse(text))
        assert.deepInclude(first, { event: "error", tag: "CliError", reason })
        assert.match(first.message, message)
        const person = yield* run(frontend, ...args)
        assert.deepStrictEqual(person.stdout, [])
        assert.match(person.stderr[0]!, message)
      }))
  }

  inXen("is refused by Xen with a remedy", () =>
    Effect.gen(function*() {
      const { stderr, stdout } = yield* run(frontend, "share", ...peer, "--bytes", String(4096 * 4096))
      assert.deepStrictEqual(stdout, [])
      assert.match(stderr[0]!, /limit is 4096 pages.*echo 4101 > \/sys/)
      const [refused] = yield* json(backend, "map", "--peer", "1", ...directory, ...bytes)
      assert.deepInclude(refused, { event: "error", tag: "GrantTableError" })
    }))

  inXen("in a hostile directory is refused", () =>
    Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const { bytes: shared, directory } = yield* SharedBuffer.alloc({ peer: backend, byteLength: 8192 }).pipe(
        Effect.provideService(GrantTable, yield* xen.domain(frontend))
      )
      // The directory lies behind the buffer: its second reference becomes the first once more.
      const words = new Uint32Array(SharedMemory.unsafeBytes(shared).buffer, 8192, 1024)
      words[2] = words[1]!
      const [error] = yield* json(backend, "map", "--peer", "1", "--directory", String(directory), "--bytes", "8192")
      assert.deepInclude(error, { event: "error", tag: "DirectoryError", reason: "RepeatedRef" })
    }))
})

describe("--help and --version", () => {
  inXen("succeed", () =>
    Effect.gen(function*() {
      for (const args of [["--help"], ["share", "--help"], ["--version"], []]) {
        const { exit, stderr, stdout } = yield* run(frontend, ...args)
        assert.deepStrictEqual(stderr, [])
        assert.match(stdout.join("\n"), /xen-shbuf/)
        assert.isTrue(Exit.isSuccess(exit) || args.length === 0)
      }
    }))
})
