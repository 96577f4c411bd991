import { assert, describe, it } from "@effect/vitest"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createServer } from "node:net"
import { run, start } from "./fixtures/run.ts"

const inXen = (name: string, test: () => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Effect.provide(test(), TestXen.layer()))

/** Runs `screen` on a free port, and gives the address that it says. */
const listening = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const command = yield* start(0, "screen", "--json", ...args)
  const { event, url } = yield* command.next
  assert.strictEqual(event, "listening")
  return { ...command, url: String(url) }
})

const status = (url: string, options?: RequestInit) =>
  Effect.promise(async () => {
    const response = await fetch(url, options)
    await response.arrayBuffer()
    return response.status
  })

describe("screen", () => {
  inXen("says its address, shows the page there, and ends at once when it is told to", () =>
    Effect.gen(function*() {
      const { interrupt, url } = yield* listening("--demo", "--listen", "0")
      assert.match(url, /^http:\/\/127\.0\.0\.1:[0-9]+\/$/)
      assert.strictEqual(yield* status(url), 200)
      // Browsers keep connections for more to come.
      yield* interrupt
      assert.isTrue(yield* Effect.promise(() => fetch(url).then(() => false, () => true)))
    }))

  inXen("wants a token where others can reach it, under a path, on IPv6 as well", () =>
    Effect.gen(function*() {
      const { url } = yield* listening("--listen", "[::]:0", "--path", "screens/xen")
      const { pathname, port, searchParams } = new URL(url)
      assert.strictEqual(pathname, "/screens/xen/")
      const token = searchParams.get("token")!
      assert.match(token, /^[\w-]{22}$/)
      const at = `http://[::1]:${port}/screens/xen`
      assert.strictEqual(yield* status(`${at}/?token=${token}`), 200)
      assert.strictEqual(yield* status(`${at}?token=${token}`), 200)
      assert.strictEqual(yield* status(`${at}/`), 403)
      assert.strictEqual(yield* status(`${at}/?token=${token}x`), 403)
      assert.strictEqual(yield* status(`${at}/socket`), 403)
      assert.strictEqual(yield* status(`http://[::1]:${port}/?token=${token}`), 404)
    }))

  inXen("takes a token of one's own, on loopback, too", () =>
    Effect.gen(function*() {
      const { url } = yield* listening("--listen", "127.0.0.1:0", "--token", "a b&c")
      assert.strictEqual(new URL(url).searchParams.get("token"), "a b&c")
      assert.strictEqual(yield* status(url), 200)
      assert.strictEqual(yield* status(url.replace(/\?.*/, "")), 403)
    }))

  inXen("says why it can't listen", () =>
    Effect.gen(function*() {
      const taken = createServer()
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void taken.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => taken.close())
      )
      const address = taken.address()
      const port = typeof address === "object" ? address?.port : undefined
      const { stdout } = yield* run(0, "screen", "--json", "--listen", `127.0.0.1:${port}`)
      const { message, reason, tag } = JSON.parse(stdout.at(-1)!)
      assert.deepStrictEqual([tag, reason], ["NotListening", "EADDRINUSE"])
      assert.include(message, `127.0.0.1:${port}`)
      for (const nonsense of ["localhost", "::1:80", "[::1]", "a:b", "1.2.3.4:70000", ""]) {
        const { stdout } = yield* run(0, "screen", "--json", "--listen", nonsense)
        assert.strictEqual(JSON.parse(stdout.at(-1)!).reason, "InvalidValue", nonsense)
      }
    }))
})
