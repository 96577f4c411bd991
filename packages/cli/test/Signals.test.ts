import { assert, describe, it } from "@effect/vitest"
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { closeSync, openSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The command as a process of its own, in domain 0 of an in-memory Xen; it says at its end what is still held. */
const start = (...args: ReadonlyArray<string>) => {
  const child: ChildProcessWithoutNullStreams = spawn(process.execPath, [file("fixtures/main.ts"), ...args, "--json"])
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    child,
    next: async () => JSON.parse((await lines.next()).value ?? "null"),
    exit: once(child, "exit").then(([code]) => code as number)
  }
}

const holding = {
  share: ["share", "--peer", "1", "--bytes", "100000"],
  "share --backend-alloc": ["share", "--peer", "1", "--bytes", "100000", "--backend-alloc"],
  "map --hold": ["map", "--peer", "1", "--directory", "9", "--bytes", "4096", "--hold"],
  provide: ["provide", "--peer", "1", "--directory", "10", "--bytes", "4096"]
}

describe("signals", () => {
  for (const [name, args] of Object.entries(holding)) {
    for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
      it(`${signal} ends ${name}, which releases everything`, async () => {
        const { child, exit, next } = start(...args)
        await next()
        child.kill(signal)
        assert.deepStrictEqual(await next(), { event: "released" })
        assert.deepStrictEqual(await next(), { event: "held", count: 0 })
        assert.strictEqual(await exit, code)
      }, 30_000)
    }
  }
})

describe("the end of input", () => {
  it("is not Enter: only a signal ends it, and waiting costs nothing", async () => {
    const { child, exit, next } = start(...holding.share)
    child.stdin.end()
    await next()
    const early = await Promise.race([exit, new Promise((resolve) => setTimeout(resolve, 500, "waits"))])
    assert.strictEqual(early, "waits")
    child.kill("SIGTERM")
    assert.strictEqual(await exit, 143)
  }, 30_000)

  it("may stay away: Enter ends it although stdin stays open", async () => {
    const { child, exit, next } = start(...holding.share)
    await next()
    child.stdin.write("\n")
    assert.strictEqual((await next()).event, "contents")
    assert.deepStrictEqual(await next(), { event: "released" })
    assert.strictEqual(await exit, 0)
  }, 30_000)
})

describe("bin", () => {
  const bin = (...args: ReadonlyArray<string>) =>
    spawnSync(process.execPath, [file("../src/bin.ts"), ...args], { encoding: "utf8" })

  it("prints its help without Xen", () => {
    const { status, stdout } = bin("--help")
    assert.strictEqual(status, 0)
    assert.match(stdout, /provide/)
  }, 30_000)

  it("exits with 2 after wrong flags, and tells why", () => {
    const { status, stderr, stdout } = bin("share", "--peer", "0x7ff0", "--bytes", "1")
    assert.deepStrictEqual([status, stdout], [2, ""])
    assert.match(stderr, /32751/)
    assert.strictEqual(bin("nonsense").status, 2)
  }, 30_000)

  it("says in one line what a machine lacks for the demo", () => {
    const program = `
      import { registerHooks } from "node:module"
      registerHooks({
        resolve: (name, context, next) => {
          if (name === "koffi") throw new Error("no koffi for this machine")
          return next(name, context)
        }
      })
      process.argv.push("bin", "demo", "--png", ${JSON.stringify(join(tmpdir(), `none-${process.pid}.png`))})
      await import(${JSON.stringify(file("../src/bin.ts"))})`
    const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" })
    assert.strictEqual(status, 1)
    assert.match(stderr, /^TestXen needs real memory pages of 4096 bytes, .*: no koffi for this machine\n$/)
  }, 30_000)

  it("says in one line that Node is too old, before anything is imported", () => {
    const old = `data:text/javascript,Object.defineProperty(process, "versions", { value: { ...process.versions, node: "22.18.0" } })`
    const { status, stderr } = spawnSync(process.execPath, ["--import", old, file("../src/bin.ts"), "--help"], { encoding: "utf8" })
    assert.deepStrictEqual([status, stderr], [1, "xen-shbuf needs Node 22.19 or newer, and this is 22.18.0.\n"])
    const { engines } = JSON.parse(readFileSync(file("../package.json"), "utf8"))
    assert.strictEqual(engines.node, ">=22.19")
  }, 30_000)

  it("exits with 1 after any other failure", () => {
    const { status, stderr } = bin("share", "--peer", "1", "--bytes", "1")
    assert.strictEqual(status, 1)
    assert.match(stderr, /gntalloc/)
  }, 30_000)

  it("fails when what it prints can't be written, with all released", async () => {
    const full = openSync("/dev/full", "w")
    const demo = spawnSync(process.execPath, [file("../src/bin.ts"), "demo", "--png", join(tmpdir(), `full-${process.pid}.png`)], {
      encoding: "utf8",
      stdio: ["ignore", full, "pipe"]
    })
    rmSync(join(tmpdir(), `full-${process.pid}.png`), { force: true })
    assert.strictEqual(demo.status, 1)
    assert.strictEqual(demo.stderr, "What there is to say can't be written (ENOSPC).\n")
    closeSync(full)
    // Whoever closes the pipe has read enough: it ends, and lets go of what it shares.
    const { child, exit } = start(...holding.share)
    child.stdout.destroy()
    child.stdin.write("\n")
    assert.strictEqual(await exit, 1)
  }, 60_000)
})
