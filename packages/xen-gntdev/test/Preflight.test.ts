import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Preflight from "../src/Preflight.ts"

let directory: string
const file = (name: string) => join(directory, name)
const paths = () => ({
  platform: "linux",
  auxv: file("auxv"),
  hypervisor: file("type"),
  procXen: file("proc-xen"),
  gntalloc: file("gntalloc"),
  gntdev: file("gntdev"),
  evtchn: file("evtchn"),
  xenbus: file("xenbus"),
  xenstored: file("xenstored"),
  gntallocLimit: file("gntalloc-limit"),
  gntdevLimit: file("gntdev-limit")
})
const auxv = (pageSize: bigint) => new Uint8Array(BigUint64Array.of(33n, 6n, 6n, pageSize, 0n, 0n).buffer)

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "xen-shbuf-"))
  writeFileSync(file("auxv"), auxv(4096n))
  writeFileSync(file("type"), "xen\n")
  writeFileSync(file("gntalloc"), "")
  writeFileSync(file("gntdev"), "")
  writeFileSync(file("evtchn"), "")
  writeFileSync(file("xenbus"), "")
  writeFileSync(file("gntalloc-limit"), "1024\n")
  writeFileSync(file("gntdev-limit"), "65536\n")
})
afterEach(() => rmSync(directory, { recursive: true }))

const failing = (options: Preflight.CheckOptions = {}) =>
  Effect.map(
    Preflight.check({ ...paths(), ...options }),
    (points) => points.filter(({ ok }) => !ok).map(({ detail, name, remedy }) => `${name}: ${detail}. ${remedy}`)
  )

describe("Preflight.check", () => {
  it.effect("is content with a Xen domain that has all it needs, in a fixed order", () =>
    Effect.gen(function*() {
      const points = yield* Preflight.check({ ...paths(), pages: 1024 })
      assert.deepStrictEqual(points.filter(({ ok }) => !ok), [])
      assert.deepStrictEqual(points.map(({ name }) => name), [
        "Linux", "C library", "page size", "Xen", file("gntalloc"), file("gntdev"),
        file("evtchn"), file("xenbus"), "gntalloc limit", "gntdev limit", "grant table"
      ])
      assert.isTrue(points.every(({ detail, ok, remedy }) => detail !== "" && ok === (remedy === undefined)))
    }))

  it.effect("names the number needed and the file to write", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* failing({ pages: 2027 }), [
        `gntalloc limit: 1024 pages shared at one time by all programs, 2027 needed. As root: echo 2027 > ${
          file("gntalloc-limit")
        }`
      ])
    }))

  it.effect("asks for xenstored's socket where there is one, and for the kernel's device elsewhere", () =>
    Effect.gen(function*() {
      rmSync(file("xenbus"))
      writeFileSync(file("xenstored"), "")
      assert.deepStrictEqual(yield* failing(), [])
    }))

  it.effect("one line for each failing point", () =>
    Effect.gen(function*() {
      writeFileSync(file("auxv"), auxv(65_536n))
      writeFileSync(file("type"), "kvm\n")
      for (const name of ["gntalloc", "gntalloc-limit", "gntdev", "gntdev-limit", "evtchn", "xenbus"]) rmSync(file(name))
      const lines = yield* failing({ platform: "darwin", pages: 40_000 })
      const expected = [
        /^Linux: this is darwin/,
        /^page size: 65536 bytes\. Boot a kernel with pages of 4096 bytes/,
        /^Xen: the hypervisor is kvm/,
        /gntalloc: can't be used \(ENOENT\)\. Load its module: modprobe xen-gntalloc/,
        /gntdev: can't be used \(ENOENT\)\. Load its module: modprobe xen-gntdev/,
        /evtchn: can't be used \(ENOENT\)\. Load its module: modprobe xen-evtchn/,
        /xenbus: can't be used \(ENOENT\)\. Run in a Xen domain, .* start xenstored/,
        /^gntalloc limit: .* can't be read \(ENOENT\)\. Load its module/,
        /^gntdev limit: .* can't be read \(ENOENT\)\. Load its module/,
        /^grant table: 40000 pages needed; of 32768 references, .* 28672 are for them/
      ]
      assert.strictEqual(lines.length, expected.length)
      for (const [i, pattern] of expected.entries()) assert.match(lines[i]!, pattern)
    }))

  it.effect("takes /proc/xen for a sign of Xen where no file names the hypervisor", () =>
    Effect.gen(function*() {
      rmSync(file("type"))
      assert.strictEqual((yield* failing()).length, 1)
      mkdirSync(file("proc-xen"))
      assert.deepStrictEqual(yield* failing(), [])
    }))

  it.effect("refuses numbers that can't be", () =>
    Effect.gen(function*() {
      for (const pages of [-5, 0, 1.5, NaN, 2 ** 32]) {
        const error = yield* Effect.flip(Preflight.check({ ...paths(), pages }))
        assert.include(error.message, `pages is ${pages}, but must be a number of pages`)
      }
      const error = yield* Effect.flip(Preflight.check({ ...paths(), grantTableSize: NaN }))
      assert.include(error.message, "grantTableSize is NaN, but must be")
    }))

  it.effect("tells which points only one half needs", () =>
    Effect.gen(function*() {
      const points = yield* Preflight.check(paths())
      const only = (role?: Preflight.Role) => points.filter((point) => point.only === role).map(({ name }) => name)
      assert.deepStrictEqual(only("share"), [file("gntalloc"), "gntalloc limit", "grant table"])
      assert.deepStrictEqual(only("map"), [file("gntdev"), "gntdev limit"])
      assert.deepStrictEqual(only(), ["Linux", "C library", "page size", "Xen"])
    }))

  it.effect("says so where the page size can't be found", () =>
    Effect.gen(function*() {
      writeFileSync(file("auxv"), "short")
      assert.match((yield* failing())[0]!, /^page size: .* does not tell it/)
      rmSync(file("auxv"))
      assert.match((yield* failing())[0]!, /^page size: .* can't be read \(ENOENT\)/)
    }))
})
